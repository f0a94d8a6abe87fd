"""A recipe applied to predictions: the same bits whenever and wherever the same recipe meets the same predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import _recipe_kernels as kernels
from kaggle_tools.search._vote_kernels import elect
from kaggle_tools.search.inputs import check_stack
from kaggle_tools.search.members import differing_classes, stack
from kaggle_tools.search.recipe.data import FLOOR, Recipe
from kaggle_tools.search.recipe.rounds import RULES

Stack = NDArray[np.float32]
Floats = NDArray[np.float64]


def apply(recipe: Recipe, members: Mapping[str, Predictions]) -> Predictions:
    """Blend predictions, joined by id, in the row order of the recipe's first model.

    Args:
        recipe: What to do.
        members: Predictions by model name; those that the recipe does not name are left aside.

    Returns:
        Probabilities of the blend. Class weights w and thresholds are in them: rows are w·p made to sum to one, so
        that the most probable class is the decision; a label's odds are moved so that it is chosen from ½ on.
        Labels and folds are kept where a member has them.

    Raises:
        UserError: A model is missing (names the nearest), ids do not match, or task, classes or their order differ
            from the recipe's.
    """
    joined = stack(members, recipe.models)
    if joined.task != recipe.task:
        raise UserError(f"the recipe is for {recipe.task} tasks, the predictions are {joined.task}")
    if joined.classes != recipe.classes:
        raise UserError(differing_classes("the predictions", joined.classes, "the recipe", recipe.classes))
    return Predictions(
        ids=joined.ids,
        classes=joined.classes,
        probs=apply_stack(recipe, joined.probs),
        labels=joined.labels,
        folds=joined.folds,
        task=joined.task,
        meta={"recipe": recipe.kind, "models": ", ".join(recipe.models)},
    )


def decide(recipe: Recipe, members: Mapping[str, Predictions]) -> pl.Series:
    """(N,) String decisions of the blend, named ``label``; several labels are joined by ``|``. Raises as `apply`."""
    return apply(recipe, members).predicted


def apply_stack(recipe: Recipe, probs: Any) -> Stack:
    """Blend arrays.

    Args:
        recipe: What to do.
        probs: (M, N, C) probabilities, models and classes in the recipe's order.

    Returns:
        (N, C) float32, as `apply` gives them: ``argmax(axis=1)``, or ``>= 0.5`` for multi_label, is the decision.

    Raises:
        UserError: Another number of models or classes, or values that are not numbers.
    """
    checked = check_stack(probs)
    m, _, c = checked.shape
    if (m, c) != (len(recipe.models), len(recipe.classes)):
        raise UserError(
            f"the stack holds {m} models and {c} classes",
            expected=f"{len(recipe.models)} models and {len(recipe.classes)} classes, as in the recipe",
        )
    blend = _BLENDS[recipe.kind](recipe, checked)
    if recipe.task == "multi_label":
        thresholds = np.array(recipe.parameters.get("thresholds", (0.5,) * c))
        return np.asarray(kernels.settle_labels(blend, thresholds))
    class_weights = np.array(recipe.parameters.get("class_weights", (1.0,) * c))
    return np.asarray(kernels.settle_classes(blend, class_weights))


def _mean(recipe: Recipe, probs: Stack) -> Floats:
    return _pool(probs, _shares(recipe), kernels.PLAIN)


def _linear_pool(recipe: Recipe, probs: Stack) -> Floats:
    return _pool(probs, np.array(recipe.parameters["weights"]), kernels.PLAIN)


def _log_pool(recipe: Recipe, probs: Stack) -> Floats:
    biases = np.array(recipe.parameters.get("biases", (0.0,) * probs.shape[2]))
    if "bends" in recipe.parameters:
        bends, knee = np.array(recipe.parameters["bends"]), float(recipe.parameters["knee"])
        biases = biases + _pool(probs, bends, kernels.SOFT_LOG, knee)
    return _pooled_logs(recipe, probs, np.array(recipe.parameters["exponents"]), biases)


def _geometric_mean(recipe: Recipe, probs: Stack) -> Floats:
    return _pooled_logs(recipe, probs, _shares(recipe), np.zeros(probs.shape[2]))


def _pooled_logs(recipe: Recipe, probs: Stack, exponents: Floats, biases: Floats) -> Floats:
    """`biases` are (C,), or (N, C) where there is more to add."""
    transform = kernels.LOG if recipe.task == "single_label" else kernels.LOGIT
    scores = _pool(probs, exponents, transform, _floor(recipe))
    scores += biases
    return _link(recipe, scores)


def _power_mean(recipe: Recipe, probs: Stack) -> Floats:
    power = float(recipe.parameters["power"])
    mean = _pool(probs, _shares(recipe), kernels.POWER, _floor(recipe), power)
    # The smallest normal number: a mean of powers of the floor must not be taken for less than it is.
    kernels.root(mean, power, np.finfo(np.float64).tiny)
    return mean


def _rank_mean(recipe: Recipe, probs: Stack) -> Floats:
    """Ranks among all rows, ties shared, as the middles of N equal parts of [0, 1]: exact in float64."""
    from scipy.stats import rankdata

    n = probs.shape[1]
    total = np.zeros(probs.shape[1:])
    for share, model in zip(_shares(recipe), probs, strict=True):
        total += share * ((rankdata(model, axis=0) - 0.5) / n)
    return np.asarray(total)


def _logistic_stack(recipe: Recipe, probs: Stack) -> Floats:
    coefficients = np.ascontiguousarray(np.array(recipe.parameters["coefficients"]).T)
    intercepts = np.array(recipe.parameters["intercepts"])
    if recipe.task == "multi_label":
        return _pooled_logs(recipe, probs, coefficients, intercepts)
    return _link(recipe, kernels.stack_logs(probs, coefficients, intercepts, _floor(recipe)))


def _vote(recipe: Recipe, probs: Stack) -> Floats:
    """Each round's outcome is rounded to float32 like a model's probabilities, then votes in later rounds."""
    candidates = dict(zip(recipe.models, probs, strict=True))
    rule = RULES.index(recipe.parameters["rule"])
    for one in recipe.parameters["rounds"]:
        voters = np.stack([candidates[name] for name in one.members], axis=1)
        candidates[one.name] = elect(voters, np.array(one.weights), rule)
    return np.asarray(candidates[recipe.parameters["rounds"][-1].name], np.float64)


_BLENDS: dict[str, Callable[[Recipe, Stack], Floats]] = {
    "mean": _mean,
    "linear_pool": _linear_pool,
    "log_pool": _log_pool,
    "geometric_mean": _geometric_mean,
    "power_mean": _power_mean,
    "rank_mean": _rank_mean,
    "logistic_stack": _logistic_stack,
    "vote": _vote,
}


def _pool(probs: Stack, weights: Floats, transform: int, floor: float = FLOOR, power: float = 1.0) -> Floats:
    """Weights are (M,) or (M, C)."""
    if weights.ndim == 1:
        weights = np.repeat(weights[:, None], probs.shape[2], axis=1)
    pooled: Floats = kernels.pool(probs, weights, transform, floor, power)
    return pooled


def _link(recipe: Recipe, scores: Floats) -> Floats:
    (kernels.softmax if recipe.task == "single_label" else kernels.sigmoid)(scores)
    return scores


def _shares(recipe: Recipe) -> Floats:
    """(M,) weights that sum to one; a sum in model order."""
    weights = [float(w) for w in recipe.parameters.get("weights", (1.0,) * len(recipe.models))]
    return np.array(weights) / sum(weights)


def _floor(recipe: Recipe) -> float:
    return float(recipe.parameters.get("floor", FLOOR))
