"""Ranks of float32 columns, ties sharing their mean: exact by sorting, or by counting where there are very many rows.

A float that is not negative sorts like its own bits, and its leading bits are a bin. Beyond `EXACT` rows values in one
bin, where p (above one half: 1 - p) differs by less than 0.05 %, count as tied: a rank correlation moves by less than
1e-6, and a million rows take milliseconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled

EXACT = 200_000
_POSITIVE = np.uint32(0x7FFFFFFF)  # -0.0 becomes 0.0
_SHIFT = np.uint32(12)
_HALF = int(np.float32(0.5).view(np.uint32) >> _SHIFT)  # the bin of one half


def mean_ranks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) float32 ranks from 1 of (N,) values in [0, 1]; equal values share the mean of their ranks."""
    if len(values) > EXACT:
        return np.asarray(_count(np.ascontiguousarray(values)))
    keys = np.clip(values, 0.0, 1.0).view(np.uint32) & _POSITIVE
    return np.asarray(_rank(keys, np.argsort(keys)))


@compiled
def _count(values: NDArray[np.float32]) -> NDArray[np.float32]:
    n, one, half = len(values), np.float32(1.0), np.float32(0.5)
    # Floats are densest near nought, so what is near one is told by its distance from there.
    ranks = np.empty(n, np.float32)
    for i in range(n):
        ranks[i] = one - values[i] if values[i] > half else values[i]
    distance = ranks.view(np.uint32)
    bins = np.empty(n, np.uint32)
    for i in range(n):
        below = min((distance[i] & _POSITIVE) >> _SHIFT, _HALF)
        bins[i] = 2 * _HALF + 1 - below if values[i] > half else below
    sizes = np.zeros(2 * _HALF + 2, np.int32)
    for i in range(n):
        sizes[bins[i]] += 1
    rank_of = np.empty(len(sizes), np.float32)
    before = 0
    for b in range(len(sizes)):
        rank_of[b] = before + 0.5 * (sizes[b] + 1)
        before += sizes[b]
    for i in range(n):
        ranks[i] = rank_of[bins[i]]
    return ranks


@compiled
def _rank(keys: NDArray[np.uint32], order: NDArray[np.int64]) -> NDArray[np.float32]:
    n = len(keys)
    ranks = np.empty(n, np.float32)
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and keys[order[end]] == keys[order[begin]]:
            end += 1
        for i in range(begin, end):
            ranks[order[i]] = 0.5 * (begin + end + 1)
        begin = end
    return ranks
