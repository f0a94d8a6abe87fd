"""Labels drawn from each row's own probabilities, as counts: how many rows of a group are of each class.

The number of rows of each class in a group is a sum of independent draws. Small groups are drawn row by row, exactly;
large ones from the normal distribution with the same mean and covariance, but for classes with few expected rows,
which are drawn as Poisson numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled, inlined

Floats = NDArray[np.float64]

EXACT_ROWS = 3_000
_FEW = 30.0


def class_counts(probs: Floats, n_draws: int, random: np.random.Generator) -> Floats:
    """Draw the labels of a group of rows `n_draws` times.

    Args:
        probs: (R, C) probabilities; rows sum to one.
        n_draws: S.
        random: Where chance comes from.

    Returns:
        (S, C) rows of each class; they sum to R.
    """
    if len(probs) <= EXACT_ROWS:
        return np.asarray(_draw_rows(np.cumsum(probs, axis=1), n_draws, random.integers(2**31)))
    mean = probs.sum(axis=0)
    covariance = np.diag(mean) - probs.T @ probs
    counts = random.multivariate_normal(mean, covariance, size=n_draws, method="eigh")
    for k in np.flatnonzero(mean < _FEW):
        counts[:, k] = random.poisson(mean[k], n_draws)
    largest = int(mean.argmax())
    counts = np.maximum(counts, 0.0)
    counts[:, largest] = np.maximum(0.0, len(probs) - np.delete(counts, largest, axis=1).sum(axis=1))
    return counts


def value_sums(probs: Floats, values: Floats, n_draws: int, random: np.random.Generator) -> Floats:
    """Draw labels and add up what each row is worth under its label.

    Args:
        probs: (R, C) probabilities; rows sum to one.
        values: (R, C) worth of each row, by label.
        n_draws: S.
        random: Where chance comes from.

    Returns:
        (S,) sums.
    """
    if len(probs) <= EXACT_ROWS:
        return np.asarray(_draw_values(np.cumsum(probs, axis=1), values, n_draws, random.integers(2**31)))
    mean = (probs * values).sum(axis=1)
    variance = (probs * np.square(values - mean[:, None])).sum()
    return random.normal(mean.sum(), np.sqrt(variance), n_draws)


@compiled
def _draw_rows(cumulative, n_draws, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)  # noqa: NPY002  # numba's own generator, not numpy's
    n, c = cumulative.shape
    counts = np.zeros((n_draws, c))
    for s in range(n_draws):
        for i in range(n):
            counts[s, _draw(cumulative[i])] += 1.0
    return counts


@compiled
def _draw_values(cumulative, values, n_draws, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)  # noqa: NPY002
    sums = np.zeros(n_draws)
    for s in range(n_draws):
        for i in range(len(cumulative)):
            sums[s] += values[i, _draw(cumulative[i])]
    return sums


@inlined
def _draw(cumulative):  # type: ignore[no-untyped-def]
    at = np.random.random() * cumulative[-1]  # noqa: NPY002
    k = 0
    while k < len(cumulative) - 1 and cumulative[k] <= at:
        k += 1
    return k
