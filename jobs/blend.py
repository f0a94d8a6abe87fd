"""`cli blend`: the best blend, with class weights, that out-of-fold predictions can honestly give; applied to the test.

    cli blend
    cli blend --run roberta --run linear --method weights --metric log_loss

Every candidate is fitted and scored on rows that it did not see; the simplest of the best is taken, saved as a recipe
that replays bit for bit, and its submission written as a version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.members import check_test, find_runs, load_oof
from jobs.recipes import apply_to_test, check_recipe_name, other_metric, with_worth, write_found
from jobs.tasks import require_plain
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import find_metric
from kaggle_tools.search.candidates import Candidate, Setting, study_candidate
from kaggle_tools.search.choose import Tried, candidates_for, choose
from kaggle_tools.search.compile_ahead import compile_ahead
from kaggle_tools.search.counts import is_count_metric
from kaggle_tools.search.honest import Honest, single_scores, verdict_of
from kaggle_tools.search.recipe import explain
from kaggle_tools.search.study import Progress


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
        trials: Trials of an Optuna study beside the exact candidates; None for none.
        storage: Of that study: ``journal:FILE`` or an SQLAlchemy URL; None for memory.
        study: Its name in the storage.
        sampler: Its sampler, see `kaggle_tools.search.study`.
        workers: Processes that work on it.
        time_limit: Seconds that one fit may take.
        submission: Apply the recipe to the test predictions and write a version.
        name: Of recipe and version.
        normalise: Divide rows that do not sum to one by their sum.
        allow_absent: Accept classes without a row.
        start: Folder from which the competition is looked for upward; None: the working directory.
        on_tried: Told about each candidate as it is done.
        on_batch: Told about the progress of the study.
    """

    runs: tuple[str, ...] = ()
    method: str = "auto"
    metric: str | None = None
    seed: int = 0
    signed: bool = False
    sparse: int | None = None
    per_class: bool = False
    trials: int | None = None
    storage: str | None = None
    study: str | None = None
    sampler: str | None = None
    workers: int | None = None
    time_limit: float | None = None
    submission: bool = True
    name: str | None = None
    normalise: bool = False
    allow_absent: bool = False
    start: Path | None = None
    on_tried: Callable[[str, Honest], None] | None = None
    on_batch: Callable[[Progress], None] | None = None


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
        verdict: What the interval of its gain advises, the choice counted.
        recipe: File.
        words: The recipe in words and numbers.
        submission: Title of the version, or None.
        seconds: Wall time.
        notes: What a reader should know.
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
    notes: tuple[str, ...] = ()


def run(options: BlendOptions) -> BlendResult:
    """Search, choose, save the recipe, write the submission.

    Raises:
        UserError: No competition, runs that cannot be put together, a method that does not suit the metric. Nothing is
            written then.
    """
    began = time.perf_counter()
    name = check_recipe_name(options.name or "blend")
    competition = Competition.find(options.start)
    require_plain(competition, "blend")
    workspace = Workspace(competition.root, competition)
    found_runs = find_runs(workspace, options.runs, need_test=options.submission)
    metric = find_metric(options.metric or competition.metric).name
    if is_count_metric(metric):
        compile_ahead()
    loaded = load_oof(
        found_runs,
        competition,
        named=bool(options.runs),
        normalise=options.normalise,
        allow_absent=options.allow_absent,
    )
    runs, oof = loaded.runs, loaded.oof
    notes = loaded.notes
    if options.submission:
        notes += check_test(workspace, runs, oof, normalise=options.normalise)
    _check_pools(options, metric, oof.task)
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
    # The study goes first: a storage that holds another problem is told before the exact candidates are tried.
    candidates = _study(options) | candidates
    chosen = choose(
        oof.probs,
        oof.codes,
        setting,
        folds=oof.folds,
        groups=loaded.groups,
        candidates=candidates,
        on_tried=options.on_tried,
    )
    gain, low, high = chosen.gain
    verdict = verdict_of(low, high)
    recipe = with_worth(chosen.recipe, chosen.tried.honest, oof.codes, loaded.groups)
    worth = {**recipe.provenance, "gain": gain, "low": low, "high": high, "verdict": verdict}
    recipe = replace(recipe, honest=chosen.honest, provenance=worth)
    application = None
    if options.submission:
        about = {"candidate": chosen.name}
        application = apply_to_test(workspace, recipe, runs, normalise=options.normalise, about=about, note=verdict)
    written = write_found(workspace, recipe, name, application)
    return BlendResult(
        metric=metric,
        n_rows=len(oof.ids),
        singles=dict(zip(oof.names, single_scores(oof.probs, oof.codes, metric), strict=True)),
        table=tuple(_row(one) for one in chosen.table),
        chosen=chosen.name,
        reason=chosen.reason,
        honest=chosen.honest,
        choice_optimism=chosen.choice_optimism,
        verdict=verdict,
        recipe=written.recipe,
        words=explain(recipe),
        submission=written.submission,
        seconds=time.perf_counter() - began,
        notes=(*notes, *other_metric(competition, metric, written.submission)),
    )


def _check_pools(options: BlendOptions, metric: str, task: str) -> None:
    """Refuse options of the pools where none would heed them."""
    for name in ("signed", "per_class", "sparse"):
        option = f"--{name.replace('_', '-')}"
        if not getattr(options, name):
            continue
        if options.method not in ("auto", "weights"):
            raise UserError(f"{option} is for --method weights or auto, not {options.method}", next="leave it out")
        if task != "single_label":
            raise UserError(f"{option} is for pools, which are for one label a row", next="leave it out")
        if name != "sparse" and not is_count_metric(metric):
            raise UserError(
                f"{option} is for metrics of decisions, {metric} is one of probabilities",
                next="leave it out: exponents of the log pool may be negative, and a stack has weights for every class",
            )


def _study(options: BlendOptions) -> dict[str, Candidate]:
    """The study as a candidate, where one is asked for."""
    if options.trials is not None:
        if options.sparse is not None:
            raise UserError(
                "--sparse is not for a study, which weighs all models", next="leave --trials or --sparse out"
            )
        study = study_candidate(
            options.trials,
            options.storage,
            options.on_batch,
            sampler=options.sampler or "auto",
            study_name=options.study,
            workers=1 if options.workers is None else options.workers,
        )
        return {"study": study}
    for name in ("storage", "study", "sampler", "workers"):
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for a study, and none is asked for", next="add --trials 200")
    return {}


def _row(one: Tried) -> CandidateRow:
    gain = one.honest.comparison
    return CandidateRow(
        one.name, one.n_parameters, one.honest.fitted, one.honest.honest, one.honest.optimism, gain.gain, gain.low,
        gain.high, one.seconds,
    )  # fmt: skip
