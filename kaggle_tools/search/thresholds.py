"""Exact thresholds: a label is given where its probability reaches the label's threshold.

    found = thresholds.fit(truth, probs, "macro_f1")       # (N, L) multi-label, or (N,) binary
    found.thresholds, found.score_at_half, found.score
    labels = found.labels(test_probs)

Sorted by falling probability, lowering a label's threshold takes its rows one after another, so every threshold is a
prefix of that order, and prefix sums give the metric at all of them at once. With h hits among k taken rows and t true:

- macro and weighted F1 fall apart into labels: best 2 h / (t + k) of each, exact.
- micro F1 is a ratio of two sums over labels: the best thresholds for Σ 2h − λ Σ (t + k) at a given λ are exact label
  by label, and raising λ to the ratio reached until it stays gives the exact joint optimum (Dinkelbach 1967).
- Hamming loss: prefix sums of ±1, label by label, exact.
- samples F1 and exact match tie the labels together: what a row gains by taking a label depends on its other labels.
  Each label in turn gets its exact best threshold, until none moves.

Thresholds lie in the middle between two probabilities; of equal scores the widest gap wins, then the nearest to
one half.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import find_metric, multilabel
from kaggle_tools.search._recipe_kernels import settle_labels
from kaggle_tools.search.inputs import check_weights

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

METRICS = ("macro_f1", "micro_f1", "weighted_f1", "samples_f1", "exact_match", "hamming_loss")
BINARY = {"binary_f1": "macro_f1", "accuracy": "hamming_loss"}  # the same on one column of labels
_TIE = 1e-12
_ENOUGH = 1e-6  # gain of a whole round below which turns end
_MAX_ROUNDS = 20

# (hits, labels taken) of each row, (N,) int32 both, to the row's score.
RateRows = Callable[[NDArray[np.int32], NDArray[np.int32]], Floats]


@dataclass(frozen=True, repr=False)
class Thresholds:
    """Thresholds and what they give.

    Attributes:
        metric: The metric's name.
        thresholds: (L,) float64 in (0, 1].
        score: The metric of `apply` on the fitted rows.
        score_at_half: The metric with every threshold at one half.
        n_evaluations: Labels whose thresholds were searched, once for every time.
        seconds: Wall time.
    """

    metric: str
    thresholds: Floats
    score: float
    score_at_half: float
    n_evaluations: int
    seconds: float

    def __repr__(self) -> str:
        cuts = ", ".join(f"{cut:.4g}" for cut in self.thresholds)
        return (
            f"{self.metric} {self.score:.5f} with thresholds {cuts}, {self.score_at_half:.5f} with one half "
            f"({self.n_evaluations:,} searches, {self.seconds:.2f} s)"
        )

    def labels(self, probs: ArrayLike) -> Bools:
        """Which labels are given; shape as `probs`."""
        values = np.asarray(probs, np.float64)
        return np.asarray(values >= (self.thresholds if values.ndim == 2 else self.thresholds[0]))

    def apply(self, probs: ArrayLike) -> NDArray[np.float32]:
        """Probabilities whose odds are moved so that every threshold is one half, as a recipe replays it."""
        values = np.asarray(probs, np.float64)
        moved: NDArray[np.float32] = settle_labels(values.reshape(len(values), -1), self.thresholds)
        return moved.reshape(values.shape)


def fit(
    truth: ArrayLike,
    probs: ArrayLike,
    metric: str,
    *,
    sample_weight: ArrayLike | None = None,
    allow_absent: bool = False,
) -> Thresholds:
    """Fit one threshold for each label.

    Args:
        truth: (N, L) 0/1, or (N,) for a binary task.
        probs: (N, L) probabilities of the labels, or (N,) of the second class.
        metric: One of `METRICS`; for a binary task ``binary_f1`` or ``accuracy`` (others: `rescale` with two classes).
        sample_weight: (N,) row weights.
        allow_absent: Accept labels without a true row, or of which all rows have the same probability, as a fold of
            rare labels may have; nothing is learnt of them, and they keep one half.

    Raises:
        UserError: Unknown or unfit metric, shapes that do not fit, no rows, NaN, values outside [0, 1], labels without
            a true row, labels whose probability never varies.
    """
    began = time.perf_counter()
    given, values, name = _checked(truth, probs, metric)
    unknown = _unknown(given, values, allow_absent=allow_absent)
    rated = BINARY.get(name, name)
    search = _Search(given, values, check_weights(sample_weight, len(given)))
    cuts = np.where(unknown, 0.5, _SOLVERS[rated](search))

    def rate(thresholds: Floats) -> float:
        value = float(getattr(multilabel, rated)(given, values >= thresholds, search.weights))
        return 1.0 - value if name == "accuracy" else value

    score, at_half = rate(cuts), rate(np.full(len(cuts), 0.5))
    return Thresholds(name, cuts, score, at_half, search.n_searches, time.perf_counter() - began)


class _Search:
    """The rows of every label by falling probability, with what is known of each prefix of them.

    Arrays are (L, N), a label after the other: everything here runs along the rows of one label.
    """

    def __init__(self, truth: Bools, probs: NDArray[np.float32], weights: Floats) -> None:
        self.truth, self.probs = np.ascontiguousarray(truth.T), np.ascontiguousarray(probs.T)
        self.weights, self.total = weights, float(weights.sum())
        self.n_labels, self.n_rows = self.truth.shape
        self.n_searches = 0
        self.order = [np.argsort(-own) for own in self.probs]
        # Where a prefix may end, and how far it is to the next row there. A threshold above 1 or at 0 would be none.
        self.edges = [
            np.concatenate([[1.0], own[order], [0.0]]) for own, order in zip(self.probs, self.order, strict=True)
        ]
        self.gaps = [edges[:-1] - edges[1:] for edges in self.edges]
        self.actual = np.array([weights @ own for own in self.truth])

    def prefixes(self, label: int, values: Floats) -> Floats:
        """(N + 1,) sums of the rows' `values` over the prefixes of a label's order."""
        sums = np.zeros(self.n_rows + 1)
        np.cumsum(values[self.order[label]], out=sums[1:])
        return sums

    def counts(self, label: int) -> tuple[Floats, Floats]:
        """(N + 1,) weight of hits and of rows taken, by prefix."""
        return self.prefixes(label, self.weights * self.truth[label]), self.prefixes(label, self.weights)

    def best_cut(self, label: int, score: Floats) -> tuple[int, float]:
        """The prefix with the best score among those that end between two distinct probabilities, and its threshold."""
        self.n_searches += 1
        edges, gaps = self.edges[label], self.gaps[label]
        score = np.where(gaps > 0, score, -np.inf)
        near = np.flatnonzero(score >= score.max() - _TIE)
        middle = 0.5 * (edges[near] + edges[near + 1])
        place = np.lexsort((np.abs(middle - 0.5), -gaps[near]))[0]
        return int(near[place]), float(middle[place])


def _ratio(hits: Floats, whole: Floats) -> Floats:
    return np.divide(2 * hits, whole, out=np.zeros_like(hits), where=whole > 0)


def _own_f1(search: _Search) -> Floats:
    cuts = np.empty(search.n_labels)
    for label in range(search.n_labels):
        hits, taken = search.counts(label)
        cuts[label] = search.best_cut(label, _ratio(hits, taken + search.actual[label]))[1]
    return cuts


def _hamming(search: _Search) -> Floats:
    cuts = np.empty(search.n_labels)
    for label in range(search.n_labels):
        hits, taken = search.counts(label)
        cuts[label] = search.best_cut(label, (2 * hits - taken) / search.total)[1]
    return cuts


def _micro_f1(search: _Search) -> Floats:
    by_label = [search.counts(label) for label in range(search.n_labels)]
    cuts, ratio = np.full(search.n_labels, 0.5), -1.0
    reached = 0.0
    while reached > ratio + _TIE:
        ratio, hits, whole = reached, 0.0, float(search.actual.sum())
        for label, (label_hits, taken) in enumerate(by_label):
            place, cuts[label] = search.best_cut(label, (2 * label_hits - ratio * taken) / search.total)
            hits += label_hits[place]
            whole += taken[place]
        reached = 2 * hits / whole if whole > 0 else 0.0
    return cuts


def _samples_f1(search: _Search) -> Floats:
    n_true = search.truth.sum(axis=0, dtype=np.int32)
    # Twice the reciprocal of every possible size of the two label sets together: a table is faster than a division.
    doubled = np.concatenate([[0.0], 2.0 / np.arange(1, 2 * search.n_labels + 2)])
    return _by_turns(search, lambda hits, taken: hits * doubled[taken + n_true])


def _exact_match(search: _Search) -> Floats:
    n_true = search.truth.sum(axis=0, dtype=np.int32)
    return _by_turns(search, lambda hits, taken: ((hits == n_true) & (taken == n_true)).astype(np.float64))


def _by_turns(search: _Search, rate: RateRows) -> Floats:
    """Coordinate ascent from each label's own best F1 and from one half, whichever ends higher."""
    found = [_climb_by_turns(search, rate, start) for start in (_own_f1(search), np.full(search.n_labels, 0.5))]
    return max(found, key=lambda item: item[0])[1]


def _climb_by_turns(search: _Search, rate: RateRows, cuts: Floats) -> tuple[float, Floats]:
    """One label after another to its exact best threshold, given the others; the mean rate of rows, and the cuts."""
    cuts = cuts.copy()
    given = search.probs >= cuts[:, None]
    taken = given.sum(axis=0, dtype=np.int32)
    hits = (given & search.truth).sum(axis=0, dtype=np.int32)
    value = float(search.weights @ rate(hits, taken)) / search.total
    for _ in range(_MAX_ROUNDS):
        before = value
        for label in range(search.n_labels):
            true = search.truth[label]
            taken -= given[label]
            hits -= given[label] & true
            without = rate(hits, taken)
            sums = search.prefixes(label, search.weights * (rate(hits + true, taken + 1) - without))
            base = float(search.weights @ without)
            place, cut = search.best_cut(label, sums / search.total)
            reached = (base + float(sums[place])) / search.total
            if reached > value + _TIE:
                value, cuts[label] = reached, cut
                given[label] = search.probs[label] >= cut
            taken += given[label]
            hits += given[label] & true
        if value <= before + _ENOUGH:
            break
    return value, cuts


_SOLVERS = {
    "macro_f1": _own_f1,
    "weighted_f1": _own_f1,
    "micro_f1": _micro_f1,
    "hamming_loss": _hamming,
    "samples_f1": _samples_f1,
    "exact_match": _exact_match,
}


def _checked(truth: ArrayLike, probs: ArrayLike, metric: str) -> tuple[Bools, NDArray[np.float32], str]:
    name = find_metric(metric).name
    raw, values = np.asarray(truth), np.asarray(probs, np.float32)
    if raw.shape != values.shape or raw.ndim not in (1, 2):
        raise UserError(f"truth has shape {raw.shape}, probabilities {values.shape}", expected="(N, L) or (N,) both")
    known = METRICS if raw.ndim == 2 else tuple(BINARY)
    if name not in known:
        raise UserError(f"no thresholds for {name}", next="use one of " + ", ".join(known))
    if not values.size:
        raise UserError(f"no rows to fit: probabilities have shape {values.shape}")
    raw, values = raw.reshape(len(raw), -1), values.reshape(len(raw), -1)
    if not ((raw == 0) | (raw == 1)).all():
        raise UserError("truth must be 0 or 1", found=f"{raw.min()} to {raw.max()}")
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)).all(axis=1))
    if bad.size:
        raise UserError(
            f"{bad.size:,} of {len(values):,} rows have a value that is no probability",
            first=f"row {bad[0] + 1:,}: {values[bad[0]]}",
        )
    return raw.astype(np.bool_), values, name


def _unknown(truth: Bools, values: NDArray[np.float32], *, allow_absent: bool) -> Bools:
    """(L,) labels of which nothing can be learnt; without leave, they are an error."""
    n = len(truth)
    without = ~np.asarray(truth.any(axis=0), np.bool_)
    flat = np.asarray((values == values[0]).all(axis=0), np.bool_) & (n > 1)
    for what, columns in (("no true row", without), ("the same probability in every row", flat)):
        if columns.any() and not allow_absent:
            raise UserError(
                f"{columns.sum()} of {len(columns)} labels have {what} among {n:,}",
                first="label " + ", ".join(map(str, np.flatnonzero(columns)[:5])),
                next="leave these labels out, or pass allow_absent=True",
            )
    return without | flat
