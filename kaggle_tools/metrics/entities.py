"""Strict entity F1 of BIO tags: an entity is right where its type, its first and its last token all are.

    entity_f1([["B-PER", "I-PER", "O"]], [["B-PER", "I-PER", "O"]])
    count_entities(truth, predicted)["PER"].f1

Tags are ``O``, ``B-<type>`` and ``I-<type>`` (IOB2); a bare ``B`` or ``I`` has the empty type. An entity begins at a
``B-`` and goes on through each ``I-`` of its type. An ``I-`` that follows neither is illegal: it begins nothing and is
read as ``O``, in truth and prediction alike, as in seqeval's strict mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics.checks import checked_weights

Tags = Sequence[Sequence[str]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EntityCounts:
    """How many entities there are: true ones, predicted ones, and those that are both."""

    hits: float
    true: float
    predicted: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is no entity on either side."""
        both = self.true + self.predicted
        return 2 * self.hits / both if both > 0 else 0.0


@dataclass(frozen=True)
class _Spans:
    """Entities of all sentences, tokens numbered through: (E,) type code, first token, token after the last, weight."""

    kind: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    weight: Floats


def entity_f1(truth: Tags, predicted: Tags, weights: ArrayLike | None = None) -> float:
    """F1 over the entities of all types together (micro). Arguments and errors as `count_entities`."""
    counts = count_entities(truth, predicted, weights).values()
    return EntityCounts(*(sum(getattr(one, name) for one in counts) for name in ("hits", "true", "predicted"))).f1


def count_entities(truth: Tags, predicted: Tags, weights: ArrayLike | None = None) -> dict[str, EntityCounts]:
    """Counts for each entity type that is true or predicted somewhere, by name.

    Args:
        truth: For each of N sentences its tags.
        predicted: The same sentences as they were predicted.
        weights: (N,) weights of the sentences, none negative; None counts every sentence the same.

    Raises:
        UserError: No sentences, other sentences or lengths on the two sides, a tag that is not BIO, unusable weights.
    """
    lengths = _checked_lengths(truth, predicted)
    token_weights = np.repeat(checked_weights(weights, len(lengths)), lengths)
    kinds: dict[str, int] = {}
    true, guessed = (_spans(tags, lengths, token_weights, kinds) for tags in (truth, predicted))
    end_of, kind_of = np.full((2, len(token_weights)), -1)  # the true entity that begins at each token
    end_of[true.start], kind_of[true.start] = true.end, true.kind
    hit = (end_of[guessed.start] == guessed.end) & (kind_of[guessed.start] == guessed.kind)
    counted = [
        np.bincount(spans.kind[chosen], spans.weight[chosen], len(kinds))
        for spans, chosen in ((guessed, hit), (true, slice(None)), (guessed, slice(None)))
    ]
    rows = zip(sorted(kinds), *(part[[kinds[name] for name in sorted(kinds)]] for part in counted), strict=True)
    return {name: EntityCounts(*map(float, row)) for name, *row in rows if row[1] + row[2] > 0}


def _spans(tags: Tags, lengths: NDArray[np.int64], weights: Floats, kinds: dict[str, int]) -> _Spans:
    """Entities of all sentences; new types are entered into `kinds`."""
    codes = {"O": (0, -1)}
    flat = [_code(tag, codes, kinds, row) for row, sentence in enumerate(tags) for tag in sentence]
    mark, kind = np.array(flat, np.int64).reshape(-1, 2).T
    first = np.zeros(len(kind), np.bool_)
    first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    goes_on = (mark == _INSIDE) & ~first & (kind == np.roll(kind, 1))
    start = np.flatnonzero(mark == _BEGIN)
    stops = np.append(np.flatnonzero(~goes_on), len(kind))
    end = stops[np.searchsorted(stops, start, side="right")]
    return _Spans(kind[start], start, end, weights[start])


_BEGIN, _INSIDE = 1, 2


def _code(tag: str, codes: dict[str, tuple[int, int]], kinds: dict[str, int], row: int) -> tuple[int, int]:
    """(0 outside, 1 begin, 2 inside; type), found once for each distinct tag."""
    known = codes.get(tag)
    if known is not None:
        return known
    if not isinstance(tag, str) or tag[:1] not in ("B", "I") or (len(tag) > 1 and tag[1] != "-"):
        raise UserError(f"{tag!r} is not a BIO tag", where=f"sentence {row + 1:,}", expected="O, B-<type> or I-<type>")
    codes[tag] = ("OBI".index(tag[0]), kinds.setdefault(tag[2:], len(kinds)))
    return codes[tag]


def _checked_lengths(truth: Tags, predicted: Tags) -> NDArray[np.int64]:
    if not len(truth):
        raise UserError("no sentences to score")
    if len(truth) != len(predicted):
        raise UserError(f"{len(predicted):,} predicted sentences", expected=f"{len(truth):,}, as in the truth")
    lengths, theirs = (np.array([len(tags) for tags in side], np.int64) for side in (truth, predicted))
    other = np.flatnonzero(lengths != theirs)
    if other.size:
        raise UserError(
            f"{other.size:,} of {len(truth):,} sentences have another number of predicted tags than of true ones",
            first=f"sentence {other[0] + 1:,}: {theirs[other[0]]} for {lengths[other[0]]} tokens",
            next="what was cut off at max_length needs a tag too: O",
        )
    return lengths
