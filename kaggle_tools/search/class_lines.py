"""Ascent over class weights, one class at a time, each step exact.

With scores s_ic = log p_ic + b_c (b the log-weights), moving b_c alone by α changes row i only at

    t_i = max_{j≠c} s_ij − s_ic

where the row goes over to c. The two best classes of each row are kept, so that the maximum over the others is at hand:
one class costs O(N) to scan and a sort of the rows that change within the window, one sweep over C classes
O(C·N log N) at worst.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kaggle_tools.compiled import compiled
from kaggle_tools.search.counts import CountForm
from kaggle_tools.search.lines import EMPTY, TIE, Events, Floats, Ints, Line, Singles, best_step, envelopes, pack

WINDOW = 3.0  # of log-weight: most gains are near, and a window spares the sort of rows that are decided
EVERYWHERE = 600.0  # beyond what any two float32 probabilities differ by, and short of `NEVER`
NEVER = np.float32(-1e4)  # logarithm of a probability of zero, which no weight raises
_NEAR_END = 0.9  # of the reach: a climb that comes so far would have gone on
_NEAR_SWEEPS = 4  # of a climb on contested rows; those after it find almost nothing before the reach moves along
_BLOCK = 512  # rows whose state stays in the first-level cache


class ClassLines:
    """Log-weights of the classes on the way up.

    Args:
        logs: (C, N) float32 log-scores; not copied, not changed.
        biases: (C,) float64 log-weights to start from.
        codes: (N,) int32 true classes.
        weights: (N,) float64 row weights.
        form: The metric.
        settled: (C, C) confusion counts of further rows, whose class no step changes.
        reach: How far from its start a log-weight may go.

    Attributes:
        biases: (C,) as they are now.
        value: The metric there.
        n_lines: Line searches so far.
    """

    def __init__(
        self,
        logs: Singles,
        biases: Floats,
        codes: Ints,
        weights: Floats,
        form: CountForm,
        *,
        settled: Floats | None = None,
        reach: float = EVERYWHERE,
    ) -> None:
        self.biases, self.n_lines = biases.copy(), 0
        self._logs, self._codes, self._weights, self._form = logs, codes, weights, form
        n_classes, n = logs.shape
        self._settled = np.zeros((n_classes, n_classes)) if settled is None else settled
        self._lowest, self._highest = biases - reach, biases + reach
        self._classes = np.empty((2, n), np.int32)  # best and second best of each row
        self._scores = np.empty((2, n), np.float32)
        self._confusion = np.empty((n_classes, n_classes))
        self._flipped, self._flips_at = np.empty(n + 1, np.int32), np.empty(n + 1, np.float32)
        self._rank()

    def climb(
        self, rng: np.random.Generator, *, window: float = WINDOW, directions: int = 0, max_sweeps: int = 50
    ) -> None:
        """Sweep, and try random directions, until neither finds a better place."""
        order = np.arange(len(self.biases))
        for _ in range(max_sweeps):
            if not self.sweep(order, window) and not any(self.try_direction(rng) for _ in range(directions)):
                return
            order = rng.permutation(order)

    def climb_everywhere(self, rng: np.random.Generator, *, directions: int) -> None:
        """Climb until no step of one class helps, however long."""
        self.climb(rng, directions=directions)
        while self.sweep(range(len(self.biases)), EVERYWHERE):
            self.climb(rng, directions=directions)

    def climb_near(self, rng: np.random.Generator, *, reach: float, max_rounds: int = 8) -> None:
        """Climb on the contested rows, then sweep over all, until that finds nothing more; for many rows.

        A climb that was stopped by the reach goes on from there first: a sweep costs as much as a climb and finds less.
        """
        for left in reversed(range(max_rounds)):
            near = self.near(reach)
            near.climb(rng, window=reach, max_sweeps=_NEAR_SWEEPS)
            is_stopped = np.abs(near.biases - self.biases).max() > _NEAR_END * reach
            self.biases[:] = near.biases
            self.n_lines += near.n_lines
            self._rank()
            if is_stopped and left:
                continue
            if not self.sweep(rng.permutation(len(self.biases)), WINDOW):
                return

    def sweep(self, order: Iterable[int], window: float) -> bool:
        """One exact step for each class within ±`window`; whether any helped."""
        helped = [self._step(int(c), window) for c in order]
        return any(helped)

    def try_direction(self, rng: np.random.Generator) -> bool:
        """One exact step along a random direction of all log-weights; whether it helped."""
        direction = rng.standard_normal(len(self.biases))
        ones, zeros = np.ones_like(direction), np.zeros_like(direction)
        line = Line(self._logs, self._logs, ones, self.biases, zeros, direction)
        events, confusion = envelopes(line, -WINDOW, WINDOW, self._codes, self._weights)
        value, step, _ = best_step(events, confusion, self._form, -WINDOW, WINDOW)
        self.n_lines += 1
        if value <= self.value + TIE:
            return False
        before, value_before = self.biases.copy(), self.value
        self.biases += step * direction
        self._rank()
        if self.value <= value_before:
            self.biases[:] = before
            self._rank()
        return self.value > value_before

    def near(self, reach: float, weights: Floats | None = None, form: CountForm | None = None) -> ClassLines:
        """The same ascent on the rows that can change while every log-weight stays within `reach` of where it is.

        A row goes over when one class gains on another: twice the reach at most.

        Args:
            reach: Of the new ascent.
            weights: (N,) other row weights, such as those of a bootstrap; rows of weight zero are left out.
            form: The metric for these weights.
        """
        weights, form = self._weights if weights is None else weights, form or self._form
        is_near, counts = self._scores[0] - self._scores[1] <= 2.0 * reach, weights > 0
        away, rows = np.flatnonzero(~is_near & counts), np.flatnonzero(is_near & counts)
        n_classes = len(self.biases)
        cells = self._codes[away] * n_classes + self._classes[0, away]
        settled = np.bincount(cells, weights[away], minlength=n_classes**2).reshape(n_classes, n_classes)
        return ClassLines(
            self._logs.take(rows, axis=1), self.biases, self._codes[rows], weights[rows], form,
            settled=self._settled + settled, reach=reach,
        )  # fmt: skip

    def _step(self, c: int, window: float) -> bool:
        lo = max(-window, min(0.0, self._lowest[c] - self.biases[c]))
        hi = min(window, max(0.0, self._highest[c] - self.biases[c]))
        confusion = self._confusion.copy()
        at, change, mass = _flips(
            self._logs[c], self.biases[c], c, self._classes, self._scores, self._flipped, self._flips_at, self._codes,
            self._weights, lo, hi, confusion,
        )  # fmt: skip
        value, step, _ = best_step(Events(at, change, mass), confusion, self._form, lo, hi)
        self.n_lines += 1
        if value <= self.value + TIE:
            return False
        before = self.value
        self._move(c, step)
        if self.value < before:  # by rounding; there is no gain here after all
            self._move(c, -step)
        return self.value > before

    def _move(self, c: int, step: float) -> None:
        self.biases[c] += step
        _move(self._logs, self.biases, c, self._classes, self._scores, self._codes, self._weights, self._confusion)
        self._confusion[self._confusion < EMPTY] = 0.0
        self.value = self._form.value(self._confusion)

    def _rank(self) -> None:
        self._confusion[:] = self._settled
        _rank(self._logs, self.biases, self._classes, self._scores, self._codes, self._weights, self._confusion)
        self.value = self._form.value(self._confusion)


@compiled
def _rank(
    logs: Singles, biases: Floats, classes: Ints, scores: Singles, codes: Ints, weights: Floats, confusion: Floats
) -> None:
    """Find the two best classes of every row, and count the best into the confusion matrix."""
    n_classes, n_rows = logs.shape
    first, second = np.empty(_BLOCK, np.int32), np.empty(_BLOCK, np.int32)
    top, next_top = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        for r in range(size):
            top[r] = next_top[r] = -np.inf
        for c in range(n_classes):
            column, bias = logs[c, start : start + size], np.float32(biases[c])
            for r in range(size):
                own = column[r] + bias
                is_first, is_second = own > top[r], own > next_top[r]
                second[r] = first[r] if is_first else (c if is_second else second[r])
                next_top[r] = top[r] if is_first else (own if is_second else next_top[r])
                first[r] = c if is_first else first[r]
                top[r] = own if is_first else top[r]
        for r in range(size):
            row = start + r
            classes[0, row], classes[1, row] = first[r], second[r]
            scores[0, row], scores[1, row] = top[r], next_top[r]
            confusion[codes[row], first[r]] += weights[row]


@compiled
def _flips(
    column: Singles,
    bias: float,
    c: int,
    classes: Ints,
    scores: Singles,
    flipped: Ints,
    flips_at: Singles,
    codes: Ints,
    weights: Floats,
    lo: float,
    hi: float,
    confusion: Floats,
) -> tuple[Singles, Ints, Floats]:
    """Events of class c within [lo, hi], which holds 0; `confusion` becomes the one at `lo`.

    (N + 1,) `flipped` and `flips_at` are overwritten. A row of class c has a negative gap: none lies beyond `hi`.
    """
    n_rows = len(column)
    own_bias, low, high = np.float32(bias), np.float32(lo), np.float32(hi)
    first, second, top, next_top = classes[0], classes[1], scores[0], scores[1]
    gaps = np.empty(_BLOCK, np.float32)
    n_events = 0
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        for r in range(size):
            row = start + r
            gaps[r] = (next_top[row] if first[row] == c else top[row]) - (column[row] + own_bias)
        for r in range(size):  # without a branch, which would be mispredicted
            flipped[n_events], flips_at[n_events] = start + r, gaps[r]
            n_events += low <= gaps[r] <= high
    at = np.empty(n_events, np.float32)
    change = np.empty(n_events, np.int32)
    mass = np.empty(n_events, np.float64)
    for event in range(n_events):
        r = flipped[event]
        before = first[r]
        if before == c:  # at the left end it is not yet
            before = second[r]
            confusion[codes[r], c] -= weights[r]
            confusion[codes[r], before] += weights[r]
        at[event], change[event], mass[event] = flips_at[event], pack(codes[r], before, c), weights[r]
    return at, change, mass


@compiled
def _move(
    logs: Singles,
    biases: Floats,
    c: int,
    classes: Ints,
    scores: Singles,
    codes: Ints,
    weights: Floats,
    confusion: Floats,
) -> None:
    """Bring ranks and confusion matrix up to date after the bias of class c changed."""
    n_rows = logs.shape[1]
    bias = np.float32(biases[c])
    for r in range(n_rows):
        own, first = logs[c, r] + bias, classes[0, r]
        if first == c:
            if own > scores[1, r]:
                scores[0, r] = own
                continue
            _rank_row(logs, biases, r, classes, scores)
        elif own > scores[0, r]:
            classes[1, r], scores[1, r] = first, scores[0, r]
            classes[0, r], scores[0, r] = c, own
        elif classes[1, r] == c:
            if own >= scores[1, r]:
                scores[1, r] = own
            else:
                _rank_row(logs, biases, r, classes, scores)
        elif own > scores[1, r]:
            classes[1, r], scores[1, r] = c, own
        if classes[0, r] != first:
            confusion[codes[r], first] -= weights[r]
            confusion[codes[r], classes[0, r]] += weights[r]


@compiled
def _rank_row(logs: Singles, biases: Floats, r: int, classes: Ints, scores: Singles) -> None:
    first, second = 0, 0
    top, next_top = -np.inf, -np.inf
    for c in range(len(biases)):
        own = logs[c, r] + np.float32(biases[c])
        if own > top:
            second, next_top = first, top
            first, top = c, own
        elif own > next_top:
            second, next_top = c, own
    classes[0, r], classes[1, r], scores[0, r], scores[1, r] = first, second, top, next_top
