"""Metrics that are a mean over rows, as the (N,) values of which they are the mean.

The area under the ROC curve is nearly one: its rows' placement values (DeLong, DeLong & Clarke-Pearson 1988) are its
derivative with respect to each row's weight, and a bootstrap of their mean differs from one of the area itself only by
terms of order 1/N.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.metrics.ranking import SMALLEST
from kaggle_tools.search import _row_influence

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
RowValues = Callable[[Bools, Floats], Floats]


def _log_loss(truth: Bools, probs: Floats) -> Floats:
    return np.asarray(-np.log(np.clip(probs[truth], SMALLEST, 1.0 - SMALLEST)))


def _binary_log_loss(truth: Bools, probs: Floats) -> Floats:
    of_truth = np.clip(np.where(truth, probs, 1.0 - probs), SMALLEST, 1.0 - SMALLEST)
    return np.asarray(-np.log(of_truth).mean(axis=1))


def _brier(truth: Bools, probs: Floats) -> Floats:
    squares = np.square(probs - truth)
    return np.asarray(squares[:, 1] if squares.shape[1] == 2 else squares.sum(axis=1))


def _mae(truth: Bools, probs: Floats) -> Floats:
    return _label_mae(truth[:, 1:], probs[:, 1:])  # of two classes


def _label_mae(truth: Bools, probs: Floats) -> Floats:
    return np.asarray(np.abs(probs - truth).mean(axis=1))


def _top(k: int) -> RowValues:
    def hit(truth: Bools, probs: Floats) -> Floats:
        true_class = truth.argmax(axis=1)[:, None]
        of_truth = np.take_along_axis(probs, true_class, axis=1)
        before = np.arange(probs.shape[1]) < true_class
        ahead = (probs > of_truth) | ((probs == of_truth) & before)
        return np.asarray(ahead.sum(axis=1) < k, np.float64)

    return hit


def _exact_match(truth: Bools, probs: Floats) -> Floats:
    return np.asarray((truth == (probs >= 0.5)).all(axis=1), np.float64)


def _hamming_loss(truth: Bools, probs: Floats) -> Floats:
    return np.asarray((truth != (probs >= 0.5)).mean(axis=1))


def _samples_f1(truth: Bools, probs: Floats) -> Floats:
    predicted = probs >= 0.5
    hits = (truth & predicted).sum(axis=1).astype(np.float64)
    both = (truth.sum(axis=1) + predicted.sum(axis=1)).astype(np.float64)
    return np.asarray(np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0))


def _roc_auc(truth: Bools, probs: Floats) -> Floats:
    columns = [1] if truth.shape[1] == 2 else list(range(truth.shape[1]))
    return _label_roc_auc(truth[:, columns], probs[:, columns])


def _label_roc_auc(truth: Bools, probs: Floats) -> Floats:
    usable = [j for j in range(truth.shape[1]) if 0 < truth[:, j].sum() < len(truth)]
    return np.asarray(np.mean([_placements(truth[:, j], probs[:, j]) for j in usable], axis=0))


def _placements(truth: Bools, values: Floats) -> Floats:
    """Area plus each row's influence on it; their mean is the area."""
    from scipy.stats import rankdata

    n, n_true = len(truth), int(truth.sum())
    overall = rankdata(values)
    within = np.empty(n)
    for side in (truth, ~truth):
        within[side] = rankdata(values[side])
    below = overall - within  # how many of the other side lie below, ties half
    area = below[truth].mean() / (n - n_true)
    share = np.where(truth, below / (n - n_true), 1.0 - below / n_true)
    return np.asarray(area + (share - area) * n / np.where(truth, n_true, n - n_true))


def _second(of_numbers: RowValues) -> RowValues:
    return lambda truth, probs: of_numbers(truth[:, 1:], probs[:, 1:])  # of two classes


_OF_NUMBERS: dict[str, RowValues] = {
    "rmse": _row_influence.rmse,
    "pearson": _row_influence.pearson,
    "spearman": _row_influence.spearman,
}

# Their values depend on the other rows: the mean over some of them is not the metric of those.
NOT_MEANS = ("roc_auc", *_OF_NUMBERS)

ROW_VALUES: dict[tuple[str, str], RowValues] = {
    ("log_loss", "single_label"): _log_loss,
    ("log_loss", "multi_label"): _binary_log_loss,
    ("brier", "single_label"): _brier,
    ("mae", "single_label"): _mae,
    ("mae", "multi_label"): _label_mae,
    **{(name, "multi_label"): function for name, function in _OF_NUMBERS.items()},
    **{(name, "single_label"): _second(function) for name, function in _OF_NUMBERS.items()},
    ("top_2_accuracy", "single_label"): _top(2),
    ("top_3_accuracy", "single_label"): _top(3),
    ("top_5_accuracy", "single_label"): _top(5),
    ("exact_match", "multi_label"): _exact_match,
    ("hamming_loss", "multi_label"): _hamming_loss,
    ("samples_f1", "multi_label"): _samples_f1,
    ("roc_auc", "single_label"): _roc_auc,
    ("roc_auc", "multi_label"): _label_roc_auc,
}
