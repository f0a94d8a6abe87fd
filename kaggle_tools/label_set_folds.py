"""Stratified folds of rows with any number of labels: each fold gets its share of every label.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011, "On the Stratification of Multi-Label Data"): the rarest
label that is left is dealt out first, each of its rows to the fold that lacks it most.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def deal(label_sets: Sequence[Sequence[str]], n_folds: int, seed: int) -> NDArray[np.int16]:
    """Give each row a fold; the same input always gives the same folds.

    Args:
        label_sets: (N,) distinct labels of each row; may be empty.
        n_folds: At least 2.
        seed: Of ties.

    Returns:
        (N,) int16 in [0, n_folds).
    """
    rng = np.random.default_rng(seed)
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row in rng.permutation(len(label_sets)).tolist():
        for label in label_sets[row]:
            rows_of[label].append(row)
    left = Counter({label: len(rows) for label, rows in rows_of.items()})  # rows without a fold
    lacks = {label: [count / n_folds] * n_folds for label, count in left.items()}  # of each label, in each fold
    room = [len(label_sets) / n_folds] * n_folds
    folds = np.full(len(label_sets), -1, np.int16)

    def place(row: int, lacking: Sequence[float]) -> None:
        ties = rng.random(n_folds)
        fold = max(range(n_folds), key=lambda f: (lacking[f], room[f], ties[f]))
        folds[row] = fold
        room[fold] -= 1
        for label in label_sets[row]:
            lacks[label][fold] -= 1
            left[label] -= 1

    rarest = [(count, label) for label, count in left.items()]
    heapq.heapify(rarest)
    while rarest:
        count, label = heapq.heappop(rarest)
        if count != left[label]:  # some of its rows went with rarer labels
            if left[label]:
                heapq.heappush(rarest, (left[label], label))
            continue
        for row in rows_of[label]:
            if folds[row] < 0:
                place(row, lacks[label])
    for row in rng.permutation(np.flatnonzero(folds < 0)).tolist():  # rows without labels
        place(row, room)
    return folds
