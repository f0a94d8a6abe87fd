"""Which rows go through the network together.

A batch of rows of one exact length needs no padding and no mask. So each length first fills whole batches by itself;
what is left of each length (less than one batch) is merged with its neighbours in length where the padding costs less
than one more pass would. The cheapest merge is found exactly, by dynamic programming over the sorted lengths. Networks
that can be packed (`models.inference.packed`) get what is left as flat sequences instead, without padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

_SPREAD = 4  # a packed batch laid side by side takes at most so many budgets


@dataclass(frozen=True)
class Batch:
    """Rows that are scored together.

    Attributes:
        rows: (B,) int64 positions in the shard.
        length: Tokens of the longest row; every row has exactly this many where neither `padded` nor packed.
        padded: Whether shorter rows are among them, so that a mask is needed.
        packed_tokens: Of rows that stand one behind the other in one flat sequence, tokens in all; else 0.
    """

    rows: NDArray[np.int64]
    length: int
    padded: bool
    packed_tokens: int = 0

    @property
    def n_tokens(self) -> int:
        """Tokens computed, padding included."""
        return self.packed_tokens or len(self.rows) * self.length


def plan_batches(lengths: NDArray[np.int64], token_budget: int, pass_cost: int, *, packed: bool = False) -> list[Batch]:
    """Cut N rows into batches of at most `token_budget` tokens, padding included.

    Args:
        lengths: (N,) int64 tokens a row, each at least 1.
        token_budget: Most tokens a batch; a single row longer than this is a batch of its own.
        pass_cost: What one more forward pass costs, in tokens of computing.
        packed: Whether what is left of each length is packed instead of merged and padded.

    Returns:
        Batches, longest first (so that memory peaks at the start); each row is in exactly one. Packed ones need memory
        by their tokens alone and come largest first: the pool of a thread would grow with each that is a few tokens
        larger than those before, since what they freed has no room for it.
    """
    order = np.argsort(lengths.astype(np.min_scalar_type(lengths.max(initial=1))), kind="stable")  # short: radix sort
    per_length = np.bincount(lengths)
    values = np.flatnonzero(per_length)
    counts = per_length[values]
    starts = np.cumsum(counts) - counts
    batches: list[Batch] = []
    rest: list[NDArray[np.int64]] = []
    for length, start, count in zip(values.tolist(), starts.tolist(), counts.tolist(), strict=True):
        rows = order[start : start + count]
        size = max(1, token_budget // length)
        whole = count - count % size
        batches += [Batch(rows[i : i + size], length, padded=False) for i in range(0, whole, size)]
        rest.append(rows[whole:])
    if packed:
        batches += _pack(lengths, np.concatenate(rest[::-1] or [order]), token_budget)
    else:
        batches += _merge(values, rest, token_budget, pass_cost)
    size_of = attrgetter("n_tokens", "length") if packed else attrgetter("length")
    return sorted(batches, key=size_of, reverse=True)


def _pack(lengths: NDArray[np.int64], rows: NDArray[np.int64], token_budget: int) -> list[Batch]:
    """Batches over rows in this order, which is by length, longest first: as full as the budget allows.

    A head may lay the rows side by side; so that this stays small, very short rows do not join very long ones.
    """
    ends = np.cumsum(lengths[rows])
    batches: list[Batch] = []
    start = 0
    while start < rows.size:
        longest = int(lengths[rows[start]])
        before = int(ends[start]) - longest
        stop = int(np.searchsorted(ends, before + token_budget, side="right"))
        stop = max(start + 1, min(stop, start + _SPREAD * token_budget // longest))
        part = rows[start:stop]
        total = int(ends[stop - 1]) - before
        same = total == longest * part.size
        batches.append(Batch(part, longest, padded=False, packed_tokens=0 if same else total))
        start = stop
    return batches


def _merge(values: NDArray[np.int64], rest: list[NDArray[np.int64]], token_budget: int, pass_cost: int) -> list[Batch]:
    """Batches over the left-over rows of each length: contiguous runs of lengths, cheapest in total.

    best[j] = min over i ≤ j of best[i - 1] + padded tokens + passes x pass_cost for lengths i..j together: O(K²) for K
    lengths, which are at most `max_length`.
    """
    kept = [k for k, rows in enumerate(rest) if rows.size]
    if not kept:
        return []
    width = values[kept]
    cumulative = np.concatenate([[0], np.cumsum([rest[k].size for k in kept])])
    best = np.zeros(len(kept) + 1)
    first = np.zeros(len(kept), dtype=np.int64)
    for j in range(len(kept)):
        n_rows = cumulative[j + 1] - cumulative[: j + 1]
        size = max(1, token_budget // int(width[j]))
        cost = best[: j + 1] + n_rows * width[j] + np.ceil(n_rows / size) * pass_cost
        first[j] = int(np.argmin(cost))
        best[j + 1] = cost[first[j]]
    batches: list[Batch] = []
    j = len(kept) - 1
    while j >= 0:
        i = int(first[j])
        rows = np.flip(np.concatenate([rest[k] for k in kept[i : j + 1]])).copy()
        size = max(1, token_budget // int(width[j]))
        lengths = np.repeat(width[i : j + 1], np.diff(cumulative[i : j + 2]))[::-1]
        for start in range(0, rows.size, size):
            part = lengths[start : start + size]
            batches.append(Batch(rows[start : start + size], int(part[0]), padded=bool(part[0] != part[-1])))
        j = i - 1
    return batches
