"""Logistic stack: a regularised logistic regression on the models' log-probabilities (Wolpert 1992, stacked
generalization).

    found = stack.fit(codes, stack, folds)        # (N,) classes: multinomial on all M·C log-probabilities
    found = stack.fit(truth, stack, folds)        # (N, L) 0/1: for each label a logistic regression on its M log-odds
    test = found.apply(test_stack)

Minimises ½‖w‖² + strength · Σ_i loss_i over coefficients of standardised features (intercepts are free); the strength
is chosen by the folds' held-out log loss. Where a log-linear pool has one exponent a model, this has one for each pair
of classes: a ranking metric such as AUC, or a model that mistakes one class for another, gains from it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from kaggle_tools.errors import UserError
from kaggle_tools.search import newton
from kaggle_tools.search.inputs import FLOOR, check_problem, check_weights
from kaggle_tools.search.threads import one_blas_thread

Floats = NDArray[np.float64]

_NEWTON = 500  # parameters up to which the Hessian is made
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_ENOUGH = 1e-8  # norm of the gradient
_ROUGH = 1e-4  # where strengths are compared
_SAMPLE = 20_000  # rows on which the strength is chosen, at most
_CURVATURE = 100_000  # rows whose Hessian stands for that of all: the gradient, which is exact, decides where it ends


@dataclass(frozen=True)
class Stack:
    """A fitted stack.

    Attributes:
        coefficients: (C, M·C) float64 on log-probabilities, model by model; for labels (L, M) on log-odds.
        intercepts: (C,) float64.
        strengths: The inverse regularisation that held out best, one, or one a label.
        held_out: Mean log loss of the held-out folds with it.
        score: Log loss on the fitted rows; for labels the mean of theirs.
        gradient_norm: Of the objective per row, at the end; the largest of the labels.
        seconds: Wall time.
    """

    coefficients: Floats
    intercepts: Floats
    strengths: tuple[float, ...]
    held_out: float
    score: float
    gradient_norm: float
    seconds: float

    def apply(self, stack: ArrayLike) -> NDArray[np.float32]:
        """(N, C) float32 probabilities of (M, N, C) ones."""
        probs = np.asarray(stack)
        if self.coefficients.shape[1] == len(probs):
            scores = np.einsum("lm,mnl->nl", self.coefficients, _log_odds(probs)) + self.intercepts
            return np.asarray(expit(scores), np.float32)
        return np.asarray(softmax(_log_probs(probs) @ self.coefficients.T + self.intercepts, axis=1), np.float32)


@one_blas_thread
def fit(
    codes: ArrayLike,
    stack: ArrayLike,
    folds: ArrayLike,
    *,
    strengths: tuple[float, ...] = STRENGTHS,
    sample_weight: ArrayLike | None = None,
    allow_absent: bool = False,
) -> Stack:
    """Fit a stack.

    Args:
        codes: (N,) true classes, or (N, L) 0/1.
        stack: (M, N, C) probabilities, each row's made by models that did not see it.
        folds: (N,) numbers; each fold is held out once to choose the strength.
        strengths: To choose from.
        sample_weight: (N,) row weights.
        allow_absent: Accept classes without rows.

    Raises:
        UserError: Unusable input (`check_problem`), or folds that are not two or more of the rows' number.
    """
    began = time.perf_counter()
    truth, probs = np.asarray(codes), np.asarray(stack)
    weights = check_weights(sample_weight, len(truth))
    parts = np.asarray(folds)
    if parts.shape != (len(truth),) or len(np.unique(parts)) < 2:
        raise UserError(
            f"folds have shape {parts.shape} and {len(np.unique(parts))} distinct values",
            expected=f"({len(truth)},) with two or more",
        )
    if truth.ndim == 1:
        check_problem(truth, probs, weights, allow_absent=allow_absent)
        features, targets = [_log_probs(probs)], [np.eye(probs.shape[2])[truth]]
    else:
        _check_labels(truth, probs)
        features = [own.T for own in _log_odds(probs).transpose(2, 0, 1)]
        targets = [np.column_stack([1 - own, own]).astype(np.float64) for own in truth.T]
    fits = [_fit_regression(_Rows(x, y, weights), parts, strengths) for x, y in zip(features, targets, strict=True)]
    coefficients = np.concatenate([one.coefficients for one in fits])
    intercepts = np.concatenate([one.intercepts for one in fits])
    if truth.ndim == 1 and len(coefficients) == 1:  # of the second class against the first
        coefficients, intercepts = np.concatenate([0 * coefficients, coefficients]), np.append(0.0, intercepts)
    return Stack(
        coefficients=coefficients,
        intercepts=intercepts,
        strengths=tuple(one.strength for one in fits),
        held_out=float(np.mean([one.held_out for one in fits])),
        score=float(np.mean([one.loss for one in fits])),
        gradient_norm=max(one.gradient_norm for one in fits),
        seconds=time.perf_counter() - began,
    )


@dataclass(frozen=True)
class _Rows:
    """Features (N, F), one-hot targets (N, K) and weights (N,) of one regression; all float64."""

    x: Floats
    y: Floats
    weights: Floats

    def take(self, rows: NDArray[np.intp]) -> _Rows:
        return _Rows(self.x[rows], self.y[rows], self.weights[rows])


@dataclass(frozen=True)
class _Regression:
    coefficients: Floats
    intercepts: Floats
    strength: float
    held_out: float
    loss: float
    gradient_norm: float


def _fit_regression(rows: _Rows, folds: NDArray[np.generic], strengths: tuple[float, ...]) -> _Regression:
    """Choose the strength on the folds, fit on all rows, and express the result in the features as they were."""
    mean, spread = rows.x.mean(axis=0), rows.x.std(axis=0)
    # By its range: the deviation of equal values may be their mean's rounding.
    spread = np.where(np.ptp(rows.x, axis=0) > 0, spread, 1.0)
    scaled = _Rows((rows.x - mean) / spread, rows.y, rows.weights)
    strength, held_out, near = _choose(scaled, folds, sorted(strengths))
    theta, gradient_norm = _minimise(scaled, strength, near, _ENOUGH)
    coefficients = theta[1:].T / spread
    return _Regression(
        coefficients, theta[0] - coefficients @ mean, strength, held_out, _loss(scaled, theta), gradient_norm
    )


def _choose(rows: _Rows, folds: NDArray[np.generic], strengths: list[float]) -> tuple[float, float, Floats]:
    """The strength with the least held-out loss, that loss, and parameters near those of all rows."""
    n = len(rows.x)
    if n > _SAMPLE:
        sample = np.sort(np.random.default_rng(0).choice(n, _SAMPLE // 2, replace=False))
        rows, folds = rows.take(sample), folds[sample]
    # Fewer rows need a larger factor for the same balance of loss and penalty.
    factor = n / len(rows.x)
    total, ends = np.zeros(len(strengths)), [np.empty(0)] * len(strengths)
    for fold in np.unique(folds):
        inside, outside = rows.take(np.flatnonzero(folds != fold)), rows.take(np.flatnonzero(folds == fold))
        theta = None
        for place, strength in enumerate(strengths):  # each fit begins where the more regularised one ended
            theta, _ = _minimise(inside, strength * factor, theta, _ROUGH)
            total[place] += _loss(outside, theta) * outside.weights.sum()
            ends[place] = theta
    best = int(np.argmin(total))
    return strengths[best], float(total[best] / rows.weights.sum()), ends[best]


def _minimise(rows: _Rows, strength: float, start: Floats | None, enough: float) -> tuple[Floats, float]:
    """(1 + F, K') parameters, intercepts first, and the norm of the gradient there; two classes need K' = 1 column."""
    objective = _Objective(rows, strength)
    begin = np.zeros(objective.shape) if start is None else start
    if begin.size <= _NEWTON:
        theta, _, size, _ = newton.minimise(objective, begin.ravel(), enough)
        return theta.reshape(objective.shape), size
    options = {"maxiter": 100, "gtol": max(enough, 1e-6), "ftol": 1e-9}
    found = minimize(objective.slope, begin.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(objective.shape), float(np.linalg.norm(found.jac))


class _Objective:
    """Penalised mean log loss and its derivatives; the Hessian of very many rows is some rows' (Byrd et al. 2011)."""

    def __init__(self, rows: _Rows, strength: float) -> None:
        total = rows.weights.sum()
        self.y, self.share = rows.y, rows.weights / total
        self.x = np.column_stack([np.ones(len(rows.x)), rows.x])
        self.n_free = 1 if rows.y.shape[1] == 2 else rows.y.shape[1]
        self.shape = (self.x.shape[1], self.n_free)
        self.penalty = np.full(self.shape, 1.0 / (strength * total))
        self.penalty[0] = 0.0
        n = len(self.x)
        some = (
            slice(None) if n <= _CURVATURE else np.sort(np.random.default_rng(0).choice(n, _CURVATURE, replace=False))
        )
        self.some_x, self.some_share = self.x[some], self.share[some] / self.share[some].sum()

    def loss(self, theta: Floats) -> float:
        return self._value(theta, self._log_probs(theta))

    def slope(self, theta: Floats) -> tuple[float, Floats]:
        log_probs = self._log_probs(theta)
        excess = (self.share[:, None] * (np.exp(log_probs) - self.y))[:, -self.n_free :]
        return self._value(theta, log_probs), (self.x.T @ excess).ravel() + self.penalty.ravel() * theta

    def derivatives(self, theta: Floats) -> tuple[float, Floats, Floats]:
        value, gradient = self.slope(theta)
        x, probs = self.some_x, np.exp(_log_pool(self.some_x, theta.reshape(self.shape)))[:, -self.n_free :]
        n_features = self.shape[0]
        blocks = np.empty((n_features, self.n_free, n_features, self.n_free))
        for k in range(self.n_free):
            for other in range(k + 1):
                curvature = self.some_share * probs[:, k] * ((k == other) - probs[:, other])
                blocks[:, k, :, other] = blocks[:, other, :, k] = x.T @ (curvature[:, None] * x)
        return value, gradient, blocks.reshape(theta.size, theta.size) + np.diag(self.penalty.ravel())

    def _value(self, theta: Floats, log_probs: Floats) -> float:
        own_loss = -float(self.share @ (self.y * log_probs).sum(axis=1))
        return own_loss + 0.5 * float(self.penalty.ravel() @ np.square(theta))

    def _log_probs(self, theta: Floats) -> Floats:
        return _log_pool(self.x, theta.reshape(self.shape))


def _loss(rows: _Rows, theta: Floats) -> float:
    log_probs = _log_pool(np.column_stack([np.ones(len(rows.x)), rows.x]), theta)
    return -float(rows.weights @ (rows.y * log_probs).sum(axis=1) / rows.weights.sum())


def _log_pool(x: Floats, theta: Floats) -> Floats:
    """(N, K) log-probabilities; a single column of parameters is the second class's, against none for the first."""
    scores = x @ theta
    if scores.shape[1] == 1:
        scores = np.column_stack([np.zeros(len(scores)), scores])
    probs: Floats = log_softmax(scores, axis=1)
    return probs


def _log_probs(probs: NDArray[np.floating]) -> Floats:
    """(N, M·C) logarithms of (M, N, C) probabilities, model by model."""
    m, n, c = probs.shape
    logs = np.log(np.maximum(probs.astype(np.float64), FLOOR))
    return logs.transpose(1, 0, 2).reshape(n, m * c)


def _log_odds(probs: NDArray[np.floating]) -> Floats:
    """Log-odds of probabilities, same shape."""
    inside = np.clip(probs.astype(np.float64), FLOOR, 1.0 - FLOOR)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _check_labels(truth: NDArray[np.generic], probs: NDArray[np.floating]) -> None:
    if truth.shape != probs.shape[1:] or not np.isin(truth, (0, 1)).all():
        raise UserError(f"truth has shape {truth.shape}", expected=f"{probs.shape[1:]} of 0 and 1")
    bad = np.count_nonzero(~((probs >= 0) & (probs <= 1)))
    if bad:
        raise UserError(f"{bad:,} of {probs.size:,} values are no probabilities")
