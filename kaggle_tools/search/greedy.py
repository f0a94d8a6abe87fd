"""Greedy ensemble selection with replacement (Caruana et al. 2004): add the model that helps most, again and again.

    found = select(stack, codes, "macro_f1", n_steps=50)
    found.weights                      # (M,) shares of the mean, sum 1
    found.recipe(names, classes)       # a linear pool that replays

A baseline and a warm start: it knows one step from where it is, not the best blend. The bagged form (their section 2.3)
selects among random halves of the models and averages, which helps where many models are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.search._greedy_steps import step_of
from kaggle_tools.search.compare import score_output
from kaggle_tools.search.inputs import Arrays, check_arrays
from kaggle_tools.search.recipe import Recipe, apply_stack


@dataclass(frozen=True, repr=False)
class Selection:
    """Weights found step by step.

    Attributes:
        metric: Name.
        weights: (M,) shares of the mean; they sum to one.
        score: Of the weighted mean, on the rows it was fitted to.
        order: Which model was added at each step up to the best size; of each bag after the other.
        path: Score after each step, also those after the best size; of each bag after the other.
        n_bags: 0 for a single selection among all models.
    """

    metric: str
    weights: tuple[float, ...]
    score: float
    order: tuple[int, ...]
    path: tuple[float, ...]
    n_bags: int

    def __repr__(self) -> str:
        parts = [f"{weight:.3f} × model {m + 1}" for m, weight in enumerate(self.weights) if weight]
        return f"greedy selection, {self.metric} {self.score:.5f} fitted: {' + '.join(parts)}"

    def recipe(self, names: Sequence[str], classes: Sequence[str], task: str = "single_label") -> Recipe:
        """The weights as a linear pool of the models called `names`."""
        return Recipe(
            kind="linear_pool",
            task=task,
            classes=tuple(classes),
            models=tuple(names),
            metric=self.metric,
            parameters={"weights": self.weights},
            fitted=self.score,
            provenance={"method": "greedy", "bags": self.n_bags},
        )


def select(
    stack: ArrayLike,
    codes: ArrayLike,
    metric: str,
    *,
    n_steps: int = 50,
    n_start: int = 1,
    n_bags: int = 0,
    bag_share: float = 0.5,
    seed: int = 0,
) -> Selection:
    """Select models with replacement; of equal ones the first, of equal sizes the smallest.

    Args:
        stack: (M, N, C) out-of-fold probabilities, two models or more.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        metric: Any metric.
        n_steps: Models in the mean at most, each counted as often as it was added.
        n_start: Begin with so many of the best single models.
        n_bags: Repeat among random subsets of the models and average the weights; 0 selects once among all.
        bag_share: Share of the models in a subset.
        seed: Of the subsets.

    Raises:
        UserError: One model only, numbers that do not fit together, NaN, missing labels, an unknown metric.
    """
    problem = check_arrays(stack, codes, metric, least_models=2)
    n_models = len(problem.stack)
    if not 1 <= n_start <= min(n_steps, n_models):
        raise UserError(
            f"cannot start from {n_start} models", expected=f"1 to {min(n_steps, n_models)}: models and steps there are"
        )
    if n_bags < 0 or not 0 < bag_share <= 1:
        raise UserError(f"{n_bags} bags of {bag_share} of the models", expected="0 or more bags, a share in (0, 1]")
    random = np.random.default_rng(seed)
    size = max(2, n_start, round(bag_share * n_models))
    bags = [np.sort(random.choice(n_models, size, replace=False)) for _ in range(n_bags)] or [np.arange(n_models)]
    order: list[int] = []
    path: list[float] = []
    weights = np.zeros(n_models)
    for bag in bags:
        part = Arrays(np.ascontiguousarray(problem.stack[bag]), problem.codes, problem.metric, problem.task)
        chosen, scores = _select_once(part, n_steps, n_start)
        order += bag[chosen].tolist()
        path += scores
        weights += np.bincount(bag[chosen], minlength=n_models) / len(chosen) / len(bags)
    return Selection(
        metric=problem.metric.name,
        weights=tuple(weights.tolist()),
        score=_score_of(problem, weights),
        order=tuple(order),
        path=tuple(path),
        n_bags=n_bags,
    )


def _select_once(problem: Arrays, n_steps: int, n_start: int) -> tuple[list[int], list[float]]:
    """The models in the order of their addition, up to the best size; the score after every step."""
    step = step_of(problem)
    sign = 1.0 if problem.metric.greater_is_better else -1.0
    total = np.zeros(problem.stack.shape[1:])
    alone = step(total, 1)
    chosen: list[int] = []
    path: list[float] = []
    for m in np.argsort(-sign * alone, kind="stable")[:n_start]:
        path.append(float(alone[m] if not chosen else step(total, len(chosen) + 1)[m]))
        chosen.append(int(m))
        total += problem.stack[m]
    while len(chosen) < n_steps:
        scores = step(total, len(chosen) + 1)
        best = int(np.argmax(sign * scores))
        chosen.append(best)
        path.append(float(scores[best]))
        total += problem.stack[best]
    first = n_start - 1
    best_size = n_start + int(np.argmax(sign * np.array(path[first:])))
    return chosen[:best_size], path


def _score_of(problem: Arrays, weights: NDArray[np.float64]) -> float:
    m, _, c = problem.stack.shape
    names, classes = tuple(map(str, range(m))), tuple(map(str, range(c)))
    pool = Recipe("linear_pool", problem.task, classes, names, problem.metric.name, {"weights": weights})
    return score_output(problem.metric, problem.codes, apply_stack(pool, problem.stack))
