"""CMA-ES over all parameters of a blend at once (Hansen & Ostermeier 2001), where lines one at a time are stuck.

A generation's candidates are counted together (`pools.confusions`).
"""

from __future__ import annotations

import time

import numpy as np
from cmaes import CMA

from kaggle_tools.search.blend_lines import Rows
from kaggle_tools.search.lines import Floats
from kaggle_tools.search.pools import confusions
from kaggle_tools.search.threads import in_threads

_FARTHEST = 600.0  # of a log-weight: its exponential is a number


def polish(
    rows: Rows,
    weights: Floats,
    biases: Floats,
    *,
    evaluations: int,
    spread: float,
    seed: int,
    thorough: bool = False,
    deadline: float = np.inf,
) -> tuple[Floats, Floats]:
    """(M, C) weights and (C,) biases of the best candidate.

    Args:
        rows: What to fit to.
        weights: (M, C) start.
        biases: (C,) start.
        evaluations: Candidates to look at.
        spread: First standard deviation: of weights as a share of their mean size, of biases as it is.
        seed: Of the candidates.
        thorough: Larger generations, which get stuck less.
        deadline: `time.perf_counter()` after which no generation begins.
    """
    plane = _Plane(rows, weights, biases)
    if len(plane.start) < 2:  # nothing that a line does not search
        return weights, biases

    def count(points: Floats) -> Floats:
        return confusions(rows.stack, *plane.unfold(points), rows.family, rows.codes, rows.weights)

    size = (3 if thorough else 1) * (4 + int(3 * np.log(len(plane.start))))
    search = CMA(mean=plane.start, sigma=spread, seed=seed, population_size=size)
    best, best_value = plane.start, -np.inf
    for _ in range(evaluations // search.population_size):
        if search.should_stop() or time.perf_counter() > deadline:
            break
        points = np.array([search.ask() for _ in range(search.population_size)])
        counts = np.concatenate(in_threads(count, np.array_split(points, 2)))
        values = [rows.form.value(matrix) for matrix in counts]
        search.tell([(point, -value) for point, value in zip(points, values, strict=True)])
        if max(values) > best_value:
            best, best_value = points[int(np.argmax(values))], max(values)
    found_weights, found_biases = plane.unfold(best[None])
    return found_weights[0].copy(), found_biases[0].copy()


class _Plane:
    """Candidates as points of D dimensions: weights in units of their mean size, biases against the first."""

    def __init__(self, rows: Rows, weights: Floats, biases: Floats) -> None:
        self._signed, self._biases = rows.signed, biases
        self._unit = float(np.abs(weights).mean())
        self._shape = (len(weights), weights.shape[1] if rows.per_class else 1)
        self._n_classes, self._with_biases = weights.shape[1], rows.class_weights
        own = (weights[:, : self._shape[1]] / self._unit).ravel()
        self.start = np.concatenate([own, biases[1:] - biases[0]]) if self._with_biases else own

    def unfold(self, points: Floats) -> tuple[Floats, Floats]:
        """(K, M, C) weights and (K, C) biases of (K, D) points."""
        n_weights = self._shape[0] * self._shape[1]
        own = points[:, :n_weights].reshape(len(points), *self._shape) * self._unit
        weights = np.broadcast_to(own if self._signed else np.abs(own), (len(points), self._shape[0], self._n_classes))
        if not self._with_biases:
            return weights, np.broadcast_to(self._biases, (len(points), self._n_classes))
        # Where nothing helps, generations spread for ever.
        biases = np.clip(points[:, n_weights:], -_FARTHEST, _FARTHEST)
        return weights, np.concatenate([np.zeros((len(points), 1)), biases], axis=1)
