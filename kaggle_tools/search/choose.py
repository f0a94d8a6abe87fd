"""Which blend to trust: every candidate scored on rows that it did not see, the simplest of the best taken.

    chosen = choose(stack, codes, setting, folds=folds)
    chosen.table          # one row a candidate: parameters, fitted and honest score, interval of its gain
    chosen.recipe         # fitted to all rows

Of candidates whose honest score is within one standard error of the best (Breiman et al. 1984, "1-SE rule"; the error
is that of the paired difference) the one with the fewest fitted numbers wins. That it was chosen flatters it: by how
much, a bootstrap tells (`_selection`), and `Chosen.honest` is the score after that.

Of more than `MANY` rows a sample decides: every candidate is fitted once, to `FITTED` rows of all folds but one, and
scored on up to `SCORED` rows of that one. Only the candidate that is taken is then fitted to all rows and scored on all
of them, by fits to `FITTED` rows of the other folds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import find_metric
from kaggle_tools.search._selection import gain_of_chosen, optimism_of_choice, simplest, simplest_of_the_best
from kaggle_tools.search.candidates import CANDIDATES, Candidate, Codes, Setting, Stack
from kaggle_tools.search.compare import compare, group_codes
from kaggle_tools.search.honest import (
    Apply,
    Fit,
    Honest,
    evaluate,
    hold_out,
    sample_rows,
    stratified_folds,
)
from kaggle_tools.search.inputs import check_folds
from kaggle_tools.search.lines import MAX_CLASSES
from kaggle_tools.search.recipe import Recipe, apply_stack
from kaggle_tools.search.threads import one_blas_thread

MANY = 50_000
FITTED = 20_000
SCORED = 100_000

# What a method is for, where that is not any metric and two models or more.
_SUITS = {
    "rank": "roc_auc or average_precision: mean ranks keep the order of the rows and nothing else of the probabilities",
    "weights": f"two models or more, one label a row, {MAX_CLASSES:,} classes at most",
    "stack": f"two models or more, {MAX_CLASSES:,} classes at most",
    "vote": "a metric of decisions, three models or more, one label a row",
}


@dataclass(frozen=True)
class Tried:
    """One candidate.

    Attributes:
        name: Key of `CANDIDATES`.
        n_parameters: Fitted numbers.
        recipe: Fitted to all rows, scores in it.
        honest: What it is worth.
        behind: How far its honest score is behind the best one's; 0 for the best.
        standard_error: Of that difference; 0 for the best.
        seconds: Of fitting and scoring.
    """

    name: str
    n_parameters: int
    recipe: Recipe
    honest: Honest
    behind: float
    standard_error: float
    seconds: float


@dataclass(frozen=True)
class Chosen:
    """The candidates, best honest score first, and the one to use.

    Attributes:
        table: All that were tried, on the same rows.
        tried: The one that was taken, on all rows.
        reason: Why, in a sentence.
        choice_optimism: How much better it looks for having been chosen; above zero is too good.
        honest: Its honest score, the choice counted.
    """

    table: tuple[Tried, ...]
    tried: Tried
    reason: str
    choice_optimism: float
    honest: float

    @property
    def name(self) -> str:
        """Of the candidate that was taken."""
        return self.tried.name

    @property
    def gain(self) -> tuple[float, float, float]:
        """Its gain over the best single model, and the ends of the 95 % interval, the choice counted."""
        return gain_of_chosen(self.tried.honest.comparison, self.choice_optimism, len(self.table))

    @property
    def recipe(self) -> Recipe:
        """Its recipe, with `honest` as its honest score."""
        return replace(self.tried.recipe, honest=self.honest)


def candidates_for(setting: Setting, method: str) -> dict[str, Candidate]:
    """The candidates of a method that suit a setting; ``auto`` takes all.

    Raises:
        UserError: An unknown method, or one for other metrics or more models.
    """
    methods = list(dict.fromkeys(candidate.method for candidate in CANDIDATES.values()))
    if method not in ("auto", *methods):
        raise UserError(f"unknown method '{method}'", next=did_you_mean(method, ["auto", *methods]))
    found = {
        name: candidate
        for name, candidate in CANDIDATES.items()
        if method in ("auto", candidate.method) and candidate.suits(setting)
    }
    if not found:
        n, several = len(setting.names), "" if setting.task == "single_label" else ", several labels a row,"
        raise UserError(
            f"method '{method}' does not suit {setting.metric}{several} with {n} model{'' if n == 1 else 's'}",
            expected=_SUITS.get(method, "two models or more"),
            next="--method auto tries all that suit",
        )
    return found


@one_blas_thread
def choose(
    probs: Stack,
    codes: Codes,
    setting: Setting,
    *,
    folds: NDArray[np.integer] | None = None,
    groups: NDArray[np.integer] | None = None,
    candidates: Mapping[str, Candidate] | None = None,
    on_tried: Callable[[str, Honest], None] | None = None,
) -> Chosen:
    """Try candidates and take one.

    Args:
        probs: (M, N, C) float32 out-of-fold probabilities.
        codes: (N,) int64 true classes, or (N, C) of 0 and 1.
        setting: Models, classes, metric.
        folds: (N,) folds that the models were trained in; None makes stratified ones.
        groups: (N,) groups of rows that are not independent; None: rows are.
        candidates: What to try; None: all that suit.
        on_tried: Told about each candidate as it is done.

    Raises:
        UserError: Unusable input; see `honest.evaluate`.
    """
    problem = _Problem(probs, codes, setting, folds, group_codes(groups, probs.shape[1]))
    rows = problem.sample() if probs.shape[1] > MANY else None
    found = candidates or candidates_for(setting, "auto")
    tried = [_try(name, candidate, problem, rows, on_tried) for name, candidate in found.items()]
    sign = 1.0 if find_metric(setting.metric).greater_is_better else -1.0
    tried.sort(key=lambda one: -sign * one.honest.honest)
    scored, units = codes, problem.groups
    if rows is not None:
        scored = codes[rows[1]]
        units = None if units is None else group_codes(units[rows[1]], len(scored))
    best = tried[0]
    table = [best, *(_behind(one, best, scored, setting.metric, units) for one in tried[1:])]
    n_parameters = [one.n_parameters for one in table]
    place = simplest_of_the_best(-_column(table, "behind"), _column(table, "standard_error"), n_parameters)
    taken = table[place]
    outputs = [one.honest.output for one in table]
    optimism = optimism_of_choice(
        setting.metric, scored, outputs, simplest(n_parameters), place, seed=setting.seed, groups=units
    )
    near = [one for one in table if one.behind <= one.standard_error]
    reason = _reason(taken, best, near)
    if rows is not None:
        taken = _on_all_rows(taken, found[taken.name], problem)
        reason += f"; compared on {len(rows[1]):,} rows that were held out, fitted to {len(rows[0]):,}"
    taken = replace(taken, recipe=_remember(taken, table, reason))
    return Chosen(tuple(table), taken, reason, optimism, taken.honest.honest - sign * optimism)


@dataclass(frozen=True)
class _Problem:
    """What candidates are tried on."""

    probs: Stack
    codes: Codes
    setting: Setting
    folds: NDArray[np.integer] | None
    groups: NDArray[np.int64] | None

    def sample(self) -> tuple[NDArray[np.intp], NDArray[np.intp], Codes]:
        """Rows to fit to, rows of one fold to score on, and the folds of all rows."""
        rng = np.random.default_rng(self.setting.seed)
        n_rows = self.probs.shape[1]
        folds = stratified_folds(self.codes, 5, self.setting.seed) if self.folds is None else self.folds
        first = check_folds(folds, n_rows) == np.min(folds)
        train = sample_rows(np.flatnonzero(~first), FITTED, rng)
        return train, sample_rows(np.flatnonzero(first), SCORED, rng), np.asarray(folds, np.int64)


def _remember(taken: Tried, table: Sequence[Tried], reason: str) -> Recipe:
    """The recipe with what it was chosen from; without times, so that a search repeats to the byte."""
    rows = []
    for one in table:
        gain, honest = one.honest.comparison, one.honest
        rows.append(
            {
                "name": one.name, "n_parameters": one.n_parameters, "fitted": honest.fitted, "honest": honest.honest,
                "optimism": honest.optimism, "gain": gain.gain, "low": gain.low, "high": gain.high,
            }
        )  # fmt: skip
    return replace(taken.recipe, provenance={**taken.recipe.provenance, "candidates": rows, "reason": reason})


def _try(
    name: str,
    candidate: Candidate,
    problem: _Problem,
    rows: tuple[NDArray[np.intp], NDArray[np.intp], Codes] | None,
    on_tried: Callable[[str, Honest], None] | None,
) -> Tried:
    began = time.perf_counter()
    setting, recipes = problem.setting, list[Recipe]()
    fit = _fit(candidate, setting, recipes)
    if rows is None:
        honest = evaluate(
            fit, problem.probs, problem.codes, setting.metric, folds=problem.folds, seed=setting.seed,
            groups=problem.groups,
        )  # fmt: skip
    else:
        train, held_out, folds = rows
        honest = hold_out(
            fit, problem.probs, problem.codes, setting.metric, train=train, held_out=held_out, folds=folds,
            seed=setting.seed, groups=problem.groups,
        )  # fmt: skip
    if on_tried is not None:
        on_tried(name, honest)
    recipe = _told(recipes[0], name, honest)
    return Tried(name, candidate.n_parameters(setting), recipe, honest, 0.0, 0.0, time.perf_counter() - began)


def _on_all_rows(taken: Tried, candidate: Candidate, problem: _Problem) -> Tried:
    """The same candidate, fitted to all rows and scored on all of them."""
    began = time.perf_counter()
    setting, recipes = problem.setting, list[Recipe]()
    honest = evaluate(
        _fit(candidate, setting, recipes), problem.probs, problem.codes, setting.metric, folds=problem.folds,
        seed=setting.seed, most_rows=FITTED, groups=problem.groups,
    )  # fmt: skip
    seconds = taken.seconds + time.perf_counter() - began
    return replace(taken, recipe=_told(recipes[0], taken.name, honest), honest=honest, seconds=seconds)


def _fit(candidate: Candidate, setting: Setting, recipes: list[Recipe]) -> Fit:
    """What `honest` asks for; the recipes go to the list, that of all rows first."""

    def fit(part: Stack, codes: Codes, folds: Codes) -> Apply:
        recipe = candidate.fit(setting, part, codes, folds)
        recipes.append(recipe)
        used = [setting.names.index(name) for name in recipe.models]  # a study leaves models out
        return lambda probs: apply_stack(recipe, probs[used])

    return fit


def _told(recipe: Recipe, name: str, honest: Honest) -> Recipe:
    return replace(
        recipe, fitted=honest.fitted, honest=honest.honest, provenance={**recipe.provenance, "candidate": name}
    )


def _column(table: Sequence[Tried], name: str) -> NDArray[np.float64]:
    return np.array([getattr(one, name) for one in table], np.float64)


def _behind(one: Tried, best: Tried, codes: Codes, metric: str, groups: Codes | None) -> Tried:
    """How far behind the best it is, on the same held-out rows."""
    difference = compare(metric, codes, best.honest.output, one.honest.output, n_bootstraps=1000, groups=groups)
    return replace(one, behind=max(0.0, difference.gain), standard_error=difference.standard_error)


def _reason(taken: Tried, best: Tried, near: Sequence[Tried]) -> str:
    if taken is best:
        return "best honest score, and nothing within one standard error of it has fewer fitted numbers"
    return (
        f"{taken.n_parameters} fitted numbers against {best.n_parameters} of '{best.name}', whose honest score is "
        f"{taken.behind:.5f} better: less than one standard error ({taken.standard_error:.5f}); "
        f"{len(near)} candidates are that near"
    )
