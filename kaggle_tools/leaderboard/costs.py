"""What each answer would score on each row, for every label that the row might have.

Where a metric is a mean over rows, everything that a leaderboard does to a submission follows from these (N, C)
tables and from what is believed of the labels: expected scores, noise, public and private parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.metrics import find_metric
from kaggle_tools.search._row_values import ROW_VALUES

Floats = NDArray[np.float64]

# Metrics of decisions that are a mean over rows.
_SHARE_RIGHT = {"single_label": ("accuracy", "micro_f1"), "multi_label": ("hamming_loss",)}
_OF_ROWS = {
    "single_label": ("log_loss", "brier", "top_2_accuracy", "top_3_accuracy", "top_5_accuracy"),
    "multi_label": ("log_loss",),
}


def is_mean_over_rows(metric: str, task: str) -> bool:
    """Whether `costs` knows the metric."""
    name = find_metric(metric).name
    return name in _SHARE_RIGHT[task] or name in _OF_ROWS[task]


def costs(metric: str, probs: NDArray[np.floating], task: str = "single_label") -> Floats:
    """What each row adds to the metric's mean, for each label that it might have.

    Args:
        metric: One for which `is_mean_over_rows`.
        probs: (N, C) probabilities.
        task: For ``multi_label`` each of the N·C decisions is a row of its own, of two classes: no and yes.

    Returns:
        (N, C) float64; (N·C, 2) for ``multi_label``. In the metric's own direction.
    """
    name = find_metric(metric).name
    rows = as_rows(probs, task)
    n_classes = rows.shape[1]
    if name in _SHARE_RIGHT[task]:
        decided = rows[:, 1] >= 0.5 if task == "multi_label" else rows.argmax(axis=1)
        right = (decided[:, None].astype(np.int64) == np.arange(n_classes)).astype(np.float64)
        return np.asarray(1.0 - right if name == "hamming_loss" else right)
    values_of = ROW_VALUES[name, "single_label"]
    found = np.empty(rows.shape)
    for c in range(n_classes):
        truth = np.zeros(rows.shape, np.bool_)
        truth[:, c] = True
        found[:, c] = values_of(truth, rows)
    return found


def as_rows(probs: NDArray[np.floating], task: str) -> Floats:
    """(N, C) float64 probabilities; of several labels each decision as a row of two classes, (N·C, 2)."""
    values = np.asarray(probs, np.float64)
    return np.stack([1.0 - values.ravel(), values.ravel()], axis=1) if task == "multi_label" else values
