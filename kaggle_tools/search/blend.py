"""Blends: the weights of the models, and of the classes, with which a metric is best.

    found = blend.fit(codes, stack, "macro_f1")                    # linear pool on the simplex, with class weights
    found = blend.fit(codes, stack, "log_loss", family="log")      # log-linear pool, exact and convex
    found.weights, found.class_weights, found.score
    test = found.apply(test_stack)                                 # (M, N, C) to (N, C)

Which solver depends on the metric: metrics of confusion counts by exact lines (`blend_search`), log loss as the convex
problem it is (`logloss`), Brier by least squares (`least_squares`), any other by CMA-ES from the log-loss optimum. What
is reported is the score of the classes, or probabilities, that a recipe replays.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import confusion, evaluate, find_metric, metric_for
from kaggle_tools.search.blend_solvers import Found, Options, by_class, solve
from kaggle_tools.search.counts import KINDS, count_form
from kaggle_tools.search.inputs import Problem, check_problem
from kaggle_tools.search.lines import Floats, Singles
from kaggle_tools.search.pools import Family, confusions, pooled, predict, replay
from kaggle_tools.search.rescale import centred
from kaggle_tools.search.threads import in_threads, one_blas_thread

FAMILIES = ("linear", "log")


@dataclass(frozen=True, repr=False)
class Blend:
    """Weights and what they give.

    Attributes:
        family: ``linear`` or ``log``.
        metric: The metric's name.
        weights: (M,) float64 shares (linear) or exponents (log); (M, C) where every class has its own.
        class_weights: (C,) float64, mean of logarithms zero; in the log family the exponentials of the biases.
        score: The metric of the blend on the fitted rows.
        single_scores: (M,) the metric of each model alone, by argmax.
        gap: What a convex solver leaves to gain, or its gradient; None for other metrics.
        n_evaluations: Line searches, Newton steps or candidates.
        seconds: Wall time.
    """

    family: Family
    metric: str
    weights: Floats
    class_weights: Floats
    score: float
    single_scores: tuple[float, ...]
    gap: float | None
    n_evaluations: int
    seconds: float

    def __repr__(self) -> str:
        what = {"linear": "shares", "log": "exponents"}[self.family]
        weights = np.array2string(self.weights, precision=4, separator=", ", suppress_small=True)
        classes = np.array2string(self.class_weights, precision=4, separator=", ")
        gap = "" if self.gap is None else f", {self.gap:.1e} left to gain"
        return (
            f"{self.metric} {self.score:.5f}{gap}, the models alone {', '.join(f'{s:.5f}' for s in self.single_scores)}"
            f"\n{self.family} pool, {what} {weights}, class weights {classes} ({self.seconds:.2f} s)"
        )

    @property
    def kind(self) -> str:
        """The kind of recipe that replays this blend."""
        return {"linear": "linear_pool", "log": "log_pool"}[self.family]

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of that recipe."""
        if self.family == "linear":
            return {"weights": self.weights, "class_weights": self.class_weights}
        return {"exponents": self.weights, "biases": np.log(self.class_weights)}

    def apply(self, stack: ArrayLike) -> Singles:
        """(N, C) float32 probabilities of (M, N, C) ones, as the recipe gives them."""
        probs = np.ascontiguousarray(stack, np.float32)
        return replay(probs, self.family, by_class(self.weights, probs.shape[2]), self.class_weights)


@one_blas_thread
def fit(
    codes: ArrayLike,
    stack: ArrayLike,
    metric: str,
    *,
    family: Family = "linear",
    signed: bool | None = None,
    sparse: int | None = None,
    per_class: bool = False,
    class_weights: bool = True,
    seed: int = 0,
    bags: int = 20,
    time_limit: float | None = None,
    sample_weight: ArrayLike | None = None,
    allow_absent: bool = False,
) -> Blend:
    """Fit a blend.

    Args:
        codes: (N,) true classes.
        stack: (M, N, C) probabilities.
        metric: Any single-label metric.
        family: See `pools`.
        signed: Weights may be negative; None: only in the log family, where that is a correction of what models share.
        sparse: Use this many models at most: from all of them, the one that is missed least is left out each time.
        per_class: A weight for each model and class; metrics of counts only.
        class_weights: Fit class weights, too; in the linear family for metrics of counts only.
        seed: Of everything random.
        bags: Bootstraps to average the weights over, 0 for the exact fit; metrics of counts only, others have no use
            for them.
        time_limit: Seconds after which the search of a count metric begins nothing new. The result then depends on the
            machine.
        sample_weight: (N,) row weights.
        allow_absent: Accept classes without rows; their weights are the means of the others.

    Raises:
        UserError: Unknown metric, family or combination, or unusable input (`check_problem`).
    """
    began = time.perf_counter()
    problem = check_problem(codes, stack, sample_weight, allow_absent=allow_absent)
    name = metric_for(metric, "single_label", problem.shape[1]).name
    signed = family == "log" if signed is None else signed
    _check_options(name, family, signed, sparse, per_class)
    deadline = np.inf if time_limit is None else began + time_limit
    options = Options(name, family, signed, per_class, class_weights, bags, seed, deadline)
    members = np.arange(len(problem.stack))
    fitted = problem.without_absent()
    found = solve(fitted, options, members)
    n_evaluations = found.n_evaluations
    while sparse is not None and len(members) > sparse:
        members = _without_the_least(fitted, options, members, found)
        found = solve(fitted, options, members)
        n_evaluations += found.n_evaluations
    weights, biases = _with_absent(problem.absent, found)
    weighing = np.exp(biases)
    return Blend(
        family=family,
        metric=name,
        weights=weights if per_class else weights[:, 0].copy(),
        class_weights=weighing,
        score=_score(problem, options, weights, weighing),
        single_scores=_single_scores(problem, options),
        gap=found.gap,
        n_evaluations=n_evaluations,
        seconds=time.perf_counter() - began,
    )


def _with_absent(absent: NDArray[np.bool_], found: Found) -> tuple[Floats, Floats]:
    """(M, C) weights and (C,) centred log-weights of classes, those of classes without rows the means of the others."""
    weights, biases = found.weights.copy(), found.biases.copy()
    weights[:, absent] = weights[:, ~absent].mean(axis=1, keepdims=True)
    biases[absent] = biases[~absent].mean()
    return weights, centred(biases)


def _without_the_least(problem: Problem, options: Options, members: NDArray[np.intp], found: Found) -> NDArray[np.intp]:
    """The members but the one without which the blend, its other weights as they are, scores best."""
    metric, values = find_metric(options.metric), []
    for member in members:
        weights = found.weights.copy()
        weights[member] = 0.0
        value = _score(problem, options, weights, np.exp(found.biases)) if np.any(weights) else -np.inf
        values.append(value if metric.greater_is_better else -value)
    return np.delete(members, int(np.argmax(values)))


def _score(problem: Problem, options: Options, weights: Floats, class_weights: Floats) -> float:
    """The metric of what the blend predicts, in float64 as a replay has it."""
    if options.metric not in KINDS:
        probs = pooled(problem.stack, options.family, weights, class_weights)
        return evaluate(options.metric, problem.codes, probs, weights=problem.weights)
    c = problem.shape[1]
    predicted = predict(problem.stack, options.family, weights, class_weights)
    form = count_form(options.metric, problem.codes, c, problem.weights)
    return form.value(confusion(problem.codes.astype(np.int64), predicted, c, problem.weights))


def _single_scores(problem: Problem, options: Options) -> tuple[float, ...]:
    """The metric of each model alone, its probabilities as they are."""
    m, c, _ = problem.shape
    if options.metric not in KINDS:

        def score(probs: Singles) -> float:
            return evaluate(options.metric, problem.codes, probs.T, weights=problem.weights)

        return tuple(in_threads(score, problem.stack))
    alone = np.repeat(np.eye(m)[:, :, None], c, axis=2)
    counts = confusions(problem.stack, alone, np.zeros((m, c)), "linear", problem.codes, problem.weights)
    form = count_form(options.metric, problem.codes, c, problem.weights)
    return tuple(form.value(matrix) for matrix in counts)


def _check_options(metric: str, family: str, signed: bool, sparse: int | None, per_class: bool) -> None:
    if family not in FAMILIES:
        raise UserError(f"unknown family '{family}'", expected=" or ".join(FAMILIES))
    if sparse is not None and sparse < 1:
        raise UserError(f"sparse must be 1 or more, but got {sparse}")
    if metric in KINDS:
        return
    if per_class:
        raise UserError(f"weights per class are not for {metric}", next="stack.fit has coefficients for every class")
    if signed and family == "linear":
        raise UserError(f"signed weights of the linear family are not for {metric}", next="use family='log'")
