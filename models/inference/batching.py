"""Which rows go through the network together.

A batch of rows of one exact length needs no padding and no mask. So each length first fills whole batches by itself;
what is left of each length (less than one batch) is merged with its neighbours in length where the padding costs less
than one more pass would. The cheapest merge is found exactly, by dynamic programming over the sorted lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Rows that are scored together.

    Attributes:
        rows: (B,) int64 positions in the shard.
        length: Tokens of the longest row; every row has exactly this many where not `padded`.
        padded: Whether shorter rows are among them, so that a mask is needed.
    """

    rows: NDArray[np.int64]
    length: int
    padded: bool

    @property
    def n_tokens(self) -> int:
        """Tokens computed, padding included."""
        return len(self.rows) * self.length


def plan_batches(lengths: NDArray[np.int64], token_budget: int, pass_cost: int) -> list[Batch]:
    """Cut N rows into batches of at most `token_budget` tokens, padding included.

    Args:
        lengths: (N,) int64 tokens a row, each at least 1.
        token_budget: Most tokens a batch; a single row longer than this is a batch of its own.
        pass_cost: What one more forward pass costs, in tokens of computing.

    Returns:
        Batches, longest first (so that memory peaks at the start); each row is in exactly one.
    """
    order = np.argsort(lengths, kind="stable")
    values, starts, counts = np.unique(lengths[order], return_index=True, return_counts=True)
    batches: list[Batch] = []
    rest: list[NDArray[np.int64]] = []
    for length, start, count in zip(values.tolist(), starts.tolist(), counts.tolist(), strict=True):
        rows = order[start : start + count]
        size = max(1, token_budget // length)
        whole = count - count % size
        batches += [Batch(rows[i : i + size], length, padded=False) for i in range(0, whole, size)]
        rest.append(rows[whole:])
    batches += _merge(values, rest, token_budget, pass_cost)
    return sorted(batches, key=lambda batch: batch.length, reverse=True)


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
