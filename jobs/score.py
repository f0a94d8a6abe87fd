"""`cli score`: a table of any size through every model in one pass, resumable at any moment.

    cli score --input data/test.csv
    cli score --input 'part-*.csv.gz' --model runs/roberta --model linear --output scored.parquet

How a row travels: a shard is read and cleaned (`kaggle_tools.tables`, `models.text`), distinct texts become token ids
and batches, every network sees them (`models.inference`), folds are averaged, the part is committed
(`jobs.runner.store`); at the end the parts become the output file, each run's predictions and a submission version.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jobs.control import record_command
from jobs.dry_run import Forecast, forecast
from jobs.outputs import write_run_predictions, write_submission
from jobs.pipes import forget_stdin, is_pipe, keep_stdin
from jobs.resolve import InputOptions, Inputs, Setting, find_models, look_at_inputs
from jobs.runner.assemble import check_suffix, check_writable, write_output
from jobs.runner.local import Watch, read_texts, run_shards
from jobs.runner.plan import Request, shard_rows_for
from jobs.runner.planner import Job, open_job
from jobs.runner.progress import recording
from jobs.runner.store import JobStore
from jobs.workspace import Run, Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest
from kaggle_tools.tables import read_sample
from models.hub import fingerprint, local_folder, weight_bytes
from models.inference.device import resolve_precision
from models.inference.gate import GateBounds, GateReport, try_precision
from models.inference.scorer import Scorer

GATE_ROWS = {"cpu": 128, "cuda": 1024, "mps": 256}


@dataclass(frozen=True)
class ScoreOptions:
    """What `cli score` was asked for; see its help for each. `argv` is how it was called, for `cli jobs resume`."""

    input: InputOptions
    models: tuple[str, ...] = ()
    output: Path | None = None
    on_bad_row: Literal["fail", "set-aside"] = "fail"
    device: str = "auto"
    precision: str = "auto"
    bounds: GateBounds = field(default_factory=GateBounds)
    max_length: int | None = None
    token_budget: int | None = None
    shard_rows: int | None = None
    limit: int | None = None
    each: bool = False
    submission: bool = True
    name: str | None = None
    force: bool = False
    metrics_file: Path | None = None
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreResult:
    """What a finished job left behind.

    Attributes:
        job: The job's id.
        output: The table with all rows.
        predictions: Run name → its Predictions file.
        submission: Title of the submission version, such as ``v0001-mean``.
        was_complete: Whether nothing had to be scored, since the same request was complete before.
        resumed_rows: Rows that were committed by an earlier process.
        totals: Sums over all parts: rows, scored, tokens, truncated, lost, null_texts, set_aside, …
        gate: What the precision gate measured, where it was asked.
        precision: Number format used.
        settings: Where inputs and columns came from.
        seconds: Wall time of this call.
    """

    job: str
    output: Path
    predictions: Mapping[str, Path]
    submission: str | None
    was_complete: bool
    resumed_rows: int
    totals: Mapping[str, float]
    gate: GateReport | None
    precision: str
    settings: tuple[Setting, ...]
    seconds: float


def run(options: ScoreOptions, watch: Watch) -> ScoreResult:
    """Score, or go on where the same request was interrupted.

    Raises:
        UserError: See `jobs.resolve`, `jobs.runner.planner`, `jobs.runner.local`; an output that exists.
        ModelError: Models that cannot be used, a precision that the gate refused.
        Interrupted: The process was asked to stop; calling again resumes.
    """
    began = time.perf_counter()
    workspace = Workspace.find()
    asked = keep_stdin(options.input, workspace.jobs / "stdin")
    inputs, scorer, request = _set_up(options, asked, workspace)
    _tell_of_changed_checkpoints(workspace, request, watch)
    rows = options.shard_rows or shard_rows_for(_weight_bytes(scorer), scorer.device.type)
    with open_job(request, workspace.jobs, rows, watch.note) as job:
        output = _output(options, workspace, job)
        result = job.store.result
        was_complete = result is not None and _is_intact(result, output)
        if result is None or not was_complete:
            if options.argv:
                record_command(job.store, options.argv)
            result = _work(options, workspace, scorer, job, output, watch)
        if result["submission"] is None and options.submission:
            predictions = {name: Path(path) for name, path in result["predictions"].items()}
            result["submission"] = write_submission(job, workspace, predictions, options.name)
            job.store.write("result.json", result)
    forget_stdin(asked, workspace.jobs / "stdin")
    return _result(result, inputs, was_complete=was_complete, seconds=time.perf_counter() - began)


def _work(
    options: ScoreOptions, workspace: Workspace, scorer: Scorer, job: Job, output: Path, watch: Watch
) -> dict[str, Any]:
    """Score what is missing, write the output and the runs' predictions; gives what `result.json` says."""
    _claim_output(job.store, output, options.force)
    gate, precision = _agree_on_precision(options, job, scorer, watch)
    for note in scorer.notes:
        watch.note(note)
    done = job.store.done()
    resumed = sum(task.n_rows for task in job.plan.tasks if task.index in done)
    job.store.event("started", device=str(scorer.device), precision=precision, rows_done=resumed)
    with recording(watch, job.store, options.metrics_file) as recorded:
        run_shards(job.plan, job.store, scorer, recorded)
        _tell_of_changed_inputs(job, watch)
        write_output(job.plan, job.store, output, task=scorer.task, each=options.each)
        predictions = write_run_predictions(job, workspace, scorer, watch)
    result = {
        "job": job.plan.id,
        "output": str(output),
        "output_digest": file_digest(output),
        "predictions": {name: str(path) for name, path in predictions.items()},
        "submission": None,
        "resumed_rows": resumed,
        "totals": _totals(job),
        "gate": None if gate is None else vars(gate),
        "precision": precision,
    }
    job.store.write("result.json", result)
    job.store.event("completed", output=str(output))
    return result


def predict(options: ScoreOptions) -> Forecast:
    """`--dry-run`: score a sample and say what the whole job would take. Writes nothing that stays."""
    workspace = Workspace.find()
    asked = keep_stdin(options.input, workspace.jobs / "stdin")
    inputs, scorer, _ = _set_up(options, asked, workspace)
    if scorer.precision != (wanted := resolve_precision(options.precision, scorer.device)):
        scorer.set_precision(wanted)
    predicted = forecast(inputs, scorer, options.limit)
    forget_stdin(asked, workspace.jobs / "stdin")
    return predicted


def _set_up(options: ScoreOptions, asked: InputOptions, workspace: Workspace) -> tuple[Inputs, Scorer, Request]:
    if options.output is not None and not is_pipe(options.output):
        check_suffix(options.output)
    inputs = look_at_inputs(workspace, asked)
    named = find_models(workspace, options.models)
    models = {run: [str(local_folder(source)) for source in sources] for run, sources in named.items()}
    scorer = Scorer(
        models,
        device=options.device,
        precision="fp32",
        classes=workspace.competition.classes if workspace.competition else None,
        token_budget=options.token_budget,
        max_length=options.max_length,
    )
    request = Request(
        inputs=inputs.files,
        id_column=inputs.id_column,
        text_column=inputs.text_column,
        models={run: tuple(fingerprint(Path(f)) for f in folders) for run, folders in models.items()},
        classes=scorer.classes,
        precision=options.precision,
        max_length=options.max_length,
        token_budget=options.token_budget,
        limit=options.limit,
        on_bad_row=options.on_bad_row,
        pair_column=inputs.pair_column,
    )
    return inputs, scorer, request


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


def _output(options: ScoreOptions, workspace: Workspace, job: Job) -> Path:
    """Where the output goes; what is meant for stdout waits in the job's folder until it is whole."""
    if is_pipe(options.output):
        return (job.store.folder / "stdout.csv").resolve()
    return (options.output or workspace.root / "predictions" / f"{job.plan.id}.parquet").resolve()


def _claim_output(store: JobStore, output: Path, force: bool) -> None:
    """Make sure before the work that the output can be written after it. A resumed job may write over its own."""
    claimed = (store.read("output.json") or {}).get("path")
    if output.exists() and claimed != str(output) and not force:
        raise UserError("the output file exists", where=output, next="name another with --output, or say --force")
    check_writable(output)
    store.write("output.json", {"path": str(output)})


def _agree_on_precision(options: ScoreOptions, job: Job, scorer: Scorer, watch: Watch) -> tuple[GateReport | None, str]:
    """The number format of this job: as decided when it began, else as the gate finds now.

    Raises:
        UserError: A format that was asked for by name strays too far from float32.
    """
    decided = job.store.read("precision.json")
    wanted = resolve_precision(options.precision, scorer.device)
    if decided is not None:
        if decided["device"] != scorer.device.type:
            watch.note(f"begun on {decided['device']}, resumed on {scorer.device.type}: last digits may differ")
        gate = GateReport(**decided["gate"]) if decided["gate"] else None
        precision = str(decided["precision"])
        if precision != "fp32":
            precision = resolve_precision(precision if wanted != "fp32" else wanted, scorer.device)
            scorer.set_precision(precision)
        return gate, precision
    gate = None
    if wanted != "fp32" and scorer.flop_per_token > 0:
        request = job.plan.request
        frame = read_sample(job.plan.tasks[0].shard, request.inputs[0].format, request.text_columns)
        sample, _ = read_texts(frame, request.text_columns)
        if len(sample):  # all rows of the first shard may be set aside: then float32 it is
            sample = sample.gather(_spread(len(sample), scorer.device.type))
            gate = try_precision(scorer, wanted, sample.to_list(), options.bounds)
            _judge(gate, options, watch)
    job.store.write(
        "precision.json",
        {"precision": scorer.precision, "device": scorer.device.type, "gate": vars(gate) if gate else None},
    )
    return gate, scorer.precision


def _tell_of_changed_inputs(job: Job, watch: Watch) -> None:
    """Rows that were scored are those that were planned, or it is an error; rows that came later are none of ours."""
    for file in job.plan.request.inputs:
        path = Path(file.path)
        if not path.is_file() or path.stat().st_size != file.size:
            watch.note(
                f"{path.name} changed while the job ran: scored as it was before; the same command scores it anew"
            )


def _judge(gate: GateReport, options: ScoreOptions, watch: Watch) -> None:
    measured = f"{gate.flips:.2%} labels flipped, probabilities up to {gate.difference:.4f} off on {gate.rows} rows"
    if gate.passed:
        return
    if options.precision == "auto":
        watch.note(f"{gate.precision} strays from float32 ({measured}): going on in fp32")
        return
    raise UserError(
        f"{gate.precision} strays too far from float32 on this input",
        found=measured,
        expected=f"at most {options.bounds.flips:.2%} and {options.bounds.difference:.4f}",
        next="--precision fp32, or wider bounds with --max-flips and --max-difference",
    )


def _spread(n_rows: int, device: str) -> list[int]:
    """Positions of the gate's sample, evenly over the first shard."""
    places = np.linspace(0, n_rows - 1, min(n_rows, GATE_ROWS[device]))
    return [int(place) for place in places]


def _totals(job: Job) -> dict[str, float]:
    """Sums over all parts of what was counted and measured while they were made."""
    totals: dict[str, float] = {}
    for task in job.plan.tasks:
        for key, value in job.store.part_stats(task.index).items():
            totals[key] = totals.get(key, 0) + value
    return totals


def _is_intact(result: Mapping[str, Any], output: Path) -> bool:
    return (
        result["output"] == str(output)
        and output.is_file()
        and file_digest(output) == result["output_digest"]
        and all(Path(path).is_file() for path in result["predictions"].values())
    )


def _result(raw: Mapping[str, Any], inputs: Inputs, *, was_complete: bool, seconds: float) -> ScoreResult:
    return ScoreResult(
        job=raw["job"],
        output=Path(raw["output"]),
        predictions={name: Path(path) for name, path in raw["predictions"].items()},
        submission=raw["submission"],
        was_complete=was_complete,
        resumed_rows=raw["resumed_rows"],
        totals=raw["totals"],
        gate=GateReport(**raw["gate"]) if raw["gate"] else None,
        precision=raw["precision"],
        settings=inputs.settings,
        seconds=seconds,
    )


def _weight_bytes(scorer: Scorer) -> int:
    return sum(weight_bytes(Path(member.source)) for group in scorer.groups for member in group.members)
