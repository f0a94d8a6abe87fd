"""Joint decoding of linked label groups: the most probable combination of classes, one of each group.

    found = joint.fit(codes, [coarse, fine], folds=folds)       # (N, 2) codes; (N, 4) and (N, 27) OOF probabilities
    found.score_alone, found.score, found.honest                # share of rows right in both groups
    joint_file.save(found, Path("joint.json"))                  # `load` gives it back bit for bit
    classes = found.decode([coarse_test, fine_test])            # (N, 2) int64
    coarse_test, fine_test = found.apply([coarse_test, fine_test])

Where every group is decided alone, pairs come out that never occur together. Here a combination scores

    Σ_g log p_g(c_g) + s · Σ_{g<h} log((n_cd + κ) / (e_cd + κ)),

n_cd the rows of the training labels that have both classes, e_cd what chance would give: the pointwise mutual
information, shrunk to 0 where there is little evidence (Norén, Hopstadius & Bate 2013), so that a rare pair is not
forbidden for being rare. The strength s is what the classifiers have not learnt themselves: 0 leaves them alone.

As a function of s every row's best combination is an upper envelope of lines, so the best s for rows that are right is
found exactly, as in `lines`; by default the median over bootstraps is taken. Rows read a table that was made without
their fold. All combinations are enumerated: this is for a few groups, up to `MAX_COMBINATIONS`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import metric_for
from kaggle_tools.metrics.other_tasks import checked_groups
from kaggle_tools.search import _joint_kernels as kernels
from kaggle_tools.search.compare import interval_of_mean
from kaggle_tools.search.inputs import FLOOR, check_folds, check_weights

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

METRICS = ("exact_match", "group_accuracy")
MAX_COMBINATIONS = 100_000
LIMIT = 10.0  # strengths that are looked at; one is full trust in the table
_FOLDS = 5


@dataclass(frozen=True, repr=False)
class JointDecoder:
    """A compatibility table for every pair of groups, how much it counts, and what that gives.

    Attributes:
        sizes: (G,) number of classes of each group.
        tables: For each pair of groups g < h, in lexicographic order, (C_g, C_h) log-ratios; nested tuples of float.
        strength: What they are multiplied by, in [0, `LIMIT`].
        metric: ``exact_match`` or ``group_accuracy``.
        score_alone: The metric of the groups decided alone.
        score: The metric of joint decoding on the fitted rows, tables made without the row's fold.
        honest: The same, the strength fitted without the row's fold, too.
        seconds: Wall time of the fit.
        gain_interval: 95 % interval of `honest` less `score_alone`, by the paired bootstrap; None where an older
            version fitted it.
        classes: C names, ``<group>:<class>``, in the order of the tables; empty where arrays alone were given.
        held_out: (N, G) decisions that `honest` is of; None for a decoder from a file, which does not hold them.
    """

    sizes: tuple[int, ...]
    tables: tuple[tuple[tuple[float, ...], ...], ...]
    strength: float
    metric: str
    score_alone: float
    score: float
    honest: float
    seconds: float
    gain_interval: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()
    held_out: Codes | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        sizes = " × ".join(map(str, self.sizes))
        return (
            f"JointDecoder({sizes} classes, strength {self.strength:.3f}: {self.metric} {self.score_alone:.5f} alone, "
            f"{self.score:.5f} joint, {self.honest:.5f} honest)"
        )

    def decode(self, probs: Sequence[ArrayLike]) -> Codes:
        """(N, G) int64: the most probable combination of each row; of equals the first in lexicographic order.

        Args:
            probs: For each group (N, C_g) probabilities.

        Raises:
            UserError: Another number of groups or classes, rows that differ, NaN, values outside [0, 1].
        """
        logs, layout = self._read(probs)
        best = kernels.decode(logs, layout.places, self._bonds(layout), np.zeros(len(logs), np.int64), self.strength)
        return np.asarray(layout.codes[best])

    def apply(self, probs: Sequence[ArrayLike]) -> list[NDArray[np.float32]]:
        """For each group (N, C_g) float32 probabilities that know of the other groups: sums of the combinations'.

        Their most probable classes are each group's own best, which is best for its accuracy and may differ from
        `decode`. Raises as `decode`.
        """
        logs, layout = self._read(probs)
        found = kernels.marginals(logs, layout.places, self._bonds(layout), self.strength)
        return [group.astype(np.float32) for group in np.split(found, np.cumsum(self.sizes)[:-1], axis=1)]

    def _read(self, probs: Sequence[ArrayLike]) -> tuple[Floats, _Layout]:
        rows = len(np.asarray(probs[0])) if len(probs) else 0
        _, groups = checked_groups(np.zeros((rows, len(self.sizes)), np.int64), probs)
        sizes = tuple(group.shape[1] if group.ndim == 2 else 0 for group in groups)
        if sizes != self.sizes:
            raise UserError(f"the label groups have {sizes} classes", expected=f"{self.sizes}, as they were fitted")
        return _logs(groups), _Layout.of(sizes)

    def _bonds(self, layout: _Layout) -> Floats:
        return layout.bonds([np.array(table) for table in self.tables])[None]


def fit(
    codes: ArrayLike,
    probs: Sequence[ArrayLike],
    metric: str = "exact_match",
    *,
    folds: ArrayLike | None = None,
    smoothing: float = 0.5,
    bags: int = 20,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    row_groups: ArrayLike | None = None,
) -> JointDecoder:
    """Learn the tables from the labels, and the strength from out-of-fold probabilities.

    Args:
        codes: (N, G) true classes of G ≥ 2 groups.
        probs: For each group (N, C_g) out-of-fold probabilities of the same rows.
        metric: One of `METRICS`: rows that are right in every group, or the mean over the groups.
        folds: (N,) folds of the rows; None deals them at random into five.
        smoothing: κ, in rows; above 0.
        bags: Bootstraps of whose strengths the median is taken; 0 for the exact fit.
        seed: Of the folds and bootstraps.
        sample_weight: (N,) row weights.
        row_groups: (N,) groups of rows that are not independent, which the interval draws whole; None: rows are.

    Raises:
        UserError: One group only, too many combinations, another metric, κ not above 0, fewer than two folds, or
            unusable input as for `metrics.evaluate_groups`.
    """
    began = time.perf_counter()
    problem = _checked(codes, probs, metric, folds, smoothing, seed, sample_weight)
    rng = np.random.default_rng(seed)
    everything = np.arange(len(problem.codes))
    strength = _best_strength(problem, everything, bags, rng)
    chosen = np.empty_like(problem.codes)
    for fold in np.unique(problem.folds):
        held_out = problem.folds == fold
        own = _best_strength(problem, np.flatnonzero(~held_out), bags, rng)
        chosen[held_out] = problem.decode(own)[held_out]
    tables = [_table(problem, pair, problem.weights, smoothing) for pair in problem.layout.pairs]
    alone = problem.decode(0.0)
    gains = problem.weights * (problem.values(chosen) - problem.values(alone)) / problem.weights.mean()
    return JointDecoder(
        sizes=problem.layout.sizes,
        tables=tuple(tuple(map(tuple, table.tolist())) for table in tables),
        strength=strength,
        metric=problem.metric,
        score_alone=problem.score(alone),
        score=problem.score(problem.decode(strength)),
        honest=problem.score(chosen),
        seconds=time.perf_counter() - began,
        gain_interval=interval_of_mean(gains, seed=seed, groups=row_groups),
        held_out=chosen,
    )


@dataclass(frozen=True)
class _Layout:
    """How combinations of classes are numbered.

    Attributes:
        sizes: (G,) classes of each group.
        codes: (K, G) classes of each combination, in lexicographic order.
        places: (K, G) the same as columns of the groups' arrays side by side.
        pairs: Groups two by two.
    """

    sizes: tuple[int, ...]
    codes: Codes
    places: Codes
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, sizes: tuple[int, ...]) -> _Layout:
        codes = np.indices(sizes).reshape(len(sizes), -1).T.copy()
        starts = np.cumsum((0, *sizes[:-1]))
        return cls(sizes, codes, codes + starts, tuple(combinations(range(len(sizes)), 2)))

    def bonds(self, tables: Sequence[Floats]) -> Floats:
        """(K,) sum of the tables' entries of each combination."""
        entries = [table[self.codes[:, g], self.codes[:, h]] for (g, h), table in zip(self.pairs, tables, strict=True)]
        return np.asarray(np.sum(entries, axis=0))


@dataclass(frozen=True)
class _Problem:
    """Checked input; ``bonds`` (F, K) is what each fold's tables, made of the other folds, say of the combinations."""

    codes: Codes
    logs: Floats
    layout: _Layout
    metric: str
    folds: Codes
    weights: Floats
    bonds: Floats

    def decode(self, strength: float) -> Codes:
        """(N, G) decisions."""
        best = kernels.decode(self.logs, self.layout.places, self.bonds, self.folds, strength)
        return np.asarray(self.layout.codes[best])

    def values(self, decided: Codes) -> Floats:
        """(N,) what each row adds to the metric's mean."""
        right = decided == self.codes
        return np.asarray(right.all(axis=1) if self.metric == "exact_match" else right.mean(axis=1), np.float64)

    def score(self, decided: Codes) -> float:
        metric = metric_for(self.metric, "multi_group").functions["multi_group"]
        return metric(self.codes, list(decided.T), self.weights)


def _checked(
    codes: ArrayLike,
    probs: Sequence[ArrayLike],
    metric: str,
    folds: ArrayLike | None,
    smoothing: float,
    seed: int,
    sample_weight: ArrayLike | None,
) -> _Problem:
    name = metric_for(metric, "multi_group").name
    if name not in METRICS:
        raise UserError(f"joint decoding is not fitted to {name}", expected=" or ".join(METRICS))
    if not smoothing > 0:
        raise UserError(f"smoothing must be above 0, but got {smoothing}")
    true, groups = checked_groups(codes, probs)
    if len(groups) < 2:
        raise UserError("one label group only: there is nothing to link", expected="two groups or more")
    if any(group.ndim == 1 for group in groups):
        raise UserError("joint decoding needs probabilities, these are decisions")
    sizes = tuple(group.shape[1] for group in groups)
    if np.prod(sizes, dtype=float) > MAX_COMBINATIONS:
        raise UserError(
            f"{np.prod(sizes, dtype=float):,.0f} combinations of {' × '.join(map(str, sizes))} classes",
            expected=f"{MAX_COMBINATIONS:,} at most",
            next="link the groups two by two",
        )
    if folds is None:
        folds = np.random.default_rng(seed).permutation(len(true)) % min(_FOLDS, len(true))
    fold_codes = np.unique(check_folds(folds, len(true)), return_inverse=True)[1].astype(np.int64)
    weights = check_weights(sample_weight, len(true))
    layout = _Layout.of(sizes)
    problem = _Problem(true, _logs(groups), layout, name, fold_codes, weights, np.empty((0, 0)))
    bonds = [
        layout.bonds([_table(problem, pair, weights * (fold_codes != fold), smoothing) for pair in layout.pairs])
        for fold in range(fold_codes.max() + 1)
    ]
    return _Problem(true, problem.logs, layout, name, fold_codes, weights, np.stack(bonds))


def _table(problem: _Problem, pair: tuple[int, int], weights: Floats, smoothing: float) -> Floats:
    """(C_g, C_h) logarithms of how much more often than by chance two classes occur together."""
    g, h = pair
    shape = problem.layout.sizes[g], problem.layout.sizes[h]
    flat = problem.codes[:, g] * shape[1] + problem.codes[:, h]
    together = np.bincount(flat, weights, shape[0] * shape[1]).reshape(shape)
    total = max(together.sum(), np.finfo(np.float64).tiny)
    by_chance = np.outer(together.sum(axis=1), together.sum(axis=0)) / total
    return np.asarray(np.log((together + smoothing) / (by_chance + smoothing)))


def _best_strength(problem: _Problem, rows: NDArray[np.intp], bags: int, rng: np.random.Generator) -> float:
    """The strength with the best score on some rows, or the median over bootstraps of them, which are skewed."""
    layout = problem.layout
    mistake = -1.0 if problem.metric == "exact_match" else 0.0
    rewards = np.full((len(rows), sum(layout.sizes)), mistake)
    starts = np.cumsum((0, *layout.sizes[:-1]))
    np.put_along_axis(rewards, problem.codes[rows] + starts, 1.0, axis=1)
    at, owner, gains, _ = kernels.changes(
        problem.logs[rows], layout.places, problem.bonds, problem.folds[rows], rewards, LIMIT
    )
    order = np.argsort(at, kind="stable")
    at, owner, gains = at[order], owner[order], gains[order]
    weights = problem.weights[rows]
    if not bags:
        return _highest(at, gains * weights[owner])
    times = [np.bincount(rng.integers(len(rows), size=len(rows)), minlength=len(rows)) for _ in range(bags)]
    return float(np.median([_highest(at, gains * (weights * drawn)[owner]) for drawn in times]))


def _highest(at: Floats, gains: Floats) -> float:
    """The middle of the interval between two changes where the sum of gains is highest, the first of equals."""
    # Between changes that rounding alone holds apart there is no room for a strength.
    ends = np.flatnonzero(np.append(np.diff(at) > 1e-9, True)) if at.size else np.empty(0, np.intp)
    heights = np.append(0.0, np.cumsum(gains)[ends])
    edges = np.concatenate([[0.0], at[ends], [LIMIT]])
    # Sums of the same gains in another order differ by rounding.
    best = int(np.flatnonzero(heights >= heights.max() - 1e-9)[0])
    return 0.0 if best == 0 else float((edges[best] + edges[best + 1]) / 2)


def _logs(groups: Sequence[NDArray[Any]]) -> Floats:
    """(N, ΣC) float64 log-probabilities, the groups side by side."""
    side_by_side = np.concatenate([np.asarray(group, np.float64) for group in groups], axis=1)
    logs: Floats = kernels.take_logs(side_by_side, FLOOR)
    return logs
