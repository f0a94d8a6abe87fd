"""Exact line search: the best step along a line on which every class's score of every row is linear.

Along a direction the score of class c in row i is y_ic + α z_ic, so the row's predicted class is the upper envelope of
C lines and changes only where two of them cross (Och 2003, "Minimum Error Rate Training in Statistical Machine
Translation"). Collect the crossings of all rows, sort them once, walk them from left to right, update the counts of the
two classes concerned at each, and the metric is known in every interval: the best of them is the exact optimum on the
line.

    events, confusion = envelopes(line, lo, hi, codes, weights)      # the crossings, and the confusion matrix at lo
    value, step, width = best_step(events, confusion, form, lo, hi)

Steps lie in the middle of an interval between two crossings at least `RESOLUTION` apart; of equal values the widest
interval wins, then the smallest step. Scores and crossings are float32: the probabilities themselves carry no more, and
a margin of `RESOLUTION` is several times their rounding, so that a replay in float64 predicts the same classes. Counts
are float64, exact for whole weights below 2⁵³.

Knows nothing of blends and class weights: they differ in what base and direction they hand in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled
from kaggle_tools.search.counts import F1, KAPPA, LINEAR, MCC, PRECISION, CountForm
from kaggle_tools.search.threads import in_threads

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

RESOLUTION = 1e-6
MARGIN = 1.0  # how far beyond the outermost crossing a step may go: farther changes nothing
EMPTY = 1e-9  # below, nothing is left of a count but the rounding of weights that are not whole
TIE = 1e-12  # values nearer than this differ by rounding of sums only
_TWO_THREADS = 1_000_000  # values of `base` from which two threads are faster than one
_BLOCK = 512  # rows whose state stays in the first-level cache
_BITS = 10  # of a class in a packed event
MAX_CLASSES = 1 << _BITS


@dataclass(frozen=True)
class Line:
    """Scores along a line: ``scale_c base_ci + offset_c + α (slope_c toward_ci + tilt_c)``.

    Attributes:
        base: (C, N) float32.
        toward: (C, N) float32.
        scale: (C,) float64.
        offset: (C,) float64.
        slope: (C,) float64; 0 for classes whose scores stay.
        tilt: (C,) float64.
    """

    base: Singles
    toward: Singles
    scale: Floats
    offset: Floats
    slope: Floats
    tilt: Floats


@dataclass(frozen=True)
class Events:
    """E crossings in any order.

    Attributes:
        at: (E,) float32 step at which a row changes its class.
        change: (E,) int32: true class, class before and class after, `_BITS` bits each.
        mass: (E,) float64 weight of the row.
    """

    at: Singles
    change: Ints
    mass: Floats

    def first(self, n: int) -> Events:
        """The first `n` of them."""
        return Events(self.at[:n], self.change[:n], self.mass[:n])

    def and_those_of(self, other: Events) -> Events:
        """These, then the others."""
        return Events(
            np.concatenate([self.at, other.at]),
            np.concatenate([self.change, other.change]),
            np.concatenate([self.mass, other.mass]),
        )


def best_step(
    events: Events, confusion: Floats, form: CountForm, lo: float, hi: float, resolution: float = RESOLUTION
) -> tuple[float, float, float]:
    """The best step within [lo, hi].

    Args:
        events: The crossings there.
        confusion: (C, C) at `lo`.
        form: The metric.
        lo: Left end.
        hi: Right end.
        resolution: Narrower intervals do not count.

    Returns:
        Value of the metric, step, width of its interval; minus infinity and 0 where every interval is too narrow.
    """
    if not len(events.at):
        return form.value(confusion), 0.0, hi - lo
    keys = sort_keys(events.at)
    keys.sort()
    found: tuple[float, float, float] = _walk(
        keys, events.at, events.change, events.mass, confusion, form.kind, form.unit, form.averaged,
        form.penalty, form.chance, lo, hi, resolution,
    )  # fmt: skip
    return found


def sort_keys(at: Singles) -> NDArray[np.int64]:
    """(E,) int64 whose order is that of `at`, equal ones by place, with the place in the low half.

    One array of whole numbers sorts several times faster than places by their values, and the same everywhere.
    """
    bits = at.view(np.int32)
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    return np.asarray((ordered << 32) | np.arange(len(at), dtype=np.int64))


def envelopes(line: Line, lo: float, hi: float, codes: Ints, weights: Floats) -> tuple[Events, Floats]:
    """The crossings of all rows within a window.

    Args:
        line: The scores.
        lo: Left end of the window, finite.
        hi: Right end.
        codes: (N,) int32 true classes.
        weights: (N,) float64.

    Returns:
        The events, and the (C, C) confusion matrix at `lo`.
    """
    shape = np.stack([line.scale, line.offset, line.slope, line.tilt])
    n_classes, n_rows = line.base.shape

    def of_rows(ends: tuple[int, int]) -> tuple[Events, Floats]:
        room, n_events = ends[1] - ends[0] + n_classes, -1
        while n_events < 0:
            events = Events(np.empty(room, np.float32), np.empty(room, np.int32), np.empty(room))
            confusion = np.zeros((n_classes, n_classes))
            n_events = _envelopes(
                line.base, line.toward, shape, float(lo), float(hi), codes, weights, *ends,
                events.at, events.change, events.mass, confusion,
            )  # fmt: skip
            room *= 4
        return events.first(n_events), confusion

    if line.base.size <= _TWO_THREADS:
        return of_rows((0, n_rows))
    (events, confusion), (others, more) = in_threads(of_rows, [(0, n_rows // 2), (n_rows // 2, n_rows)])
    return events.and_those_of(others), confusion + more


@compiled
def pack(truth: int, before: int, after: int) -> int:
    """An event's three classes as one number."""
    return (truth << (2 * _BITS)) | (before << _BITS) | after


@compiled
def _envelopes(
    base: Singles,
    toward: Singles,
    shape: Floats,
    lo: float,
    hi: float,
    codes: Ints,
    weights: Floats,
    begin: int,
    end: int,
    at: Singles,
    change: Ints,
    mass: Floats,
    confusion: Floats,
) -> int:
    """Rows in blocks: the classes at both ends by vector instructions, then the rows whose classes differ one by one.

    The envelope is convex: a row with the same class at both ends has it all the way. Returns the number of events, or
    -1 where they are more than there is room for.
    """
    scale, offset, slope, tilt = shape
    n_classes, n_events = len(base), 0
    at_lo, at_hi = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    class_lo, class_hi = np.empty(_BLOCK, np.int32), np.empty(_BLOCK, np.int32)
    height, rise = np.empty(n_classes), np.empty(n_classes)
    pairs = np.empty((n_classes + 2, 2), np.int32)
    for start in range(begin, end, _BLOCK):
        size = min(_BLOCK, end - start)
        for r in range(size):
            at_lo[r] = at_hi[r] = -np.inf
        for c in range(n_classes):
            here, there = base[c, start : start + size], toward[c, start : start + size]
            factor = np.float32(scale[c])
            slope_lo, slope_hi = np.float32(lo * slope[c]), np.float32(hi * slope[c])
            add_lo, add_hi = np.float32(offset[c] + lo * tilt[c]), np.float32(offset[c] + hi * tilt[c])
            for r in range(size):
                scaled = factor * here[r]
                value = scaled + slope_lo * there[r] + add_lo
                above = value > at_lo[r]
                at_lo[r] = value if above else at_lo[r]
                class_lo[r] = c if above else class_lo[r]
                value = scaled + slope_hi * there[r] + add_hi
                above = value > at_hi[r]
                at_hi[r] = value if above else at_hi[r]
                class_hi[r] = c if above else class_hi[r]
        for r in range(size):
            row = start + r
            confusion[codes[row], class_lo[r]] += weights[row]
            if class_lo[r] == class_hi[r]:
                continue
            if n_events + n_classes > len(at):
                return -1
            for c in range(n_classes):
                height[c] = scale[c] * base[c, row] + offset[c]
                rise[c] = slope[c] * toward[c, row] + tilt[c]
            first = n_events
            n_events = _cross(height, rise, class_lo[r], class_hi[r], lo, hi, codes[row], pairs, at, change, first)
            for event in range(first, n_events):
                mass[event] = weights[row]
    return n_events


@compiled
def _cross(
    height: Floats,
    rise: Floats,
    first: int,
    last: int,
    lo: float,
    hi: float,
    truth: int,
    pairs: Ints,
    at: Singles,
    change: Ints,
    n_events: int,
) -> int:
    """Write one row's crossings between its classes at the two ends, return the new number of events.

    Where two lines of the envelope cross, either they are neighbours or a third one is above: then it comes between
    (quickhull, in the dual).
    """
    pairs[0, 0], pairs[0, 1], n_pairs = first, last, 1
    while n_pairs:
        n_pairs -= 1
        left, right = pairs[n_pairs, 0], pairs[n_pairs, 1]
        if rise[right] <= rise[left]:
            continue
        step = (height[left] - height[right]) / (rise[right] - rise[left])
        top, highest = -1, height[left] + step * rise[left]
        highest += 1e-12 * (1.0 + abs(highest))
        for c in range(len(height)):
            value = height[c] + step * rise[c]
            if value > highest and rise[left] < rise[c] < rise[right]:
                top, highest = c, value
        if top >= 0:
            pairs[n_pairs, 0], pairs[n_pairs, 1] = top, right
            pairs[n_pairs + 1, 0], pairs[n_pairs + 1, 1] = left, top
            n_pairs += 2
        else:
            at[n_events] = min(max(step, lo), hi)
            change[n_events] = pack(truth, left, right)
            n_events += 1
    return n_events


@compiled
def _walk(
    keys: NDArray[np.int64],
    at: Singles,
    change: Ints,
    mass: Floats,
    confusion: Floats,
    kind: int,
    unit: Floats,
    averaged: bool,
    penalty: Floats,
    chance: Floats,
    lo: float,
    hi: float,
    resolution: float,
) -> tuple[float, float, float]:
    """From interval to interval, left to right: (best value, middle of its interval, width)."""
    n_classes, mask, last = len(unit), (1 << _BITS) - 1, len(keys)
    hits, predicted, actual = np.zeros(n_classes), np.zeros(n_classes), np.zeros(n_classes)
    observed = 0.0
    for y in range(n_classes):
        for k in range(n_classes):
            if confusion[y, k] < EMPTY:
                confusion[y, k] = 0.0
            actual[y] += confusion[y, k]
            predicted[k] += confusion[y, k]
            observed += penalty[y, k] * confusion[y, k]
        hits[y] = confusion[y, y]
    terms, present = np.empty(n_classes), 0
    total, weight, all_hits, expected = 0.0, 0.0, 0.0, 0.0
    crossed, squared, truth_squared = 0.0, 0.0, 0.0
    for k in range(n_classes):
        terms[k] = _term(kind, unit[k], hits[k], predicted[k], actual[k])
        present += actual[k] + predicted[k] > 0
        total += terms[k]
        weight += actual[k]
        all_hits += hits[k]
        expected += chance[k] * predicted[k]
        crossed += actual[k] * predicted[k]
        squared += predicted[k] * predicted[k]
        truth_squared += actual[k] * actual[k]
    truth_variance = weight * weight - truth_squared
    best, best_at, best_width = -np.inf, 0.0, 0.0
    left = max(lo, at[keys[0] & 0xFFFFFFFF] - MARGIN)
    hi = min(hi, at[keys[last - 1] & 0xFFFFFFFF] + MARGIN)
    for place in range(last + 1):
        event = keys[min(place, last - 1)] & 0xFFFFFFFF
        right = hi if place == last else np.float64(at[event])
        width = right - left
        if width > resolution:
            if kind <= PRECISION:
                value = total / present if averaged else total
            elif kind == MCC:
                variance = truth_variance * (weight * weight - squared)
                value = (weight * all_hits - crossed) / np.sqrt(variance) if variance > 0 else 0.0
            else:
                value = 1.0 - observed / expected if expected > 0 else 0.0
            if value > best - TIE:
                middle = 0.5 * (left + right)
                wider = width > best_width or (width == best_width and abs(middle) < abs(best_at))
                if value > best + TIE or wider:
                    best, best_at, best_width = value, middle, width
        if place == last:
            break
        left, moved = right, mass[event]
        if moved == 0.0:  # a row without weight does not make its class present
            continue
        y, before, after = change[event] >> (2 * _BITS), (change[event] >> _BITS) & mask, change[event] & mask
        was_right, is_right = moved if y == before else 0.0, moved if y == after else 0.0
        if kind == MCC:
            crossed += moved * (actual[after] - actual[before])
            squared += 2.0 * moved * (predicted[after] - predicted[before] + moved)
            all_hits += is_right - was_right
        elif kind == KAPPA:
            observed += moved * (penalty[y, after] - penalty[y, before])
            expected += moved * (chance[after] - chance[before])
        hits[before] -= was_right
        hits[after] += is_right
        present += actual[after] + predicted[after] == 0
        predicted[before] -= moved
        predicted[after] += moved
        if predicted[before] < EMPTY:
            predicted[before] = 0.0
            present -= actual[before] == 0
        if kind <= PRECISION:
            fewer = _term(kind, unit[before], hits[before], predicted[before], actual[before])
            more = _term(kind, unit[after], hits[after], predicted[after], actual[after])
            total += (fewer - terms[before]) + (more - terms[after])
            terms[before], terms[after] = fewer, more
    return best, best_at, best_width


@compiled
def _term(kind: int, unit: float, hits: float, predicted: float, actual: float) -> float:
    """What one class adds to a metric that is a sum over classes."""
    if kind == LINEAR:
        return unit * hits
    whole = 0.5 * (actual + predicted) if kind == F1 else predicted
    return unit * hits / whole if whole > 0 else 0.0
