"""`cli blend`: the best blend, with class weights, that out-of-fold predictions can honestly give; applied to the test.

    cli blend
    cli blend --run roberta --run linear --method weights --metric log_loss

Every candidate is fitted and scored on rows that it did not see; the simplest of the best is taken, saved as a recipe
that replays bit for bit, and its submission written as a version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from kaggle_tools.metrics import find_metric
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import members as joined
from kaggle_tools.search.candidates import Setting, study_candidate
from kaggle_tools.search.choose import Tried, candidates_for, choose
from kaggle_tools.search.honest import Honest, single_scores
from kaggle_tools.search.recipe import Recipe, apply, explain, save
from kaggle_tools.submissions import ManifestDraft, build_submission, count_classes, write_version


@dataclass(frozen=True)
class BlendOptions:
    """What to blend.

    Attributes:
        runs: Names; empty: every run with the predictions that are needed.
        method: ``auto`` or one of `kaggle_tools.search.candidates`.
        metric: Overrides the competition's.
        seed: Of everything random.
        signed: Weights of the linear pool may be negative.
        sparse: Models used at most.
        per_class: Weights for each model and class.
        trials: Trials of an Optuna study beside the exact candidates; 0 for none.
        storage: Of that study: ``journal:FILE`` or an SQLAlchemy URL; None for memory.
        time_limit: Seconds that one fit may take.
        submission: Apply the recipe to the test predictions and write a version.
        name: Of recipe and version.
        start: Folder from which the competition is looked for upward; None: the working directory.
        on_tried: Told about each candidate as it is done.
    """

    runs: tuple[str, ...] = ()
    method: str = "auto"
    metric: str | None = None
    seed: int = 0
    signed: bool = False
    sparse: int | None = None
    per_class: bool = False
    trials: int = 0
    storage: str | None = None
    time_limit: float | None = None
    submission: bool = True
    name: str | None = None
    start: Path | None = None
    on_tried: Callable[[str, Honest], None] | None = None


@dataclass(frozen=True)
class CandidateRow:
    """One line of the table that the choice was made from. Gains are over the best single model."""

    name: str
    n_parameters: int
    fitted: float
    honest: float
    optimism: float
    gain: float
    low: float
    high: float
    seconds: float


@dataclass(frozen=True)
class BlendResult:
    """What was found.

    Attributes:
        metric: Name.
        n_rows: Rows that it was fitted to.
        singles: Run → its score alone.
        table: Candidates, best honest score first.
        chosen: Name of the one that was taken.
        reason: Why.
        honest: Its honest score, with what having been chosen flatters it by taken off.
        choice_optimism: How much that was.
        verdict: What the interval of its gain advises.
        recipe: File.
        words: The recipe in words and numbers.
        submission: Title of the version, or None.
        seconds: Wall time.
    """

    metric: str
    n_rows: int
    singles: Mapping[str, float]
    table: tuple[CandidateRow, ...]
    chosen: str
    reason: str
    honest: float
    choice_optimism: float
    verdict: str
    recipe: Path
    words: str
    submission: str | None
    seconds: float


def run(options: BlendOptions) -> BlendResult:
    """Search, choose, save the recipe, write the submission.

    Raises:
        UserError: No competition, runs that cannot be put together, a method that does not suit the metric. Nothing is
            written then.
    """
    began = time.perf_counter()
    competition = Competition.find(options.start)
    workspace = Workspace(competition.root, competition)
    runs = find_runs(workspace, options.runs, need_test=options.submission)
    oof = joined.stack({run.name: Predictions.load(run.oof) for run in runs})
    metric = find_metric(options.metric or competition.metric).name
    setting = Setting(
        names=oof.names,
        classes=oof.classes,
        metric=metric,
        task=oof.task,
        seed=options.seed,
        signed=options.signed,
        sparse=options.sparse,
        per_class=options.per_class,
        time_limit=options.time_limit,
    )
    candidates = candidates_for(setting, options.method)
    if options.trials:
        candidates["study"] = study_candidate(options.trials, options.storage)
    chosen = choose(
        oof.probs,
        oof.codes,
        setting,
        folds=oof.folds,
        candidates=candidates,
        on_tried=options.on_tried,
    )
    name = options.name or "blend"
    path = save_recipe(workspace, name, chosen.recipe)
    title = write_blend(workspace, runs, chosen.recipe, path, name, chosen.tried) if options.submission else None
    return BlendResult(
        metric=metric,
        n_rows=len(oof.ids),
        singles=dict(zip(oof.names, single_scores(oof.probs, oof.codes, metric), strict=True)),
        table=tuple(_row(one) for one in chosen.table),
        chosen=chosen.name,
        reason=chosen.reason,
        honest=chosen.honest,
        choice_optimism=chosen.choice_optimism,
        verdict=chosen.tried.honest.verdict,
        recipe=path,
        words=explain(chosen.recipe),
        submission=title,
        seconds=time.perf_counter() - began,
    )


def find_runs(workspace: Workspace, names: tuple[str, ...], *, need_test: bool) -> list[Run]:
    """The runs that are named, or all that have what is needed.

    Raises:
        UserError: A run that is not there or lacks OOF (or test) predictions; none at all.
    """
    stem = test_stem(workspace) if need_test else None
    if names:
        runs = [workspace.run(name) for name in names]
        for run in runs:
            _require(run, stem)
        return runs
    complete = workspace.runs()
    runs = [run for run in complete if run.oof.is_file() and (stem is None or run.predictions(stem).is_file())]
    if not runs:
        raise UserError(
            f"none of {len(complete)} runs has out-of-fold{' and test' if need_test else ''} predictions",
            where=workspace.runs_folder,
            next="train some, then `cli score --input` the test file; or `cli import` them",
        )
    return runs


def test_stem(workspace: Workspace) -> str:
    """What the competition's test file is called in `runs/<run>/predictions/`.

    Raises:
        UserError: The competition names no test file.
    """
    test = workspace.competition.test if workspace.competition else None
    if test is None:
        raise UserError("the competition names no test file", next="--no-submission, or `cli init --test … --force`")
    return Path(test).name.split(".")[0]


def save_recipe(workspace: Workspace, name: str, recipe: Recipe) -> Path:
    """Write `blends/<name>-<digest>.json`: the same recipe has the same name, another never overwrites it."""
    key = digest(recipe.kind, recipe.models, sorted(recipe.parameters.items(), key=lambda item: item[0]))
    path = workspace.root / "blends" / f"{name}-{key[:8]}.json"
    save(recipe, path)
    return path


def write_blend(workspace: Workspace, runs: list[Run], recipe: Recipe, path: Path, name: str, tried: Tried) -> str:
    """Apply the recipe to the test predictions and write a version; gives its title."""
    competition = workspace.competition
    assert competition is not None
    files = [run.predictions(test_stem(workspace)) for run in runs]
    blended = apply(recipe, {run.name: Predictions.load(file) for run, file in zip(runs, files, strict=True)})
    sample = competition.path(competition.sample_submission)
    draft = ManifestDraft(
        recipe={"kind": recipe.kind, "file": str(path.relative_to(workspace.root)), "candidate": tried.name},
        inputs=(path, *files),
        competition=competition.name,
        metric=recipe.metric,
        oof_score=recipe.fitted,
        honest_score=recipe.honest,
        class_counts=count_classes(blended),
        note=tried.honest.verdict,
    )
    table = build_submission(blended, sample, competition)
    return write_version(workspace.submissions, name, table, draft).title


def _require(run: Run, stem: str | None) -> None:
    if not run.oof.is_file():
        raise UserError(f"run '{run.name}' has no out-of-fold predictions", where=run.folder)
    if stem is not None and not run.predictions(stem).is_file():
        raise UserError(
            f"run '{run.name}' has no predictions for the test file",
            where=run.predictions(stem),
            next=f"`cli score --input <test file> --model {run.name}`, or --no-submission",
        )


def _row(one: Tried) -> CandidateRow:
    gain = one.honest.comparison
    return CandidateRow(
        one.name, one.n_parameters, one.honest.fitted, one.honest.honest, one.honest.optimism, gain.gain, gain.low,
        gain.high, one.seconds,
    )  # fmt: skip
