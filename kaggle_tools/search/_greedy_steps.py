"""One step of greedy selection: the score of the blend with each model added, in the fastest form a metric has.

Every form gives bit for bit what averaging and scoring one model after the other would give.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled, plain
from kaggle_tools.metrics import evaluate
from kaggle_tools.search.inputs import Arrays

Floats = NDArray[np.float64]

# From the (N, C) float64 sum of the chosen, and how many they will be, to the (M,) scores with each model added.
Step = Callable[[Floats, int], Floats]


def step_of(problem: Arrays) -> Step:
    """The step for a problem's metric."""
    metric, stack, codes = problem.metric, problem.stack, plain(problem.codes)
    of_matrix = metric.from_confusion
    if problem.task == "single_label" and of_matrix is not None:
        # A sum has its largest class where the mean has it.
        return lambda total, _: np.array([of_matrix(m) for m in _count_additions(stack, total, codes)])
    if problem.task == "single_label" and metric.name == "log_loss":
        rows = np.arange(len(codes))
        of_truth = np.ascontiguousarray(stack[:, rows, codes])
        score = metric.functions["single_label"]
        ones, always = np.ones(len(codes)), np.ones((len(codes), 1), np.bool_)

        def log_loss(total: Floats, size: int) -> Floats:
            mine = total[rows, codes]
            return np.array([score(always, ((mine + model) / size)[:, None], ones) for model in of_truth])

        return log_loss
    return lambda total, size: np.array([evaluate(metric.name, codes, (total + model) / size) for model in stack])


@compiled
def _count_additions(stack: NDArray[np.float32], total: Floats, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(M, C, C) confusion matrices of `total` (N, C) plus each model of (M, N, C)."""
    n_models, n_rows, n_classes = stack.shape
    counts = np.zeros((n_models, n_classes, n_classes), np.int64)
    for m in range(n_models):
        for n in range(n_rows):
            best, highest = 0, total[n, 0] + stack[m, n, 0]
            for c in range(1, n_classes):
                value = total[n, c] + stack[m, n, c]
                if value > highest:
                    best, highest = c, value
            counts[m, codes[n], best] += 1
    return counts
