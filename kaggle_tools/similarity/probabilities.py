"""How alike the probabilities of models are: Pearson and Spearman correlation, Jensen–Shannon divergence; all pairs.

Takes arrays that are known to be about the same rows and classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kaggle_tools.search.threads import in_threads
from kaggle_tools.similarity._instructions import split
from kaggle_tools.similarity.ranks import mean_ranks

Floats = NDArray[np.float64]
Stack = NDArray[np.float32]

_CHUNK = 16_384  # rows whose products are summed in float32 before they are added in float64
_LANES = 1024  # values that the kernel below holds in the cache


def pearson(stack: Stack) -> Floats:
    """(K, K) correlation of each class's column, mean of the classes.

    A column that is constant in either model says nothing and is left out; NaN where none is left.

    Args:
        stack: (K, N, C) float32 probabilities.
    """
    return _mean_of_columns(stack, np.ascontiguousarray)


def spearman(stack: Stack) -> Floats:
    """The same as `pearson`, of the ranks that each model gives the rows; ties share their mean rank."""
    return _mean_of_columns(stack, mean_ranks)


def jensen_shannon(stack: Stack) -> Floats:
    """(K, K) mean over rows of the Jensen–Shannon divergence in bits: 0 the same, 1 certain of different classes.

    Lin 1991, Divergence measures based on the Shannon entropy. The logarithm is a polynomial that errs by less than
    1e-6, and so does the result.

    Args:
        stack: (K, N, C) float32 probabilities; rows sum to one.
    """
    k, n, c = stack.shape
    flat = np.ascontiguousarray(stack).reshape(k, n * c)
    starts = range(0, n * c, 8 * _LANES)
    shares = [starts[i::2] for i in range(2)]

    def share(begins: range) -> Floats:
        totals = np.zeros((k, k))
        for begin in begins:
            _add_entropies(flat, begin, min(begin + 8 * _LANES, n * c), totals)
        return totals

    entropy = -np.sum(in_threads(share, shares), axis=0) / n  # of the mean of a and b; a = b on the diagonal
    own = np.diag(entropy)
    upper = np.triu(entropy - 0.5 * (own[:, None] + own[None, :]), 1)
    return np.asarray(np.clip(upper + upper.T, 0.0, 1.0))


def _columns(stack: Stack) -> range:
    """Of two classes the first says nothing that the second does not."""
    return range(1, 2) if stack.shape[2] == 2 else range(stack.shape[2])


def _mean_of_columns(stack: Stack, transform: Callable[[Stack], Stack]) -> Floats:
    """(K, K) mean over classes of the correlations of the (N,) columns, each `transform`ed before."""
    k, n, _ = stack.shape
    sums, counts = np.zeros((k, k)), np.zeros((k, k))
    for c in _columns(stack):  # one class at a time, to need little memory
        centred = np.empty((k, n), np.float32)
        varies = np.zeros(k, np.bool_)

        def centre(i: int, c: int = c, centred: Stack = centred, varies: NDArray[np.bool_] = varies) -> None:
            column = transform(np.ascontiguousarray(stack[i, :, c]))
            np.subtract(column, column.mean(dtype=np.float64).astype(np.float32), out=centred[i])
            varies[i] = column.min() < column.max()

        in_threads(centre, range(k))
        covariance = _products(centred)
        known = np.outer(varies, varies)
        spread = np.sqrt(np.diag(covariance))
        scale = np.where(known, np.outer(spread, spread), 1.0)
        sums += np.where(known, np.clip(covariance / scale, -1.0, 1.0), 0.0)
        counts += known
    mean = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    np.fill_diagonal(mean, np.where(counts.diagonal() > 0, 1.0, np.nan))
    return mean


def _products(centred: Stack) -> Floats:
    """(K, K) float64 products of (K, N) rows, less those of what rounding left of their sums."""
    starts = range(0, centred.shape[1], _CHUNK)

    def share(begins: range) -> tuple[Floats, Floats]:
        products, totals = np.zeros((len(centred),) * 2), np.zeros(len(centred))
        for begin in begins:
            part = centred[:, begin : begin + _CHUNK]
            products += part @ part.T
            totals += part.sum(axis=1)
        return products, totals

    parts = in_threads(share, [starts[i::2] for i in range(2)])
    totals = parts[0][1] + parts[1][1]
    return np.asarray(parts[0][0] + parts[1][0] - np.outer(totals, totals) / centred.shape[1])


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_entropies(flat: Stack, start: int, stop: int, totals: Floats) -> None:
    """Add Σ m log2 m, m the mean of two models, to the upper half of `totals`, for a stretch of the (K, any) values.

    The inner loop works lane by lane, so that the compiler makes vector instructions of it without reordering sums.
    """
    k = len(flat)
    sums = np.empty(_LANES, np.float32)
    tiny, half, one = np.float32(1e-30), np.float32(0.5), np.float32(1.0)
    c0, c1, c2, c3, c4, c5, c6, c7 = _LOG2
    for a in range(k):
        for b in range(a, k):
            sums[:] = np.float32(0.0)
            for begin in range(start, stop, _LANES):
                for i in range(min(_LANES, stop - begin)):
                    mean = half * (flat[a, begin + i] + flat[b, begin + i]) + tiny
                    exponent, rest = split(mean)
                    f = rest - one
                    poly = c7 * f + c6
                    poly = poly * f + c5
                    poly = poly * f + c4
                    poly = poly * f + c3
                    poly = poly * f + c2
                    poly = poly * f + c1
                    poly = poly * f + c0
                    sums[i] += mean * (exponent + poly * f)
            totals[a, b] += sums.sum()


def _log2_coefficients(degree: int) -> tuple[np.float32, ...]:
    """Of log2(1 + f) / f for f in [sqrt(1/2) - 1, sqrt(2) - 1], lowest first, interpolated at Chebyshev's points."""
    low, high = np.sqrt(0.5) - 1, np.sqrt(2) - 1
    points = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    values = np.log1p(points) / np.log(2) / points
    return tuple(np.float32(x) for x in np.polynomial.polynomial.polyfit(points, values, degree))


_LOG2 = _log2_coefficients(7)
