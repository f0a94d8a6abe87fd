"""Decisions as bits, 64 rows a word: how often two models say the same costs a few instructions for 64 rows.

Class codes become bit planes: two for up to four classes, five for up to 32. Two models agree on a row where no plane
differs. Right or wrong is a single plane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled
from kaggle_tools.search.threads import in_threads
from kaggle_tools.similarity._instructions import popcount

_WORD = 64
_BLOCK = 1024  # words of each plane that two models' share of the cache holds


def pack(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """(K, N) bool as (K, ceil(N / 64)) uint64; the bits beyond N are zero."""
    k, n = flags.shape
    words = np.zeros((k, -(-n // _WORD)), np.uint64)
    as_bytes = words.view(np.uint8)

    def pack_one(i: int) -> None:
        packed = np.packbits(flags[i], bitorder="little")
        as_bytes[i, : len(packed)] = packed

    in_threads(pack_one, range(k))
    return words


def pack_codes(codes: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """(K, N) class codes, 0 or above, as (K, planes, words) uint64; the bits beyond N are zero."""
    k, n = codes.shape
    n_planes = max(1, int(codes.max(initial=0)).bit_length())
    words = np.zeros((k, n_planes, -(-n // _WORD)), np.uint64)
    as_bytes = words.view(np.uint8)

    def pack_one(i: int) -> None:
        for plane in range(n_planes):
            packed = np.packbits(codes[i] & codes.dtype.type(1 << plane), bitorder="little")
            as_bytes[i, plane, : len(packed)] = packed

    in_threads(pack_one, range(k))
    return words


def count_equal(planes: NDArray[np.uint64], n_rows: int) -> NDArray[np.int64]:
    """(K, K) int64: rows on which two models' codes are the same, from `pack_codes`."""
    return n_rows - _pairwise(_count_different, planes)


def count_common(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(K, K) int64: rows whose flag both have, from `pack`; the diagonal is how many each has."""
    return _pairwise(_count_both, words[:, None, :])


def _pairwise(count: Callable[..., None], planes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Counts of all pairs; a thread takes a stretch of rows, so no pair waits for another."""
    k, _, n_words = planes.shape
    starts = range(0, n_words, _BLOCK)
    shares = [starts[i::2] for i in range(2)] if len(starts) > 1 else [starts]

    def share(begins: range) -> NDArray[np.int64]:
        totals = np.zeros((k, k), np.int64)
        for begin in begins:
            count(planes, begin, min(begin + _BLOCK, n_words), totals)
        return totals

    upper: NDArray[np.int64] = np.sum(in_threads(share, shares), axis=0)
    return upper + np.triu(upper, 1).T


@compiled
def _count_different(planes: NDArray[np.uint64], begin: int, end: int, totals: NDArray[np.int64]) -> None:
    k, n_planes, _ = planes.shape
    for a in range(k):
        for b in range(a + 1, k):
            total = 0
            if n_planes == 1:
                for w in range(begin, end):
                    total += popcount(planes[a, 0, w] ^ planes[b, 0, w])
            elif n_planes == 2:
                for w in range(begin, end):
                    total += popcount((planes[a, 0, w] ^ planes[b, 0, w]) | (planes[a, 1, w] ^ planes[b, 1, w]))
            else:
                for w in range(begin, end):
                    different = planes[a, 0, w] ^ planes[b, 0, w]
                    for plane in range(1, n_planes):
                        different |= planes[a, plane, w] ^ planes[b, plane, w]
                    total += popcount(different)
            totals[a, b] += total


@compiled
def _count_both(planes: NDArray[np.uint64], begin: int, end: int, totals: NDArray[np.int64]) -> None:
    k = len(planes)
    for a in range(k):
        for b in range(a, k):
            total = 0
            for w in range(begin, end):
                total += popcount(planes[a, 0, w] & planes[b, 0, w])
            totals[a, b] += total
