"""`cli vote`: runs vote by their most probable class; in rounds that are searched, or once.

    cli vote
    cli vote --run roberta --run bert --run linear --plain --rule best

Searched: every triple and quadruple of runs is counted exactly, the best outcomes of a round vote again in the next,
and rounds end when rows that they did not see say so (`kaggle_tools.search.vote`). Plain: one majority of all runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.members import check_test, find_runs, load_oof
from jobs.recipes import apply_to_test, check_recipe_name, other_metric, with_worth, write_found
from jobs.tasks import require_plain
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import confusion, evaluate, find_metric
from kaggle_tools.search import vote
from kaggle_tools.search.honest import Apply
from kaggle_tools.search.honest import evaluate as evaluate_honestly
from kaggle_tools.search.members import Members
from kaggle_tools.search.recipe import Recipe, apply_stack, explain
from kaggle_tools.search.recipe.rounds import RULES, Round
from kaggle_tools.search.vote import VoteRound


@dataclass(frozen=True)
class VoteOptions:
    """Who votes and how.

    Attributes:
        runs: Names, in voting order; empty: every run with the predictions that are needed.
        rule: What breaks ties, one of `RULES`.
        plain: One majority of all runs, nothing searched.
        metric: Overrides the competition's; a metric of decisions.
        max_rounds: Rounds at most.
        beam: Outcomes of a round that may vote in later ones.
        seed: Of folds and bootstrap.
        submission: Apply the recipe to the test predictions and write a version.
        name: Of recipe and version.
        normalise: Divide rows that do not sum to one by their sum.
        allow_absent: Accept classes without a row.
        start: Folder from which the competition is looked for upward; None: the working directory.
    """

    runs: tuple[str, ...] = ()
    rule: str = "winners"
    plain: bool = False
    metric: str | None = None
    max_rounds: int = 3
    beam: int = 3
    seed: int = 0
    submission: bool = True
    name: str | None = None
    normalise: bool = False
    allow_absent: bool = False
    start: Path | None = None


@dataclass(frozen=True)
class VoteResult:
    """What was found.

    Attributes:
        metric: Name.
        rule: What breaks ties.
        n_rows: Rows that the vote was fitted to.
        singles: Run → its score alone.
        rounds: The votes that the outcome rests on, in order; the last one's outcome is the result.
        honest_path: Honest score of the best single run, then after each round that was tried.
        stopped: Why there are no more rounds.
        fitted: Score on the rows that it was fitted to.
        honest: Score on rows that it was not fitted to, less what the choice of the number of rounds flatters it by.
        optimism: How much better `fitted` looks than `honest`.
        gain: Honest gain over the best single run, the choice counted.
        low: Lower end of its 95 % interval.
        high: Upper end.
        verdict: What the interval advises.
        recipe: File.
        words: The recipe in words and numbers.
        submission: Title of the version, or None.
        seconds: Wall time.
        notes: What a reader should know.
    """

    metric: str
    rule: str
    n_rows: int
    singles: Mapping[str, float]
    rounds: tuple[VoteRound, ...]
    honest_path: tuple[float, ...]
    stopped: str
    fitted: float
    honest: float
    optimism: float
    gain: float
    low: float
    high: float
    verdict: str
    recipe: Path
    words: str
    submission: str | None
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A vote, searched or plain, with what it is worth in its recipe."""

    recipe: Recipe
    rounds: tuple[VoteRound, ...]
    honest_path: tuple[float, ...]
    stopped: str
    gain: tuple[float, float, float]
    verdict: str


def run(options: VoteOptions) -> VoteResult:
    """Vote, score honestly, save the recipe, write the submission.

    Raises:
        UserError: No competition, runs that cannot be put together, too few of them, an unknown rule, a metric that
            needs probabilities. Nothing is written then.
    """
    began = time.perf_counter()
    name = check_recipe_name(options.name or "vote")
    if options.rule not in RULES:
        raise UserError(f"unknown tie rule '{options.rule}'", next=did_you_mean(options.rule, RULES))
    competition = Competition.find(options.start)
    require_plain(competition, "vote")
    workspace = Workspace(competition.root, competition)
    found_runs = find_runs(workspace, options.runs, need_test=options.submission)
    metric = find_metric(options.metric or competition.metric).name
    loaded = load_oof(
        found_runs,
        competition,
        named=bool(options.runs),
        normalise=options.normalise,
        allow_absent=options.allow_absent,
    )
    runs, oof = loaded.runs, loaded.oof
    _check_votable(oof, metric, least=2 if options.plain else 3)
    notes = loaded.notes
    if options.submission:
        notes += check_test(workspace, runs, oof, normalise=options.normalise)
    found = (_plain if options.plain else _search)(options, oof, metric, loaded.groups)
    application = None
    if options.submission:
        application = apply_to_test(workspace, found.recipe, runs, normalise=options.normalise, note=found.verdict)
    written = write_found(workspace, found.recipe, name, application)
    codes = oof.codes
    fitted, honest = found.recipe.fitted, found.recipe.honest
    assert fitted is not None
    assert honest is not None
    gain, low, high = found.gain
    return VoteResult(
        metric=metric,
        rule=options.rule,
        n_rows=len(oof.ids),
        singles={name: evaluate(metric, codes, one) for name, one in zip(oof.names, oof.probs, strict=True)},
        rounds=found.rounds,
        honest_path=found.honest_path,
        stopped=found.stopped,
        fitted=fitted,
        honest=honest,
        optimism=fitted - honest,
        gain=gain,
        low=low,
        high=high,
        verdict=found.verdict,
        recipe=written.recipe,
        words=explain(found.recipe),
        submission=written.submission,
        seconds=time.perf_counter() - began,
        notes=(*notes, *other_metric(competition, metric, written.submission)),
    )


def _check_votable(oof: Members, metric: str, *, least: int) -> None:
    if oof.task != "single_label":
        raise UserError(f"a vote is for single_label tasks, not {oof.task}", next="`cli blend` is for both")
    if find_metric(metric).from_confusion is None:
        raise UserError(
            f"a vote has decisions, {metric} needs probabilities",
            next="name a metric of decisions, such as --metric macro_f1",
        )
    if len(oof.names) < least:
        have = "one run only" if len(oof.names) == 1 else f"{len(oof.names)} runs only"
        hint = "train or import another run" + (", or give --plain: one majority of two" if len(oof.names) > 1 else "")
        raise UserError(f"{have}: {', '.join(oof.names)}", expected=f"{least} or more that vote", next=hint)


def _search(options: VoteOptions, oof: Members, metric: str, groups: NDArray[np.int64] | None) -> _Found:
    found = vote.search(
        oof.probs,
        oof.codes,
        metric,
        names=oof.names,
        rule=options.rule,
        beam=options.beam,
        max_rounds=options.max_rounds,
        folds=oof.folds,
        seed=options.seed,
        groups=groups,
    )
    recipe = found.recipe(oof.classes)
    gain, low, high = found.gain
    assert recipe.honest is not None
    worth = {"gain": gain, "low": low, "high": high, "optimism": found.score - recipe.honest}
    recipe = replace(recipe, provenance={**recipe.provenance, **worth})
    return _Found(recipe, found.rounds, found.honest, found.stopped, found.gain, found.verdict)


def _plain(options: VoteOptions, oof: Members, metric: str, groups: NDArray[np.int64] | None) -> _Found:
    recipes: list[Recipe] = []

    def fit(stack: NDArray[np.float32], codes: NDArray[np.int64], _folds: NDArray[np.int64]) -> Apply:
        scores = tuple(max(0.0, evaluate(metric, codes, model)) for model in stack)
        rounds = (Round("vote:1", oof.names, scores),)
        parameters = {"rounds": rounds, "rule": options.rule}
        recipes.append(Recipe("vote", oof.task, oof.classes, oof.names, metric, parameters))
        return partial(apply_stack, recipes[-1])

    honest = evaluate_honestly(fit, oof.probs, oof.codes, metric, folds=oof.folds, seed=options.seed, groups=groups)
    round_ = _describe(recipes[0], oof, honest.fitted)
    path = (honest.comparison.theirs, honest.honest)
    recipe = with_worth(recipes[0], honest, oof.codes, groups)
    gain = honest.comparison.gain, honest.comparison.low, honest.comparison.high
    return _Found(recipe, (round_,), path, "one plain majority was asked for", gain, honest.verdict)


def _describe(recipe: Recipe, oof: Members, score: float) -> VoteRound:
    """The only round of a plain vote, as the search would tell it."""
    n_classes = len(oof.classes)
    labels = [model.argmax(axis=1).astype(np.int64) for model in oof.probs]
    outcome = apply_stack(recipe, oof.probs).argmax(axis=1).astype(np.int64)
    kappa = find_metric("cohen_kappa").from_confusion
    assert kappa is not None
    pairs = list(combinations(labels, 2))
    (one,) = recipe.parameters["rounds"]
    return VoteRound(
        name=one.name,
        number=1,
        members=one.members,
        weights=one.weights,
        similarity=float(np.mean([kappa(confusion(a, b, n_classes)) for a, b in pairs])),
        agreement=float(np.mean([(a == b).mean() for a, b in pairs])),
        score=score,
        resemblance=tuple(kappa(confusion(outcome, model, n_classes)) for model in labels),
    )
