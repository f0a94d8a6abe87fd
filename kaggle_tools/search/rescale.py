"""Class weights: the w for which argmax_c(w_c p_ic) scores best, found exactly along every line that is tried.

    found = rescale.fit(codes, probs, "macro_f1")
    found.weights, found.score_at_argmax, found.score
    test = found.apply(test_probs)

Coordinate ascent (`class_lines`) from equal weights, random directions, and restarts from perturbed weights; on many
rows first on a sample of them. What is reported is the score of `apply(probs)`, that is of what a recipe would replay.

The best weights of one sample fit its noise too. By default they are therefore averaged (geometric mean) over
bootstraps of the rows (bagging, Breiman 1996), which costs a little on the fitted rows and gains on others; ``bags=0``
is the exact fit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kaggle_tools.metrics import confusion
from kaggle_tools.search.certificate import Certificate, certify
from kaggle_tools.search.class_lines import NEVER, ClassLines
from kaggle_tools.search.counts import CountForm, count_form
from kaggle_tools.search.inputs import Problem, check_problem
from kaggle_tools.search.lines import Floats, Singles
from kaggle_tools.search.pools import predict, replay
from kaggle_tools.search.threads import in_threads

COARSE = 25_000  # rows on which the neighbourhood is found, where there are many more
BAG = 100_000  # rows drawn for a bootstrap, at most
_NEAR = 0.5  # how far from it they may lie on all rows
_SPREAD = 0.5  # of the log-weights where a restart begins
_EFFORT = 4_000_000  # row-classes that restarts and random directions may cost


@dataclass(frozen=True, repr=False)
class Rescale:
    """Class weights and what they give.

    Attributes:
        metric: The metric's name.
        weights: (C,) float64, positive, summing to one.
        score: The metric of `apply` on the fitted rows.
        score_at_argmax: The metric without weights.
        n_evaluations: Exact line searches.
        seconds: Wall time.
        certificate: How far from the best possible the exact fit can be; None where not asked for.
    """

    metric: str
    weights: Floats
    score: float
    score_at_argmax: float
    n_evaluations: int
    seconds: float
    certificate: Certificate | None = None

    def __repr__(self) -> str:
        weights = ", ".join(f"{weight:.4g}" for weight in self.weights)
        certified = f"; no weights exceed {self.certificate.bound:.5f}" if self.certificate else ""
        return (
            f"{self.metric} {self.score:.5f} with class weights {weights}, {self.score_at_argmax:.5f} without"
            f"{certified} ({self.n_evaluations:,} exact line searches, {self.seconds:.2f} s)"
        )

    def apply(self, probs: ArrayLike) -> Singles:
        """(N, C) float32 probabilities, weighted and summing to one again."""
        given = np.asarray(probs, np.float32)[None]
        return replay(given, "linear", np.ones((1, len(self.weights))), self.weights)


def fit(
    codes: ArrayLike,
    probs: ArrayLike,
    metric: str,
    *,
    seed: int = 0,
    bags: int = 20,
    restarts: int | None = None,
    sample_weight: ArrayLike | None = None,
    certify_s: float = 0.0,
    allow_absent: bool = False,
) -> Rescale:
    """Fit class weights to a metric of confusion counts.

    Args:
        codes: (N,) true classes.
        probs: (N, C) probabilities.
        metric: One of `counts.KINDS`.
        seed: Of restarts, random directions and bootstraps.
        bags: Bootstraps to average over; 0 for the exact fit.
        restarts: Perturbed starts; None chooses by the size of the problem.
        sample_weight: (N,) row weights.
        certify_s: Seconds that the certificate of optimality may take, for up to four classes; 0 for none.
        allow_absent: Accept classes without rows; their weight is the (geometric) mean of the others.

    Raises:
        UserError: No count metric, unusable input (`check_problem`), or a certificate that cannot be had.
    """
    began = time.perf_counter()
    problem = check_problem(codes, np.asarray(probs)[None], sample_weight, allow_absent=allow_absent)
    n_classes, n_rows = problem.stack[0].shape
    form = count_form(metric, problem.codes, n_classes, problem.weights)
    logs = _logs_of(problem.without_absent().stack[0])
    rng = np.random.default_rng(seed)
    if restarts is None:
        restarts = min(30, _EFFORT // (n_rows * n_classes * n_classes))
    biases, n_lines = climb(problem, logs, form, rng, restarts)
    certificate = certify(problem.codes, logs, form, problem.weights, biases, certify_s) if certify_s else None
    if bags:
        biases, more = _bag(problem, logs, form, biases, bags, rng)
        n_lines += more
    biases[problem.absent] = biases[~problem.absent].mean()
    weights = np.exp(np.maximum(biases - biases.max(), -600.0))  # none is zero
    weights /= weights.sum()
    ones = np.ones((1, n_classes))

    def score(class_weights: Floats) -> float:
        predicted = predict(problem.stack, "linear", ones, class_weights)
        return form.value(confusion(problem.codes.astype(np.int64), predicted, n_classes, problem.weights))

    fitted, at_argmax = in_threads(score, [weights, ones[0]])
    return Rescale(
        metric=form.name,
        weights=weights,
        score=fitted,
        score_at_argmax=at_argmax,
        n_evaluations=n_lines,
        seconds=time.perf_counter() - began,
        certificate=certificate,
    )


def _logs_of(probs: Singles) -> Singles:
    """Logarithms as `apply` weighs probabilities: without a floor, and nought never wins."""
    logs = np.log(np.maximum(probs, np.finfo(np.float32).tiny))
    logs[probs == 0] = NEVER
    return logs


def climb(
    problem: Problem, logs: Singles, form: CountForm, rng: np.random.Generator, restarts: int
) -> tuple[Floats, int]:
    """The best log-weights that are found, (C,) with mean zero, and the number of lines searched."""
    n_classes, n_rows = logs.shape
    start, n_lines = np.zeros(n_classes), 0
    if n_rows > 2 * COARSE:
        rows = np.sort(rng.choice(n_rows, COARSE, replace=False))
        codes, weights = problem.codes[rows], problem.weights[rows]
        sample_form = count_form(form.name, codes, n_classes, weights)
        sample = ClassLines(np.ascontiguousarray(logs[:, rows]), start, codes, weights, sample_form)
        sample.climb(rng, directions=2)
        start, n_lines = sample.biases, sample.n_lines
    lines = ClassLines(logs, start, problem.codes, problem.weights, form)
    if n_lines:
        lines.climb_near(rng, reach=_NEAR)
        return centred(lines.biases), n_lines + lines.n_lines
    lines.climb_everywhere(rng, directions=n_classes if restarts else 0)
    starts = [lines.biases + _SPREAD * rng.standard_normal(n_classes) for _ in range(restarts)]
    seeds = rng.integers(2**63, size=restarts)

    def from_start(number: int) -> ClassLines:
        other = ClassLines(logs, starts[number], problem.codes, problem.weights, form)
        other.climb_everywhere(np.random.default_rng(seeds[number]), directions=n_classes)
        return other

    ascents = [lines, *in_threads(from_start, range(restarts))]
    best = max(ascents, key=lambda ascent: ascent.value)  # the first of equals
    return centred(best.biases), sum(ascent.n_lines for ascent in ascents)


def _bag(
    problem: Problem, logs: Singles, form: CountForm, start: Floats, bags: int, rng: np.random.Generator
) -> tuple[Floats, int]:
    """Mean over bootstraps of the log-weights, and the lines searched; each ascent begins at those of all rows."""
    seeds = rng.integers(2**63, size=bags)
    n = len(problem.codes)
    of_all = ClassLines(logs, start, problem.codes, problem.weights, form) if n > 2 * COARSE else None

    def fit_bag(number: int) -> tuple[Floats, int]:
        own = np.random.default_rng(seeds[number])
        drawn = bootstrap(own, problem.weights, BAG)
        bag_form = count_form(form.name, problem.codes, len(start), drawn)
        if of_all is None:
            rows = np.flatnonzero(drawn)
            lines = ClassLines(logs.take(rows, axis=1), start, problem.codes[rows], drawn[rows], bag_form)
            lines.climb(own, max_sweeps=5)
        else:
            lines = of_all.near(_NEAR, drawn, bag_form)
            lines.climb(own, window=_NEAR, max_sweeps=5)
        return centred(lines.biases), lines.n_lines

    found = list(in_threads(fit_bag, range(bags)))
    return np.mean([biases for biases, _ in found], axis=0), sum(n_lines for _, n_lines in found)


def bootstrap(rng: np.random.Generator, weights: Floats, size: int) -> Floats:
    """(N,) row weights times how often each row is drawn, of at most `size` draws with replacement."""
    n = len(weights)
    return np.asarray(np.bincount(rng.integers(n, size=min(n, size)), minlength=n) * weights)


def centred(biases: Floats) -> Floats:
    """The same weights up to a factor, logarithms with mean zero."""
    return np.asarray(biases - biases.mean())
