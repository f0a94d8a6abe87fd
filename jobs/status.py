"""`cli jobs`: scoring jobs and batches with state and progress, read from their folders; never locks or changes them.

    cli jobs
    cli jobs show test-3fa9c1d2

Ten thousand jobs are listed within a second: nothing heavy is imported, and of old jobs nothing is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.batch.progress import BatchSummary, batches
from jobs.runner.store import JobStore
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.remote import Place

_SHOWN = 20  # jobs in an error


@dataclass(frozen=True)
class JobSummary:
    """One line of `cli jobs`.

    Attributes:
        id: The job's id.
        state: ``complete``, ``running``, ``interrupted`` (run the same command to go on) or ``damaged``.
        rows: Rows of the job.
        rows_done: Rows whose parts are committed; of a running job those that went through the networks.
        created: When it was planned, UTC.
        inputs: Input files.
        models: Runs.
        rows_per_s: Of a running job.
        seconds_left: Of a running job, by its rate so far.
        problem: What is wrong with a damaged one.
        kind: Tells it from a batch where both are listed.
    """

    id: str
    state: str
    rows: int = 0
    rows_done: int = 0
    created: str = ""
    inputs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    rows_per_s: float | None = None
    seconds_left: float | None = None
    problem: str | None = None
    kind: str = "job"


@dataclass(frozen=True)
class JobDetail:
    """`cli jobs show`: the summary, what was asked, what happened and what came of it."""

    summary: JobSummary
    request: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    result: Mapping[str, Any] | None
    set_aside: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class JobList:
    """What `cli jobs` lists: all jobs that are not complete, and the newest of those that are.

    Attributes:
        jobs: The newest last.
        n_older: Complete ones that were left out.
        batches: Those of `cli run` that are not finished, the newest last.
    """

    jobs: tuple[JobSummary, ...]
    n_older: int
    batches: tuple[BatchSummary, ...] = ()


def recent(newest: int = 20, start: Path | None = None) -> JobList:
    """All jobs that are not complete, and the `newest` complete ones; the plans of the others are not even read."""
    unfinished: list[JobStore] = []
    complete: list[tuple[int, JobStore]] = []
    folder = Workspace.find(start).jobs
    for path in job_folders(folder):
        if (path / "result.json").exists():
            complete.append(((path / "plan.json").stat().st_mtime_ns, JobStore(path)))
        else:
            unfinished.append(JobStore(path))
    complete.sort(key=lambda entry: (entry[0], entry[1].id))
    shown = [*unfinished, *(store for _, store in complete[max(0, len(complete) - newest) :])]
    open_batches = tuple(batch for batch in batches(folder) if batch.state != "finished")
    return JobList(_in_order(shown), max(0, len(complete) - newest), open_batches)


def run(start: Path | None = None) -> tuple[JobSummary, ...]:
    """All jobs of the workspace that is found from `start` (default: the working directory), the newest last."""
    folder = Workspace.find(start).jobs
    return _in_order([JobStore(path) for path in job_folders(folder)])


def everything() -> JobList:
    """All jobs and all batches of the workspace."""
    return JobList(run(), 0, batches(Workspace.find().jobs))


def show(job_id: str, *, max_rows: int = 20) -> JobDetail:
    """One job, named by its id or the unique beginning of one.

    Raises:
        UserError: No such job, or several that begin so.
    """
    store = find(job_id)
    plan = store.read("plan.json") or {}
    return JobDetail(
        summary=summary(store),
        request=plan.get("request", {}),
        events=events(store),
        result=store.result,
        set_aside=tuple(_set_aside(store, max_rows)),
    )


def find(job_id: str, start: Path | None = None) -> JobStore:
    """The folder of one job, named by its id or the unique beginning of one.

    Raises:
        UserError: No such job, or several that begin so.
    """
    folder = Workspace.find(start).jobs
    known = sorted(path.name for path in job_folders(folder))
    found = [name for name in known if name == job_id] or [name for name in known if name.startswith(job_id)]
    if not found:
        raise UserError(f"no job's id begins with '{job_id}'", where=folder, next=did_you_mean(job_id, known))
    if len(found) > 1:
        more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
        raise UserError(
            f"the ids of {len(found):,} jobs begin with '{job_id}'",
            where=folder,
            found=", ".join(found[:_SHOWN]) + more,
            next="say more of the id",
        )
    return JobStore(folder / found[0])


def events(store: JobStore) -> tuple[Mapping[str, Any], ...]:
    """What happened to a job, oldest first."""
    return tuple(_json_lines(store.folder / "events.jsonl"))


def summary(store: JobStore) -> JobSummary:
    """How far one job is."""
    try:
        plan = store.read("plan.json")
        is_complete = store.result is not None
        if plan is None:
            return JobSummary(store.id, "damaged", problem="no plan.json")
        rows = int(plan["n_rows"])
        common: dict[str, Any] = {
            "created": str(plan["created"]),
            "inputs": tuple(file["path"] for file in plan["request"]["inputs"]),
            "models": tuple(plan["request"]["models"]),
        }
        if is_complete:
            return JobSummary(store.id, "complete", rows, rows, **common)
        if store.shared is None:
            done = store.done()
            rows_done = sum(int(task["n_rows"]) for task in plan["tasks"] if task["index"] in done)
        else:  # a list asks no network: what the job itself last said
            rows_done = min(rows, int((store.read("progress.json") or {}).get("rows_done", 0)))
    except UserError as exc:
        return JobSummary(store.id, "damaged", problem=str(exc))
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        return JobSummary(store.id, "damaged", problem=f"plan.json cannot be understood: {exc!r}")
    if not store.is_running:
        return JobSummary(store.id, "interrupted", rows, rows_done, **common)
    return _running(store, rows, rows_done, common)


def _in_order(stores: Iterable[JobStore]) -> tuple[JobSummary, ...]:
    return tuple(sorted((summary(store) for store in stores), key=lambda job: (job.created, job.id)))


def _running(store: JobStore, rows: int, rows_done: int, common: Mapping[str, Any]) -> JobSummary:
    """With what the job itself says every few seconds (`jobs.runner.progress`)."""
    try:
        progress = store.read("progress.json") or {}
        rate = float(progress.get("rows_per_s") or 0.0)
        rows_done = max(rows_done, min(rows, int(progress.get("rows_done", 0))))
    except (UserError, TypeError, ValueError):
        rate = 0.0
    left = (rows - rows_done) / rate if rate > 0 else None
    return JobSummary(store.id, "running", rows, rows_done, **common, rows_per_s=rate or None, seconds_left=left)


def job_folders(folder: Path) -> list[Path]:
    """Folders of jobs below `.jobs/`; other folders lie beside them."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if (path / "plan.json").exists()]


def _set_aside(store: JobStore, max_rows: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in store.quarantine():
        rows += _json_lines(path)
        if len(rows) >= max_rows:
            break
    return rows[:max_rows]


def _json_lines(path: Place) -> list[dict[str, Any]]:
    """The objects of a file; half a line at the end is what a killed process left, another odd line is told as one."""
    if not path.is_file():
        return []
    *lines, rest = path.read_bytes().decode("utf-8", "replace").split("\n")
    return [_json_object(line) for line in [*lines, *([rest] if rest.endswith("}") else [])]]


def _json_object(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {"event": "unreadable", "line": line[:200]}
