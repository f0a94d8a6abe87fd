"""Multi-label metrics that read label sets.

``truth`` and ``predicted`` are (N, C) bool, one column a label; ``weights`` is (N,) float64. What is undefined (a label
that is never true nor predicted, a row with no label on either side) counts as 0 in means, as in scikit-learn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def micro_f1(truth: Bools, predicted: Bools, weights: Floats) -> float:
    """F1 over all decisions together."""
    hits, both = _label_counts(truth, predicted, weights)
    return float(_f1(hits.sum(keepdims=True), both.sum(keepdims=True))[0])


def macro_f1(truth: Bools, predicted: Bools, weights: Floats) -> float:
    """Mean F1 of the labels, each counting the same."""
    return float(_f1(*_label_counts(truth, predicted, weights)).mean())


def weighted_f1(truth: Bools, predicted: Bools, weights: Floats) -> float:
    """Mean F1 of the labels, each counting by the number of rows that have it."""
    actual = weights @ truth
    f1 = _f1(*_label_counts(truth, predicted, weights))
    return float(f1 @ actual / actual.sum()) if actual.sum() > 0 else 0.0


def samples_f1(truth: Bools, predicted: Bools, weights: Floats) -> float:
    """Mean F1 of the rows' label sets."""
    hits = (truth & predicted).sum(axis=1).astype(np.float64)
    both = (truth.sum(axis=1) + predicted.sum(axis=1)).astype(np.float64)
    return float(np.average(_f1(hits, both), weights=weights))


def exact_match(truth: Bools, predicted: Bools, weights: Floats) -> float:
    """Share of rows whose label set is exactly right."""
    return float(np.average((truth == predicted).all(axis=1), weights=weights))


def hamming_loss(truth: Bools, predicted: Bools, weights: Floats) -> float:
    """Share of wrong decisions among all rows and labels."""
    return float(np.average((truth != predicted).mean(axis=1), weights=weights))


def _label_counts(truth: Bools, predicted: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """(C,) weight of hits, and (C,) weight of truths plus that of predictions."""
    return weights @ (truth & predicted), weights @ truth + weights @ predicted


def _f1(hits: Floats, both: Floats) -> Floats:
    return np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
