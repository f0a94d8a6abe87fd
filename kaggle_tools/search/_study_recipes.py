"""The recipes between which a study decides: its starts, and what its best trials become; scored by their replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import Metric, evaluate
from kaggle_tools.search._study_scores import Scorer
from kaggle_tools.search._study_space import Space
from kaggle_tools.search.inputs import Arrays
from kaggle_tools.search.recipe import Recipe, apply_stack

if TYPE_CHECKING:
    import optuna

_FINALISTS = 3  # trials whose class weights are chosen on all rows in the end


@dataclass(frozen=True)
class Scored:
    """A recipe with the score of its replay, and the number of the trial that it comes from."""

    recipe: Recipe
    score: float
    trial: int | None = None


def best_of(scored: Sequence[Scored], metric: Metric) -> Scored | None:
    """The first of equals; None of none."""
    sign = 1.0 if metric.greater_is_better else -1.0
    return max(scored, key=lambda one: sign * one.score, default=None)


def score_start(start: Recipe, problem: Arrays, names: Sequence[str], classes: Sequence[str]) -> Scored:
    """A start with its score.

    Raises:
        UserError: It is for another task or other classes, or uses a model that there is not.
    """
    if start.task != problem.task:
        raise UserError(f"a start is for {start.task} tasks, the labels are {problem.task}")
    if start.classes != tuple(classes):
        raise UserError("a start has other classes", found=", ".join(start.classes), expected=", ".join(classes))
    for model in start.models:
        if model not in names:
            raise UserError(f"a start uses an unknown model '{model}'", next=did_you_mean(model, [*names]))
    return _replayed(start, problem, names)


def settled(done: Sequence[optuna.trial.FrozenTrial], space: Space, scorer: Scorer, problem: Arrays) -> list[Scored]:
    """The best of the few best trials, class weights or thresholds chosen on all rows; nothing without trials."""
    sign = 1.0 if problem.metric.greater_is_better else -1.0
    found = []
    for trial in _finalists(sorted(done, key=lambda trial: -sign * trial.values[0])):
        candidate = space.candidate(trial.params)
        value, adjustment = scorer.settle(candidate)
        found.append((sign * value, trial.number, candidate, adjustment))
    if not found:
        return []
    _, number, candidate, adjustment = max(found, key=lambda one: one[0])
    return [_replayed(space.recipe(candidate, problem.metric.name, adjustment), problem, space.names, number)]


def _finalists(ranked: Sequence[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """The first few that differ."""
    kept: list[optuna.trial.FrozenTrial] = []
    for trial in ranked:
        if len(kept) < _FINALISTS and all(trial.params != other.params for other in kept):
            kept.append(trial)
    return kept


def _replayed(recipe: Recipe, problem: Arrays, names: Sequence[str], trial: int | None = None) -> Scored:
    places = [names.index(model) for model in recipe.models]
    stack = problem.stack if places == [*range(len(names))] else problem.stack[places]
    return Scored(recipe, evaluate(problem.metric.name, problem.codes, apply_stack(recipe, stack)), trial)
