"""Weights with the least log loss, in both families of pools; both problems are convex and are solved to the end.

    found = logloss.fit_linear_pool(codes, stack)      # Σ_m x_m p_m on the simplex
    found = logloss.fit_log_pool(codes, stack)         # softmax(Σ_m a_m log p_m + b)
    found = logloss.fit_log_pool(codes, stack, knee=KNEE)   # … + c_m log(p_m + knee): bent

**Linear pool** (Stone 1961). Only the probabilities q_mi of the true classes matter: minimise f = −mean_i log Σ_m x_m
q_mi. With G_m = mean_i q_mi / Σ_l x_l q_li the optimum has G_m ≤ 1, and max_m G_m − 1 bounds f − f*: that is the gap
reported. Newton steps under x ≥ 0 (Kim, Carbonetto, Stephens & Anitescu 2020): with f + Σ x for f the sum-to-one takes
care of itself.

**Log-linear pool** (Genest & Zidek 1986). A multinomial model in M + C − 1 parameters: with E_mi = Σ_c P_ic log p_mic
under the pool's own probabilities P, the gradient for a_m is mean_i (E_mi − log p_mi,y) and the Hessian the mean
covariance of the log-probabilities under P. A ridge of `RIDGE` on the parameters, which changes the loss in its seventh
digit where they are of usual size, keeps exponents of models that are copies of each other from growing against each
other, and biases of hundreds, as of a class that no model ever gives, from growing beyond what an exponential holds.
Newton with a line search; exponents kept ≥ 0 where asked; on many rows begun on a sample.

**Bent.** An exponent is a temperature, but a fine-tuned model is not wrong about its near-certain and its doubtful rows
in the same measure. A second exponent c_m of p_m + `KNEE` bends the logarithm: a_m below the knee, a_m + c_m well above
it. The problem stays convex, in M more parameters; a normal prior of spread `SPREAD` keeps the bends of few rows small.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from kaggle_tools.metrics.ranking import SMALLEST
from kaggle_tools.search.inputs import FLOOR, Problem, check_problem
from kaggle_tools.search.least_squares import nonnegative_quadratic
from kaggle_tools.search.newton import minimise
from kaggle_tools.search.threads import in_threads, one_blas_thread

Floats = NDArray[np.float64]

RIDGE = 1e-7
KNEE = 0.01  # on five real runs .003 to .02 hold out alike, .001 and .05 a little worse
SPREAD = 0.5  # of bends, before any row is seen
_ENOUGH = 1e-9
_MAX_ITERATIONS = 100
_SAMPLE = 20_000
_CHUNK_VALUES = 200_000  # of the stack at a time: what is made of them stays in cache
_MANY_CHUNKS = 8  # from which several threads are worth their start


@dataclass(frozen=True)
class Convex:
    """A convex optimum.

    Attributes:
        weights: (M,) float64: shares on the simplex, or exponents; (M, C) where each class has its own.
        biases: (C,) float64 log-weights of the classes, mean zero; zeros where none are asked for.
        score: Log loss on the fitted rows.
        gap: What is left to gain at most (linear pool), or norm of the gradient that the bounds allow (log-linear
            pool).
        n_iterations: Newton steps on all rows.
        seconds: Wall time.
        bends: (M,) float64 exponents of the probabilities plus the knee; None where none are asked for.
    """

    weights: Floats
    biases: Floats
    score: float
    gap: float
    n_iterations: int
    seconds: float
    bends: Floats | None = None


@one_blas_thread
def fit_linear_pool(
    codes: ArrayLike, stack: ArrayLike, *, sample_weight: ArrayLike | None = None, allow_absent: bool = False
) -> Convex:
    """The weights on the simplex with the least log loss.

    Args:
        codes: (N,) true classes.
        stack: (M, N, C) probabilities.
        sample_weight: (N,) row weights.
        allow_absent: Accept classes without rows.

    Raises:
        UserError: Unusable input (`check_problem`).
    """
    return linear_pool(check_problem(codes, stack, sample_weight, allow_absent=allow_absent))


@one_blas_thread
def fit_log_pool(
    codes: ArrayLike,
    stack: ArrayLike,
    *,
    biases: bool = False,
    signed: bool = True,
    knee: float | None = None,
    sample_weight: ArrayLike | None = None,
    allow_absent: bool = False,
) -> Convex:
    """The exponents, and biases if wanted, with the least log loss.

    Args:
        codes: (N,) true classes.
        stack: (M, N, C) probabilities.
        biases: Fit a bias for each class, too.
        signed: Let exponents (and bends) be negative.
        knee: Bend every model's logarithm there; None for straight ones.
        sample_weight: (N,) row weights.
        allow_absent: Accept classes without rows.

    Raises:
        UserError: Unusable input (`check_problem`).
    """
    problem = check_problem(codes, stack, sample_weight, allow_absent=allow_absent)
    return log_pool(problem, logs_of(problem.stack), biases=biases, signed=signed, knee=knee)


def logs_of(stack: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithms of float32 probabilities, of none below `FLOOR`."""
    logs = np.empty(stack.shape, np.float32)

    def of_part(place: int) -> None:
        np.log(np.maximum(stack[place], np.float32(FLOOR), out=logs[place]), out=logs[place])

    in_threads(of_part, range(len(stack)))
    return logs


def linear_pool(problem: Problem) -> Convex:
    """`fit_linear_pool` of a checked problem."""
    began = time.perf_counter()
    m, c, n = problem.shape
    of_truth = problem.stack[:, problem.codes, np.arange(n)].astype(np.float64)
    of_truth = np.maximum(of_truth, SMALLEST)
    share = problem.weights / problem.weights.sum()
    x = np.full(m, 1.0 / m)
    if n > 2 * _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(n, _SAMPLE, replace=False))
        x, _, _ = _mixture(of_truth.take(rows, axis=1), share[rows] / share[rows].sum(), x, 1e-5)
    x, gap, n_iterations = _mixture(of_truth, share, x, _ENOUGH)
    score = float(-share @ np.log(np.minimum(x @ of_truth, 1.0)))
    return Convex(x, np.zeros(c), score, gap, n_iterations, time.perf_counter() - began)


def _mixture(of_truth: Floats, share: Floats, x: Floats, enough: float) -> tuple[Floats, float, int]:
    """Newton steps from `x` until the gap is small enough: shares, gap, number of steps."""
    gap, n_steps = np.inf, 0
    mixed = x @ of_truth
    loss = -share @ np.log(mixed)
    while n_steps < _MAX_ITERATIONS:
        reward, hessian = _derivatives(of_truth, share, mixed)
        gap = float(reward.max() - 1.0)
        if gap <= max(enough, 1e-14):  # below is rounding
            break
        # Of models that depend on each other no direction may be left out: the linear term may be along any.
        hessian += 1e-10 * np.trace(hessian) / len(x) * np.eye(len(x))
        # Around x the objective is ½ d'Hd + (1 − reward)'d, that is ½ z'Hz − (Hx + reward − 1)'z for z = x + d ≥ 0.
        target = nonnegative_quadratic(hessian, hessian @ x + reward - 1.0)
        step = 1.0
        while step > 1e-6:  # as far towards it as the loss keeps falling, on the simplex again
            tried = x + step * (target - x)
            if tried.sum() > 0:
                tried = tried / tried.sum()
                tried_mixed = np.maximum(tried @ of_truth, SMALLEST)
                tried_loss = -share @ np.log(tried_mixed)
                if tried_loss <= loss:
                    break
            step *= 0.5
        else:
            break  # rounding hides every gain
        x, mixed, loss, n_steps = tried, tried_mixed, tried_loss, n_steps + 1
    return x, gap, n_steps


def _derivatives(of_truth: Floats, share: Floats, mixed: Floats) -> tuple[Floats, Floats]:
    """(M,) and (M, M): means of the models' ratios to the mixture, and of their products; rows that fit the cache."""
    m, n = of_truth.shape
    reward, hessian = np.zeros(m), np.zeros((m, m))
    chunk = max(16, _CHUNK_VALUES // (2 * m))
    for start in range(0, n, chunk):
        rows = slice(start, start + chunk)
        ratios = of_truth[:, rows] / mixed[rows]
        weighted = ratios * share[rows]
        reward += weighted.sum(axis=1)
        hessian += weighted @ ratios.T
    return reward, hessian


def log_pool(
    problem: Problem, logs: NDArray[np.float32], *, biases: bool, signed: bool, knee: float | None = None
) -> Convex:
    """`fit_log_pool` of a checked problem, with `logs_of` its stack."""
    began = time.perf_counter()
    m, c, n = problem.shape
    ridge = np.full(m, RIDGE)
    if knee is not None:
        logs = np.concatenate([logs, np.log(problem.stack + np.float32(knee))])
        ridge = np.append(ridge, np.full(m, 1.0 / (SPREAD**2 * problem.weights.sum())))
    n_terms = len(logs)
    theta = np.zeros(n_terms + (c - 1 if biases else 0))
    ridge = np.append(ridge, np.full(len(theta) - n_terms, RIDGE))
    theta[:m] = 1.0 / m
    bounded = np.arange(len(theta)) < (0 if signed else n_terms)
    if n > 2 * _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(n, _SAMPLE, replace=False))
        sample = _Pool(problem.codes[rows], logs.take(rows, axis=2), problem.weights[rows], ridge, biases)
        theta, *_ = minimise(sample, theta, 1e-5, bounded)
    pool = _Pool(problem.codes, logs, problem.weights, ridge, biases)
    theta, penalised, gap, n_iterations = minimise(pool, theta, _ENOUGH, bounded)
    exponents = theta[:n_terms]
    b = np.append(0.0, theta[n_terms:]) if biases else np.zeros(c)
    return Convex(
        weights=exponents[:m],
        biases=b - b.mean(),
        score=penalised - 0.5 * float(ridge @ np.square(theta)),
        gap=gap,
        n_iterations=n_iterations,
        seconds=time.perf_counter() - began,
        bends=None if knee is None else exponents[m:],
    )


class _Pool:
    """Log loss of a log-linear pool with its first two derivatives, a chunk of rows at a time.

    Args:
        codes: (N,) int32 true classes.
        logs: (M, C, N) float32 terms, each with an exponent.
        weights: (N,) float64 row weights.
        ridge: (P,) penalty of squared parameters: exponents, then biases of all classes but the first.
        biases: Whether classes have biases.
    """

    def __init__(
        self, codes: NDArray[np.int32], logs: NDArray[np.float32], weights: Floats, ridge: Floats, biases: bool
    ) -> None:
        self.codes, self.logs, self.share, self.biases = codes, logs, weights / weights.sum(), biases
        self.ridge = ridge
        self.chunk = max(16, _CHUNK_VALUES // (logs.shape[0] * logs.shape[1]))

    def loss(self, theta: Floats) -> float:
        return self._sum(theta, derivatives=False)[0]

    def derivatives(self, theta: Floats) -> tuple[float, Floats, Floats]:
        return self._sum(theta, derivatives=True)

    def _sum(self, theta: Floats, *, derivatives: bool) -> tuple[float, Floats, Floats]:
        m, c, n = self.logs.shape
        starts = range(0, n, self.chunk)
        part = partial(self._of_rows, theta, derivatives=derivatives)
        parts = in_threads(part, starts) if len(starts) >= _MANY_CHUNKS else [part(start) for start in starts]
        loss = math.fsum(own for own, _, _ in parts) + 0.5 * float(self.ridge @ np.square(theta))
        if not derivatives:
            return loss, theta, theta
        gradient = np.sum([own for _, own, _ in parts], axis=0)
        hessian = np.sum([own for _, _, own in parts], axis=0)
        hessian[m:, :m] = hessian[:m, m:].T
        # The first class's bias is zero: only differences matter.
        kept = np.r_[:m, m + 1 : m + c] if self.biases else np.arange(m)
        return loss, gradient[kept] + self.ridge * theta, hessian[np.ix_(kept, kept)] + np.diag(self.ridge)

    def _of_rows(self, theta: Floats, start: int, *, derivatives: bool) -> tuple[float, Floats, Floats]:
        """Loss, gradient (M + C,) and Hessian (M + C, M + C) of a chunk of rows."""
        m, c, _ = self.logs.shape
        rows = slice(start, start + self.chunk)
        bias = np.append(0.0, theta[m:]) if self.biases else np.zeros(c)
        logs, share, codes = self.logs[:, :, rows].astype(np.float64), self.share[rows], self.codes[rows]
        places = np.arange(len(codes))
        scores = np.tensordot(theta[:m], logs, axes=1) + bias[:, None]  # (C, n)
        total = logsumexp(scores, axis=0)
        loss = float(share @ (total - scores[codes, places]))
        gradient, hessian = np.zeros(m + c), np.zeros((m + c, m + c))
        if not derivatives:
            return loss, gradient, hessian
        pool = np.exp(scores - total)
        heavy = pool * share
        by_class = logs * heavy
        mean = (logs * pool).sum(axis=1)  # (M, n), the E of the derivation
        gradient[:m] = (mean - logs[:, codes, places]) @ share
        gradient[m:] = heavy.sum(axis=1) - np.bincount(codes, share, minlength=c)
        hessian[:m, :m] = by_class.reshape(m, -1) @ logs.reshape(m, -1).T - (mean * share) @ mean.T
        hessian[:m, m:] = by_class.sum(axis=2) - mean @ heavy.T
        hessian[m:, m:] = np.diag(heavy.sum(axis=1)) - heavy @ pool.T
        return loss, gradient, hessian
