"""Metrics of numbers as (N,) values of which they are the mean: the metric plus each row's influence on it.

The influence of a row is the derivative of the metric with respect to the row's weight (Hampel 1974); a bootstrap of
the mean of these values differs from one of the metric itself only by terms of order 1/N. ``truth`` and ``predicted``
are (N, K), one column a target, as in `metrics.values`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rmse(truth: NDArray[Any], predicted: Floats) -> Floats:
    """Of the root of the mean squared error."""
    squares = np.square(predicted - truth)
    mean = squares.mean(axis=0)
    root = np.sqrt(mean)
    influence = np.divide(squares - mean, 2 * root, out=np.zeros_like(squares), where=root > 0)
    return np.asarray((root + influence).mean(axis=1))


def pearson(truth: NDArray[Any], predicted: Floats) -> Floats:
    """Of the linear correlation."""
    return _mean_over_targets(_pearson, truth, predicted)


def spearman(truth: NDArray[Any], predicted: Floats) -> Floats:
    """Of the correlation of the ranks, which move with the rows' weights, too."""
    return _mean_over_targets(_spearman, truth, predicted)


def _mean_over_targets(of_target: Callable[[Floats, Floats], Floats], truth: NDArray[Any], predicted: Floats) -> Floats:
    """Targets that do not vary are left out; a prediction that does not is worth 0 and has no influence."""
    values = []
    for true, guessed in zip(truth.T.astype(np.float64), predicted.T, strict=True):
        if np.ptp(true) > 0:
            values.append(of_target(true, guessed) if np.ptp(guessed) > 0 else np.zeros(len(true)))
    return np.asarray(np.mean(values, axis=0))


def _pearson(x: Floats, y: Floats) -> Floats:
    a, b = ((values - values.mean()) / values.std() for values in (x, y))
    r = float(np.mean(a * b))
    return np.asarray(a * b - r * (np.square(a) + np.square(b)) / 2 + r)


def _spearman(x: Floats, y: Floats) -> Floats:
    a, b = _centred_ranks(x), _centred_ranks(y)
    together, own_a, own_b = float(np.mean(a * b)), float(np.mean(a * a)), float(np.mean(b * b))
    scale = np.sqrt(own_a * own_b)
    rho = together / scale
    of_together = a * b - 3 * together + _above(x, b) + _above(y, a)
    of_own = [(v * v - 3 * own + 2 * _above(z, v)) / own for z, v, own in ((x, a, own_a), (y, b, own_b))]
    return np.asarray(rho + of_together / scale - rho / 2 * (of_own[0] + of_own[1]))


def _centred_ranks(values: Floats) -> Floats:
    """Share of rows below, ties half, less one half."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 0.5) / len(values) - 0.5)


def _above(values: Floats, summed: Floats) -> Floats:
    """For each row the mean over all rows of `summed` where their value is higher, ties half."""
    _, place = np.unique(values, return_inverse=True)
    own = np.bincount(place, summed)
    return np.asarray((own.sum() - np.cumsum(own) + own / 2)[place] / len(values))
