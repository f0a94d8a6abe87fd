"""Paired outcomes of two predictions as `Cells`, and the metrics of counts over many bootstraps at once.

A single-label row is (true class, our class, their class); a multi-label one is three label sets. Rows with the same
outcome form a cell, and what metrics of counts need of a side are three sums a class: how often it was hit, how often
it is true and how often it was predicted (for quadratic kappa also the sum of squared distances).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.search._resample import Cells

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def single_label_cells(codes: Codes, ours: Codes, theirs: Codes, n_classes: int, groups: Codes | None = None) -> Cells:
    """Cells of (N,) codes. Sums: true (C), then for each side hits (C), predicted (C), squared distance (1).

    Of rows in (N,) `groups` each group is a cell.
    """
    c = n_classes
    outcome = (codes * c + ours) * c + theirs
    if groups is not None:
        distinct, sizes = outcome, np.ones(len(outcome), np.int64)
    elif c**3 <= 1 << 24:
        counts = np.bincount(outcome)
        distinct = np.flatnonzero(counts)
        sizes = counts[distinct]
    else:
        distinct, sizes = np.unique(outcome, return_counts=True)
    truth = distinct // c**2
    columns = [(truth, np.ones(len(distinct)))]
    for side, predicted in enumerate((distinct // c % c, distinct % c)):
        base = c + side * (2 * c + 1)
        distance = np.square(truth - predicted).astype(np.float64)
        columns += [
            (base + truth, (truth == predicted).astype(np.float64)),
            (base + c + predicted, np.ones(len(distinct))),
            (np.full(len(distinct), base + 2 * c), distance),
        ]
    cells = _cells(sizes, np.stack([s for s, _ in columns], 1), np.stack([a for _, a in columns], 1), 5 * c + 2)
    return cells if groups is None else _together(cells, groups)


def multi_label_cells(
    truth: NDArray[np.bool_], ours: NDArray[np.bool_], theirs: NDArray[np.bool_], groups: Codes | None = None
) -> Cells:
    """Cells of (N, L) label sets, sums and groups as `single_label_cells` (the distances stay 0)."""
    c = truth.shape[1]
    if groups is None:
        packed = np.packbits(np.concatenate([truth, ours, theirs], axis=1), axis=1)
        keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
        _, first, sizes = np.unique(keys, return_index=True, return_counts=True)
    else:
        first, sizes = np.arange(len(truth)), np.ones(len(truth), np.int64)
    gap = np.zeros((len(first), 1), np.bool_)
    t, a, b = truth[first], ours[first], theirs[first]
    flags = np.concatenate([t, t & a, a, gap, t & b, b, gap], axis=1).astype(np.float64)
    cells = _cells(sizes, np.broadcast_to(np.arange(5 * c + 2), flags.shape), flags, 5 * c + 2)
    return cells if groups is None else _together(cells, groups)


def value_cells(values: Floats, most: int = 8192) -> Cells:
    """Cells of (N,) values, whose bootstrapped means are wanted.

    Up to `most` rows are taken one by one. More are put together with their neighbours in value, so that no cell is
    wider than 2/most of the range nor holds more than 2/most of the rows: the variance within cells, which is lost,
    is below a thousandth of the whole.
    """
    n = len(values)
    ordered = np.sort(values)
    if n <= most or ordered[0] == ordered[-1]:
        distinct, sizes = np.unique(ordered, return_counts=True)
        return Cells(sizes, np.arange(len(distinct) + 1), np.zeros(len(distinct), np.int64), distinct, 1)
    depth = np.arange(n) / n + (ordered - ordered[0]) / (ordered[-1] - ordered[0])
    starts = np.flatnonzero(np.diff((depth * most / 2).astype(np.int64), prepend=-1))
    sizes = np.diff(starts, append=n)
    means = np.add.reduceat(ordered, starts) / sizes
    return Cells(sizes, np.arange(len(starts) + 1), np.zeros(len(starts), np.int64), means, 1)


def mean_cells(values: Floats, groups: Codes) -> Cells:
    """A cell a group of (N,) values. Sums: of the values, and of the rows, whose number differs between bootstraps."""
    sums = np.stack([np.bincount(groups, values), np.bincount(groups)], axis=1, dtype=np.float64)
    n = len(sums)
    return Cells(np.ones(n, np.int64), np.arange(0, 2 * n + 1, 2), np.tile([0, 1], n), sums.ravel(), 2)


def _together(cells: Cells, groups: Codes) -> Cells:
    """Cells of single rows as one cell for each of their (N,) groups, which are counted from 0."""
    entries = np.repeat(groups, np.diff(cells.starts)) * cells.n_sums + cells.sums
    distinct, place = np.unique(entries, return_inverse=True)
    n_groups = int(groups.max()) + 1
    starts = np.searchsorted(distinct, np.arange(n_groups + 1) * cells.n_sums)
    amounts = np.bincount(place, cells.amounts).astype(np.float64)
    return Cells(np.ones(n_groups, np.int64), starts, distinct % cells.n_sums, amounts, cells.n_sums)


def _cells(sizes: NDArray[np.int64], sums: Codes, amounts: Floats, n_sums: int) -> Cells:
    """(K, E) entries a cell; those that add nothing are left out."""
    used = amounts != 0
    starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return Cells(sizes.astype(np.int64), starts, np.ascontiguousarray(sums[used]), amounts[used], n_sums)


@dataclass(frozen=True)
class Side:
    """One prediction's sums in B bootstraps: (C, B) `hits`, `actual` and `predicted`, (B,) squared `distance`."""

    hits: Floats
    actual: Floats
    predicted: Floats
    distance: Floats

    @property
    def rows(self) -> Floats:
        """(B,) single-label rows."""
        return np.asarray(self.actual.sum(axis=0))

    @property
    def f1(self) -> Floats:
        """(C, B) F1 of each class."""
        return _ratio(2 * self.hits, self.actual + self.predicted)

    @property
    def present(self) -> NDArray[np.bool_]:
        """(C, B): whether a class is true or predicted anywhere."""
        return np.asarray(self.actual + self.predicted > 0)


def side_of(totals: Floats, n_classes: int, side: int) -> Side:
    """Side 0 (ours) or 1 (theirs) of bootstrapped sums of the cells above."""
    c = n_classes
    part = totals[c + side * (2 * c + 1) :]
    return Side(hits=part[:c], actual=totals[:c], predicted=part[c : 2 * c], distance=part[2 * c])


Scorer = Callable[[Side], Floats]


def _accuracy(side: Side) -> Floats:
    return _ratio(side.hits.sum(axis=0), side.rows)


def _balanced_accuracy(side: Side) -> Floats:
    return _mean_where(_ratio(side.hits, side.actual), side.actual > 0)


def _macro_precision(side: Side) -> Floats:
    return _mean_where(_ratio(side.hits, side.predicted), side.present)


def _macro_f1(side: Side) -> Floats:
    return _mean_where(side.f1, side.present)


def _weighted_f1(side: Side) -> Floats:
    return _ratio((side.f1 * side.actual).sum(axis=0), side.actual.sum(axis=0))


def _binary_f1(side: Side) -> Floats:
    return np.asarray(side.f1[1])


def _mcc(side: Side) -> Floats:
    n = side.rows
    covariance = side.hits.sum(axis=0) * n - (side.actual * side.predicted).sum(axis=0)
    spread = [n**2 - np.square(margin).sum(axis=0) for margin in (side.actual, side.predicted)]
    return _ratio(covariance, np.sqrt(spread[0] * spread[1]))


def _cohen_kappa(side: Side) -> Floats:
    expected = side.rows - (side.actual * side.predicted).sum(axis=0) / side.rows
    return _kappa(side.rows - side.hits.sum(axis=0), expected)


def _quadratic_kappa(side: Side) -> Floats:
    """Expected Σ (i − j)² a_i p_j / n, by its three products."""
    place = np.arange(len(side.actual), dtype=np.float64)
    squares = np.square(place) @ (side.actual + side.predicted)
    return _kappa(side.distance, squares - 2 * (place @ side.actual) * (place @ side.predicted) / side.rows)


def _macro_f1_of_labels(side: Side) -> Floats:
    return np.asarray(side.f1.mean(axis=0))


def _micro_f1_of_labels(side: Side) -> Floats:
    return _ratio(2 * side.hits.sum(axis=0), (side.actual + side.predicted).sum(axis=0))


# The metrics whose bootstraps need only these sums, by task.
SCORERS: dict[str, dict[str, Scorer]] = {
    "single_label": {
        "accuracy": _accuracy,
        "balanced_accuracy": _balanced_accuracy,
        "macro_f1": _macro_f1,
        "micro_f1": _accuracy,
        "weighted_f1": _weighted_f1,
        "binary_f1": _binary_f1,
        "macro_precision": _macro_precision,
        "mcc": _mcc,
        "cohen_kappa": _cohen_kappa,
        "quadratic_kappa": _quadratic_kappa,
    },
    "multi_label": {"macro_f1": _macro_f1_of_labels, "micro_f1": _micro_f1_of_labels, "weighted_f1": _weighted_f1},
}


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _kappa(observed: Floats, expected: Floats) -> Floats:
    return np.where(expected > 0, 1.0 - _ratio(observed, expected), 0.0)


def _mean_where(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    return _ratio((values * counted).sum(axis=0), counted.sum(axis=0).astype(np.float64))
