"""`cli jobs`: scoring jobs with state and progress, read from their folders; never locks, never changes anything.

cli jobs
cli jobs show test-3fa9c1d2
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.runner.planner import load_plan
from jobs.runner.store import JobStore
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError, did_you_mean


@dataclass(frozen=True)
class JobSummary:
    """One line of `cli jobs`.

    Attributes:
        id: The job's id.
        state: ``complete``, ``running``, ``interrupted`` (run the same command to go on) or ``damaged``.
        rows: Rows of the job.
        rows_done: Rows whose parts are committed.
        created: When it was planned, UTC.
        inputs: Input files.
        models: Runs.
        problem: What is wrong with a damaged one.
    """

    id: str
    state: str
    rows: int = 0
    rows_done: int = 0
    created: str = ""
    inputs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class JobDetail:
    """`cli jobs show`: the summary, what was asked, what happened and what came of it."""

    summary: JobSummary
    request: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    result: Mapping[str, Any] | None
    set_aside: tuple[Mapping[str, Any], ...]


def run(start: Path | None = None) -> tuple[JobSummary, ...]:
    """All jobs of the workspace that is found from `start` (default: the working directory), the newest last."""
    folder = Workspace.find(start).jobs
    if not folder.is_dir():
        return ()
    found = [_summary(JobStore(path)) for path in folder.iterdir() if (path / "plan.json").exists()]
    return tuple(sorted(found, key=lambda job: (job.created, job.id)))


def show(job_id: str, *, max_rows: int = 20) -> JobDetail:
    """One job, named by its id or the unique beginning of one.

    Raises:
        UserError: No such job, or several that begin so.
    """
    folder = Workspace.find().jobs
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = [name for name in known if name == job_id] or [name for name in known if name.startswith(job_id)]
    if len(found) != 1:
        raise UserError(
            f"{len(found)} jobs are called '{job_id}'", where=folder, next=did_you_mean(job_id, found or known)
        )
    store = JobStore(folder / found[0])
    plan = store.read("plan.json") or {}
    return JobDetail(
        summary=_summary(store),
        request=plan.get("request", {}),
        events=events(store),
        result=store.result,
        set_aside=tuple(_set_aside(store, max_rows)),
    )


def events(store: JobStore) -> tuple[Mapping[str, Any], ...]:
    """What happened to a job, oldest first."""
    return tuple(_json_lines(store.folder / "events.jsonl"))


def _summary(store: JobStore) -> JobSummary:
    try:
        plan = load_plan(store)
        result = store.result
    except UserError as exc:
        return JobSummary(store.id, "damaged", problem=str(exc))
    if plan is None:
        return JobSummary(store.id, "damaged", problem="no plan.json")
    done = store.done()
    state = "complete" if result is not None else "running" if store.is_running else "interrupted"
    return JobSummary(
        id=store.id,
        state=state,
        rows=plan.n_rows,
        rows_done=sum(task.n_rows for task in plan.tasks if task.index in done),
        created=plan.created,
        inputs=tuple(file.path for file in plan.request.inputs),
        models=tuple(plan.request.models),
    )


def _set_aside(store: JobStore, max_rows: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted((store.folder / "quarantine").glob("[0-9]*.jsonl")):
        rows += _json_lines(path)
        if len(rows) >= max_rows:
            break
    return rows[:max_rows]


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file; half a line at the end is what a killed process left, another odd line is told as one."""
    if not path.is_file():
        return []
    *lines, rest = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [_json_object(line) for line in [*lines, *([rest] if rest.endswith("}") else [])]]


def _json_object(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {"event": "unreadable", "line": line[:200]}
