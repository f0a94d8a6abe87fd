"""Weights with the least squared error: a quadratic problem in the M × M Gram matrix, whatever the number of rows.

    found = least_squares.fit(target, stack)                      # (N,), (M, N): weights ≥ 0
    found = least_squares.fit(target, stack, constraint="simplex")

With predictions p_m and target y, ‖Σ x_m p_m − y‖² = x'Hx − 2 c'x + y'y where H_ml = ⟨p_m, p_l⟩ and c_m = ⟨p_m, y⟩:
after one pass over the rows everything happens in M dimensions, by non-negative least squares on a factor of H (Lawson
& Hanson 1974).

On the simplex c'x = (1'x)(c'x), so the objective is x'Qx with Q_ml = ⟨p_m − y, p_l − y⟩. Minimising x'Qx + (1 − 1'x)²
over x ≥ 0 gives the simplex solution up to a factor, because for x = s z the best s leaves an increasing function of
z'Qz.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import nnls

from kaggle_tools.errors import UserError
from kaggle_tools.search.inputs import check_weights
from kaggle_tools.search.threads import one_blas_thread

Floats = NDArray[np.float64]
Constraint = Literal["nonnegative", "simplex", "none"]
_CHUNK = 65_536


@dataclass(frozen=True)
class LeastSquares:
    """Weights of models and their error.

    Attributes:
        weights: (M,) float64.
        rmse: Root of the weighted mean squared error over rows (and columns).
        kkt_gap: Largest violation of the optimality conditions, in units of the mean squared error.
        seconds: Wall time.
    """

    weights: Floats
    rmse: float
    kkt_gap: float
    seconds: float

    def apply(self, stack: ArrayLike) -> Floats:
        """Weighted sum over models: (M, N) to (N,), (M, N, C) to (N, C)."""
        return np.tensordot(self.weights, np.asarray(stack, np.float64), axes=1)


@one_blas_thread
def fit(
    target: ArrayLike,
    stack: ArrayLike,
    *,
    constraint: Constraint = "nonnegative",
    sample_weight: ArrayLike | None = None,
) -> LeastSquares:
    """Fit weights of least squared error.

    Args:
        target: (N,) numbers, or (N, C), one-hot rows for a Brier score.
        stack: (M, N) or (M, N, C) predictions.
        constraint: What weights may be.
        sample_weight: (N,) row weights.

    Raises:
        UserError: Shapes that do not fit, no rows, values that are not numbers, an unknown constraint.
    """
    began = time.perf_counter()
    y, models = np.asarray(target), np.asarray(stack)
    if models.shape[1:] != y.shape or models.ndim not in (2, 3) or not models.size:
        raise UserError(f"predictions have shape {models.shape}, the target {y.shape}", expected="(M, N) and (N,)")
    if constraint not in _SOLVERS:
        raise UserError(f"unknown constraint '{constraint}'", expected=", ".join(_SOLVERS))
    for what, values in (("target", y), *((f"model {m + 1} of {len(models)}", p) for m, p in enumerate(models))):
        bad = np.count_nonzero(~np.isfinite(values))
        if bad:
            raise UserError(f"{bad:,} of {values.size:,} values are not numbers", where=what)
    row_weights = np.repeat(check_weights(sample_weight, len(y)), y[0].size)
    return solve(y.ravel(), models.reshape(len(models), -1), row_weights, constraint, began)


def solve(
    target: NDArray[np.floating],
    stack: NDArray[np.floating],
    row_weights: Floats,
    constraint: Constraint,
    began: float | None = None,
) -> LeastSquares:
    """`fit` of checked arrays, (R,) and (M, R) with (R,) weights."""
    began = time.perf_counter() if began is None else began
    gram = _gram(target, stack, row_weights)
    weights = _SOLVERS[constraint](gram)
    extended = np.append(weights, -1.0)
    mse = max(float(extended @ gram @ extended), 0.0)
    return LeastSquares(weights, float(np.sqrt(mse)), _kkt_gap(gram, weights, constraint), time.perf_counter() - began)


def nonnegative_quadratic(hessian: Floats, linear: Floats) -> Floats:
    """The (M,) x ≥ 0 that minimises ½ x'Hx − c'x, H (M, M) positive semi-definite."""
    # H = R'R and c = R'r make it min ‖Rx − r‖²; directions without curvature are left out.
    values, vectors = eigh(hessian)
    keep = values > 1e-14 * values[-1]
    root = np.sqrt(values[keep])
    factor = root[:, None] * vectors[:, keep].T
    solution: Floats = nnls(factor, (vectors[:, keep].T @ linear) / root)[0]
    return solution


def simplex_quadratic(centred: Floats) -> Floats:
    """The (M,) x on the simplex that minimises x'Qx, Q (M, M) positive semi-definite."""
    scale = max(float(np.trace(centred)) / len(centred), np.finfo(np.float64).tiny)
    solution = nonnegative_quadratic(centred / scale + 1.0, np.ones(len(centred)))
    shares: Floats = solution / solution.sum()
    return shares


def _gram(y: NDArray[np.floating], models: NDArray[np.floating], weights: Floats) -> Floats:
    """(M + 1, M + 1) weighted mean products of the models and, last, the target."""
    gram = np.zeros((len(models) + 1, len(models) + 1))
    for start in range(0, len(y), _CHUNK):
        rows = slice(start, start + _CHUNK)
        block = np.concatenate([models[:, rows], y[None, rows]]).astype(np.float64)
        gram += (block * weights[rows]) @ block.T
    mean: Floats = gram / weights.sum()
    return mean


def _nonnegative(gram: Floats) -> Floats:
    return nonnegative_quadratic(gram[:-1, :-1], gram[:-1, -1])


def _simplex(gram: Floats) -> Floats:
    return simplex_quadratic(_residual_gram(gram))


def _unconstrained(gram: Floats) -> Floats:
    return np.asarray(np.linalg.lstsq(gram[:-1, :-1], gram[:-1, -1], rcond=None)[0], np.float64)


def _residual_gram(gram: Floats) -> Floats:
    with_target = gram[:-1, -1]
    return np.asarray(gram[:-1, :-1] - with_target[:, None] - with_target + gram[-1, -1])


def _kkt_gap(gram: Floats, weights: Floats, constraint: Constraint) -> float:
    """How far the objective could still fall by moving towards one model, or how large a gradient is left."""
    if constraint == "simplex":
        gradient = 2 * _residual_gram(gram) @ weights
        return float(weights @ gradient - gradient.min())
    gradient = 2 * (gram[:-1, :-1] @ weights - gram[:-1, -1])
    if constraint == "none":
        return float(np.abs(gradient).max())
    return float(max(-gradient.min(), np.abs(gradient * weights).max()))


_SOLVERS = {"nonnegative": _nonnegative, "simplex": _simplex, "none": _unconstrained}
