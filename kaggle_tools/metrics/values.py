"""Metrics of numbers: how far predicted values lie from the true ones, and how well they go with them.

``truth`` and ``predicted`` are (N, K) float64, one column a target; ``weights`` is (N,) float64. The score is the mean
of the columns' own scores: with one column the usual metric, with several the column-wise mean (MCRMSE and the like).

What is a number here: a regression target; a label of a multi-label task, 1 where it is true, against its probability;
and of two classes the second, 1 or 0, against its probability. More than two classes are not numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError

Floats = NDArray[np.float64]
ValueMetric = Callable[[NDArray[Any], Floats, Floats], float]


def rmse(truth: NDArray[Any], predicted: Floats, weights: Floats) -> float:
    """Root of the mean squared error."""
    squares = np.average(np.square(predicted - truth), axis=0, weights=weights)
    return float(np.sqrt(squares).mean())


def mae(truth: NDArray[Any], predicted: Floats, weights: Floats) -> float:
    """Mean absolute error."""
    return float(np.average(np.abs(predicted - truth), axis=0, weights=weights).mean())


def pearson(truth: NDArray[Any], predicted: Floats, weights: Floats) -> float:
    """Linear correlation, in [-1, 1]; 0 where a prediction never varies.

    Raises:
        UserError: No target varies. A target that does not, beside others that do, is left out of the mean.
    """
    return _mean_correlation("pearson", lambda values, _: values, truth, predicted, weights)


def spearman(truth: NDArray[Any], predicted: Floats, weights: Floats) -> float:
    """Correlation of the ranks, equal values sharing their mean rank. Raises as `pearson`.

    A row of weight 2 counts, and ranks, as two equal rows.
    """
    return _mean_correlation("spearman", _ranks, truth, predicted, weights)


def of_second_class(metric: ValueMetric) -> ValueMetric:
    """A metric of numbers as one of two classes: the second is 1 where it is true, its probability is the prediction.

    (N, 2) in, as every single-label metric takes them; that there are two classes is checked before.
    """
    return lambda truth, probs, weights: metric(truth[:, 1:], probs[:, 1:], weights)


def _mean_correlation(
    name: str,
    transform: Callable[[Floats, Floats], Floats],
    truth: NDArray[Any],
    predicted: Floats,
    weights: Floats,
) -> float:
    counted = weights > 0
    truth, predicted, weights = truth[counted].astype(np.float64), predicted[counted], weights[counted]
    usable = [j for j in range(truth.shape[1]) if np.ptp(truth[:, j]) > 0]
    if not usable:
        raise UserError(f"{name} is undefined here: the true values of {len(truth):,} rows are all the same")
    of_column = [
        _correlation(transform(truth[:, j], weights), transform(predicted[:, j], weights), weights) for j in usable
    ]
    return float(np.mean(of_column))


def _correlation(a: Floats, b: Floats, weights: Floats) -> float:
    if np.ptp(b) == 0:
        return 0.0
    a, b = (_standardised(values, weights) for values in (a, b))
    # Rounding may carry a perfect correlation a little beyond one.
    return float(np.clip(weights @ (a * b), -1.0, 1.0))


def _standardised(values: Floats, weights: Floats) -> Floats:
    """Weighted mean 0 and weighted sum of squares 1; divided by the largest first, so that no square underflows."""
    centred = values - np.average(values, weights=weights)
    centred /= np.abs(centred).max()
    return np.asarray(centred / np.sqrt(weights @ np.square(centred)))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Each row's place in the order of values: the weight below it and half that of its equals."""
    _, place = np.unique(values, return_inverse=True)
    own = np.bincount(place, weights)
    return np.asarray((np.cumsum(own) - own / 2)[place])
