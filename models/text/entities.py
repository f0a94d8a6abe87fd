"""Texts that mark two entities, ``<e1>…</e1>`` and ``<e2>…</e2>``: faults, where they are, what truncation keeps.

    find_fault("The <e1>cat</e1> sat.")     # "no <e2>"

Entities come in either order, do not overlap, and each is marked once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MARKS = ("<e1>", "</e1>", "<e2>", "</e2>")

# What a token belongs to.
OTHER, FIRST, SECOND, FIRST_OPENS, SECOND_OPENS = range(5)


def find_fault(text: str) -> str | None:
    """What keeps us from knowing the two entities of a text, in words; None where nothing does."""
    for mark in MARKS:
        n = text.count(mark)
        if n != 1:
            return f"no {mark}" if n == 0 else f"{n} times {mark}"
    spans = [(text.index(MARKS[i]) + len(MARKS[i]), text.index(MARKS[i + 1])) for i in (0, 2)]
    for name, (start, end) in zip(("e1", "e2"), spans, strict=True):
        if end < start:
            return f"</{name}> before <{name}>"
        if not text[start:end].strip():
            return f"nothing between <{name}> and </{name}>"
    (start_1, end_1), (start_2, end_2) = spans
    return "the entities overlap" if start_1 < end_2 and start_2 < end_1 else None


def without_marks(text: str) -> str:
    """The text as it was before the entities were marked."""
    for mark in MARKS:
        text = text.replace(mark, "")
    return text


def add_marks(tokenizer: Any) -> None:
    """Make each mark a token of its own; a tokenizer that has them stays as it is."""
    from tokenizers import AddedToken

    tokens = [AddedToken(mark, special=True, normalized=False) for mark in MARKS]
    tokenizer.add_tokens(tokens, special_tokens=True)


def segments_of(ids: NDArray[np.int32], marks: Sequence[int]) -> NDArray[np.int8]:
    """(n,) int8: for each of n tokens the entity that it belongs to; closing marks belong to none.

    Args:
        ids: Tokens of one text, each mark among them once.
        marks: Ids of the four `MARKS`.
    """
    segments = np.zeros(len(ids), np.int8)
    for inside, opens, mark in ((FIRST, FIRST_OPENS, 0), (SECOND, SECOND_OPENS, 2)):
        start, end = (int(np.flatnonzero(ids == marks[mark + i])[0]) for i in (0, 1))
        segments[start:end] = inside
        segments[start] = opens
    return segments


def window(entities: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Positions of the tokens that are kept of a text that is too long, ascending: those nearest to an entity.

    Each entity is kept whole, and what is around grows evenly on all sides. Where the two alone are too long, both lose
    their ends.

    Args:
        entities: (n,) 0 for a token of neither entity, 1 or 2 for one of theirs, marks included.
        budget: Tokens to keep, fewer than n.
    """
    places = np.arange(len(entities))
    inside = np.flatnonzero(entities)
    distance = np.abs(places[:, None] - inside).min(axis=1)
    order = places.copy()
    for entity in (1, 2):
        own = np.flatnonzero(entities == entity)
        order[own] = np.arange(len(own))
    nearest = np.lexsort((order, distance))
    return np.sort(nearest[:budget])
