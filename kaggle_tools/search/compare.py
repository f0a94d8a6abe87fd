"""Is one prediction really better than another on the same rows? The paired bootstrap, as fast as the metric allows.

    compare("macro_f1", codes, ours, theirs)
    # macro_f1 .73120 against .72644: gain +.00476, 95 % within [+.00121, +.00830], P(gain > 0) = .997

- Metrics of counts (F1, accuracy, kappa, …): a multinomial over the distinct outcomes (truth, ours, theirs), exact.
- Means over rows (log loss, Brier, top k, …): the same over row-wise differences; beyond 8,192 rows neighbours in value
  are drawn together, which loses less than a thousandth of the variance. The area under the ROC curve is taken as the
  mean of its placement values (exact up to terms of order 1/N).
- Any other metric: rows are drawn again and all is computed anew, fewer times where there are many rows.

Rows that are not independent, such as those of one author, are drawn together: whole groups (Davison & Hinkley 1997).

Knows nothing of how either prediction came about: that the data had no part in it is up to `honest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from scipy.stats import t as student_t

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Metric, confusion, evaluate, find_metric
from kaggle_tools.search._outcomes import (
    SCORERS,
    mean_cells,
    multi_label_cells,
    side_of,
    single_label_cells,
    value_cells,
)
from kaggle_tools.search._ranked import of_weights
from kaggle_tools.search._resample import bootstrap
from kaggle_tools.search._row_values import ROW_VALUES

Floats = NDArray[np.float64]

# In the slow form: values that are computed anew (rows × classes × bootstraps), and the least bootstraps.
_SLOW_WORK, _LEAST_BOOTSTRAPS = 8_000_000, 100


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two predictions of the same rows.

    Attributes:
        metric: Name.
        ours: Score of the first.
        theirs: Score of the second.
        gain: How much better ours is: above zero is better in either direction of the metric.
        low: Lower end of the 95 % percentile interval of the gain.
        high: Upper end.
        p_gain: Share of bootstraps in which ours is better; ties count half.
        standard_error: Standard deviation of the gain over bootstraps.
        n_rows: Rows compared.
        n_bootstraps: Bootstraps drawn.
        method: ``counts``, ``row means`` or ``rows``.
    """

    metric: str
    ours: float
    theirs: float
    gain: float
    low: float
    high: float
    p_gain: float
    standard_error: float
    n_rows: int
    n_bootstraps: int
    method: str

    def __repr__(self) -> str:
        return (
            f"{self.metric} {self.ours:.5f} against {self.theirs:.5f}: gain {self.gain:+.5f}, "
            f"95 % within [{self.low:+.5f}, {self.high:+.5f}], P(gain > 0) = {self.p_gain:.3f}"
        )


def compare(
    metric: str,
    codes: ArrayLike,
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    n_bootstraps: int = 10_000,
    seed: int = 0,
    spread: float = 1.0,
    groups: ArrayLike | None = None,
) -> Comparison:
    """Score two predictions and bootstrap their difference, row by row in pairs.

    Args:
        metric: Name or alias.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        ours: (N, C) probabilities; or decisions, where the metric reads only those: (N,) classes, or (N, C) bool.
        theirs: The same.
        n_bootstraps: At most so many; at least 1.
        seed: Of the draws.
        spread: How many times as far from the gain the bootstraps lie; above 1 for noise that is not of the rows.
        groups: (N,) groups that are drawn whole; None: rows are drawn.

    Raises:
        UserError: Shapes that do not fit, decisions where the metric needs probabilities, or as `metrics.evaluate`.
    """
    if n_bootstraps < 1:
        raise UserError(f"a bootstrap needs one draw or more, not {n_bootstraps}")
    found, truth = find_metric(metric), np.asarray(codes)
    a, b = np.asarray(ours), np.asarray(theirs)
    task = "single_label" if truth.ndim == 1 else "multi_label"
    score_a, score_b = score_output(found, truth, a), score_output(found, truth, b)
    units = group_codes(groups, len(truth))
    method, gains = _bootstrapped(found, task, truth, a, b, n_bootstraps, seed, units)
    spread *= _few(units)
    sign = 1.0 if found.greater_is_better else -1.0
    gain = (score_a - score_b) * sign
    gains = gain + spread * (gains * sign - gain) if spread != 1 else gains * sign
    low, high = np.quantile(gains, [0.025, 0.975])
    return Comparison(
        metric=found.name,
        ours=score_a,
        theirs=score_b,
        gain=gain,
        low=float(low),
        high=float(high),
        p_gain=float(np.mean(gains > 0) + np.mean(gains == 0) / 2),
        standard_error=float(gains.std()),
        n_rows=len(truth),
        n_bootstraps=len(gains),
        method=method,
    )


def standard_error(
    metric: str,
    codes: ArrayLike,
    output: ArrayLike,
    *,
    n_bootstraps: int = 2_000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> float:
    """Standard deviation of one prediction's score over bootstraps of its rows; arguments and errors as `compare`."""
    found, truth = find_metric(metric), np.asarray(codes)
    task = "single_label" if truth.ndim == 1 else "multi_label"
    units = group_codes(groups, len(truth))
    return float(_bootstrapped(found, task, truth, np.asarray(output), None, n_bootstraps, seed, units)[1].std())


def interval_of_mean(
    values: Floats, *, n_bootstraps: int = 10_000, seed: int = 0, groups: ArrayLike | None = None
) -> tuple[float, float]:
    """95 % percentile interval of the mean of (N,) values, such as what a metric gains on each row."""
    units, mean = group_codes(groups, len(values)), values.mean()
    means = mean + _few(units) * (_means(values, n_bootstraps, seed, units) - mean)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def group_codes(groups: ArrayLike | None, n_rows: int) -> NDArray[np.int64] | None:
    """(N,) groups counted from 0; None where there are none, or one alone, which tells nothing of how groups differ.

    Raises:
        UserError: Another number of rows.
    """
    if groups is None:
        return None
    found = np.asarray(groups)
    if found.shape != (n_rows,):
        raise UserError(f"groups of shape {found.shape} do not fit {n_rows:,} rows")
    distinct, codes = np.unique(found, return_inverse=True)
    return codes.astype(np.int64) if len(distinct) > 1 else None


def _few(groups: NDArray[np.int64] | None) -> float:
    """How much wider an interval is because its spread was told by few groups: Student's t for the normal quantile."""
    if groups is None:
        return 1.0
    n = int(groups.max()) + 1
    return float(student_t.ppf(0.975, n - 1) / norm.ppf(0.975) * np.sqrt(n / (n - 1)))


def score_output(metric: Metric, codes: NDArray[Any], output: NDArray[Any]) -> float:
    """Score of probabilities or of decisions.

    Args:
        metric: The metric.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        output: (N, C) probabilities, (N,) classes, or (N, C) bool.

    Raises:
        UserError: As `compare`.
    """
    n_classes = _n_classes(codes, output)
    if metric.from_confusion is not None and codes.ndim == 1:
        chosen = _decisions(codes, output)
        return metric.from_confusion(confusion(codes.astype(np.int64), chosen, n_classes))
    if metric.takes == "probs" and (output.ndim == 1 or output.dtype == np.bool_):
        raise UserError(f"{metric.name} needs probabilities, these are decisions")
    return evaluate(metric.name, codes, output)


def _n_classes(codes: NDArray[Any], output: NDArray[Any]) -> int:
    if len(output) != len(codes) or output.ndim not in (1, 2) or (codes.ndim == 2 and output.shape != codes.shape):
        raise UserError(f"an output of shape {output.shape} does not fit labels of shape {codes.shape}")
    return int(output.shape[1] if output.ndim == 2 else max(codes.max(initial=0), output.max(initial=0)) + 1)


def _decisions(codes: NDArray[Any], output: NDArray[Any]) -> NDArray[Any]:
    """(N,) int64 classes, or (N, C) bool for multi-label."""
    if codes.ndim == 2:
        return np.asarray(output >= 0.5)
    return np.asarray(output.argmax(axis=1) if output.ndim == 2 else output.astype(np.int64))


def _bootstrapped(
    metric: Metric,
    task: str,
    codes: NDArray[Any],
    a: NDArray[Any],
    b: NDArray[Any] | None,
    n_bootstraps: int,
    seed: int,
    groups: NDArray[np.int64] | None,
) -> tuple[str, Floats]:
    """The method, and (n,) scores of `a` less those of `b`, where there is one, over bootstraps."""
    if metric.name in SCORERS[task]:
        return "counts", _by_counts(metric, task, codes, a, b, n_bootstraps, seed, groups)
    if (metric.name, task) in ROW_VALUES:
        return "row means", _by_row_values(metric, task, codes, a, b, n_bootstraps, seed, groups)
    return "rows", _by_rows(metric, task, codes, a, b, n_bootstraps, seed, groups)


def _by_counts(
    metric: Metric,
    task: str,
    codes: NDArray[Any],
    a: NDArray[Any],
    b: NDArray[Any] | None,
    n_bootstraps: int,
    seed: int,
    groups: NDArray[np.int64] | None,
) -> Floats:
    ours, theirs = _decisions(codes, a), _decisions(codes, a if b is None else b)
    if task == "single_label":
        n_classes = max(_n_classes(codes, a), _n_classes(codes, a if b is None else b))
        cells = single_label_cells(codes.astype(np.int64), ours, theirs, n_classes, groups)
    else:
        n_classes = codes.shape[1]
        cells = multi_label_cells(codes.astype(np.bool_), ours, theirs, groups)
    scorer = SCORERS[task][metric.name]

    def gain(sums: Floats) -> Floats:
        own = np.asarray(scorer(side_of(sums, n_classes, 0)))
        return own if b is None else np.asarray(own - scorer(side_of(sums, n_classes, 1)))

    return bootstrap(cells, gain, n_bootstraps, seed)


def _by_row_values(
    metric: Metric,
    task: str,
    codes: NDArray[Any],
    a: NDArray[Any],
    b: NDArray[Any] | None,
    n_bootstraps: int,
    seed: int,
    groups: NDArray[np.int64] | None,
) -> Floats:
    values_of = ROW_VALUES[metric.name, task]
    truth = _truth(codes, a.shape[1])
    difference = values_of(truth, a.astype(np.float64))
    if b is not None:
        difference = difference - values_of(truth, b.astype(np.float64))
    return _means(difference, n_bootstraps, seed, groups)


def _means(values: Floats, n_bootstraps: int, seed: int, groups: NDArray[np.int64] | None) -> Floats:
    """Bootstrapped means of (N,) values."""
    if groups is None:
        return bootstrap(value_cells(values), lambda sums: sums[0] / len(values), n_bootstraps, seed)
    return bootstrap(mean_cells(values, groups), lambda sums: np.asarray(sums[0] / sums[1]), n_bootstraps, seed)


def _by_rows(
    metric: Metric,
    task: str,
    codes: NDArray[Any],
    a: NDArray[Any],
    b: NDArray[Any] | None,
    n_bootstraps: int,
    seed: int,
    groups: NDArray[np.int64] | None,
) -> Floats:
    sides = (a,) if b is None else (a, b)
    probs = [np.asarray(_probabilities(side, *sides), np.float64) for side in sides]
    units = np.arange(len(codes)) if groups is None else groups
    n = int(units.max()) + 1
    truth = _truth(codes, probs[0].shape[1])
    scorers = [of_weights(metric, task, truth, side) for side in probs]
    random = np.random.default_rng(seed)
    gains = []
    for _ in range(min(n_bootstraps, max(_LEAST_BOOTSTRAPS, _SLOW_WORK // probs[0].size))):
        weights = np.bincount(random.integers(0, n, n), minlength=n).astype(np.float64)[units]
        try:
            scores = [score(weights) for score in scorers]
        except UserError:  # no row of a class was drawn: the metric is undefined, as it would be for those who drew so
            continue
        gains.append(scores[0] - sum(scores[1:]))
    if not gains:
        raise UserError(
            f"{metric.name} was undefined in every bootstrap", found=f"{len(codes):,} rows", next="give more rows"
        )
    return np.array(gains)


def _probabilities(side: NDArray[Any], *all_sides: NDArray[Any]) -> NDArray[Any]:
    """Decisions of single-label rows as certain probabilities, for metrics of labels that have no faster form."""
    if side.ndim == 2:
        return side
    n_classes = max(part.shape[1] if part.ndim == 2 else int(part.max()) + 1 for part in all_sides)
    return np.asarray(np.eye(n_classes)[side])


def _truth(codes: NDArray[Any], n_classes: int) -> NDArray[np.bool_]:
    if codes.ndim == 2:
        return codes.astype(np.bool_)
    return np.asarray(codes[:, None] == np.arange(n_classes))
