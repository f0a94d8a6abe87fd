"""A recipe in words and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kaggle_tools.predictions import Predictions
from kaggle_tools.search.recipe.data import Recipe
from kaggle_tools.search.recipe.replay import apply

_SHOWN_CLASSES = 30


def explain(recipe: Recipe, members: Mapping[str, Predictions] | None = None) -> str:
    """What the recipe does, a line a step; with `members`, also what its last step changes on these predictions.

    Raises:
        UserError: As `apply`, where `members` are given.
    """
    lines = [_KINDS[recipe.kind](recipe)]
    if "class_weights" in recipe.parameters:
        weights = _pairs(recipe.classes, recipe.parameters["class_weights"], "{:.3g}")
        lines.append(f"class weights: {weights}; the decision is the largest weight × probability")
    if "thresholds" in recipe.parameters:
        lines.append(f"thresholds: {_pairs(recipe.classes, recipe.parameters['thresholds'], '{:.3g}')}")
    lines += _scores(recipe)
    if members is not None:
        lines += _changes(recipe, members)
    return "\n".join(lines)


def _mean(recipe: Recipe) -> str:
    return f"the mean of {_count(recipe.models)}: {', '.join(recipe.models)}"


def _linear_pool(recipe: Recipe) -> str:
    return _weighted(recipe, "weights")


def _log_pool(recipe: Recipe) -> str:
    of = "log-probabilities" if recipe.task == "single_label" else "log-odds"
    text = f"{of}, each model's times its exponent, summed and normalised: {_weighted(recipe, 'exponents')}"
    if "bends" in recipe.parameters:
        text += f"\nbent: where a probability is well above {recipe.parameters['knee']:.3g}, its exponent grows by: "
        text += _weighted(recipe, "bends")
    if any(recipe.parameters.get("biases", ())):
        text += f"\nclass biases: {_pairs(recipe.classes, recipe.parameters['biases'], '{:+.3g}')}"
    return text


def _geometric_mean(recipe: Recipe) -> str:
    return f"the geometric mean of {_shares(recipe)}"


def _power_mean(recipe: Recipe) -> str:
    return f"the power mean, power {recipe.parameters['power']:.4g}, of {_shares(recipe)}"


def _rank_mean(recipe: Recipe) -> str:
    return f"the mean of ranks, class by class, of {_shares(recipe)}"


def _logistic_stack(recipe: Recipe) -> str:
    size = np.size(recipe.parameters["coefficients"]) + len(recipe.parameters["intercepts"])
    of = "log-probabilities" if recipe.task == "single_label" else "log-odds"
    return f"a logistic regression ({size} numbers) on the {of} of {_count(recipe.models)}: {', '.join(recipe.models)}"


def _vote(recipe: Recipe) -> str:
    rounds = recipe.parameters["rounds"]
    votes = "one vote" if len(rounds) == 1 else f"{len(rounds)} votes, the last one counts"
    lines = [f"{votes}; {_RULES[recipe.parameters['rule']]}"]
    return "\n".join([*lines, *(f"  {one.name} = majority of {', '.join(one.members)}" for one in rounds)])


_KINDS: dict[str, Callable[[Recipe], str]] = {
    "mean": _mean,
    "linear_pool": _linear_pool,
    "log_pool": _log_pool,
    "geometric_mean": _geometric_mean,
    "power_mean": _power_mean,
    "rank_mean": _rank_mean,
    "logistic_stack": _logistic_stack,
    "vote": _vote,
}

_RULES = {
    "first": "ties go to the member listed first",
    "best": "ties go to the member with the best score",
    "probability": "ties go to the larger sum of probabilities",
    "score-weighted": "ties go to the larger sum of probabilities weighted by score",
    "winners": "the majority's probabilities are averaged, ties are broken by everybody's, weighted by score",
}


def _weighted(recipe: Recipe, name: str) -> str:
    values = recipe.parameters[name]
    if isinstance(values[0], float):
        return _sum(values, recipe.models)
    rows = (
        f"  {model}: {_pairs(recipe.classes, row, '{:.3g}')}" for model, row in zip(recipe.models, values, strict=True)
    )
    return "\n".join([f"{name} for each class", *rows])


def _sum(values: Sequence[float], models: Sequence[str]) -> str:
    """``0.52 × roberta + 0.3 × bert - 0.1 × cnn``, largest first; what is left out is said."""
    order = sorted(range(len(values)), key=lambda m: -abs(values[m]))
    used = [m for m in order if values[m] != 0]
    text = ""
    for m in used:
        sign = ("-" if values[m] < 0 else "") if not text else (" - " if values[m] < 0 else " + ")
        text += f"{sign}{abs(values[m]):.3g} × {models[m]}"
    left_out = len(values) - len(used)
    return (text or "nothing") + (f" ({_count(range(left_out))} without weight)" if left_out else "")


def _shares(recipe: Recipe) -> str:
    if "weights" not in recipe.parameters:
        return f"{_count(recipe.models)}: {', '.join(recipe.models)}"
    total = sum(recipe.parameters["weights"])
    return _sum([w / total for w in recipe.parameters["weights"]], recipe.models)


def _count(models: Sequence[object]) -> str:
    return f"{len(models)} model{'' if len(models) == 1 else 's'}"


def _pairs(names: Sequence[str], values: Sequence[float], form: str) -> str:
    shown = [f"{name} {form.format(value)}" for name, value in zip(names, values, strict=True)]
    more = len(shown) - _SHOWN_CLASSES
    return ", ".join(shown[:_SHOWN_CLASSES]) + (f" and {more} more" if more > 0 else "")


def _scores(recipe: Recipe) -> list[str]:
    parts = [
        f"{value:.5f} {what}"
        for value, what in ((recipe.fitted, "on the data it was fitted to"), (recipe.honest, "cross-validated"))
        if value is not None
    ]
    return [f"{recipe.metric}: {', '.join(parts)}"] if parts else []


def _changes(recipe: Recipe, members: Mapping[str, Predictions]) -> list[str]:
    """How many decisions differ from those of the first model, and from those without class weights or thresholds."""
    chosen = _chosen(apply(recipe, members))
    plain = recipe.without_adjustment()
    lines = []
    if plain.parameters != recipe.parameters:
        what = "class weights" if recipe.task == "single_label" else "thresholds"
        before = _chosen(apply(plain, members))
        shift = chosen.sum(axis=0) - before.sum(axis=0)
        moved = ", ".join(f"{name} {by:+,}" for name, by in zip(recipe.classes, shift, strict=True) if by)
        lines.append(f"{what} change {_share(chosen, before)}{moved and ': ' + moved}")
    for name in recipe.models:
        other = _chosen(members[name].align(members[recipe.models[0]].ids))
        lines.append(f"differs from {name} in {_share(chosen, other)}")
    return lines


def _chosen(predictions: Predictions) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(N, C): the decisions."""
    if predictions.task == "multi_label":
        return np.asarray(predictions.probs >= 0.5)
    return np.asarray(predictions.probs.argmax(axis=1)[:, None] == np.arange(len(predictions.classes)))


def _share(
    a: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], b: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> str:
    rows = int((a != b).any(axis=1).sum())
    return f"{rows:,} of {len(a):,} rows ({100 * rows / len(a):.1f} %)"
