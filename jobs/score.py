"""`cli score`: a table of any size through every model in one pass, resumable at any moment.

    cli score --input data/test.csv
    cli score --input 'part-*.csv.gz' --model runs/roberta --model linear --output scored.parquet

How a row travels: `jobs.runner.planner` cuts the table into shards; each goes through `jobs.runner.local.work_through`:
it is read (`kaggle_tools.tables`), `Scorer.prepare` cleans it and makes distinct texts token ids, `Scorer.launch` sends
them through every network in batches, `Scorer.collect` averages folds, the part is committed (`jobs.runner.store`).
Meanwhile parts are joined (`jobs.runner.joining`) to the output file (`jobs.runner.assemble`) and each run's
predictions, of which at the end a submission version is made (`jobs.outputs`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from jobs.compiling import Asked
from jobs.control import record_command
from jobs.dry_run import Forecast, forecast
from jobs.outputs import are_of_job, check_sample, run_predictions, tell_of_replaced, write_submission
from jobs.overwriting import OutputClaim, check_targets
from jobs.performance import Performance, Tally
from jobs.pipes import is_pipe, keep_stdin
from jobs.resolve import InputOptions, Inputs, Setting, find_models, look_at_inputs, quick_looks
from jobs.runner.assemble import check_id_column, output_file
from jobs.runner.claim import Claim
from jobs.runner.engines import Engine, EngineOptions, Here, choose_engine
from jobs.runner.joining import Joining, check_suffix
from jobs.runner.local import Watch
from jobs.runner.numerics import Wanted, agree, check_bounds, check_shares, tell_of_layers
from jobs.runner.places import idle_gpus
from jobs.runner.plan import Request, shard_rows_for
from jobs.runner.planner import Job, open_job
from jobs.runner.progress import recording
from jobs.runner.worker import Work
from jobs.trial import Output
from jobs.workspace import Run, Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.files import check_name, file_digest, sample_digest
from kaggle_tools.remote import Place, RemoteFile, place
from models.hub import fingerprint, local_folder, weight_bytes
from models.inference.device import peak_memory
from models.inference.gate import GateBounds, GateReport
from models.inference.groups import NetworkGroup
from models.inference.scorer import Scorer


@dataclass(frozen=True)
class ScoreOptions:
    """What `cli score` was asked for; see its help for each. `argv` is how it was called, for `cli jobs resume`.

    `called` is when, by `time.perf_counter`, so that imports are counted; None: when `run` is.
    """

    input: InputOptions
    models: tuple[str, ...] = ()
    output: Place | None = None
    on_bad_row: Literal["fail", "set-aside"] = "fail"
    device: str = "auto"
    engine: EngineOptions = field(default_factory=EngineOptions)
    parts: RemoteFile | None = None
    threads: int | None = None
    precision: str = "auto"
    backend: str = "auto"
    bounds: GateBounds = field(default_factory=GateBounds)
    compile: Asked = "auto"
    max_length: int | None = None
    tokenizer: Literal["auto", "stock"] = "auto"
    token_budget: int | None = None
    shard_rows: int | None = None
    limit: int | None = None
    each: bool = False
    submission: bool = True
    name: str | None = None
    force: bool = False
    metrics_file: Path | None = None
    argv: tuple[str, ...] = ()
    called: float | None = None


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
        tokenizers: Tokenisations a text, over which tokens and truncated texts are summed; 0 where an older version
            scored.
        gate: What the precision gate measured, where it was asked.
        precision: Number format used.
        backend: Who computed: ``torch`` or ``openvino``.
        settings: Where inputs and columns came from.
        seconds: Wall time of this call.
        performance: How fast the call went that completed the job; None where an older version did.
    """

    job: str
    output: Place
    predictions: Mapping[str, Path]
    submission: str | None
    was_complete: bool
    resumed_rows: int
    totals: Mapping[str, float]
    tokenizers: int
    gate: GateReport | None
    precision: str
    backend: str
    settings: tuple[Setting, ...]
    seconds: float
    performance: Performance | None


def run(options: ScoreOptions, watch: Watch) -> ScoreResult:
    """Score, or go on where the same request was interrupted.

    Raises:
        UserError: See `jobs.resolve`, `jobs.runner.planner`, `jobs.runner.local`; an output that exists.
        ModelError: Models that cannot be used, a precision that the gate refused.
        Interrupted: The process was asked to stop; calling again resumes.
    """
    called = time.perf_counter() if options.called is None else options.called
    tally = Tally(watch, {"start": time.perf_counter() - called})
    workspace = Workspace.find()
    with ExitStack() as stack:
        with tally.stage("load"):
            asked = stack.enter_context(keep_stdin(options.input, workspace.jobs / "stdin"))
            setup = _set_up(options, asked, workspace, watch)
            _tell_of_changed_checkpoints(workspace, setup.request, watch)
            _tell_of_changed_columns(workspace, setup.request, watch)
        with tally.stage("plan"):
            rows = _shard_rows(options, setup)
            job = stack.enter_context(open_job(setup.request, workspace.jobs, rows, watch.note, options.parts))
        check_bounds(job.store, options.bounds)
        output = _output(options, workspace, job)
        result = job.store.result
        was_complete = result is not None and not options.force and _is_intact(result, output, each=options.each)
        if was_complete:
            tell_of_layers(job.store, options.compile, watch)
        if result is None or not was_complete:
            if options.submission and not job.store.done():
                check_sample(job, workspace, task=setup.scorer.task)
            if options.argv:
                # Runs that come later are none of this job's: it is resumed with those that it has.
                own = [] if options.models else [word for name in setup.request.models for word in ("--model", name)]
                record_command(job.store, [*options.argv, *own])
            result = _work(options, workspace, setup, job, output, tally)
        if result["submission"] is None and options.submission:
            predictions = {name: Path(path) for name, path in result["predictions"].items()}
            result["submission"] = write_submission(job, workspace, predictions, options.name)
            job.store.write("result.json", result)
        if options.name is not None and str(result["submission"]).partition("-")[2] not in ("", options.name):
            watch.note(f"{result['submission']} is of this job: one job makes one version, which keeps its name")
    return _result(result, setup.inputs, was_complete=was_complete, seconds=time.perf_counter() - called)


def _work(
    options: ScoreOptions, workspace: Workspace, setup: _Setup, job: Job, output: Place, tally: Tally
) -> dict[str, Any]:
    """Score what is missing, write the output and the runs' predictions; gives what `result.json` says."""
    own_output = OutputClaim.make(job.store, output, force=options.force)
    done = job.store.done()
    resumed = sum(task.n_rows for task in job.plan.tasks if task.index in done)
    before = job.store.result
    if not done and before is not None:
        tally.note(f"job {job.plan.id} was complete, but its parts were pruned: all rows are scored again")
    scorer, engine = setup.scorer, setup.engine
    claim = Claim.make(job.store.shared, job.store.id)
    with recording(tally, job.store, claim, options.metrics_file) as recorded, ExitStack() as stack:
        with ExitStack() as session:
            with tally.stage("start"):
                session.enter_context(engine.session())
            work = Work(job, setup.models, scorer)
            with tally.stage("gate"):
                wanted = Wanted(options.precision, options.bounds, options.threads, options.compile, options.backend)
                numerics = agree(work, wanted, engine, tally)
            if len(done) < len(job.plan.tasks):
                job.store.reopen()
            job.store.event("started", device=numerics.device, precision=numerics.precision, rows_done=resumed)
            runs = run_predictions(job, workspace, tally, task=scorer.task, precision=numerics.precision)
            own = output_file(job.plan, output, task=scorer.task, each=options.each, placing=own_output.confirm)
            joining = stack.enter_context(Joining(job.plan, job.store, [own, *runs.files.values()]))
            engine.run(work, numerics, recorded)
        claim.check()
        _tell_of_changed_inputs(job, tally)
        with tally.stage("finish"):
            joining.wait()
            tell_of_replaced(job, workspace, runs, tally)
            joining.place()
            output_digest = file_digest(output)
    n_tokenizers = max(1, sum(isinstance(group, NetworkGroup) for group in scorer.groups))
    performance = tally.performance(
        ceiling=engine.ceiling(numerics.precision, scorer),
        n_tokenizers=n_tokenizers,
        peak_device_memory=peak_memory(scorer.device) if isinstance(engine, Here) else 0,
    )
    result = {
        "job": job.plan.id,
        "output": str(output),
        "output_digest": output_digest,
        "each": options.each,
        "predictions": {name: str(path) for name, path in runs.placed.items()},
        "submission": None,
        "resumed_rows": resumed,
        "totals": _totals(job),
        "tokenizers": n_tokenizers,
        "gate": None if numerics.gate is None else vars(numerics.gate),
        "precision": numerics.precision,
        "backend": numerics.backend,
        "performance": asdict(performance) if performance.rows or before is None else before.get("performance"),
    }
    job.store.write("result.json", result)
    job.store.event("completed", output=str(output))
    return result


def predict(options: ScoreOptions, watch: Watch) -> Forecast:
    """`--dry-run`: plan the job in a passing folder, try some shards, say what all would take. Nothing of it stays.

    Raises:
        UserError: What `run` would raise before it scores: bad rows, duplicate ids, a precision that strays.
    """
    called = time.perf_counter() if options.called is None else options.called
    tally = Tally(watch, {"start": time.perf_counter() - called})
    workspace = Workspace.find()
    with ExitStack() as stack:
        with tally.stage("load"):
            asked = stack.enter_context(keep_stdin(options.input, workspace.jobs / "stdin"))
            setup = _set_up(options, asked, workspace, watch)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="kaggle-jobs-")))
        with tally.stage("plan"):
            job = stack.enter_context(open_job(setup.request, folder, _shard_rows(options, setup), watch.note))
            if options.submission:
                check_sample(job, workspace, task=setup.scorer.task)
        with tally.stage("gate"):  # tried in this process, whoever will work
            wanted = Wanted(options.precision, options.bounds, options.threads, options.compile, options.backend)
            work = Work(job, setup.models, setup.scorer)
            agree(work, wanted, Here(setup.engine.own_device), tally).apply(work)
        suffix = ".parquet" if options.output is None else ".csv" if is_pipe(options.output) else options.output.suffix
        runs = [run.name for run in workspace.runs() if run.name in setup.request.models and options.limit is None]
        return forecast(job, setup.scorer, tally.seconds, Output(suffix, options.each, tuple(runs)))


@dataclass(frozen=True)
class _Setup:
    """What is known before a job is opened."""

    inputs: Inputs
    models: Mapping[str, Sequence[str]]
    scorer: Scorer
    request: Request
    engine: Engine


def _set_up(options: ScoreOptions, asked: InputOptions, workspace: Workspace, watch: Watch) -> _Setup:
    engine = choose_engine(options.engine, options.device)
    check_shares(options.bounds)
    if options.output is not None and not is_pipe(options.output):
        check_suffix(options.output)
    if options.name is not None:
        check_name(options.name, "version name")
    inputs = look_at_inputs(workspace, asked)
    check_targets(inputs, options.output, options.metrics_file)
    named = find_models(workspace, options.models)
    for name, why in quick_looks(workspace).items():
        if not options.models:
            watch.note(f"run '{name}' left out: {why}; --model {name} scores with it")
    models = {run: [str(local_folder(source)) for source in sources] for run, sources in named.items()}
    idle = idle_gpus(options.device, options.engine.workers) if options.engine.engine == "local" else None
    if idle is not None:
        watch.note(idle)
    prints = _fingerprints(models)
    scorer = Scorer(
        models,
        device=engine.own_device,
        precision="fp32",
        classes=workspace.competition.classes if workspace.competition else None,
        token_budget=options.token_budget,
        max_length=options.max_length,
        tokenizer=options.tokenizer,
        backend="torch",
    )
    if changed := [run for run, found in _fingerprints(models).items() if found != prints[run]]:
        raise UserError(f"{', '.join(changed)} changed while it was loaded", next="run the command again")
    check_id_column(inputs.id_column, models, scorer.classes, scorer.task)
    request = Request(
        inputs=inputs.files,
        id_column=inputs.id_column,
        text_column=inputs.text_column,
        models=prints,
        classes=scorer.classes,
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
    return _Setup(inputs, models, scorer, request, engine)


def _fingerprints(models: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {run: tuple(fingerprint(Path(folder)) for folder in folders) for run, folders in models.items()}


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


def _output(options: ScoreOptions, workspace: Workspace, job: Job) -> Place:
    """Where the output goes; what is meant for stdout waits in the job's folder until it is whole."""
    if is_pipe(options.output):
        return (job.store.folder / "stdout.csv").resolve()
    return (options.output or workspace.root / "predictions" / f"{job.plan.id}.parquet").resolve()


def _tell_of_changed_inputs(job: Job, watch: Watch) -> None:
    """Rows that were scored are those that were planned, or it is an error; rows that came later are none of ours."""
    for file in job.plan.request.inputs:
        path = place(file.path)
        stat = path.stat() if path.is_file() else None
        if stat is not None and (stat.st_size, stat.st_mtime_ns) == (file.size, file.mtime_ns):
            continue
        if stat is None or (stat.st_size, sample_digest(path)) != (file.size, file.sample):
            watch.note(
                f"{path.name} changed while the job ran: scored as it was before; the same command scores it anew"
            )


def _totals(job: Job) -> dict[str, float]:
    """Sums over all parts of what was counted and measured while they were made."""
    totals: dict[str, float] = {}
    for stats in job.store.each((task.index for task in job.plan.tasks), job.store.part_stats):
        for key, value in stats.items():
            totals[key] = totals.get(key, 0) + value
    return totals


def _is_intact(result: Mapping[str, Any], output: Place, *, each: bool) -> bool:
    """Whether the files that are asked for are there, as they were written."""
    return (
        result["output"] == str(output)
        and result.get("each", False) == each
        and output.is_file()
        and file_digest(output) == result["output_digest"]
        and are_of_job(map(Path, result["predictions"].values()), result["job"])
    )


def _result(raw: Mapping[str, Any], inputs: Inputs, *, was_complete: bool, seconds: float) -> ScoreResult:
    return ScoreResult(
        job=raw["job"],
        output=place(raw["output"]),
        predictions={name: Path(path) for name, path in raw["predictions"].items()},
        submission=raw["submission"],
        was_complete=was_complete,
        resumed_rows=raw["resumed_rows"],
        totals=raw["totals"],
        tokenizers=raw.get("tokenizers", 0),
        gate=GateReport(**raw["gate"]) if raw["gate"] else None,
        precision=raw["precision"],
        backend=raw.get("backend", "torch"),
        settings=inputs.settings,
        seconds=seconds,
        performance=Performance(**raw["performance"]) if raw.get("performance") else None,
    )


def _shard_rows(options: ScoreOptions, setup: _Setup) -> Callable[[], int]:
    """Asked when a job is planned: a Ray cluster has to be asked what devices it has."""
    members = [member for group in setup.scorer.groups for member in group.members]
    n_bytes = sum(weight_bytes(Path(member.source)) for member in members)
    return lambda: options.shard_rows or shard_rows_for(n_bytes, setup.engine.kind)
