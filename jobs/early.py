"""`cli score` before torch is loaded, which takes seconds: a job that is complete is found, what was mistyped told.

result = score(options, watch)      # `jobs.score.run`, unless there is nothing left to do
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.loading import loading
from jobs.overwriting import check_targets
from jobs.pipes import is_pipe
from jobs.resolve import InputOptions, Inputs, find_models, look_at_inputs, quick_looks
from jobs.runner.decided import check_bounds, check_shares, tell_of_layers
from jobs.runner.joining import check_suffix
from jobs.runner.plan import Request
from jobs.runner.planner import Job, open_job
from jobs.runner.store import JobStore
from jobs.score_options import ScoreOptions, ScoreResult, result_of
from jobs.workspace import Run, Workspace
from kaggle_tools.files import check_name, file_digest
from kaggle_tools.predictions import job_of
from kaggle_tools.remote import Place, RemoteFile, place
from models.checkpoint import CheckpointSpec
from models.hub import fingerprint, local_folder

if TYPE_CHECKING:
    from jobs.dry_run import Forecast
    from jobs.runner.local import Watch

_ONE_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True)
class Looked:
    """What is known before models are loaded.

    Attributes:
        inputs: Files with their columns.
        models: Run name → folders of its checkpoints.
        prints: Run name → their fingerprints.
    """

    inputs: Inputs
    models: Mapping[str, Sequence[str]]
    prints: Mapping[str, tuple[str, ...]]


class _NotPlanned(Exception):
    """A job without a plan: it is not complete."""


def score(options: ScoreOptions, watch: Watch) -> ScoreResult:
    """Score, or go on where the same request was interrupted, or say that it is complete.

    Raises:
        UserError: As `jobs.score.run`.
        ModelError: Likewise.
        Interrupted: Likewise.
    """
    looked = look(options)
    found = None if looked is None else complete_already(options, looked, watch)
    if found is not None:
        return found
    with loading():
        from jobs import score as command

    return command.run(options, watch, looked)


def predict(options: ScoreOptions, watch: Watch) -> Forecast:
    """`--dry-run`. Raises as `jobs.score.predict`."""
    looked = look(options)
    with loading():
        from jobs import score as command

    return command.predict(options, watch, looked)


def look(options: ScoreOptions) -> Looked | None:
    """What can be seen of files on this machine; None where they come through a pipe or lie elsewhere.

    Raises:
        UserError: See `look_at`.
    """
    kept = Workspace.find().jobs / "stdin"  # whose files need care, see `jobs.pipes`
    named = [place(pattern) for pattern in options.input.patterns]
    if any(is_pipe(path) or isinstance(path, RemoteFile) or path.parent == kept for path in named):
        return None
    return look_at(options, options.input, Workspace.find())


def look_at(options: ScoreOptions, asked: InputOptions, workspace: Workspace) -> Looked:
    """Check what was asked for, as far as that needs no models in memory.

    Raises:
        UserError: Bounds that are no shares, an output of an unknown kind, what `look_at_inputs`, `check_targets` and
            `find_models` raise.
        ModelError: No such model.
    """
    check_shares(options.bounds)
    if options.output is not None and not is_pipe(options.output):
        check_suffix(options.output)
    if options.name is not None:
        check_name(options.name, "version name")
    inputs = look_at_inputs(workspace, asked)
    check_targets(inputs, options.output, options.metrics_file)
    named = find_models(workspace, options.models)
    models = {run: [str(local_folder(source)) for source in sources] for run, sources in named.items()}
    return Looked(inputs, models, fingerprints(models))


def fingerprints(models: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Of each run's checkpoints."""
    return {run: tuple(fingerprint(Path(folder)) for folder in folders) for run, folders in models.items()}


def request_of(options: ScoreOptions, looked: Looked, classes: tuple[str, ...]) -> Request:
    """Everything that the scores depend on."""
    inputs = looked.inputs
    return Request(
        inputs=inputs.files,
        id_column=inputs.id_column,
        text_column=inputs.text_column,
        models=looked.prints,
        classes=classes,
        precision=options.precision,
        max_length=options.max_length,
        token_budget=options.token_budget,
        limit=options.limit,
        on_bad_row=options.on_bad_row,
        pair_column=inputs.pair_column,
        tokenizer=options.tokenizer,
        backend=options.backend,
        float_ids=inputs.float_ids,
    )


def complete_already(options: ScoreOptions, looked: Looked, watch: Watch) -> ScoreResult | None:
    """The result of a job that was complete before, whose files are as it wrote them; None where there is work to do.

    Raises:
        UserError: Another process works on the job, or its folder is damaged.
    """
    called = time.perf_counter() if options.called is None else options.called
    workspace = Workspace.find()
    classes = _classes(looked, workspace)
    if options.force or options.parts is not None or classes is None or not _is_plain(options):
        return None
    request = request_of(options, looked, classes)
    if JobStore(workspace.jobs / request.job_id()).result is None:
        return None
    try:
        with open_job(request, workspace.jobs, _refuse, lambda _note: None) as job:
            result = job.store.result
            output = output_place(options, workspace, job)
            if result is None or not is_intact(result, output, each=options.each):
                return None
            if options.submission and result["submission"] is None and is_test_file(request, workspace):
                return None
            check_bounds(job.store, options.bounds)
            tell_of_left_out(options, workspace, watch)
            tell_of_changes(workspace, request, watch)
            tell_of_layers(job.store, options.compile, watch)
            tell_of_name(options, result, watch)
    except _NotPlanned:
        return None
    return result_of(result, looked.inputs, was_complete=True, seconds=time.perf_counter() - called)


def output_place(options: ScoreOptions, workspace: Workspace, job: Job) -> Place:
    """Where the output goes; what is meant for stdout waits in the job's folder until it is whole."""
    if is_pipe(options.output):
        return (job.store.folder / "stdout.csv").resolve()
    return (options.output or workspace.root / "predictions" / f"{job.plan.id}.parquet").resolve()


def is_intact(result: Mapping[str, Any], output: Place, *, each: bool) -> bool:
    """Whether the files that are asked for are there, as the job wrote them: another may have come since."""
    return (
        result["output"] == str(output)
        and result.get("each", False) == each
        and output.is_file()
        and file_digest(output) == result["output_digest"]
        and all(job_of(Path(path)) == result["job"] for path in result["predictions"].values())
    )


def is_test_file(request: Request, workspace: Workspace) -> bool:
    """Whether the competition's test file is scored, of which a submission can be made."""
    competition = workspace.competition
    return competition is not None and [place(file.path) for file in request.inputs] == [
        competition.path(competition.test)
    ]


def tell_of_left_out(options: ScoreOptions, workspace: Workspace, watch: Watch) -> None:
    """Say which runs do not score where none is named."""
    for name, why in quick_looks(workspace).items():
        if not options.models:
            watch.note(f"run '{name}' left out: {why}; --model {name} scores with it")


def tell_of_changes(workspace: Workspace, request: Request, watch: Watch) -> None:
    """Say so where models or columns are not those that were trained with."""
    _tell_of_changed_checkpoints(workspace, request, watch)
    _tell_of_changed_columns(workspace, request, watch)


def tell_of_name(options: ScoreOptions, result: Mapping[str, Any], watch: Watch) -> None:
    """Say so where the job's submission has another name than is asked for now."""
    if options.name is not None and str(result["submission"]).partition("-")[2] not in ("", options.name):
        watch.note(f"{result['submission']} is of this job: one job makes one version, which keeps its name")


def _tell_of_changed_checkpoints(workspace: Workspace, request: Request, watch: Watch) -> None:
    """Say so where a run of the workspace has other weights than when its training ended: damage, or a will."""
    for name, prints in request.models.items():
        run = Run(name, workspace.runs_folder / name)
        known = (run.info or {}).get("checkpoints", {})
        found = {path.name: fingerprint(path) for path in run.checkpoints}
        if not known or tuple(found.values()) != prints:  # made by an older version; or a model from elsewhere
            continue
        changed = sorted(fold for fold in {*known, *found} if known.get(fold) != found.get(fold))
        if changed:
            watch.note(
                f"{', '.join(changed)} of run '{name}' changed since it was trained: if not by you, it is damaged"
            )


def _tell_of_changed_columns(workspace: Workspace, request: Request, watch: Watch) -> None:
    """Say so where `competition.toml` names other texts than a run was trained on: its scores may mean nothing."""
    if workspace.competition is None:
        return
    now = list(workspace.competition.text_columns)
    for name in request.models:
        trained_on = (Run(name, workspace.runs_folder / name).info or {}).get("text_columns", now)
        if trained_on != now:
            watch.note(
                f"run '{name}' was trained on column {' and '.join(trained_on)}, competition.toml names "
                f"{' and '.join(now)} now: unless they hold the same texts, train it again"
            )


def _refuse() -> int:
    raise _NotPlanned


def _is_plain(options: ScoreOptions) -> bool:
    """Whether nothing is asked for of which only torch or Ray can say whether it is there."""
    engine = options.engine
    return engine.engine == "local" and engine.ray_address is None and bool(_ONE_DEVICE.fullmatch(options.device))


def _classes(looked: Looked, workspace: Workspace) -> tuple[str, ...] | None:
    """Those of the `Scorer`, by whom the job is found; None where only a loaded model can tell."""
    if workspace.competition is not None:
        return tuple(workspace.competition.classes)
    folder = Path(next(iter(looked.models.values()))[0])
    spec = CheckpointSpec.load(folder)
    if spec is not None:
        return spec.classes
    with suppress(OSError, ValueError, KeyError, AttributeError):
        names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        found = tuple(str(name) for _, name in sorted((int(number), name) for number, name in names.items()))
        return found if len(found) > 1 else None  # one alone may be no class, but a score
    return None
