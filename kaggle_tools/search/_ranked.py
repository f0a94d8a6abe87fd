"""A metric of fixed rows as a function of their weights, which bootstraps ask for hundreds of times.

Area under the ROC curve and average precision of a class need to know of a row only between which rows of the class it
ranks. That is found once; each weighting is then one pass over the rows, without a sort.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Metric

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def of_weights(metric: Metric, task: str, truth: Bools, probs: Floats) -> Callable[[Floats], float]:
    """The metric of (N, C) `truth` and `probs`, to be given (N,) weights.

    The function raises `UserError` where the metric is undefined under these weights.
    """
    if metric.name in ("roc_auc", "average_precision"):
        columns = [1] if task == "single_label" and truth.shape[1] == 2 else list(range(truth.shape[1]))
        return _ranking(metric.name, truth[:, columns], probs[:, columns])
    function = metric.functions[task]
    return lambda weights: function(truth, probs, weights)


def _ranking(name: str, truth: Bools, probs: Floats) -> Callable[[Floats], float]:
    of_class, rows = np.nonzero(truth.T)
    starts = np.searchsorted(of_class, np.arange(truth.shape[1] + 1))
    places = np.empty(truth.shape[::-1], np.int32)
    for j, place in enumerate(places):
        own = np.unique(probs[truth[:, j], j])
        place[:] = np.searchsorted(own, probs[:, j], "left") + np.searchsorted(own, probs[:, j], "right")
    area = name == "roc_auc"

    def score(weights: Floats) -> float:
        total, n_usable = _score(places, rows, starts, weights, area)
        if not n_usable:
            raise UserError(f"{name} ranks nothing here: no class has rows of it and rows that are not")
        return float(total / n_usable)

    return score


@compiled
def _score(
    places: NDArray[np.int32], rows: NDArray[np.int64], starts: NDArray[np.int64], weights: Floats, area: bool
) -> tuple[float, int]:
    """Sum of the classes' scores, and how many classes have weight on rows of them and on others.

    Args:
        places: (C, N) 2k + 1 for what equals the k-th distinct value of the class's rows, 2k for what is just below.
        rows: The rows of the first class, of the second one, …
        starts: (C + 1,) where a class's begin among them.
        weights: (N,) none below 0.
        area: Under the ROC curve; else average precision.
    """
    total, n_usable = 0.0, 0
    for j in range(len(places)):
        n_places = 2 * (starts[j + 1] - starts[j]) + 1
        everything, own = np.zeros(n_places), np.zeros(n_places)
        for i in range(len(weights)):
            everything[places[j, i]] += weights[i]
        for i in range(starts[j], starts[j + 1]):
            own[places[j, rows[i]]] += weights[rows[i]]
        others = everything - own
        if not (own.sum() > 0 and others.sum() > 0):
            continue
        n_usable += 1
        score, taken, hits = 0.0, 0.0, 0.0
        if area:
            for k in range(n_places):
                score += own[k] * (taken + others[k] / 2)
                taken += others[k]
            total += score / (own.sum() * taken)
        else:
            for k in range(n_places - 1, -1, -1):
                hits += own[k]
                taken += everything[k]
                if own[k] > 0:
                    score += own[k] * hits / taken
            total += score / hits
    return total, n_usable
