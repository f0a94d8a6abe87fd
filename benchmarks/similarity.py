"""Similarity of 50 models on a million rows: ours beside scikit-learn and a loop over numpy.

    .venv/bin/python -m benchmarks.similarity [--models 50] [--rows 1000000] [--classes 3]

Wall and processor seconds of computing, files not counted. The peers do a few pairs; their time is for all pairs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from kaggle_tools.similarity.measures import agreement_and_kappa, of_errors
from kaggle_tools.similarity.probabilities import jensen_shannon, pearson, spearman

_PEER_PAIRS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=3)
    asked = parser.parse_args()
    stack = _models(asked.models, asked.rows, asked.classes)
    labels = stack.argmax(axis=2).astype(np.int8)
    right = labels == labels[0]
    warm = stack[:2, :2000]
    for compile_first in (pearson, spearman, jensen_shannon):
        compile_first(warm)
    agreement_and_kappa(labels[:2, :2000])
    of_errors(right[:2, :2000])

    pairs = asked.models * (asked.models - 1) // 2
    print(f"{asked.models} models, {asked.rows:,} rows, {asked.classes} classes, {pairs:,} pairs")
    total = _timed("agreement and kappa", lambda: agreement_and_kappa(labels), best_of=3)
    total += _timed("double fault, Q, error overlap", lambda: of_errors(right), best_of=3)
    total += _timed("Pearson", lambda: pearson(stack))
    total += _timed("Spearman", lambda: spearman(stack))
    total += _timed("Jensen-Shannon", lambda: jensen_shannon(stack))
    print(f"{'all measures':34}{total:9.3f} s wall")
    some = [(a, a + 1) for a in range(_PEER_PAIRS)]
    _peer("numpy loop, agreement", lambda a, b: (labels[a] == labels[b]).mean(), some, pairs)
    _peer("scikit-learn cohen_kappa_score", lambda a, b: cohen_kappa_score(labels[a], labels[b]), some, pairs)


def _models(k: int, n: int, c: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(K, N, C) probabilities of models that mostly agree."""
    random = np.random.default_rng(0)
    common = random.standard_normal((n, c), dtype=np.float32)
    stack = np.empty((k, n, c), np.float32)
    for i in range(k):
        values = np.exp(2 * common + random.standard_normal((n, c), dtype=np.float32))
        stack[i] = values / values.sum(axis=1, keepdims=True)
    return stack


def _timed(name: str, work: Callable[[], Any], best_of: int = 1) -> float:
    wall, used = np.inf, np.inf
    for _ in range(best_of):
        began, began_used = time.perf_counter(), time.process_time()
        work()
        wall = min(wall, time.perf_counter() - began)
        used = min(used, time.process_time() - began_used)
    print(f"{name:34}{wall:9.3f} s wall {used:9.3f} s processor")
    return wall


def _peer(name: str, work: Callable[[int, int], Any], some: list[tuple[int, int]], pairs: int) -> None:
    began = time.perf_counter()
    for pair in some:
        work(*pair)
    print(f"{name:34}{(time.perf_counter() - began) / len(some) * pairs:9.1f} s wall for all pairs")


if __name__ == "__main__":
    main()
