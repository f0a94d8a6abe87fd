"""What choosing the best of several candidates adds to its score: the luck of the winner, by bootstrap.

Every candidate's cross-validated output is honest by itself, but the best of many is also the luckiest. So the choice
is made again on bootstraps of the rows and scored on the rows that each one left out (BBC-CV: Tsamardinos, Greasidou &
Borboudakis 2018): nothing is fitted anew. What is reported is how much better the final choice looks on those rows,
which it was chosen on, than the choices that did not see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Metric, find_metric
from kaggle_tools.search._outcomes import SCORERS, Scorer, Side
from kaggle_tools.search._ranked import of_weights
from kaggle_tools.search._row_values import NOT_MEANS, ROW_VALUES
from kaggle_tools.search.compare import Comparison

Floats = NDArray[np.float64]

_BOOTSTRAPS, _FEWEST = 100, 10
_WORK = 60_000_000  # rows × candidates × bootstraps of a metric that is sums over rows
_SLOW_WORK = 3_000_000  # of one that must be computed anew

# (N,) row weights to (K,) scores of the candidates.
Scores = Callable[[Floats], Floats]

# (B, K) scores of the candidates in B bootstraps, greater is better, to the place that is taken in each.
Choice = Callable[[Floats], Sequence[int]]


def optimism_of_choice(
    metric: str,
    codes: NDArray[np.int64],
    outputs: Sequence[NDArray[Any]],
    choice: Choice,
    taken: int,
    *,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> float:
    """How much better the taken candidate looks than a choice that is scored on rows which it did not see.

    Args:
        metric: Name.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        outputs: Each candidate's cross-validated probabilities or decisions (`honest.Honest.output`).
        choice: How one is taken.
        taken: The place of the one that was taken.
        seed: Of the bootstraps.
        groups: (N,) groups that are drawn and left out whole, counted from 0; None: rows are.

    Returns:
        Above zero is too good, whatever the metric's direction; zero for one candidate.
    """
    if len(outputs) < 2:
        return 0.0
    found = find_metric(metric)
    sign = 1.0 if found.greater_is_better else -1.0
    score, work = scorer(found, codes, outputs)
    n_rows = len(codes)
    n_bootstraps = int(np.clip(work // (n_rows * len(outputs)), _FEWEST, _BOOTSTRAPS))
    units = np.arange(n_rows) if groups is None else groups
    n_units = int(units.max()) + 1
    rng = np.random.default_rng(seed)
    inside, outside = [], []
    for _ in range(n_bootstraps):
        drawn = np.bincount(rng.integers(n_units, size=n_units), minlength=n_units)[units]
        if drawn.all():  # of few rows: none is left out to score on
            continue
        try:
            scores = score(drawn.astype(np.float64)), score((drawn == 0).astype(np.float64))
        except UserError:  # a class was not drawn, and the metric is undefined without it
            continue
        inside.append(sign * scores[0])
        outside.append(sign * scores[1])
    if len(inside) < 2:
        return 0.0
    seen, unseen = np.array(inside), np.array(outside)  # (B, K)
    return max(0.0, float(np.mean(unseen[:, taken] - unseen[np.arange(len(unseen)), list(choice(seen))])))


def gain_of_chosen(comparison: Comparison, optimism: float, n_candidates: int) -> tuple[float, float, float]:
    """What one of several candidates gains over something simpler and the 95 % interval, its choice counted.

    Being the luckiest of K adds at most √(2 ln K) standard errors to a gain, on average. It may have added nothing, so
    the upper end stays.
    """
    by = min(optimism, comparison.standard_error * float(np.sqrt(2 * np.log(n_candidates))))
    return comparison.gain - by, comparison.low - by, comparison.high


def simplest(n_parameters: Sequence[int]) -> Choice:
    """The choice of `simplest_of_the_best`, with errors by the bootstraps themselves."""
    return lambda seen: [simplest_of_the_best(row, _errors(seen, row), n_parameters) for row in seen]


def simplest_of_the_best(scores: Floats, errors: Floats, n_parameters: Sequence[int]) -> int:
    """The place of the candidate to take.

    Args:
        scores: (K,) greater is better.
        errors: (K,) standard error of each one's difference from the best.
        n_parameters: Of each; of equals the better score wins.
    """
    best = int(np.argmax(scores))
    near = np.flatnonzero(scores[best] - scores <= errors)
    return min(near.tolist(), key=lambda k: (n_parameters[k], -scores[k]))


def _errors(seen: Floats, row: Floats) -> Floats:
    """(K,) standard errors of the differences from the best of `row`, by all bootstraps."""
    return np.asarray((seen[:, [int(np.argmax(row))]] - seen).std(axis=0))


def scorer(metric: Metric, codes: NDArray[np.int64], outputs: Sequence[NDArray[Any]]) -> tuple[Scores, int]:
    """A function from row weights to scores, and how much work it may do."""
    task = "single_label" if codes.ndim == 1 else "multi_label"
    if task == "single_label" and metric.name in SCORERS[task]:
        return _by_counts(SCORERS[task][metric.name], codes, outputs), _WORK
    n_classes = max(output.shape[1] for output in outputs if output.ndim == 2)
    truth = codes.astype(np.bool_) if codes.ndim == 2 else codes[:, None] == np.arange(n_classes)
    values_of = ROW_VALUES.get((metric.name, task))
    if values_of is not None and metric.name not in NOT_MEANS:
        values = np.stack([values_of(truth, output.astype(np.float64)) for output in outputs])
        return lambda weights: np.asarray(values @ weights / weights.sum()), _WORK
    scores = [of_weights(metric, task, truth, output.astype(np.float64)) for output in outputs]
    return lambda weights: np.array([score(weights) for score in scores]), _SLOW_WORK


def _by_counts(of_side: Scorer, codes: NDArray[np.int64], outputs: Sequence[NDArray[Any]]) -> Scores:
    """By each class's counts: with thousands of classes a confusion matrix takes longer to fill than to draw rows."""
    decisions = [output.argmax(axis=1) if output.ndim == 2 else output for output in outputs]
    wide = [output.shape[1] for output in outputs if output.ndim == 2]
    c = max(int(codes.max()) + 1, *(int(one.max()) + 1 for one in decisions), *wide)
    right = [codes == one for one in decisions]
    distance = [np.square(codes - one).astype(np.float64) for one in decisions]

    def count(classes: NDArray[Any], weights: Floats) -> Floats:
        return np.bincount(classes, weights, c).astype(np.float64)[:, None]

    def score(weights: Floats) -> Floats:
        actual = count(codes, weights)
        sides = [
            Side(count(codes, weights * hit), actual, count(one, weights), np.array([weights @ far]))
            for one, hit, far in zip(decisions, right, distance, strict=True)
        ]
        return np.array([of_side(side)[0] for side in sides])

    return score
