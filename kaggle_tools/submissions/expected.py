"""By how much a metric is expected to change from one submission to another, and how probably it gets better.

    change = expected_change("macro_f1", judge.in_order(ids, classes), decisions_a, decisions_b)
    change.gain, change.low, change.high, change.p_better

The test labels are not known, but a calibrated judge says how probable each is. So labels are drawn from its
probabilities, thousands of times, and both submissions are scored on the same draw: rows on which the two agree cancel
where the metric allows it, and count for both where it does not (macro F1). Draws are shared among the judge's
bootstrap refits, so its own uncertainty is in the interval.

This is the judge's opinion. Tried on rows with known labels: between models that it is made of, the sign was always
right and the intervals held 85 to 98 % of the real changes; between models that it does not know, whose own knowledge
it cannot see, the sign was right in 88 to 100 % and the intervals held a third to a half (`benchmarks/LOG.md`). A
submission that is the judge's own decision cannot be beaten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Metric, evaluate, find_metric
from kaggle_tools.search._outcomes import SCORERS, Side
from kaggle_tools.search._row_values import ROW_VALUES
from kaggle_tools.submissions._simulate import class_counts, value_sums

Floats = NDArray[np.float64]

_BY_CLASS = ("log_loss", "brier", "top_2_accuracy", "top_3_accuracy", "top_5_accuracy")
_BY_LABEL = ("log_loss", "hamming_loss")
_SLOW_VALUES = 40_000_000  # rows × classes × draws that are scored one by one
_LEAST_DRAWS = 30


@dataclass(frozen=True)
class ExpectedChange:
    """What is expected of B against A.

    Attributes:
        metric: Name.
        greater_is_better: Its direction.
        score_a: Expected score of A.
        score_b: Expected score of B.
        gain: Expected change in the metric's good direction: above zero B is better.
        low: Lower end of the gain's 95 % interval.
        high: Upper end.
        p_better: Probability that B scores better; ties count half.
        n_draws: Label sets that were drawn.
    """

    metric: str
    greater_is_better: bool
    score_a: float
    score_b: float
    gain: float
    low: float
    high: float
    p_better: float
    n_draws: int


def expected_change(
    metric: str,
    judges: Sequence[Floats],
    a: NDArray[Any],
    b: NDArray[Any],
    *,
    task: str = "single_label",
    n_draws: int = 4_000,
    seed: int = 0,
) -> ExpectedChange:
    """Score two submissions on labels drawn from calibrated probabilities.

    Args:
        metric: Name or alias.
        judges: One or more (N, C) calibrated probabilities of the labels; draws are shared equally.
        a: (N, C) probabilities; or decisions, where the metric reads only those: (N,) classes, or (N, C) bool.
        b: The same, of the other submission.
        task: ``single_label`` or ``multi_label``.
        n_draws: Label sets to draw; fewer for metrics that have no fast form.
        seed: Of the draws.

    Raises:
        UserError: A metric that needs probabilities where there are only decisions, or is not for this task.
    """
    found = find_metric(metric)
    if task not in found.functions:
        raise UserError(f"metric '{found.name}' is not for {task} tasks")
    if found.takes == "probs":
        for title, output in (("A", a), ("B", b)):
            if output.ndim == 1 or output.dtype == np.bool_:
                raise UserError(f"{found.name} needs probabilities, and {title} holds labels")
    random = np.random.default_rng(seed)
    n_each = -(-n_draws // len(judges))
    draw = _method(found, task)
    scored = [draw(found, task, probs, a, b, n_each, random) for probs in judges]
    scores = np.concatenate(scored, axis=1)  # (2, draws)
    gains = (scores[1] - scores[0]) * (1.0 if found.greater_is_better else -1.0)
    low, high = np.quantile(gains, [0.025, 0.975])
    return ExpectedChange(
        metric=found.name,
        greater_is_better=found.greater_is_better,
        score_a=float(scores[0].mean()),
        score_b=float(scores[1].mean()),
        gain=float(gains.mean()),
        low=float(low),
        high=float(high),
        p_better=float(np.mean(gains > 0) + np.mean(gains == 0) / 2),
        n_draws=len(gains),
    )


def _method(metric: Metric, task: str) -> Any:
    if metric.name in SCORERS[task]:
        return _by_counts if task == "single_label" else _by_label_counts
    if task == "single_label" and metric.name in _BY_CLASS:
        return _by_class_values
    if task == "multi_label" and metric.name in _BY_LABEL:
        return _by_label_values
    return _by_rows


def _by_counts(
    metric: Metric,
    task: str,
    probs: Floats,
    a: NDArray[Any],
    b: NDArray[Any],
    n_draws: int,
    random: np.random.Generator,
) -> Floats:
    """(2, draws) scores: rows with the same pair of decisions are alike but for their probabilities."""
    c = probs.shape[1]
    ours, theirs = (side.argmax(axis=1) if side.ndim == 2 else side for side in (a, b))
    actual, distance = np.zeros((c, n_draws)), np.zeros((2, n_draws))
    hits, predicted = np.zeros((2, c, n_draws)), np.zeros((2, c, n_draws))
    for key, rows in _groups(ours.astype(np.int64) * c + theirs):
        counts = class_counts(probs[rows], n_draws, random).T  # (C, draws)
        actual += counts
        for side, chosen in enumerate(divmod(key, c)):
            hits[side, chosen] += counts[chosen]
            predicted[side, chosen] += len(rows)
            distance[side] += np.square(np.arange(c) - chosen) @ counts
    score = SCORERS[task][metric.name]
    return np.stack([score(Side(hits[i], actual, predicted[i], distance[i])) for i in (0, 1)])


def _by_label_counts(
    metric: Metric,
    task: str,
    probs: Floats,
    a: NDArray[Any],
    b: NDArray[Any],
    n_draws: int,
    random: np.random.Generator,
) -> Floats:
    c = probs.shape[1]
    ours, theirs = (side if side.dtype == np.bool_ else side >= 0.5 for side in (a, b))
    actual, gap = np.zeros((c, n_draws)), np.zeros(n_draws)
    hits, predicted = np.zeros((2, c, n_draws)), np.zeros((2, c, n_draws))
    for k in range(c):
        of_label = np.column_stack([1 - probs[:, k], probs[:, k]])
        for key, rows in _groups(ours[:, k].astype(np.int64) * 2 + theirs[:, k]):
            true = class_counts(of_label[rows], n_draws, random)[:, 1]
            actual[k] += true
            for side, chosen in enumerate(divmod(key, 2)):
                hits[side, k] += true * chosen
                predicted[side, k] += len(rows) * chosen
    score = SCORERS[task][metric.name]
    return np.stack([score(Side(hits[i], actual, predicted[i], gap)) for i in (0, 1)])


def _by_class_values(
    metric: Metric,
    task: str,
    probs: Floats,
    a: NDArray[Any],
    b: NDArray[Any],
    n_draws: int,
    random: np.random.Generator,
) -> Floats:
    """For means over rows: what a row is worth under each possible label. A's score is drawn, then the difference."""
    n, c = probs.shape
    worth = ROW_VALUES[metric.name, task]
    every = np.eye(c, dtype=np.bool_)
    of_a, of_b = (
        np.column_stack([worth(np.broadcast_to(every[k], (n, c)), side.astype(np.float64)) for k in range(c)])
        for side in (a, b)
    )
    return _means(probs, of_a, of_b, n_draws, random)


def _by_label_values(
    metric: Metric,
    task: str,
    probs: Floats,
    a: NDArray[Any],
    b: NDArray[Any],
    n_draws: int,
    random: np.random.Generator,
) -> Floats:
    """Means over rows and labels, each label by itself."""
    worth = ROW_VALUES[metric.name, task]
    on_off = np.column_stack([1 - probs.ravel(), probs.ravel()])
    values = []
    for side in (a, b):
        cells = side.astype(np.float64).reshape(-1, 1)
        values.append(np.column_stack([worth(np.full(cells.shape, on, np.bool_), cells) for on in (False, True)]))
    return _means(on_off, values[0], values[1], n_draws, random)


def _means(probs: Floats, of_a: Floats, of_b: Floats, n_draws: int, random: np.random.Generator) -> Floats:
    n = len(probs)
    differs = (of_a != of_b).any(axis=1)
    base = float((probs * of_a).sum()) / n  # A's own chance is left out: only the difference is asked for
    change = value_sums(probs[differs], of_b[differs] - of_a[differs], n_draws, random) / n
    return np.stack([np.full(n_draws, base), base + change])


def _by_rows(
    metric: Metric,
    task: str,
    probs: Floats,
    a: NDArray[Any],
    b: NDArray[Any],
    n_draws: int,
    random: np.random.Generator,
) -> Floats:
    """Any other metric: whole label sets, scored one by one."""
    n, c = probs.shape
    cumulative = np.cumsum(probs, axis=1)
    sides = [side.astype(np.float64) if side.ndim == 2 else np.eye(c)[side] for side in (a, b)]
    scores = []
    for _ in range(min(n_draws, max(_LEAST_DRAWS, _SLOW_VALUES // (40 * probs.size)))):
        if task == "single_label":
            at = random.random((n, 1)) * cumulative[:, -1:]
            codes: NDArray[np.int64] = np.minimum((cumulative <= at).sum(axis=1), c - 1)
        else:
            codes = (random.random((n, c)) < probs).astype(np.int64)
        try:
            scores.append([evaluate(metric.name, codes, side) for side in sides])
        except UserError:  # no row of a class was drawn: the metric is undefined for those who are so unlucky
            continue
    if not scores:
        raise UserError(f"{metric.name} was undefined for every draw of the labels")
    return np.array(scores).T


def _groups(keys: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Distinct keys with their rows."""
    order = np.argsort(keys, kind="stable")
    distinct, starts = np.unique(keys[order], return_index=True)
    return list(zip(distinct.tolist(), np.split(order, starts[1:]), strict=True))
