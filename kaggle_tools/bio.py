"""BIO tags: which may follow which, illegal ones counted and repaired, the best legal tags of given probabilities.

    fixed, n = repair([["O", "I-PER", "I-PER"]])     # [["O", "B-PER", "I-PER"]], 1
    legal_tags(probs, offsets, tags)                 # (W,) int64, best tags of each row among the legal ones
    entities(["B-PER", "I-PER", "O"])                # [("PER", 0, 2)]

An ``I-`` is illegal where neither a ``B-`` nor an ``I-`` of its type stands before it. In a row of text words, and in a
row of tags the tags, are separated by single blanks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError

OUTSIDE = "O"
UNTYPED = "word"  # the type that tags without one get: words of a text, as in word segmentation
# First letters of tags in other schemes (BMES, BIOES, BILOU): what begins an entity, and what goes on with it.
_BEGIN, _INSIDE = "BSU", "IMEL"
_NEVER = -1e9  # finite, so that a row always has a best path


def check_tags(tags: Sequence[str]) -> None:
    """Refuse names that are not BIO tags, and a set without ``O``.

    Raises:
        UserError: Names the first of them.
    """
    for tag in tags:
        if tag != OUTSIDE and (tag[:2] not in ("B-", "I-") or len(tag) < 3):
            raise UserError(f"{tag!r} is not a BIO tag", expected="O, B-<type> or I-<type>")
    if OUTSIDE not in tags:
        raise UserError("the tags lack 'O', which words outside entities have", found=", ".join(tags[:10]))


def to_bio(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows of BMES, BIOES or BILOU tags, with types or without, as BIO tags; BIO tags with types stay as they are.

    Raises:
        UserError: A tag of none of these schemes.
    """
    known: dict[str, str] = {}
    for tag in dict.fromkeys(tag for row in rows for tag in row):
        letter, dash, kind = tag[:1], tag[1:2], tag[2:]
        if tag != OUTSIDE and (letter not in _BEGIN + _INSIDE or letter == "" or (len(tag) > 1 and dash != "-")):
            raise UserError(f"{tag!r} is no tag", expected="O, and B, I, M, E, S, L or U with -<type> or without")
        known[tag] = tag if tag == OUTSIDE else f"{'B' if letter in _BEGIN else 'I'}-{kind or UNTYPED}"
    return [[known[tag] for tag in row] for row in rows]


def is_illegal(before: str, tag: str) -> bool:
    """Whether `tag` is an ``I-`` that goes on nothing; `before` is ``O`` at the beginning of a row."""
    return tag.startswith("I-") and before not in (tag, "B-" + tag[2:])


def repair(rows: Sequence[Sequence[str]]) -> tuple[list[list[str]], int]:
    """Rows in which each illegal ``I-`` has become a ``B-``, and how many there were."""
    fixed, n = [], 0
    for row in rows:
        before, own = OUTSIDE, []
        for tag in row:
            if is_illegal(before, tag):
                n, before = n + 1, "B-" + tag[2:]
            else:
                before = tag
            own.append(before)
        fixed.append(own)
    return fixed, n


def count_illegal(rows: Sequence[Sequence[str]]) -> int:
    """Illegal ``I-`` tags as they stand, an ``I-`` after an illegal one of its type not counted again."""
    return repair(rows)[1]


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, word after the last) of each entity; illegal tags begin none."""
    found: list[tuple[str, int, int]] = []
    kind, start = "", -1
    for i, tag in enumerate([*tags, OUTSIDE]):
        if start >= 0 and tag != "I-" + kind:
            found.append((kind, start, i))
            start = -1
        if tag.startswith("B-"):
            kind, start = tag[2:], i
    return found


def rules(tags: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(C,) bool: tags that a row may begin with; (C, C) bool: whether a tag (row) may be followed by another."""
    first = np.array([not is_illegal(OUTSIDE, tag) for tag in tags])
    return first, np.array([[not is_illegal(before, tag) for tag in tags] for before in tags])


def legal_tags(probs: NDArray[np.float32], offsets: NDArray[np.int64], tags: Sequence[str]) -> NDArray[np.int64]:
    """(W,) int64: for each row the most probable tags of which none is illegal.

    Where the most probable tag of each word is legal already, that is the answer; other rows are searched.

    Args:
        probs: (W, C) probabilities of the words of all rows, one row after the other.
        offsets: (N + 1,) row i has the words ``offsets[i]:offsets[i + 1]``.
        tags: C names.
    """
    first, allowed = rules(tags)
    chosen = probs.argmax(axis=1).astype(np.int64)
    starts = np.zeros(len(chosen), np.bool_)
    starts[offsets[:-1][np.diff(offsets) > 0]] = True
    bad = np.where(starts, ~first[chosen], ~allowed[np.roll(chosen, 1), chosen])
    rows = np.unique(np.searchsorted(offsets, np.flatnonzero(bad), side="right") - 1)
    bar_first, bar = np.where(first, 0.0, _NEVER), np.where(allowed, 0.0, _NEVER)
    for row in rows:
        place = slice(offsets[row], offsets[row + 1])
        chosen[place] = _best_path(np.log(np.maximum(probs[place].astype(np.float64), 1e-30)), bar_first, bar)
    return np.asarray(chosen)


def _best_path(logs: NDArray[np.float64], first: NDArray[np.float64], between: NDArray[np.float64]) -> list[int]:
    best, backs = logs[0] + first, []
    for step in logs[1:]:
        every = best[:, None] + between
        backs.append(every.argmax(axis=0))
        best = every.max(axis=0) + step
    path = [int(best.argmax())]
    for back in reversed(backs):
        path.append(int(back[path[-1]]))
    return path[::-1]
