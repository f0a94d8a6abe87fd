"""How far from the best possible class weights can a fit be? A bound that holds everywhere, by branch and bound.

Log-weights b with b_0 = 0 live in C − 1 dimensions. In a box of them, row i can be predicted as class k only if log
p_ik + hi_k ≥ max_{j≠k} (log p_ij + lo_j), and is k for sure if log p_ik + lo_k > max_{j≠k} (log p_ij + hi_j). With h⁺_k
the rows of class k that can be predicted as k and f⁻_k the rows of other classes that surely are, no weights in the box
give more than

    F1  2 h⁺_k / (t_k + h⁺_k + f⁻_k)        precision  h⁺_k / (h⁺_k + f⁻_k)        linear forms  u_k h⁺_k

for class k (all three grow with hits and fall with false alarms). Boxes are halved, the most promising first (Land &
Doig 1960), until the largest bound left is near the best value seen. Rows that are decided in a box are decided in its
halves: only their counts go on.
"""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled
from kaggle_tools.errors import UserError
from kaggle_tools.search.class_lines import NEVER
from kaggle_tools.search.counts import F1, LINEAR, PRECISION, CountForm
from kaggle_tools.search.lines import Floats, Ints, Singles

MAX_CLASSES = 4
GOOD_ENOUGH = 1e-4
_FEW = 3  # open rows of a box whose ways to go are all looked at


@dataclass(frozen=True)
class Certificate:
    """No class weights score above `bound` on the fitted rows.

    Attributes:
        value: Score of the exact fit.
        bound: Upper bound over all weights.
        gap: `bound` minus `value`.
        n_boxes: Boxes looked into.
        seconds: Wall time.
    """

    value: float
    bound: float
    gap: float
    n_boxes: int
    seconds: float


def certify(
    codes: Ints, logs: Singles, form: CountForm, weights: Floats, biases: Floats, time_limit: float
) -> Certificate:
    """Bound the metric over all class weights.

    Args:
        codes: (N,) int32.
        logs: (C, N) float32 log-probabilities, `NEVER` for those of zero.
        form: A metric that is a sum over classes.
        weights: (N,) float64.
        biases: (C,) log-weights of the fit.
        time_limit: Seconds; then the bound reached so far is returned.

    Raises:
        UserError: More than four classes, or a metric without such a bound.
    """
    n_classes = len(biases)
    if n_classes > MAX_CLASSES:
        raise UserError(f"a certificate is for up to {MAX_CLASSES} classes, these are {n_classes}")
    if form.kind not in (LINEAR, F1, PRECISION):
        raise UserError(f"no certificate for {form.name}", next="it is for F1, accuracy, recall and precision")
    began = time.perf_counter()
    search = _Search(codes, np.ascontiguousarray(logs.T, np.float64), form, weights)
    value = search.value(biases)
    # A gap between two log-weights beyond the largest log-ratio of any row decides every row: no need to go farther.
    highest = logs.max(axis=0)
    lowest = np.where(logs > NEVER, logs, highest).min(axis=0)
    reach = float((highest - lowest).max()) * (n_classes - 1) + 1.0
    side = np.full(n_classes - 1, reach)
    rows = np.arange(len(codes), dtype=np.int32)
    order = itertools.count()
    boxes = [(-np.inf, next(order), -side, side, rows, np.zeros((2, n_classes)))]
    while boxes and -boxes[0][0] - value > GOOD_ENOUGH and time.perf_counter() - began < time_limit:
        _, _, lo, hi, rows, decided = heapq.heappop(boxes)
        axis = int(np.argmax(hi - lo))
        middle = 0.5 * (lo[axis] + hi[axis])
        for left in (True, False):
            new_lo, new_hi = lo.copy(), hi.copy()
            (new_hi if left else new_lo)[axis] = middle
            bound, open_rows, sure = search.bound(new_lo, new_hi, rows, decided)
            if bound > value:
                heapq.heappush(boxes, (-bound, next(order), new_lo, new_hi, open_rows, sure))
    bound = max(value, -boxes[0][0]) if boxes else value
    return Certificate(value, bound, bound - value, next(order), time.perf_counter() - began)


class _Search:
    """What stays the same from box to box."""

    def __init__(self, codes: Ints, logs: Floats, form: CountForm, weights: Floats) -> None:
        self.codes, self.logs, self.form, self.weights = codes, logs, form, weights
        self.actual = np.bincount(codes, weights, minlength=logs.shape[1])

    def value(self, biases: Floats) -> float:
        n_classes = len(biases)
        cells = self.codes * n_classes + (self.logs + biases).argmax(axis=1)
        return self.form.value(np.bincount(cells, self.weights, minlength=n_classes**2).reshape(n_classes, -1))

    def bound(
        self, lo: Floats, hi: Floats, rows: NDArray[np.int32], decided: Floats
    ) -> tuple[float, NDArray[np.int32], Floats]:
        """Upper bound in a box, the rows still open there, and the (2, C) counts of those that are not."""
        sure, possible = decided.copy(), np.zeros((2, len(lo) + 1))
        open_rows = np.empty(len(rows), np.int32)
        low, high = np.append(0.0, lo), np.append(0.0, hi)
        n_open = _decide(self.logs, self.codes, self.weights, low, high, rows, sure, possible, open_rows)
        kept = open_rows[:n_open].copy()
        if 0 < n_open <= _FEW:
            return self._best_of_few(kept, low, high, sure), kept, sure
        return float(self._ceiling(*(sure + possible))), kept, sure

    def _best_of_few(self, rows: NDArray[np.int32], lo: Floats, hi: Floats, sure: Floats) -> float:
        """The best of all ways in which a few open rows can go, instead of the best for each class by itself.

        Without it, boxes on the border between two classes that are both wrong would be halved for ever.
        """
        scores = self.logs[rows]
        options = [np.flatnonzero(row) for row in scores + hi >= (scores + lo).max(axis=1, keepdims=True)]
        ways = np.array(list(itertools.product(*options)), np.intp).reshape(-1, len(rows))
        counts = np.repeat(sure[None], len(ways), axis=0)  # (ways, 2, C)
        for place, row in enumerate(rows):
            wrong = (ways[:, place] != self.codes[row]).astype(np.intp)
            counts[np.arange(len(ways)), wrong, ways[:, place]] += self.weights[row]
        return float(self._ceiling(counts[:, 0], counts[:, 1]).max())

    def _ceiling(self, hits: Floats, alarms: Floats) -> Floats:
        """The metric of (…, C) hits and false alarms, at best."""
        if self.form.kind == LINEAR:
            return np.asarray(hits @ self.form.unit)
        whole = 0.5 * (self.actual + hits + alarms) if self.form.kind == F1 else hits + alarms
        total = (self.form.unit * np.divide(hits, whole, out=np.zeros_like(hits), where=whole > 0)).sum(axis=-1)
        # A class that is not there scores 0 at best, and is left out of the mean at best.
        return np.asarray(total / (self.actual > 0).sum() if self.form.averaged else total)


@compiled
def _decide(
    logs: Singles,
    codes: Ints,
    weights: Floats,
    lo: Floats,
    hi: Floats,
    rows: Ints,
    sure: Floats,
    possible: Floats,
    open_rows: Ints,
) -> int:
    """Count possible hits and sure false alarms of `rows`; those decided for the whole box go into `sure`."""
    n_classes, n_open = len(lo), 0
    for row in rows:
        truth, weight = codes[row], weights[row]
        # The one class that can win everywhere in the box is the one best at its own low and the others' high.
        winner, can_hit = -1, True
        for k in range(n_classes):
            beats_all = True
            for j in range(n_classes):
                if j != k and not logs[row, k] + lo[k] > logs[row, j] + hi[j]:
                    beats_all = False
            if beats_all:
                winner = k
        for j in range(n_classes):
            if j != truth and logs[row, truth] + hi[truth] < logs[row, j] + lo[j]:
                can_hit = False
        if winner >= 0:
            sure[0 if winner == truth else 1, winner] += weight
        else:
            possible[0, truth] += weight if can_hit else 0.0
            open_rows[n_open] = row
            n_open += 1
    return n_open
