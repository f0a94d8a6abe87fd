"""The solver for each kind of metric, behind one function: `solve` gives the weights of the members of a blend.

Metrics of confusion counts go to exact lines, log loss and Brier score to convex solvers, any other to CMA-ES from the
log-loss optimum.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray

from kaggle_tools.metrics import evaluate, find_metric
from kaggle_tools.search import least_squares, logloss
from kaggle_tools.search.blend_lines import Rows
from kaggle_tools.search.blend_search import SAMPLE, Place, climb_from, maximise
from kaggle_tools.search.counts import KINDS, count_form
from kaggle_tools.search.inputs import Problem
from kaggle_tools.search.lines import Floats
from kaggle_tools.search.pools import Family, pooled, terms
from kaggle_tools.search.rescale import bootstrap, centred
from kaggle_tools.search.threads import in_threads

_FARTHEST = 600.0  # of a log-weight
_EVALUATIONS = 300  # of a metric that is neither counts nor convex


@dataclass(frozen=True)
class Options:
    """What is asked of a blend; the fields are those of `blend.fit`, with the deadline as a `time.perf_counter()`."""

    metric: str
    family: Family
    signed: bool
    per_class: bool
    class_weights: bool
    bags: int
    seed: int
    deadline: float


@dataclass(frozen=True)
class Found:
    """A solver's answer.

    Attributes:
        weights: (M, C) float64, zero for models that are no members.
        biases: (C,) log-weights of classes.
        gap: What a convex solver leaves to gain, or its gradient; None for others.
        n_evaluations: Line searches, Newton steps or candidates.
    """

    weights: Floats
    biases: Floats
    gap: float | None
    n_evaluations: int


def solve(problem: Problem, options: Options, members: NDArray[np.intp]) -> Found:
    """The best blend of `members`, the places of some models in the problem's stack."""
    m, c, _ = problem.shape
    part = problem if len(members) == m else Problem(problem.codes, problem.stack[members], problem.weights)
    if options.metric in KINDS:
        found = _by_lines(part, options)
    elif options.metric == "log_loss":
        found = _of_convex(_log_loss(part, options), c)
    elif options.metric in ("brier", "rmse") and options.family == "linear":  # of two classes, rmse is its root
        target = (np.arange(c)[:, None] == part.codes).astype(np.float32).ravel()
        rows = part.stack.reshape(len(members), -1)
        solved = least_squares.solve(target, rows, np.tile(part.weights, c), "simplex")
        found = Found(by_class(solved.weights, c), np.zeros(c), solved.kkt_gap, 1)
    else:
        found = _by_candidates(part, options)
    weights = np.zeros((m, c))
    weights[members] = found.weights
    return Found(weights, found.biases, found.gap, found.n_evaluations)


def by_class(weights: Floats, n_classes: int) -> Floats:
    """(M, C) from (M,) weights, or (M, C) ones as they are."""
    return weights if weights.ndim == 2 else np.repeat(weights[:, None], n_classes, axis=1)


def _by_lines(problem: Problem, options: Options) -> Found:
    rng = np.random.default_rng(options.seed)
    rows = Rows(
        stack=terms(problem, options.family),
        codes=problem.codes,
        weights=problem.weights,
        form=count_form(options.metric, problem.codes, problem.shape[1], problem.weights),
        family=options.family,
        signed=options.signed,
        per_class=options.per_class,
        class_weights=options.class_weights,
    )
    best = maximise(rows, _starts(problem, options, rng), rng, options.deadline)
    if not options.bags:
        return Found(best.weights, best.biases, None, best.n_lines)
    return _bagged(rows, best, options, rng)


def _starts(problem: Problem, options: Options, rng: np.random.Generator) -> list[Place]:
    """The log-loss optimum, equal weights, and each model alone."""
    m, c, n = problem.shape
    sample = problem.take(np.sort(rng.choice(n, SAMPLE, replace=False))) if n > 2 * SAMPLE else problem
    convex = _log_loss(sample, options)
    starts = [Place(by_class(convex.weights, c), convex.biases if options.class_weights else np.zeros(c))]
    for weights in [np.full(m, 1.0 / m), *np.eye(m)][: m + 1 if m > 1 else 1]:
        starts.append(Place(by_class(weights, c), np.zeros(c)))
    return [place for place in starts if np.any(place.weights)]


def _bagged(rows: Rows, best: Place, options: Options, rng: np.random.Generator) -> Found:
    """Mean over bootstraps of where an ascent from the best on all rows ends."""
    seeds = rng.integers(2**63, size=options.bags)

    def fit_bag(number: int) -> Place:
        own = np.random.default_rng(seeds[number])
        drawn = bootstrap(own, rows.weights, SAMPLE)
        kept = np.flatnonzero(drawn)
        return climb_from(rows.take(kept, drawn[kept]), replace(best, n_lines=0), own)

    places = in_threads(fit_bag, range(options.bags))
    # One factor for all exponents and biases changes no argmax, nor does one for all weights of the linear family.
    scales = [np.abs(best.weights).sum() / np.abs(place.weights).sum() for place in places]
    weights = np.mean([place.weights * scale for place, scale in zip(places, scales, strict=True)], axis=0)
    factors = scales if options.family == "log" else np.ones(len(places))
    biases = np.mean([centred(place.biases) * factor for place, factor in zip(places, factors, strict=True)], axis=0)
    return Found(weights, biases, None, best.n_lines + sum(place.n_lines for place in places))


def _log_loss(problem: Problem, options: Options) -> logloss.Convex:
    if options.family == "linear":
        return logloss.linear_pool(problem)
    logs = logloss.logs_of(problem.stack)
    return logloss.log_pool(problem, logs, biases=options.class_weights, signed=options.signed)


def _of_convex(found: logloss.Convex, n_classes: int) -> Found:
    # So far that they decide every row, and their exponentials are numbers.
    biases = np.clip(found.biases, -_FARTHEST, _FARTHEST)
    return Found(by_class(found.weights, n_classes), biases, found.gap, found.n_iterations)


def _by_candidates(problem: Problem, options: Options) -> Found:
    """CMA-ES over the models' weights, from the log-loss optimum, on a sample of many rows."""
    m, c, n = problem.shape
    start = _of_convex(_log_loss(problem, options), c)
    if m == 1:
        return start
    rng = np.random.default_rng(options.seed)
    sample = problem.take(np.sort(rng.choice(n, SAMPLE, replace=False))) if n > SAMPLE else problem
    sign = 1.0 if find_metric(options.metric).greater_is_better else -1.0
    unit = float(np.abs(start.weights).mean())

    def unfold(point: Floats) -> Floats:
        weights = by_class((point if options.signed else np.abs(point)) * unit, c)
        return weights / weights[:, 0].sum() if options.family == "linear" else weights

    def value(weights: Floats) -> float:
        probs = pooled(sample.stack, options.family, weights, np.exp(start.biases))
        return sign * evaluate(options.metric, sample.codes, probs, weights=sample.weights)

    search = CMA(mean=start.weights[:, 0] / unit, sigma=0.2, seed=options.seed)
    best, best_value, n_tried = start.weights, value(start.weights), 0
    while n_tried < _EVALUATIONS and not search.should_stop() and time.perf_counter() < options.deadline:
        points = [search.ask() for _ in range(search.population_size)]
        values = [value(unfold(point)) for point in points]
        search.tell([(point, -own) for point, own in zip(points, values, strict=True)])
        n_tried += len(points)
        if max(values) > best_value:
            best, best_value = unfold(points[int(np.argmax(values))]), max(values)
    return Found(best, start.biases, None, n_tried)
