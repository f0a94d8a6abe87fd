"""The order in which alike models stand side by side, and the tree of who joins whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from kaggle_tools.similarity.measures import MEASURES

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Link:
    """One joint of the dendrogram: an open rectangle from (left, left_height) up to `height`, over, and down again.

    Positions are in units of models: 0 is the first in the order.
    """

    left: float
    right: float
    left_height: float
    right_height: float
    height: float


@dataclass(frozen=True)
class Tree:
    """Models as leaves.

    Attributes:
        order: The K models' numbers as they stand side by side.
        links: K - 1 joints, lowest first as scipy gives them.
    """

    order: tuple[int, ...]
    links: tuple[Link, ...]


def cluster(measure: str, matrix: Floats) -> Tree:
    """Average linkage (UPGMA) with the leaves in the best order (Bar-Joseph et al. 2001).

    Args:
        measure: Which of `MEASURES` the matrix holds: it says whether more is nearer.
        matrix: (K, K); pairs without a value count as the farthest.
    """
    k = len(matrix)
    if k < 2:
        return Tree(tuple(range(k)), ())
    distance = np.array(1.0 - matrix if MEASURES[measure].alike == "more" else matrix, np.float64)
    distance[np.isnan(distance)] = np.nanmax(distance, initial=0.0)
    np.fill_diagonal(distance, 0.0)
    merges = linkage(squareform(np.maximum(distance, distance.T), checks=False), "average", optimal_ordering=True)
    drawn = dendrogram(merges, no_plot=True)
    # scipy puts leaf i at 10 i + 5.
    links = tuple(
        Link((x[0] - 5) / 10, (x[3] - 5) / 10, float(y[0]), float(y[3]), float(y[1]))
        for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True)
    )
    return Tree(tuple(int(i) for i in drawn["leaves"]), links)
