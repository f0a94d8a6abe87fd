"""Metrics of confusion counts in a form that a line search can update in O(1) when one row changes its class.

With the confusion matrix n_yk (true y, predicted k), its hits h_k = n_kk and its margins t_y (true) and p_k
(predicted), every metric that the search maximises is one of five forms:

    LINEAR      Σ_k u_k h_k                            accuracy, micro F1, balanced accuracy
    F1          Σ_k u_k 2 h_k / (t_k + p_k)            binary, weighted and macro F1
    PRECISION   Σ_k u_k h_k / p_k                      macro precision
    MCC         (n Σ h_k − t·p) / √((n² − t·t)(n² − p·p))
    KAPPA       1 − Σ d_yk n_yk / Σ_k p_k e_k,   e_k = Σ_y d_yk t_y / n       Cohen's (d = 1 − δ) and quadratic kappa

Macro means divide by the number of classes that occur, true or predicted, as `kaggle_tools.metrics` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import find_metric
from kaggle_tools.metrics.counts import Matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

LINEAR, F1, PRECISION, MCC, KAPPA = range(5)
KINDS: dict[str, int] = {
    "accuracy": LINEAR,
    "micro_f1": LINEAR,
    "balanced_accuracy": LINEAR,
    "binary_f1": F1,
    "weighted_f1": F1,
    "macro_f1": F1,
    "macro_precision": PRECISION,
    "mcc": MCC,
    "cohen_kappa": KAPPA,
    "quadratic_kappa": KAPPA,
}


@dataclass(frozen=True)
class CountForm:
    """A count metric, ready for the kernels of `lines`.

    Attributes:
        name: The metric in `kaggle_tools.metrics`.
        kind: One of the five forms.
        unit: (C,) float64, the u_k.
        averaged: Divide by the number of classes that occur (macro means).
        penalty: (C, C) float64, the d_yk; zero where no kappa is asked for.
        chance: (C,) float64, the e_k.
    """

    name: str
    kind: int
    unit: Floats
    averaged: bool
    penalty: Floats
    chance: Floats

    def value(self, confusion: Matrix) -> float:
        """The metric of a (C, C) confusion matrix, as `kaggle_tools.metrics` computes it."""
        from_confusion = find_metric(self.name).from_confusion
        assert from_confusion is not None
        return from_confusion(confusion)


def is_count_metric(metric: str) -> bool:
    """Whether the exact line search can maximise this metric; an unknown name raises `UserError`."""
    return find_metric(metric).name in KINDS


def count_form(metric: str, codes: Ints, n_classes: int, weights: Floats) -> CountForm:
    """The form of a metric for given true classes.

    Args:
        metric: Name or alias.
        codes: (N,) int32 true classes.
        n_classes: C.
        weights: (N,) float64 row weights.

    Raises:
        UserError: No count metric, or binary F1 where there are not two classes.
    """
    name = find_metric(metric).name
    if name not in KINDS:
        raise UserError(f"'{name}' is no metric of confusion counts", next="use one of " + ", ".join(KINDS))
    if name == "binary_f1" and n_classes != 2:
        raise UserError(f"binary_f1 is for 2 classes, these are {n_classes}", next="use macro_f1 or weighted_f1")
    actual = np.bincount(codes, weights, minlength=n_classes).astype(np.float64)
    penalty = _penalty(name, n_classes)
    return CountForm(
        name=name,
        kind=KINDS[name],
        unit=_unit(name, actual),
        averaged=name in ("macro_f1", "macro_precision"),
        penalty=penalty,
        chance=actual @ penalty / actual.sum(),
    )


def _unit(name: str, actual: Floats) -> Floats:
    shares: Floats
    total, occurs = actual.sum(), actual > 0
    if name in ("accuracy", "micro_f1"):
        return np.full(len(actual), 1.0 / total)
    if name == "balanced_accuracy":
        shares = np.divide(1.0 / occurs.sum(), actual, out=np.zeros(len(actual)), where=occurs)
        return shares
    if name == "weighted_f1":
        shares = actual / total
        return shares
    if name == "binary_f1":
        return np.array([0.0, 1.0])
    return np.ones(len(actual))


def _penalty(name: str, n_classes: int) -> Floats:
    place = np.arange(n_classes, dtype=np.float64)
    distance = np.abs(place[:, None] - place)
    if name == "quadratic_kappa":
        return np.square(distance)
    return (distance > 0).astype(np.float64) if name == "cohen_kappa" else np.zeros((n_classes, n_classes))
