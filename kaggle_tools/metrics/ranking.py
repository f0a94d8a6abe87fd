"""Metrics that read probabilities: how good they are as probabilities, and how well they rank.

Everywhere ``truth`` is (N, C) bool, one column a class, for single-label rows too (one True a row); ``probs`` is (N, C)
float64; ``weights`` is (N,) float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# scikit-learn's bound, in float64: a certain but wrong prediction costs 36 nats, not infinitely many.
SMALLEST = float(np.finfo(np.float64).eps)


def log_loss(truth: Bools, probs: Floats, weights: Floats) -> float:
    """Mean negative log-probability of the true class; rows are taken as they are, not rescaled to sum to one."""
    of_truth = np.clip(probs[truth], SMALLEST, 1.0 - SMALLEST)
    return float(np.average(-np.log(of_truth), weights=weights))


def binary_log_loss(truth: Bools, probs: Floats, weights: Floats) -> float:
    """Mean over labels of each label's own log loss (multi-label)."""
    of_truth = np.clip(np.where(truth, probs, 1.0 - probs), SMALLEST, 1.0 - SMALLEST)
    return float(np.average(-np.log(of_truth).mean(axis=1), weights=weights))


def brier(truth: Bools, probs: Floats, weights: Floats) -> float:
    """Mean squared error of the probabilities, summed over classes; for two classes that of the second one alone."""
    squares = np.square(probs - truth)
    a_row = squares[:, 1] if squares.shape[1] == 2 else squares.sum(axis=1)
    return float(np.average(a_row, weights=weights))


def roc_auc(truth: Bools, probs: Floats, weights: Floats) -> float:
    """Area under the ROC curve: of the second of two classes, else the mean of each class against the rest.

    Raises:
        UserError: No class has both rows that are of it and rows that are not.
    """
    columns = [1] if truth.shape[1] == 2 else range(truth.shape[1])
    return label_roc_auc(truth[:, columns], probs[:, columns], weights)


def label_roc_auc(truth: Bools, probs: Floats, weights: Floats) -> float:
    """Mean area under the ROC curve of the labels (multi-label). Raises as `roc_auc`."""
    return _mean_over_labels("roc_auc", _area_under_roc, truth, probs, weights)


def average_precision(truth: Bools, probs: Floats, weights: Floats) -> float:
    """Average precision: of the second of two classes, else the mean over classes. Raises as `roc_auc`."""
    columns = [1] if truth.shape[1] == 2 else range(truth.shape[1])
    return label_average_precision(truth[:, columns], probs[:, columns], weights)


def label_average_precision(truth: Bools, probs: Floats, weights: Floats) -> float:
    """Mean average precision of the labels (multi-label). Raises as `roc_auc`."""
    return _mean_over_labels("average_precision", _average_precision, truth, probs, weights)


def top_k(k: int) -> Callable[[Bools, Floats, Floats], float]:
    """Metric: share of rows whose true class is among the `k` most probable; on a tie the first classes are taken."""

    def top_k_accuracy(truth: Bools, probs: Floats, weights: Floats) -> float:
        true_class = truth.argmax(axis=1)[:, None]
        of_truth = np.take_along_axis(probs, true_class, axis=1)
        before = np.arange(probs.shape[1]) < true_class
        ahead = (probs > of_truth) | ((probs == of_truth) & before)
        return float(np.average(ahead.sum(axis=1) < k, weights=weights))

    return top_k_accuracy


def _mean_over_labels(
    name: str, of_label: Callable[[Bools, Floats, Floats], float], truth: Bools, probs: Floats, weights: Floats
) -> float:
    """Mean over the labels that are true in some rows and false in others; the others rank nothing."""
    usable = np.flatnonzero((weights @ truth > 0) & (weights @ ~truth > 0))
    if not usable.size:
        raise UserError(f"{name} ranks nothing here: no class has rows of it and rows that are not")
    return float(np.mean([of_label(truth[:, j], probs[:, j], weights) for j in usable]))


def _area_under_roc(truth: Bools, values: Floats, weights: Floats) -> float:
    """Probability that a row of the class is ranked above one that is not; ties count half (Mann-Whitney)."""
    positive, negative = _weight_by_value(truth, values, weights)
    below = np.cumsum(negative) - negative
    return float(positive @ (below + negative / 2) / (positive.sum() * negative.sum()))


def _average_precision(truth: Bools, values: Floats, weights: Floats) -> float:
    """Sum over the distinct values, from high to low, of gain in recall times precision."""
    positive, negative = (part[::-1] for part in _weight_by_value(truth, values, weights))
    hits = np.cumsum(positive)
    taken = hits + np.cumsum(negative)
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    return float(positive @ precision / positive.sum())


def _weight_by_value(truth: Bools, values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of true rows and of false rows at each distinct value, from low to high."""
    distinct, place = np.unique(values, return_inverse=True)
    return tuple(np.bincount(place, weights * side, len(distinct)) for side in (truth, ~truth))  # type: ignore[return-value]
