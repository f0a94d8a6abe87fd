"""The open-ended part of a blend search, by Optuna: which models, which family and power, which weights.

    found = study.search(codes, stack, "macro_f1", names=names, classes=classes, trials=200, starts=[exact])
    found.recipe, found.score, found.gain            # never worse on these rows than the best start
    study.search(..., storage="journal:blend.log")   # in several processes at once: they share the trials

Every trial is a blend of `_study_space`; its class weights, or thresholds, are not searched but chosen exactly where
the metric is one of counts. Trials are asked for and told in batches, and a batch is evaluated in threads. Starts
(recipes of the exact solvers) are scored as they are and are the first trials. The study is a plain one, which
`optuna-dashboard` opens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from kaggle_tools.errors import UserError
from kaggle_tools.search import _study_storage as storages
from kaggle_tools.search._study_recipes import Scored, best_of, score_start, settled
from kaggle_tools.search._study_samplers import check_sampler, create, settings, worker_seed
from kaggle_tools.search._study_scores import Scorer, chooses_exactly
from kaggle_tools.search._study_space import Space
from kaggle_tools.search._study_worker import Progress, Worker, finished
from kaggle_tools.search.inputs import Arrays, check_arrays
from kaggle_tools.search.recipe import Recipe
from kaggle_tools.search.threads import one_blas_thread

if TYPE_CHECKING:
    import optuna

__all__ = ["Progress", "StudyResult", "search"]


@dataclass(frozen=True, repr=False)
class StudyResult:
    """What a study found.

    Attributes:
        metric: Name.
        recipe: The best blend; it carries the score and how it was found.
        score: The metric of the recipe's replay on the fitted rows.
        start: The same of the best start; None where there was none.
        trial: Number of the best trial in the study; None where the best start was not surpassed.
        n_trials: Finished trials of the study, of all processes that ever worked on it.
        n_own: Trials that this call evaluated.
        sampler: The sampler with its settings.
        study_name: Name of the study in its storage.
        storage: Without a password; None for memory.
        seconds: Wall time.
    """

    metric: str
    recipe: Recipe
    score: float
    start: float | None
    trial: int | None
    n_trials: int
    n_own: int
    sampler: Mapping[str, Any]
    study_name: str
    storage: str | None
    seconds: float

    @property
    def gain(self) -> float | None:
        """How much better than the best start, in the metric's direction; None without starts."""
        return None if self.start is None else abs(self.score - self.start)

    def __repr__(self) -> str:
        if self.trial is None:
            against = "the best start, which no trial surpassed"
        else:
            against = f"trial {self.trial}" + (
                f", the best start had {self.start:.5f}" if self.start is not None else ""
            )
        return (
            f"{self.metric} {self.score:.5f}: {against}\n{self.recipe.kind} of {', '.join(self.recipe.models)}\n"
            f"study '{self.study_name}' in {self.storage or 'memory'}: {self.n_trials:,} trials, "
            f"{self.n_own:,} of them here, {self.sampler['name']}, {self.seconds:.1f} s"
        )


@one_blas_thread
def search(
    codes: ArrayLike,
    stack: ArrayLike,
    metric: str,
    *,
    names: Sequence[str],
    classes: Sequence[str],
    task: str = "single_label",
    trials: int = 200,
    starts: Sequence[Recipe] = (),
    seed: int = 0,
    sampler: str = "auto",
    storage: str | None = None,
    study_name: str | None = None,
    batch: int = 16,
    time_limit: float | None = None,
    on_batch: Callable[[Progress], None] | None = None,
    per_class: bool = False,
    allow_absent: bool = False,
) -> StudyResult:
    """Search the space of blends until the study has so many finished trials.

    Args:
        codes: (N,) true classes, or (N, C) of 0 and 1 (multi_label).
        stack: (M, N, C) probabilities.
        metric: Name or alias.
        names: M model names.
        classes: C class names.
        task: ``single_label`` or ``multi_label``.
        trials: Finished trials that the study shall have, those of earlier calls and of other processes included.
        starts: Recipes to begin with, of these classes and of some or all of these models.
        seed: Of the sampler. One process alone repeats its result; of several, each draws from a seed of its own, made
            of this one and the number of its first trial.
        sampler: ``tpe`` (multivariate, by groups, constant liar), ``cmaes`` (weights of all models in one family, that
            of the best start), ``random``; ``auto`` is ``tpe`` for few models and rows, else ``cmaes``.
        storage: None for memory, ``journal:FILE``, or an SQLAlchemy URL.
        study_name: In the storage; None is ``blend``.
        batch: Trials that are asked for, evaluated and told together.
        time_limit: Seconds after which no batch begins.
        on_batch: Called after every batch.
        per_class: Every class has its own weight of each model.
        allow_absent: Accept classes without rows.

    Raises:
        UserError: No trials, unusable arrays (`inputs.check_arrays`), names that do not fit, a start of other classes
            or unknown models, an unknown sampler, a storage that cannot be opened or holds a study of another problem.
    """
    began = time.perf_counter()
    check_sampler(sampler)
    _check_numbers(trials=trials, batch=batch)
    problem = _checked(codes, stack, metric, names, classes, task)
    chosen = check_sampler(sampler, *problem.stack.shape[:2])
    scorer = Scorer(problem, allow_absent=allow_absent)
    scored = [score_start(start, problem, names, classes) for start in starts]
    best_start = best_of(scored, problem.metric)
    space = _space(chosen, problem, names, classes, per_class, best_start)
    plan = _Plan(space, problem, chosen, batch, seed, tuple(one.recipe for one in scored), best_start)
    with storages.quiet(), storages.opened(storage) as opened:
        study = storages.create_or_join(
            opened, study_name or "blend",
            maximize=problem.metric.greater_is_better, attributes=plan.attributes(), starts=plan.first_trials(),
        )  # fmt: skip
        worker = Worker(study, space, scorer, plan.make_sampler)
        deadline = np.inf if time_limit is None else began + time_limit
        start = None if best_start is None else best_start.score
        worker.run(trials, batch=batch, deadline=deadline, best=start, on_batch=on_batch)
        done = finished(study)
    best = best_of([*scored, *settled(done, space, scorer, problem)], problem.metric)
    if best is None:
        raise UserError("no trial was finished in time, and there is no start", next="allow more time, or give starts")
    result = StudyResult(
        metric=problem.metric.name,
        recipe=best.recipe,
        score=best.score,
        start=start,
        trial=best.trial,
        n_trials=len(done),
        n_own=worker.n_own,
        sampler=plan.settings,
        study_name=study_name or "blend",
        storage=storages.shown(storage),
        seconds=time.perf_counter() - began,
    )
    return replace(result, recipe=_with_provenance(result, seed))


@dataclass(frozen=True)
class _Plan:
    """What a study is to be."""

    space: Space
    problem: Arrays
    sampler: str
    batch: int
    seed: int
    starts: tuple[Recipe, ...]
    best_start: Scored | None

    @property
    def settings(self) -> dict[str, Any]:
        n_numbers = len(self._bounds())
        return settings(self.sampler, self.batch, n_numbers)

    def attributes(self) -> dict[str, Any]:
        """The user attributes of the study; all who work on it must agree in ``space`` and ``problem``."""
        space, problem = self.space, self.problem
        rows = problem.stack.shape[1]
        about = {"metric": problem.metric.name, "models": space.names, "classes": space.classes, "rows": rows}
        return {
            "about": about,
            "sampler": self.settings,
            "seed": self.seed,
            "space": {"family": space.family or "any", "weights per class": space.per_class},
            "problem": storages.fingerprint(problem, space.names, space.classes),
        }

    def first_trials(self) -> list[dict[str, Any]]:
        """The starts as points of the space, where it has something like them."""
        return [params for params in map(self.space.params, self.starts) if params is not None]

    def make_sampler(self, first_trial: int) -> optuna.samplers.BaseSampler:
        """The sampler of a worker."""
        start = None if self.best_start is None else self.space.params(self.best_start.recipe)
        return create(self.settings, worker_seed(self.seed, first_trial), self._bounds(), start)

    def _bounds(self) -> dict[str, tuple[float, float]]:
        return self.space.bounds(self.space.family or "linear")


def _with_provenance(result: StudyResult, seed: int) -> Recipe:
    """The recipe with its score and how it was found."""
    found = {
        "search": "study",
        "study": result.study_name,
        "storage": result.storage,
        "sampler": dict(result.sampler),
        "seed": seed,
        "trials": result.n_trials,
        "trial": result.trial,
    }
    recipe = result.recipe
    return replace(recipe, metric=result.metric, fitted=result.score, provenance={**recipe.provenance, **found})


def _space(
    sampler: str, problem: Arrays, names: Sequence[str], classes: Sequence[str], per_class: bool, start: Scored | None
) -> Space:
    biases = not chooses_exactly(problem.metric.name, problem.task)
    space = Space(tuple(names), tuple(classes), problem.task, per_class, biases)
    if sampler != "cmaes":
        return space
    linear = replace(space, family="linear")
    return linear if start is not None and linear.params(start.recipe) is not None else replace(space, family="log")


def _checked(
    codes: ArrayLike, stack: ArrayLike, metric: str, names: Sequence[str], classes: Sequence[str], task: str
) -> Arrays:
    problem = check_arrays(stack, codes, metric, least_models=2)
    if problem.task != task:
        raise UserError(f"the labels are of a {problem.task} task, not of a {task} one")
    for what, given, size in (("model", names, len(problem.stack)), ("class", classes, problem.stack.shape[2])):
        if len(given) != size or len(set(given)) != size:
            raise UserError(f"{len(set(given))} distinct {what} names for {size}", found=", ".join(given) or "none")
    return problem


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"{name} must be 1 or more, but got {number}", next="a search needs at least one trial")
