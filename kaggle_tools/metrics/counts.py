"""Single-label metrics that are functions of the confusion matrix alone.

A matrix is (C, C): rows are true classes, columns predicted ones; int64 counts, or float64 sums of sample weights. A
class that is neither true nor predicted anywhere counts as absent, as in scikit-learn: means over classes leave it out.
What is undefined (0/0, such as agreement beyond chance where there is only one class) is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError

Matrix = NDArray[np.int64] | NDArray[np.float64]


def confusion(
    codes: NDArray[np.int64],
    predicted: NDArray[np.int64],
    n_classes: int,
    weights: NDArray[np.float64] | None = None,
) -> Matrix:
    """Count (true class, predicted class) pairs.

    Args:
        codes: (N,) true classes in [0, n_classes).
        predicted: (N,) predicted classes in [0, n_classes).
        n_classes: C.
        weights: (N,) sample weights.

    Returns:
        (C, C) int64 counts; float64 sums where weights are given.
    """
    flat = np.bincount(codes * n_classes + predicted, weights, minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes)


def accuracy(matrix: Matrix) -> float:
    """Share of rows whose predicted class is the true one."""
    return _ratio(np.trace(matrix), matrix.sum())


def balanced_accuracy(matrix: Matrix) -> float:
    """Mean recall of the classes that occur."""
    actual = matrix.sum(axis=1)
    occurs = actual > 0
    return float(np.mean(np.diag(matrix)[occurs] / actual[occurs]))


def macro_precision(matrix: Matrix) -> float:
    """Mean precision of the classes; 0 for a class that is never predicted."""
    return float(np.mean(_shares(np.diag(matrix), matrix.sum(axis=0))[_present(matrix)]))


def macro_f1(matrix: Matrix) -> float:
    """Mean F1 of the classes, each counting the same."""
    return float(np.mean(_f1(matrix)[_present(matrix)]))


def weighted_f1(matrix: Matrix) -> float:
    """Mean F1 of the classes, each counting by its number of rows."""
    return float(np.average(_f1(matrix), weights=matrix.sum(axis=1)))


def binary_f1(matrix: Matrix) -> float:
    """F1 of the second of two classes.

    Raises:
        UserError: There are not two classes.
    """
    if len(matrix) != 2:
        raise UserError(f"binary_f1 is for 2 classes, these are {len(matrix)}", next="use macro_f1 or weighted_f1")
    return float(_f1(matrix)[1])


def mcc(matrix: Matrix) -> float:
    """Matthews correlation coefficient for any number of classes (Gorodkin 2004), in [-1, 1]."""
    actual, predicted = (matrix.sum(axis=axis).astype(np.float64) for axis in (1, 0))
    n, hits = actual.sum(), float(np.trace(matrix))
    covariance = hits * n - actual @ predicted
    variance = (n**2 - actual @ actual) * (n**2 - predicted @ predicted)
    return _ratio(covariance, np.sqrt(variance))


def cohen_kappa(matrix: Matrix) -> float:
    """Agreement beyond chance, in [-1, 1] (Cohen 1960)."""
    return _kappa(matrix, 1.0 - np.eye(len(matrix)))


def quadratic_kappa(matrix: Matrix) -> float:
    """Kappa with disagreement growing as the square of the distance between classes, for classes in natural order."""
    place = np.arange(len(matrix), dtype=np.float64)
    return _kappa(matrix, np.square(place[:, None] - place))


def _kappa(matrix: Matrix, disagreement: NDArray[np.float64]) -> float:
    """One minus observed over expected `disagreement`, a (C, C) table of penalties."""
    by_chance = np.outer(matrix.sum(axis=1), matrix.sum(axis=0)) / matrix.sum()
    expected = float(np.sum(disagreement * by_chance))
    return 1.0 - float(np.sum(disagreement * matrix)) / expected if expected > 0 else 0.0


def _f1(matrix: Matrix) -> NDArray[np.float64]:
    """(C,) F1 of each class: twice its hits over how often it is true plus how often it is predicted."""
    return _shares(2 * np.diag(matrix), matrix.sum(axis=1) + matrix.sum(axis=0))


def _present(matrix: Matrix) -> NDArray[np.bool_]:
    present: NDArray[np.bool_] = (matrix.sum(axis=1) + matrix.sum(axis=0)) > 0
    return present


def _shares(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Element-wise `part / whole`, 0 where `whole` is 0."""
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return shares


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0
