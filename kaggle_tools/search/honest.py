"""How much of a search's score is real: on the rows it was fitted to, on unseen ones, and against the best model.

    honest = evaluate(fit, stack, codes, "macro_f1", folds=folds)
    honest.fitted, honest.honest      # .7385 on its own rows, .7362 cross-validated
    honest.comparison                 # gain over the best single model, with its 95 % interval
    honest.verdict                    # "the gain is real" … or "prefer the simpler recipe"

    honest = hold_out(fit, stack, codes, "macro_f1", train=some, held_out=others)   # one fit: for many rows

A search is any function `fit(stack, codes, folds)` that returns a function from a stack to probabilities or decisions.
The interval tells the noise of the rows that were scored (of whole groups, where rows have some) and of which model was
best on them, not that of fitting anew to other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import confusion
from kaggle_tools.metrics import evaluate as score
from kaggle_tools.search._best_single import spread_of_choice
from kaggle_tools.search._row_values import NOT_MEANS, ROW_VALUES
from kaggle_tools.search._vote_kernels import most_probable
from kaggle_tools.search.compare import Comparison, compare, group_codes, score_output
from kaggle_tools.search.inputs import Arrays, check_arrays, check_folds

Stack = NDArray[np.float32]
Codes = NDArray[np.int64]

# (M, N, C) to (N, C) probabilities; or, where the metric reads only decisions, to (N,) classes or (N, C) bool.
Apply = Callable[[Stack], NDArray[Any]]
Fit = Callable[[Stack, Codes, Codes], Apply]


# Metrics that read nothing of a class's probabilities but the order in which they put the rows, or, of a correlation,
# how far apart they are in proportion.
_OF_ORDER, _OF_PROPORTION = ("roc_auc", "average_precision", "spearman"), ("pearson",)


@dataclass(frozen=True, repr=False)
class Honest:
    """What a search is worth.

    Attributes:
        metric: Name.
        fitted: Score on the rows it was fitted to.
        honest: Nested cross-validated score: fitted on the other folds, scored on this one, all folds pooled.
        optimism: How much better `fitted` looks than `honest`; above zero is too good, whatever the metric's direction.
        comparison: Cross-validated predictions against those of the best single model, which is chosen on the other
            folds too.
        best_models: (F,) index of the model that was best on each fold's training part.
        n_folds: F.
        folds_from: ``given`` or ``stratified``; ``held out`` where some rows were held out once.
        verdict: One sentence.
        output: Cross-validated probabilities or decisions, one a row; or those of the held-out rows alone. Ranks in
            place of probabilities where the metric reads only their order, distances from their mean for Pearson's r.
        folds: (N,) int64 folds used, or (n,) held-out rows' places.
    """

    metric: str
    fitted: float
    honest: float
    optimism: float
    comparison: Comparison
    best_models: tuple[int, ...]
    n_folds: int
    folds_from: str
    verdict: str
    output: NDArray[Any] = field(compare=False)
    folds: Codes = field(compare=False)

    def __repr__(self) -> str:
        folds = f"{self.n_folds} {self.folds_from} folds"
        return "\n".join(
            [
                f"{self.metric}: fitted {self.fitted:.5f}, honest {self.honest:.5f} ({folds}), "
                f"optimism {self.optimism:+.5f}",
                f"against the best single model: {self.comparison!r}",
                self.verdict,
            ]
        )


def evaluate(
    fit: Fit,
    stack: ArrayLike,
    codes: ArrayLike,
    metric: str,
    *,
    folds: ArrayLike | None = None,
    n_folds: int = 5,
    n_bootstraps: int = 10_000,
    seed: int = 0,
    most_rows: int | None = None,
    groups: ArrayLike | None = None,
) -> Honest:
    """Score a search three ways: fitted, nested cross-validated, and against the best single model.

    Args:
        fit: The search. It is called with the stack (M, n, C) float32, codes (n,) or (n, C) int64 and folds (n,) int64
            of the rows to fit, once with all rows and once without each fold.
        stack: (M, N, C) out-of-fold probabilities of M models.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        metric: Name or alias.
        folds: (N,) the folds that the models themselves were trained in; None makes `n_folds` stratified ones.
        n_folds: How many to make, where none are given.
        n_bootstraps: Of the interval.
        seed: Of the folds and the bootstrap.
        most_rows: Fit to a sample of so many of the other folds' rows; every row is scored all the same.
        groups: (N,) groups of rows that are not independent, which the interval draws whole; None: rows are.

    Raises:
        UserError: Arrays that do not fit together, NaN, missing labels, fewer than two folds, an unknown metric.
    """
    problem = check_arrays(stack, codes, metric)
    n_rows = problem.stack.shape[1]
    if folds is None:
        used, folds_from = stratified_folds(problem.codes, n_folds, seed), "stratified"
    else:
        used, folds_from = check_folds(folds, n_rows), "given"
    found = problem.metric
    fitted = score_output(found, problem.codes, fit(problem.stack, problem.codes, used)(problem.stack))
    output, baseline, best = _cross_validated(fit, problem, used, most_rows, np.random.default_rng(seed))
    units = group_codes(groups, n_rows)
    spread = spread_of_choice(found, problem.codes, problem.stack, output, used, seed=seed, groups=units)
    comparison = compare(
        found.name, problem.codes, output, baseline, n_bootstraps=n_bootstraps, seed=seed, spread=spread, groups=units
    )
    sign = 1.0 if found.greater_is_better else -1.0
    return Honest(
        metric=found.name,
        fitted=fitted,
        honest=comparison.ours,
        optimism=sign * (fitted - comparison.ours),
        comparison=comparison,
        best_models=tuple(best),
        n_folds=len(best),
        folds_from=folds_from,
        verdict=verdict(comparison),
        output=output,
        folds=used,
    )


def hold_out(
    fit: Fit,
    stack: ArrayLike,
    codes: ArrayLike,
    metric: str,
    *,
    train: NDArray[np.intp],
    held_out: NDArray[np.intp],
    folds: NDArray[np.integer],
    n_bootstraps: int = 10_000,
    seed: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> Honest:
    """Score a search on rows that were held out once: one fit instead of one for every fold.

    Args:
        fit: The search, as `evaluate` takes it.
        stack: (M, N, C) out-of-fold probabilities of M models.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        metric: Name or alias.
        train: Places of the rows to fit to.
        held_out: Places of the rows to score on.
        folds: (N,) that the search may use among the rows it is fitted to.
        n_bootstraps: Of the interval.
        seed: Of the bootstrap.
        groups: (N,) as `evaluate` takes them.

    Raises:
        UserError: As `evaluate`.
    """
    problem = check_arrays(stack, codes, metric)
    found, sign = problem.metric, 1.0 if problem.metric.greater_is_better else -1.0
    known, truth = problem.stack.take(train, axis=1), problem.codes[train]
    applied = fit(known, truth, np.asarray(folds[train], np.int64))
    fitted = score_output(found, truth, applied(known))
    best = int(np.argmax(sign * _model_scorer(Arrays(known, truth, found, problem.task))(np.arange(len(train)))))
    unseen = problem.stack.take(held_out, axis=1)
    output = np.asarray(applied(unseen))
    comparison = compare(
        found.name,
        problem.codes[held_out],
        output,
        unseen[best],
        n_bootstraps=n_bootstraps,
        seed=seed,
        groups=None if groups is None else groups[held_out],
    )
    return Honest(
        metric=found.name,
        fitted=fitted,
        honest=comparison.ours,
        optimism=sign * (fitted - comparison.ours),
        comparison=comparison,
        best_models=(best,),
        n_folds=1,
        folds_from="held out",
        verdict=verdict(comparison),
        output=output,
        folds=np.asarray(held_out, np.int64),
    )


def verdict(comparison: Comparison) -> str:
    """What the interval of a gain over something simpler advises."""
    return verdict_of(comparison.low, comparison.high)


def verdict_of(low: float, high: float) -> str:
    """The same of an interval alone."""
    interval = f"[{low:+.5f}, {high:+.5f}]"
    if low > 0:
        return f"the gain is real: its 95 % interval {interval} lies above zero"
    if high < 0:
        return f"it is worse: the 95 % interval {interval} of the gain lies below zero; use the simpler recipe"
    return f"the 95 % interval {interval} of the gain holds zero: prefer the simpler recipe"


def sample_rows(rows: NDArray[np.intp], most: int | None, rng: np.random.Generator) -> NDArray[np.intp]:
    """At most so many of the rows, in their order."""
    return rows if most is None or len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def stratified_folds(codes: Codes, n_folds: int, seed: int) -> Codes:
    """(N,) int64 folds that share every class as evenly as its rows allow; multi-label rows are dealt at random.

    Raises:
        UserError: Fewer than two folds, or fewer rows than folds.
    """
    n_rows = len(codes)
    if not 2 <= n_folds <= n_rows:
        raise UserError(f"{n_rows:,} rows cannot make {n_folds} folds", expected="between 2 and the number of rows")
    shuffled = np.random.default_rng(seed).permutation(n_rows)
    if codes.ndim == 1:
        shuffled = shuffled[np.argsort(codes[shuffled], kind="stable")]
    folds = np.empty(n_rows, np.int64)
    folds[shuffled] = np.arange(n_rows) % n_folds
    return folds


def _cross_validated(
    fit: Fit, problem: Arrays, folds: Codes, most_rows: int | None, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any], list[int]]:
    """Outputs of the search and of the best single model, by fits that did not see the row; the best models.

    Metrics of the order of rows compare those of one fold with those of others, whose fits have scales of their own.
    For them a row's output is its rank among all rows by the same fit, and for correlations on one scale with them.
    """
    score_models = _model_scorer(problem)
    sign = 1.0 if problem.metric.greater_is_better else -1.0
    placed = _placing(problem.metric.name)
    parts, best = [], []
    baseline = np.empty(problem.stack.shape[1:], np.float64 if placed else np.float32)
    order = []
    for fold in np.unique(folds):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        train = sample_rows(train, most_rows, rng)
        applied = fit(np.ascontiguousarray(problem.stack[:, train]), problem.codes[train], folds[train])
        seen = problem.stack if placed else np.ascontiguousarray(problem.stack[:, held_out])
        found = np.asarray(applied(seen))
        if len(found) != seen.shape[1]:
            raise UserError(f"the search gave {len(found):,} rows for {seen.shape[1]:,}")
        parts.append(placed(found)[held_out] if placed else found)
        best.append(int(np.argmax(sign * score_models(train))))
        single = problem.stack[best[-1]]
        baseline[held_out] = (placed(single) if placed else single)[held_out]
        order.append(held_out)
    output = np.concatenate(parts)
    output[np.concatenate(order)] = output.copy()
    return output, baseline, best


def _placing(metric: str) -> Callable[[NDArray[Any]], NDArray[np.float64]] | None:
    """What makes outputs of fits with scales of their own comparable; None where the metric reads the scale, too."""
    if metric in _OF_ORDER:
        return _ranks
    return _standardised if metric in _OF_PROPORTION else None


def _ranks(output: NDArray[Any]) -> NDArray[np.float64]:
    """Mean ranks of each column in (0, 1)."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(output, axis=0) - 0.5) / len(output))


def _standardised(output: NDArray[Any]) -> NDArray[np.float64]:
    """Each column with mean one half and one spread, within (0, 1); one half where it does not vary."""
    centred = output - output.mean(axis=0, dtype=np.float64)
    # No value lies further from the mean than the square root of the sum of squares.
    farthest = 2.0 * np.sqrt(np.square(centred).sum(axis=0))
    return np.asarray(0.5 + np.divide(centred, farthest, out=np.zeros_like(centred), where=np.ptp(output, axis=0) > 0))


def single_scores(stack: ArrayLike, codes: ArrayLike, metric: str) -> list[float]:
    """The score of each model alone: (M, N, C) probabilities to M numbers. Raises as `evaluate`."""
    problem = check_arrays(stack, codes, metric)
    return [float(score) for score in _model_scorer(problem)(np.arange(problem.stack.shape[1]))]


def _model_scorer(problem: Arrays) -> Callable[[Codes], NDArray[np.float64]]:
    """A function from rows to the (M,) scores of the single models there; what rows share is computed once."""
    metric, stack, codes = problem.metric, problem.stack, problem.codes
    if metric.from_confusion is not None and problem.task == "single_label":
        of_matrix, labels = metric.from_confusion, most_probable(stack)
        n_classes = stack.shape[2]
        return lambda rows: np.array([of_matrix(confusion(codes[rows], model[rows], n_classes)) for model in labels])
    values_of = ROW_VALUES.get((metric.name, problem.task))
    if values_of is not None and metric.name not in NOT_MEANS:
        truth = codes.astype(np.bool_) if codes.ndim == 2 else codes[:, None] == np.arange(stack.shape[2])
        values = np.stack([values_of(truth, model.astype(np.float64)) for model in stack])
        return lambda rows: np.asarray(values[:, rows].mean(axis=1))
    return lambda rows: np.array([score(metric.name, codes[rows], model[rows]) for model in stack])
