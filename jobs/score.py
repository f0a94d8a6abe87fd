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
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.control import record_command
from jobs.dry_run import Forecast, forecast
from jobs.early import (
    Looked,
    fingerprints,
    is_intact,
    look_at,
    output_place,
    request_of,
    tell_of_changes,
    tell_of_left_out,
    tell_of_name,
)
from jobs.outputs import check_sample, run_predictions, tell_of_replaced, write_submission
from jobs.overwriting import OutputClaim
from jobs.performance import Tally
from jobs.pipes import is_pipe, keep_stdin
from jobs.resolve import Inputs
from jobs.runner.assemble import check_id_column, output_file
from jobs.runner.claim import Claim
from jobs.runner.decided import check_bounds, tell_of_layers
from jobs.runner.engines import Engine, Here, choose_engine
from jobs.runner.joining import Joining
from jobs.runner.local import Watch
from jobs.runner.numerics import Wanted, agree
from jobs.runner.places import idle_gpus
from jobs.runner.plan import Request, shard_rows_for
from jobs.runner.planner import Job, open_job
from jobs.runner.progress import recording
from jobs.runner.worker import Work
from jobs.score_options import ScoreOptions, ScoreResult, result_of
from jobs.trial import Output
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest, sample_digest
from kaggle_tools.remote import Place, place
from models.hub import weight_bytes
from models.inference.device import peak_memory
from models.inference.groups import NetworkGroup
from models.inference.scorer import Scorer


def run(options: ScoreOptions, watch: Watch, looked: Looked | None = None) -> ScoreResult:
    """Score, or go on where the same request was interrupted.

    Args:
        options: What is asked for.
        watch: Whoever follows.
        looked: What `jobs.early.look` found; None: look now.

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
            setup = _set_up(options, looked or look_at(options, asked, workspace), workspace, watch)
            tell_of_changes(workspace, setup.request, watch)
        with tally.stage("plan"):
            rows = _shard_rows(options, setup)
            job = stack.enter_context(open_job(setup.request, workspace.jobs, rows, watch.note, options.parts))
        check_bounds(job.store, options.bounds)
        output = output_place(options, workspace, job)
        result = job.store.result
        was_complete = result is not None and not options.force and is_intact(result, output, each=options.each)
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
        tell_of_name(options, result, watch)
    return result_of(result, setup.inputs, was_complete=was_complete, seconds=time.perf_counter() - called)


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


def predict(options: ScoreOptions, watch: Watch, looked: Looked | None = None) -> Forecast:
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
            setup = _set_up(options, looked or look_at(options, asked, workspace), workspace, watch)
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


def _set_up(options: ScoreOptions, looked: Looked, workspace: Workspace, watch: Watch) -> _Setup:
    inputs, models = looked.inputs, looked.models
    engine = choose_engine(options.engine, options.device)
    tell_of_left_out(options, workspace, watch)
    idle = idle_gpus(options.device, options.engine.workers) if options.engine.engine == "local" else None
    if idle is not None:
        watch.note(idle)
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
    if changed := [run for run, found in fingerprints(models).items() if found != looked.prints[run]]:
        raise UserError(f"{', '.join(changed)} changed while it was loaded", next="run the command again")
    check_id_column(inputs.id_column, models, scorer.classes, scorer.task)
    request = request_of(options, looked, scorer.classes)
    return _Setup(inputs, models, scorer, request, engine)


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


def _shard_rows(options: ScoreOptions, setup: _Setup) -> Callable[[], int]:
    """Asked when a job is planned: a Ray cluster has to be asked what devices it has."""
    members = [member for group in setup.scorer.groups for member in group.members]
    n_bytes = sum(weight_bytes(Path(member.source)) for member in members)
    return lambda: options.shard_rows or shard_rows_for(n_bytes, setup.engine.kind)
