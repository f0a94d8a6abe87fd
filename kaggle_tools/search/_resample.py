"""Sums over rows that are drawn again with replacement, ten thousand times over a million rows in a second.

Rows that add the same to every sum form a cell, so a bootstrap is one multinomial draw over cells. Drawing those one
binomial after the other is slow. Instead every cell draws a Poisson number a little below its size, from a table, and
what is missing to N rows is drawn row by row: Poisson numbers given their sum are multinomial, and so is the whole,
exactly. In the rare bootstrap whose Poisson numbers exceed N, all is drawn anew by numpy's multinomial.

Every block of bootstraps has its own random stream: the result depends on the seed, not on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from kaggle_tools.compiled import compiled
from kaggle_tools.search.threads import in_threads

_BLOCK = 500  # bootstraps whose sums stay in the cache together
_MARGIN = 2.5  # standard deviations between the Poisson numbers' mean sum and N
_DRAWS = 200_000_000  # cells times bootstraps that are worth waiting for
_LEAST_BOOTSTRAPS = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Rows in groups of alike ones.

    Attributes:
        sizes: (K,) int64 rows in each cell, all above 0.
        starts: (K + 1,) int64: cell k's entries are ``starts[k]:starts[k + 1]`` of `sums` and `amounts`.
        sums: int64, which sum an entry adds to.
        amounts: float64, what each row of the cell adds.
        n_sums: How many sums there are.
    """

    sizes: NDArray[np.int64]
    starts: NDArray[np.int64]
    sums: NDArray[np.int64]
    amounts: Floats
    n_sums: int


def bootstrap(cells: Cells, reduce: Callable[[Floats], Floats], n_bootstraps: int, seed: int) -> Floats:
    """Distribution of a statistic that is a function of sums over rows.

    Args:
        cells: The rows.
        reduce: (n_sums, B) sums of B bootstraps to their (B,) statistics.
        n_bootstraps: How many to draw; fewer are drawn (but 200) where there are so many cells that it would take long.
        seed: Of the random streams.

    Returns:
        (B,) float64 statistics.
    """
    total = min(n_bootstraps, max(_LEAST_BOOTSTRAPS, _DRAWS // len(cells.sizes)))
    order = np.argsort(-cells.sizes, kind="stable")  # cells of one size share a table
    sizes = cells.sizes[order]
    table_starts, least, bounds = _poisson_tables(sizes)
    cell_bounds = _as_bits(np.cumsum(sizes) / sizes.sum())

    def block(start: int) -> Floats:
        random = np.random.default_rng([seed, start])
        sums = np.zeros((cells.n_sums, min(_BLOCK, total - start)))
        bits = random.integers(2**63, dtype=np.uint64)
        entries = (cells.starts, cells.sums, cells.amounts)
        drawn = _draw_poisson(sizes, order, *entries, table_starts, least, bounds, bits, sums)
        _draw_missing(sizes.sum() - drawn, order, *entries, cell_bounds, ~bits, sums)
        for b in np.flatnonzero(drawn > sizes.sum()):
            sums[:, b] = _draw_one(cells, random)
        return reduce(sums)

    return np.concatenate(in_threads(block, range(0, total, _BLOCK)))


def _draw_one(cells: Cells, random: np.random.Generator) -> Floats:
    counts = random.multinomial(cells.sizes.sum(), cells.sizes / cells.sizes.sum())
    entries = np.repeat(counts, np.diff(cells.starts)) * cells.amounts
    return np.bincount(cells.sums, entries, cells.n_sums).astype(np.float64)


def _poisson_tables(sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]:
    """For each distinct size, largest first: where its table starts, its least value, and all cumulative shares."""
    share = max(0.0, 1.0 - _MARGIN / np.sqrt(sizes.sum()))
    means = np.unique(sizes)[::-1] * share
    # Beyond these bounds lies less than what 32 random bits can tell.
    least = poisson.ppf(1e-11, means).clip(0).astype(np.int64)
    most = poisson.isf(1e-11, means).clip(0).astype(np.int64)
    lengths = most - least + 1
    starts = np.concatenate([[0], np.cumsum(lengths)])
    values = np.arange(starts[-1]) - np.repeat(starts[:-1] - least, lengths)
    return starts, least, _as_bits(poisson.cdf(values, np.repeat(means, lengths)))


def _as_bits(shares: Floats) -> NDArray[np.uint32]:
    """Cumulative shares as bounds for 32 random bits."""
    return np.minimum(np.round(shares * 2.0**32), 2.0**32 - 1).astype(np.uint32)


@compiled
def _draw_poisson(
    sizes: NDArray[np.int64],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    sums: NDArray[np.int64],
    amounts: Floats,
    table_starts: NDArray[np.int64],
    least: NDArray[np.int64],
    bounds: NDArray[np.uint32],
    state: np.uint64,
    totals: Floats,
) -> NDArray[np.int64]:
    """Draw every cell's rows for all bootstraps into `totals` (n_sums, B); (B,) rows drawn in each."""
    n_bootstraps = totals.shape[1]
    drawn = np.zeros(n_bootstraps, np.int64)
    counts = np.empty(n_bootstraps)
    guide = np.empty(_GUIDE, np.int64)
    table, size = -1, 0
    for i in range(len(sizes)):
        if sizes[i] != size:
            table, size = table + 1, sizes[i]
            table_bounds = bounds[table_starts[table] : table_starts[table + 1]]
            _fill_guide(table_bounds, guide)
        for b in range(n_bootstraps):
            state, bits = _next(state)
            count = least[table] + _look_up(table_bounds, guide, bits)
            drawn[b] += count
            counts[b] = count
        for entry in range(starts[order[i]], starts[order[i] + 1]):
            row, amount = totals[sums[entry]], amounts[entry]
            for b in range(n_bootstraps):
                row[b] += amount * counts[b]
    return drawn


@compiled
def _draw_missing(
    missing: NDArray[np.int64],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    sums: NDArray[np.int64],
    amounts: Floats,
    cell_bounds: NDArray[np.uint32],
    state: np.uint64,
    totals: Floats,
) -> None:
    """Draw (B,) missing rows one by one into `totals` (n_sums, B)."""
    guide = np.empty(_GUIDE, np.int64)
    _fill_guide(cell_bounds, guide)
    column = np.empty(len(totals))  # one bootstrap's sums side by side: quicker than strides through `totals`
    for b in range(len(missing)):
        column[:] = 0.0
        for _ in range(missing[b]):
            state, bits = _next(state)
            cell = order[_look_up(cell_bounds, guide, bits)]
            for entry in range(starts[cell], starts[cell + 1]):
                column[sums[entry]] += amounts[entry]
        for row in range(len(totals)):
            totals[row, b] += column[row]


_GUIDE_BITS = 12
_GUIDE = 1 << _GUIDE_BITS
_GUIDE_SHIFT = np.uint64(64 - _GUIDE_BITS)
_BOUND_SHIFT = 32 - _GUIDE_BITS


@compiled
def _fill_guide(bounds: NDArray[np.uint32], guide: NDArray[np.int64]) -> None:
    """For each value of the leading bits, where the search among the bounds may begin."""
    place = 0
    for i in range(_GUIDE):
        while bounds[place] <= np.uint32(i << _BOUND_SHIFT) and place < len(bounds) - 1:
            place += 1
        guide[i] = place


@compiled
def _look_up(bounds: NDArray[np.uint32], guide: NDArray[np.int64], bits: np.uint64) -> int:
    """The first place whose bound is above the random bits (Chen & Asau 1974)."""
    place = guide[bits >> _GUIDE_SHIFT]
    while bounds[place] <= np.uint32(bits >> np.uint64(32)) and place < len(bounds) - 1:
        place += 1
    return int(place)


@compiled
def _next(state: np.uint64) -> tuple[np.uint64, np.uint64]:
    """One step of splitmix64 (Steele, Lea & Flood 2014): the next state, and 64 random bits."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    bits = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, bits ^ (bits >> np.uint64(31))
