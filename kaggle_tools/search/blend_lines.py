"""Ascent over the weights of a blend and the class weights together, each step exact along its line.

The scores of a blend are linear in each model's weight (`pools`), so a model's line, a single class of it, and any
random direction over models (and, in the log family, over class biases at once) are lines of `lines.envelopes`; the
class weights themselves have faster lines (`class_lines`). Rounds go over all of them until a whole round gains
nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.search.class_lines import ClassLines
from kaggle_tools.search.counts import CountForm, count_form
from kaggle_tools.search.lines import TIE, Floats, Ints, Line, Singles, best_step, envelopes
from kaggle_tools.search.pools import Family, confusions, mix

_OF_CLASSES = 12.0  # log-weight of a class that is looked at for a window over all weights of models
_MODELS = 3  # that a random direction moves: more cost more, and gain no more
_FARTHEST = 50.0  # that a bias may be from their mean: it decides every row, and its exponential is a number
_TINY = np.float32(1e-30)  # stands for scores that are not positive, where a logarithm is taken


@dataclass(frozen=True)
class Rows:
    """What a blend is fitted to.

    Attributes:
        stack: (M, C, N) float32 terms (`pools.terms`).
        codes: (N,) int32.
        weights: (N,) float64.
        form: The metric.
        family: Of the terms.
        signed: Weights may be negative.
        per_class: Every class has its own weight of a model.
        class_weights: Class weights are fitted, too.
    """

    stack: Singles
    codes: Ints
    weights: Floats
    form: CountForm
    family: Family
    signed: bool
    per_class: bool
    class_weights: bool

    def take(self, rows: NDArray[np.intp], weights: Floats | None = None) -> Rows:
        """Some of the rows, with other weights if given."""
        codes, kept = self.codes[rows], self.weights[rows] if weights is None else weights
        form = count_form(self.form.name, codes, self.stack.shape[1], kept)
        return replace(self, stack=self.stack.take(rows, axis=2), codes=codes, weights=kept, form=form)


class BlendLines:
    """Weights on the way up.

    Args:
        rows: What to fit to.
        weights: (M, C) float64 start.
        biases: (C,) log-weights of the classes to start from.

    Attributes:
        weights: (M, C) as they are now.
        biases: (C,) likewise.
        value: The metric there.
        n_lines: Line searches so far.
    """

    def __init__(self, rows: Rows, weights: Floats, biases: Floats) -> None:
        self._rows, self.weights, self.biases, self.n_lines = rows, weights.copy(), biases.copy(), 0
        self._base: Singles
        self.value: float
        self._refresh()

    def climb(
        self,
        rng: np.random.Generator,
        *,
        window: float,
        directions: int,
        max_rounds: int = 30,
        enough: float = TIE,
        deadline: float = np.inf,
    ) -> None:
        """Rounds until one gains nothing to speak of.

        Args:
            rng: For the order of models, and for directions.
            window: How far a step may go, as a share of all weights.
            directions: Random directions a round.
            max_rounds: Stop after so many.
            enough: Gain of a round at which to stop.
            deadline: `time.perf_counter()` after which no round begins.
        """
        for _ in range(max_rounds):
            before = self.value
            if time.perf_counter() > deadline:
                return
            self.climb_once(rng, window=window, directions=directions)
            if self.value <= before + enough:
                return

    def climb_once(self, rng: np.random.Generator, *, window: float, directions: int) -> None:
        """One round: class weights, every model, random directions."""
        if self._rows.class_weights:
            self._climb_class_weights(rng, _OF_CLASSES * window)
        n_classes = len(self.biases)
        for m in rng.permutation(len(self.weights)):
            self._try_model(m, np.ones(n_classes), window)
            if self._rows.per_class:
                for c in range(n_classes):
                    self._try_model(m, (np.arange(n_classes) == c).astype(np.float64), window)
        for _ in range(directions):
            self._try_direction(rng, window)
        self._refresh()

    def _try_model(self, m: int, moved: Floats, window: float) -> None:
        """One model's weight, of the classes `moved`."""
        size = window * self._size()
        lo = -size if self._rows.signed else max(-size, -float(self.weights[m, moved > 0].min()))
        direction = np.zeros_like(self.weights)
        direction[m] = moved
        self._try(self._rows.stack[m], moved, direction, np.zeros_like(self.biases), lo, size)

    def _try_direction(self, rng: np.random.Generator, window: float) -> None:
        """Random changes of a few weights, and in the log family of the biases."""
        direction = np.zeros_like(self.weights)
        some = rng.permutation(len(direction))[:_MODELS]
        direction[some] = rng.standard_normal((len(some), direction.shape[1] if self._rows.per_class else 1))
        size = window * self._size()
        joint = self._rows.family == "log" and self._rows.class_weights
        # A bias moves a score like a weight moves it through a logarithm of a few units.
        tilt = 2.0 * rng.standard_normal(len(self.biases)) * joint
        lo, hi = -size, size
        if not self._rows.signed:
            down, up = direction < 0, direction > 0
            hi = min(hi, float(np.min(self.weights[down] / -direction[down], initial=np.inf)))
            lo = max(lo, -float(np.min(self.weights[up] / direction[up], initial=np.inf)))
        self._try(mix(self._rows.stack, direction), np.ones_like(self.biases), direction, tilt, lo, hi)

    def _try(self, toward: Singles, moved: Floats, direction: Floats, tilt: Floats, lo: float, hi: float) -> None:
        """The exact best step from lo to hi; taken where the metric, counted afresh, is higher."""
        rows, ones, zeros = self._rows, np.ones_like(self.biases), np.zeros_like(self.biases)
        if hi <= lo:
            return
        if rows.family == "linear":
            scale, offset = np.exp(self.biases), zeros
        else:
            scale, offset = ones, self.biases
        line = Line(self._base, toward, scale, offset, scale * moved, tilt)
        events, confusion = envelopes(line, lo, hi, rows.codes, rows.weights)
        value, step, _ = best_step(events, confusion, rows.form, lo, hi)
        self.n_lines += 1
        if value <= self.value + TIE:
            return
        base = self._base + np.float32(step) * toward * moved.astype(np.float32)[:, None]
        biases = self.biases + step * tilt
        reached = self._count(base, biases)
        if reached > self.value:
            self.weights, self.biases, self._base, self.value = self.weights + step * direction, biases, base, reached
            if not rows.signed:
                np.maximum(self.weights, 0.0, out=self.weights)

    def _climb_class_weights(self, rng: np.random.Generator, window: float) -> None:
        rows = self._rows
        logs = self._base if rows.family == "log" else np.log(np.maximum(self._base, _TINY))
        lines = ClassLines(logs, self.biases, rows.codes, rows.weights, rows.form)
        lines.sweep(rng.permutation(len(self.biases)), window)
        self.n_lines += lines.n_lines
        reached = self._count(self._base, lines.biases)
        if reached > self.value:
            self.biases, self.value = lines.biases, reached

    def _count(self, base: Singles, biases: Floats) -> float:
        rows = self._rows
        ones = np.ones((1, 1, len(biases)))
        confusion = confusions(base[None], ones, biases[None], rows.family, rows.codes, rows.weights)
        return rows.form.value(confusion[0])

    def _size(self) -> float:
        """Of all weights together, an average over classes."""
        return float(np.abs(self.weights).sum() / self.weights.shape[1])

    def _refresh(self) -> None:
        """Sums anew, so that rounding does not add up; only ratios of weights and of class weights matter to argmax."""
        self.biases -= self.biases.mean()
        if self._rows.family == "linear":
            self.weights /= self._size()
            np.clip(self.biases, -_FARTHEST, _FARTHEST, out=self.biases)
        else:
            shrink = _FARTHEST / max(_FARTHEST, float(np.abs(self.biases).max()))
            self.weights *= shrink
            self.biases *= shrink
        self._base = mix(self._rows.stack, self.weights)
        self.value = self._count(self._base, self.biases)
