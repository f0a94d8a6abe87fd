"""From starts to the best blend that is found: many short ascents on a sample of rows, few long ones on all.

1. Every start takes one round of exact lines on the sample; the best few go on until lines find nothing more.
2. The one that is best on all rows goes on there.
3. Where parameters are few, CMA-ES from the best and from the first start, for what lines one at a time cannot reach,
   and lines on from there.

On few rows the sample is all of them, and more is tried. The result depends on the seed alone, unless a deadline cuts
it short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kaggle_tools.search.blend_lines import BlendLines, Rows
from kaggle_tools.search.lines import TIE, Floats
from kaggle_tools.search.polish import polish
from kaggle_tools.search.threads import in_threads

SAMPLE = 20_000
_WIDE, _NEAR = 0.25, 0.05  # windows of a line, as a share of all weights
_FINALISTS = 3
_POLISH = 6_000_000_000  # multiplications that the candidates of CMA-ES may cost
_CANDIDATES, _WORTH_WHILE = 2000, 300  # how many at most, and with how few it is no use
_PARAMETERS, _MANY_PARAMETERS = 20, 60  # up to which they are of use, on many rows and on few
_HOPELESS = 0.05  # behind the best after one round
_FEW = 2_000  # rows up to which more is tried
_ENOUGH = 2e-5  # gain of a round over many rows below which more rounds are not worth their time


@dataclass(frozen=True)
class Place:
    """Where an ascent starts or ends.

    Attributes:
        weights: (M, C) float64.
        biases: (C,) log-weights of classes.
        value: The metric there on all rows; minus infinity where it is not known.
        n_lines: Line searches on the way there.
    """

    weights: Floats
    biases: Floats
    value: float = -np.inf
    n_lines: int = 0


def maximise(rows: Rows, starts: Sequence[Place], rng: np.random.Generator, deadline: float = np.inf) -> Place:
    """The best blend that is found from `starts`.

    Args:
        rows: What to fit to.
        starts: At least one.
        rng: Of sample, order and directions.
        deadline: `time.perf_counter()` after which no round begins.
    """
    plan = _Plan(rows, _sample(rows, rng) if len(rows.codes) > 2 * SAMPLE else rows, deadline)
    tops = _tops(plan, starts, rng)
    best = tops[0]
    if plan.sampled:
        # The sample flatters them: which is the best of them all rows know.
        best = max(_from_each(rows, tops, rng, lambda *_: None), key=lambda place: place.value)
        best = _from_each(rows, [replace(best, n_lines=0)], rng, plan.on_all_rows)[0]
    n_lines = sum(top.n_lines for top in tops) + (best.n_lines if plan.sampled else 0)
    for place, spread in _polish_from(plan, best, starts):
        found = _polished(plan, place, spread, rng)
        n_lines += found.n_lines
        best = max(best, found, key=lambda place: place.value)
    return replace(best, n_lines=n_lines)


def climb_from(rows: Rows, start: Place, rng: np.random.Generator) -> Place:
    """One short ascent from a place near the top, for bootstraps."""
    lines = BlendLines(rows, start.weights, start.biases)
    lines.climb(rng, window=_NEAR, directions=0, max_rounds=4, enough=_ENOUGH)
    return _place(lines, start.n_lines)


@dataclass(frozen=True)
class _Plan:
    """How long ascents take, by the number of rows."""

    rows: Rows
    sample: Rows
    deadline: float

    @property
    def sampled(self) -> bool:
        return self.sample is not self.rows

    @property
    def few(self) -> bool:
        return len(self.rows.codes) <= _FEW

    def first_round(self, lines: BlendLines, rng: np.random.Generator) -> None:
        lines.climb(rng, window=_WIDE, directions=0, max_rounds=1, deadline=self.deadline)

    def to_the_top(self, lines: BlendLines, rng: np.random.Generator) -> None:
        n_directions, enough = (2 * len(lines.weights), TIE) if self.few else (4, _ENOUGH)
        for window in (_WIDE, _NEAR):
            lines.climb(rng, window=window, directions=n_directions, enough=enough, deadline=self.deadline)

    def on_all_rows(self, lines: BlendLines, rng: np.random.Generator) -> None:
        lines.climb(rng, window=_NEAR, directions=0, max_rounds=8, enough=_ENOUGH, deadline=self.deadline)


def _tops(plan: _Plan, starts: Sequence[Place], rng: np.random.Generator) -> list[Place]:
    """Where the best few of the starts lead on the sample, highest first."""
    first = _from_each(plan.sample, starts, rng, plan.first_round)
    finalists = sorted(first, key=lambda place: -place.value)[:_FINALISTS]
    hopeful = [place for place in finalists if place.value >= finalists[0].value - _HOPELESS]
    return sorted(_from_each(plan.sample, hopeful, rng, plan.to_the_top), key=lambda place: -place.value)


def _polish_from(plan: _Plan, best: Place, starts: Sequence[Place]) -> list[tuple[Place, float]]:
    """Places and first spreads for CMA-ES; none where parameters are too many for so few candidates."""
    m, c, _ = plan.rows.stack.shape
    n_parameters = m * (c if plan.rows.per_class else 1) + (c - 1 if plan.rows.class_weights else 0)
    if n_parameters > (_MANY_PARAMETERS if plan.few else _PARAMETERS):
        return []
    if plan.few:
        return [(best, 0.2), (best, 0.6), *((start, 0.3) for start in starts[:2])]
    return [(best, 0.3), (starts[0], 0.3)]


def _polished(plan: _Plan, place: Place, spread: float, rng: np.random.Generator) -> Place:
    """CMA-ES from a place, and lines on from its best candidate; on the sample where all rows would cost too much."""
    rows = plan.rows if _POLISH // plan.rows.stack.size >= _WORTH_WHILE else plan.sample
    weights, biases = polish(
        rows,
        place.weights,
        place.biases,
        evaluations=min(_POLISH // rows.stack.size, _CANDIDATES),
        spread=spread,
        seed=int(rng.integers(2**31)),
        thorough=plan.few,
        deadline=plan.deadline,
    )
    ascend = plan.on_all_rows if plan.sampled else plan.to_the_top
    return _from_each(plan.rows, [Place(weights, biases)], rng, ascend)[0]


def _sample(rows: Rows, rng: np.random.Generator) -> Rows:
    """About `SAMPLE` rows that stand for all: rare classes, whose few rows decide most, are drawn more often.

    A row's chance falls with the square root of its class's frequency, and its weight rises as its chance falls.
    """
    frequency = np.bincount(rows.codes, minlength=rows.stack.shape[1])
    chance = 1.0 / np.sqrt(frequency[rows.codes])
    chance = np.minimum(chance * (SAMPLE / chance.sum()), 1.0)
    drawn = np.flatnonzero(rng.random(len(chance)) < chance)
    return rows.take(drawn, rows.weights[drawn] / chance[drawn])


def _from_each(
    rows: Rows,
    places: Sequence[Place],
    rng: np.random.Generator,
    ascend: Callable[[BlendLines, np.random.Generator], None],
) -> list[Place]:
    """`ascend` from every place, each with random numbers of its own, in threads."""
    seeds = rng.integers(2**63, size=len(places))

    def climb(number: int) -> Place:
        lines = BlendLines(rows, places[number].weights, places[number].biases)
        ascend(lines, np.random.default_rng(seeds[number]))
        return _place(lines, places[number].n_lines)

    return in_threads(climb, range(len(places)))


def _place(lines: BlendLines, n_before: int) -> Place:
    return Place(lines.weights, lines.biases, lines.value, n_before + lines.n_lines)
