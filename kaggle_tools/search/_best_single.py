"""How much wider the interval of a gain over the best single model is because that model was chosen, fold by fold.

Where models are about equally good, it is luck which one is best on the other folds, and the luck of one fold's rows
decides what another fold is compared with: the folds' gains vary together. A bootstrap of rows leaves the choice as it
is and does not see that. So gains are drawn anew with the choice made anew, as normal variables of the covariance that
the scores have. Models that cannot be told from the best are drawn as its equals: their distance is noise (Andrews
2000, "Inconsistency of the Bootstrap when a Parameter is on the Boundary").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Metric
from kaggle_tools.search._row_values import ROW_VALUES
from kaggle_tools.search._selection import Scores, scorer
from kaggle_tools.search.threads import one_blas_thread

Floats = NDArray[np.float64]

_DRAWS = 4_000
_BOOTSTRAPS, _ROWS = 60, 5_000  # of the scores, where they are no mean over rows, and of how many rows
_CLASSES = 200  # beyond which right and wrong decisions stand for a metric of the confusion matrix, which is large
_RIDGE = 1e-9  # of the covariance's mean variance: models may be equal


@one_blas_thread
def spread_of_choice(
    metric: Metric,
    codes: NDArray[np.int64],
    stack: NDArray[np.float32],
    output: NDArray[Any],
    folds: NDArray[np.int64],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> float:
    """By what factor the gain over the best single model spreads further than with the choice of that model fixed.

    Args:
        metric: The metric.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        stack: (M, N, C) probabilities of the models, one of which is chosen for each fold by the other folds.
        output: Cross-validated probabilities or decisions, of what is compared with them.
        folds: (N,) folds.
        seed: Of what is drawn.
        groups: (N,) groups of rows that belong together, counted from 0; None: rows are independent.

    Returns:
        1 or more; 1 where one model is clearly the best.
    """
    if len(stack) < 2:
        return 1.0
    rng = np.random.default_rng(seed)
    sign = 1.0 if metric.greater_is_better else -1.0
    units = np.arange(len(codes)) if groups is None else groups
    scores, covariance = _scores(metric, codes, [*stack, output], units, rng)
    if covariance is None:
        return 1.0
    # Of each model's score less that of the output: (M,) and (M, M).
    behind = sign * (scores[:-1] - scores[-1])
    covariance = covariance[:-1, :-1] - covariance[:-1, -1:] - covariance[-1:, :-1] + covariance[-1, -1]
    share = np.unique(folds, return_counts=True)[1] / len(folds)
    return _factor(behind, covariance, share, int(units.max()) + 1, rng)


def _factor(scores: Floats, covariance: Floats, share: Floats, n_units: int, rng: np.random.Generator) -> float:
    variance = np.diag(covariance)
    if not variance.mean() > 0:
        return 1.0
    best = int(np.argmax(scores))
    error = np.sqrt(np.maximum(variance + variance[best] - 2 * covariance[best], 0.0))
    distance = scores - scores[best]  # (M,), none above 0
    distance[-distance <= np.sqrt(2 * np.log(np.log(max(n_units, 16)))) * error] = 0.0
    root = np.linalg.cholesky(covariance + _RIDGE * variance.mean() * np.eye(len(scores)))
    # What each fold adds to the models' scores.
    drawn = rng.normal(size=(_DRAWS, len(share), len(scores))) @ root.T * np.sqrt(share)[:, None]
    others = drawn.sum(axis=1, keepdims=True) - drawn + (1.0 - share)[:, None] * distance
    chosen = others.argmax(axis=2)  # (draws, folds)
    # The same choice beside the scores of another draw is a fixed one.
    made_anew, fixed = (_gains(drawn, choice) for choice in (chosen, np.roll(chosen, 1, axis=0)))
    return max(1.0, float(np.sqrt(made_anew @ made_anew / (fixed @ fixed)))) if fixed.any() else 1.0


def _gains(drawn: Floats, chosen: NDArray[np.intp]) -> Floats:
    """(draws,) what the chosen models' scores, (draws, folds) of (draws, folds, M), add up to."""
    return np.asarray(np.take_along_axis(drawn, chosen[:, :, None], axis=2).sum(axis=(1, 2)))


def _scores(
    metric: Metric,
    codes: NDArray[np.int64],
    outputs: Sequence[NDArray[Any]],
    units: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Floats, Floats | None]:
    """(K,) scores and their (K, K) covariance, of (N,) rows or groups drawn anew; None: mostly undefined."""
    n_rows, n_classes = len(codes), outputs[0].shape[1]
    values_of = ROW_VALUES.get((metric.name, "single_label" if codes.ndim == 1 else "multi_label"))
    if values_of is not None:
        truth = codes.astype(np.bool_) if codes.ndim == 2 else codes[:, None] == np.arange(n_classes)
        values = np.stack([values_of(truth, one.astype(np.float64)) for one in outputs])
    elif codes.ndim == 1 and metric.takes == "labels" and n_classes > _CLASSES:
        values = np.stack([codes == (one.argmax(axis=1) if one.ndim == 2 else one) for one in outputs])
    else:
        score, _ = scorer(metric, codes, outputs)
        some = _some(units, rng)
        numbered = np.unique(units[some], return_inverse=True)[1]
        covariance = _covariance(scorer(metric, codes[some], [one[some] for one in outputs])[0], numbered, rng)
        return score(np.ones(n_rows)), None if covariance is None else covariance * len(some) / n_rows
    means = values.mean(axis=1)
    sums = np.stack([np.bincount(units, own) for own in values - means[:, None]])  # (K, units)
    n_units = sums.shape[1]
    return means, sums @ sums.T / n_rows**2 * n_units / (n_units - 1)


def _some(units: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of about `_ROWS`, of whole units, in their order."""
    sizes = np.bincount(units)
    shuffled = rng.permutation(len(sizes))
    taken = shuffled[: max(2, int(np.searchsorted(np.cumsum(sizes[shuffled]), _ROWS, side="right")))]
    return np.flatnonzero(np.isin(units, taken))


def _covariance(score: Scores, units: NDArray[np.int64], rng: np.random.Generator) -> Floats | None:
    drawn, n = [], int(units.max()) + 1
    for _ in range(_BOOTSTRAPS):
        try:
            drawn.append(score(np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)[units]))
        except UserError:  # a class was not drawn, and the metric is undefined without it
            continue
    return np.cov(np.array(drawn).T) if len(drawn) > 1 else None
