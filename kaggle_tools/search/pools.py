"""The two families of blends, and what many candidates of them would score.

    linear      w_c Σ_m a_mc p_mic                            (Stone 1961)
    log         Σ_m a_mc log p_mic + log w_c, then softmax    (Genest & Zidek 1986)

Both are sums over models of a *term* (the probability, or its logarithm) times a weight a, and the class weights w join
in by their logarithms, the *biases* b_c = log w_c: a candidate is (M, C) weights and (C,) biases, and its predicted
classes are an argmax of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled, plain
from kaggle_tools.search._recipe_kernels import LOG, PLAIN, pool, settle_classes, softmax
from kaggle_tools.search.inputs import FLOOR, Problem
from kaggle_tools.search.lines import Floats, Ints, Singles
from kaggle_tools.search.logloss import logs_of

Family = Literal["linear", "log"]
_BLOCK = 512
_CHUNK = 8192


def terms(problem: Problem, family: Family) -> Singles:
    """(M, C, N) float32 of what is summed over models."""
    return problem.stack if family == "linear" else logs_of(problem.stack)


def mix(stack: Singles, weights: Floats) -> Singles:
    """(C, N) float32 sums over models of (M, C, N) terms with (M, C) weights."""
    out = np.empty(stack.shape[1:], np.float32)
    _mix(stack, plain(weights), out)
    return out


def confusions(
    stack: Singles, weights: Floats, biases: Floats, family: Family, codes: Ints, row_weights: Floats
) -> Floats:
    """(K, C, C) confusion matrices of K candidates.

    Args:
        stack: (M, C, N) terms.
        weights: (K, M, C).
        biases: (K, C) log-weights of classes.
        family: What the biases do.
        codes: (N,) int32 true classes.
        row_weights: (N,) float64.
    """
    linear = family == "linear"
    scaled = weights * np.exp(biases)[:, None, :] if linear else weights
    offsets = np.zeros_like(biases) if linear else biases
    found: Floats = _confusions(stack, plain(scaled), plain(offsets), codes, row_weights)
    return found


def predict(stack: Singles, family: Family, weights: Floats, class_weights: Floats) -> NDArray[np.intp]:
    """(N,) classes in float64, as a replay has them, of (M, C, N) probabilities."""
    predicted = np.empty(stack.shape[2], np.intp)
    for rows, scores in _scores(stack, family, weights, class_weights):
        best, chosen = scores[0].copy(), np.zeros(scores.shape[1], np.intp)
        for c in range(1, len(scores)):  # along rows: numpy's argmax would go from class to class
            np.copyto(chosen, c, where=scores[c] > best)
            np.maximum(best, scores[c], out=best)
        predicted[rows] = chosen
    return predicted


def pooled(stack: Singles, family: Family, weights: Floats, class_weights: Floats) -> Floats:
    """(N, C) float64 probabilities of (M, C, N) ones."""
    probs = np.empty(stack.shape[:0:-1])
    for rows, scores in _scores(stack, family, weights, class_weights):
        positive = np.exp(scores - scores.max(axis=0)) if family == "log" else np.maximum(scores, 0.0)
        total = positive.sum(axis=0)
        probs[rows] = np.where(total > 0, positive / np.where(total > 0, total, 1.0), 1.0 / len(scores)).T
    return probs


def replay(stack: NDArray[np.float32], family: Family, weights: Floats, class_weights: Floats) -> Singles:
    """(N, C) float32 probabilities of (M, N, C) ones, bit for bit as a recipe gives them."""
    if family == "linear":
        weighed: Singles = settle_classes(pool(stack, weights, PLAIN, FLOOR, 1.0), class_weights)
        return weighed
    scores = pool(stack, weights, LOG, FLOOR, 1.0)
    scores += np.log(class_weights)
    softmax(scores)
    settled: Singles = settle_classes(scores, np.ones(len(class_weights)))
    return settled


def _scores(stack: Singles, family: Family, weights: Floats, class_weights: Floats) -> Iterator[tuple[slice, Floats]]:
    """(C, n) float64 scores of some rows after the other."""
    _, c, n = stack.shape
    kept = np.flatnonzero(np.any(weights != 0, axis=1))
    for start in range(0, n, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n))
        scores = np.zeros((c, rows.stop - start))
        for m in kept:
            probs = stack[m, :, rows].astype(np.float64)
            scores += weights[m][:, None] * (probs if family == "linear" else np.log(np.maximum(probs, FLOOR)))
        weigh = class_weights[:, None]
        yield rows, scores * weigh if family == "linear" else scores + np.log(weigh)


@compiled
def _mix(stack: Singles, weights: Floats, out: Singles) -> None:
    n_models, n_classes, n_rows = stack.shape
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        for c in range(n_classes):
            total = out[c, start : start + size]
            for r in range(size):
                total[r] = 0.0
            for m in range(n_models):
                weight, column = np.float32(weights[m, c]), stack[m, c, start : start + size]
                if weight != 0.0:
                    for r in range(size):
                        total[r] += weight * column[r]


@compiled
def _confusions(stack: Singles, weights: Floats, offsets: Floats, codes: Ints, row_weights: Floats) -> Floats:
    """A block of rows at a time, all candidates on it: the block's terms stay in cache."""
    n_models, n_classes, n_rows = stack.shape
    counts = np.zeros((len(weights), n_classes, n_classes))
    total, best = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    best_class = np.empty(_BLOCK, np.int32)
    for start in range(0, n_rows, _BLOCK):
        size = min(_BLOCK, n_rows - start)
        for k in range(len(weights)):
            for r in range(size):
                best[r], best_class[r] = -np.inf, 0
            for c in range(n_classes):
                for r in range(size):
                    total[r] = offsets[k, c]
                for m in range(n_models):
                    weight, column = np.float32(weights[k, m, c]), stack[m, c, start : start + size]
                    if weight != 0.0:
                        for r in range(size):
                            total[r] += weight * column[r]
                for r in range(size):
                    above = total[r] > best[r]
                    best[r] = total[r] if above else best[r]
                    best_class[r] = c if above else best_class[r]
            for r in range(size):
                counts[k, codes[start + r], best_class[r]] += row_weights[start + r]
    return counts
