"""Known scores correct what is believed of the labels.

An ensemble with out-of-fold labels gives each test row a distribution q over classes. A public score says what the mean
cost of one submission is, and q expects something else. Of all beliefs that expect the known scores, the one nearest
to q (least Kullback–Leibler divergence: Csiszár 1975, I-divergence geometry) is log-linear:

    p_ic  ∝  q_ic · exp(-Σ_k w_k cost_kic)

and its K weights minimise a convex function. What it expects of another submission is that one's predicted score. It
takes in at once what regressions are given by hand: the offset of the board, the overconfidence of the ensemble, and
that rows which alike submissions share are harder or easier than it had thought.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from kaggle_tools.search import newton

Floats = NDArray[np.float64]

# How far expected scores may stay from the known ones, against how far beliefs move: in units of a row's own spread.
# On a real board the error is the same from 0.0001 to 0.01, and grows above 0.1.
STRENGTH = 0.003
_FLOOR = 1e-15
_ENOUGH = 1e-9


@dataclass(frozen=True, repr=False)
class Projection:
    """Corrected beliefs.

    Attributes:
        weights: (K,) float64, in units of 1 / a row's spread.
        log_probs: (N, C) float64 logarithms of the corrected beliefs.
        expected: (K,) mean costs that they expect of the submissions with known scores.
    """

    weights: Floats
    log_probs: Floats
    expected: Floats


def project(belief: Floats, costs: Floats, scores: Floats, start: Floats | None = None) -> Projection:
    """Correct beliefs by known scores.

    Args:
        belief: (N, C) probabilities of the labels.
        costs: (K, N, C) what each label would cost each submission; see `costs`.
        scores: (K,) known mean costs.
        start: (K,) weights to begin with.
    """
    k, n, c = costs.shape
    base = np.log(np.clip(belief, _FLOOR, 1.0))
    means = np.einsum("nc,knc->k", belief, costs) / n
    spread = np.sqrt(np.einsum("nc,knc->k", belief, np.square(costs)) / n - means**2)
    spread = np.where(spread > 1e-12, spread, 1.0)
    # Measured from what q expects, so that sums stay near nought.
    features = ((costs - means[:, None, None]) / spread[:, None, None]).transpose(1, 2, 0).reshape(n * c, k)
    dual = _Dual(base, features, (scores - means) / spread)
    weights, *_ = newton.minimise(dual, np.zeros(k) if start is None else start, _ENOUGH)
    log_probs = dual.log_probs(weights)
    expected = np.einsum("nc,knc->k", np.exp(log_probs), costs) / n
    return Projection(weights, log_probs, expected)


class _Dual:
    """mean_i log Σ_c q_ic exp(-w·f_ic) + w·s + ½ strength |w|²: its minimum's gradient says that f expects s."""

    def __init__(self, base: Floats, features: Floats, scores: Floats) -> None:
        self.base, self.features, self.scores = base, features, scores

    def log_probs(self, weights: Floats) -> Floats:
        scaled = self._tilted(weights)
        return np.asarray(scaled - logsumexp(scaled, axis=1, keepdims=True))

    def loss(self, weights: Floats) -> float:
        value = logsumexp(self._tilted(weights), axis=1).mean() + weights @ self.scores
        return float(value + 0.5 * STRENGTH * weights @ weights)

    def derivatives(self, weights: Floats) -> tuple[float, Floats, Floats]:
        n, c = self.base.shape
        probs = np.exp(self.log_probs(weights)).ravel()
        weighted = self.features * probs[:, None]
        row_means = weighted.reshape(n, c, -1).sum(axis=1)
        gradient = self.scores - row_means.mean(axis=0) + STRENGTH * weights
        hessian = (self.features.T @ weighted - row_means.T @ row_means) / n
        return self.loss(weights), gradient, hessian + STRENGTH * np.eye(len(weights))

    def _tilted(self, weights: Floats) -> Floats:
        return self.base - (self.features @ weights).reshape(self.base.shape)
