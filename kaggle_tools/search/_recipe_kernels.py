"""The arithmetic of recipes as compiled loops.

A value is a sum over models in the recipe's order, then a row's sum over classes in their order, all in float64 with
`kaggle_tools.search._portable` for logarithms; the result is rounded to float32 once. Nothing else is summed, and no
sum is reordered: that is what makes a replay the same bits on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled
from kaggle_tools.search._portable import portable_exp, portable_log
from kaggle_tools.search.threads import in_threads

PLAIN, LOG, LOGIT, POWER, SOFT_LOG = range(5)

_TWO_THREADS = 1_000_000  # values from which on a second one is worth its start
_BLOCK = 1024  # rows whose sums stay in the cache while the models go by


def pool(
    stack: NDArray[np.float32], weights: NDArray[np.float64], transform: int, floor: float, power: float
) -> NDArray[np.float64]:
    """Σ_m weights[m, c] · transform(stack[m, n, c]): (M, N, C) and (M, C) to (N, C)."""
    n_rows = stack.shape[1]
    total = np.zeros(stack.shape[1:])

    def of_rows(ends: tuple[int, int]) -> None:
        _pool(stack, weights, transform, floor, power, *ends, total)

    if stack.size < _TWO_THREADS:
        of_rows((0, n_rows))
    else:
        in_threads(of_rows, [(0, n_rows // 2), (n_rows // 2, n_rows)])
    return total


@compiled
def _pool(
    stack: NDArray[np.float32],
    weights: NDArray[np.float64],
    transform: int,
    floor: float,
    power: float,
    begin: int,
    end: int,
    total: NDArray[np.float64],
) -> None:
    n_models, _, n_classes = stack.shape
    for start in range(begin, end, _BLOCK):
        for m in range(n_models):
            for n in range(start, min(start + _BLOCK, end)):
                for c in range(n_classes):
                    if weights[m, c] != 0.0:
                        total[n, c] += weights[m, c] * _transformed(stack[m, n, c], transform, floor, power)


@compiled
def _transformed(probability: np.float32, transform: int, floor: float, power: float) -> float:
    p = float(probability)
    if transform == PLAIN:
        return p
    if transform == SOFT_LOG:
        soft: float = portable_log(p + floor)
        return soft
    p = max(p, floor)
    if transform == LOG:
        value: float = portable_log(p)
    elif transform == LOGIT:
        p = min(p, 1.0 - floor)
        value = portable_log(p) - portable_log(1.0 - p)
    else:
        value = portable_exp(power * portable_log(p))
    return value


@compiled
def stack_logs(
    stack: NDArray[np.float32], coefficients: NDArray[np.float64], intercepts: NDArray[np.float64], floor: float
) -> NDArray[np.float64]:
    """intercepts + log-probabilities (N, M·C, model by model) times coefficients (M·C, C): (N, C)."""
    n_models, n_rows, n_classes = stack.shape
    total = np.empty((n_rows, n_classes))
    for n in range(n_rows):
        for out in range(n_classes):
            total[n, out] = intercepts[out]
        for m in range(n_models):
            for c in range(n_classes):
                x = portable_log(max(np.float64(stack[m, n, c]), floor))
                for out in range(n_classes):
                    total[n, out] += x * coefficients[m * n_classes + c, out]
    return total


@compiled
def softmax(scores: NDArray[np.float64]) -> None:
    """Softmax of each row, in place."""
    for n in range(scores.shape[0]):
        highest, total = scores[n, 0], 0.0
        for c in range(1, scores.shape[1]):
            highest = max(highest, scores[n, c])
        for c in range(scores.shape[1]):
            scores[n, c] = portable_exp(scores[n, c] - highest)
            total += scores[n, c]
        for c in range(scores.shape[1]):
            scores[n, c] /= total


@compiled
def sigmoid(scores: NDArray[np.float64]) -> None:
    """Sigmoid of each value, in place."""
    flat = scores.ravel()
    for i in range(flat.size):
        small = portable_exp(-abs(flat[i]))
        flat[i] = (1.0 if flat[i] >= 0.0 else small) / (1.0 + small)


@compiled
def root(values: NDArray[np.float64], power: float, floor: float) -> None:
    """The power-th root of each value, in place."""
    flat = values.ravel()
    for i in range(flat.size):
        flat[i] = portable_exp(portable_log(max(flat[i], floor)) / power)


@compiled
def settle_classes(blend: NDArray[np.float64], class_weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weigh, make rows sum to one, round; the float32 argmax is the float64 one, even where rounding makes a tie.

    Negative values (a signed pool) count as 0; a row without any positive value gives every class the same.
    """
    n_rows, n_classes = blend.shape
    probs = np.empty((n_rows, n_classes), np.float32)
    weighted = np.empty(n_classes)
    for n in range(n_rows):
        best, total = 0, 0.0
        for c in range(n_classes):
            weighted[c] = blend[n, c] * class_weights[c]
            if weighted[c] > weighted[best]:
                best = c
            total += max(weighted[c], 0.0)
        highest = np.float32(0.0)  # of the other classes, raised by a bit where they stand before the best one
        for c in range(n_classes):
            probs[n, c] = np.float32(max(weighted[c], 0.0) / total if total > 0.0 else 1.0 / n_classes)
            if c != best:
                needed = np.nextafter(probs[n, c], np.float32(2.0)) if c < best else probs[n, c]
                highest = max(highest, needed)
        probs[n, best] = max(probs[n, best], highest)
    return probs


@compiled
def settle_labels(blend: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move each label's odds so that its threshold comes to lie at ½, and round; p ≥ threshold decides, in float64."""
    n_rows, n_labels = blend.shape
    probs = np.empty((n_rows, n_labels), np.float32)
    half = np.float32(0.5)
    below = np.nextafter(half, np.float32(0.0))
    for n in range(n_rows):
        for c in range(n_labels):
            chosen = blend[n, c] >= thresholds[c]
            p, t = min(max(blend[n, c], 0.0), 1.0), min(thresholds[c], 1.0)
            yes, no = p * (1.0 - t), (1.0 - p) * t
            share = 1.0 if chosen else 0.0
            if yes + no > 0.0:
                share = yes / (yes + no)
            value = np.float32(share)
            probs[n, c] = max(value, half) if chosen else min(value, below)
    return probs
