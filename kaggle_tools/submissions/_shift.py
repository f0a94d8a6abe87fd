"""One pass over the probabilities of joined rows: how far each row moved, what it decides, how each class moved."""

from __future__ import annotations

import numpy as np

from kaggle_tools.compiled import compiled


@compiled
def shifts(a, b, rows):  # type: ignore[no-untyped-def]
    """Compare row i of `a` with row ``rows[i]`` of `b`.

    Args:
        a: (N, C) probabilities.
        b: (M, C) probabilities of the same dtype.
        rows: (N,) int64.

    Returns:
        (N,) largest absolute change of a row; (N,) int32 first most probable class in `a` and in `b`; (C,) float64
        sum of changes and sum of absolute changes of each class.
    """
    n, c = a.shape
    moved = np.zeros(n, a.dtype)
    best_a, best_b = np.zeros(n, np.int32), np.zeros(n, np.int32)
    total, size = np.zeros(c), np.zeros(c)
    for i in range(n):
        j = rows[i]
        most = a.dtype.type(0)
        for k in range(c):
            change = b[j, k] - a[i, k]
            total[k] += change
            far = abs(change)
            size[k] += far
            if far > most:
                most = far
            if a[i, k] > a[i, best_a[i]]:
                best_a[i] = k
            if b[j, k] > b[j, best_b[i]]:
                best_b[i] = k
        moved[i] = most
    return moved, best_a, best_b, total, size
