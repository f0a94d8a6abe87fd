"""`cli run`: a batch of steps, of which those that are out of date run, in order, several at a time.

    cli run jobs.toml
    cli run jobs.toml --dry-run
    cli run jobs.toml --only blend --parallel 2

How it goes: the file becomes tasks (`jobs.batch.file`, `matrix`, `order`), each command line is checked
(`jobs.batch.commands`), then each task is compared with what is known of it (`look`) and, where it is out of date, run
as a child process (`execute`, `children`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jobs.batch import file as batch_file
from jobs.batch.commands import check, shown
from jobs.batch.execute import Execution, TaskResult
from jobs.batch.fingerprints import Digests
from jobs.batch.look import look
from jobs.batch.matrix import Task, expand
from jobs.batch.order import choose, in_order
from jobs.batch.progress import recorded
from jobs.batch.state import BatchStore
from jobs.errors import Interrupted
from jobs.notify import Notice, Notify, send


@dataclass(frozen=True)
class RunOptions:
    """What `cli run` was asked for.

    Attributes:
        file: The batch file.
        only: Steps or tasks to run, with all that they need; empty: all.
        parallel: Processes at a time.
        changed: Parameters with other values.
        force: Run what is up to date, too.
        notify: Who is told of the end.
        tell: Takes each task when it starts and when it has ended.
    """

    file: Path = Path("jobs.toml")
    only: tuple[str, ...] = ()
    parallel: int = 1
    changed: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    notify: Notify = field(default_factory=Notify)
    tell: Callable[[TaskResult], None] = lambda _result: None


@dataclass(frozen=True)
class BatchResult:
    """How a batch ended.

    Attributes:
        file: The batch file.
        tasks: In the order in which they stand in the plan.
        seconds: Wall time of this call.
        complaints: Notifications that could not be sent, and why.
    """

    file: Path
    tasks: tuple[TaskResult, ...]
    seconds: float
    complaints: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 where a task failed or was skipped for one that did, else 0."""
        return int(any(task.outcome in ("failed", "skipped") for task in self.tasks))


@dataclass(frozen=True)
class PlannedTask:
    """What would become of a task.

    Attributes:
        name: The task's.
        action: ``run``, ``up to date``, or ``perhaps``: if what it needs writes something else.
        reasons: Why.
        needs: Tasks that come before it.
        command: As a person would type it.
    """

    name: str
    action: Literal["run", "perhaps", "up to date"]
    reasons: tuple[str, ...]
    needs: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class BatchPlan:
    """`--dry-run`: what `cli run` would do."""

    file: Path
    tasks: tuple[PlannedTask, ...]


def run(options: RunOptions) -> BatchResult:
    """Run what is out of date.

    Raises:
        UserError: A mistake in the file (nothing was run then); another `cli run` of the same file.
        Interrupted: After SIGINT or SIGTERM; no child process is left, and calling again goes on.
    """
    began = time.monotonic()
    batch, tasks = _load(options)
    store = BatchStore.of(batch.path)
    with store.lock(batch.path):
        tell = recorded(store.folder, batch.path, [task.name for task in tasks], options.tell)
        execution = Execution(tasks, store, batch.folder, force=options.force, tell=tell)
        results, signal_number = execution.run(options.parallel)
    if signal_number is not None:
        raise Interrupted(signal_number)
    result = BatchResult(batch.path, tuple(results[task.name] for task in tasks), round(time.monotonic() - began, 3))
    complaints = send(options.notify, _notice(result))
    return BatchResult(result.file, result.tasks, result.seconds, complaints)


def plan(options: RunOptions) -> BatchPlan:
    """Say what `run` would do, and why; changes nothing."""
    batch, tasks = _load(options)
    store = BatchStore.of(batch.path)
    digests = Digests(store.files)
    planned: dict[str, PlannedTask] = {}
    for task in tasks:
        reasons = look(task, store.records, digests, batch.folder).reasons
        if not reasons and options.force:
            reasons = ("asked for with --force",)
        action: Literal["run", "perhaps", "up to date"] = "run" if reasons else "up to date"
        if not reasons:
            before = [need for need in task.needs if planned[need].action != "up to date"]
            reasons = tuple(f"if '{need}' writes something else" for need in before)
            action = "perhaps" if before else action
        planned[task.name] = PlannedTask(task.name, action, reasons, task.needs, _shown(task))
    return BatchPlan(batch.path, tuple(planned.values()))


def _load(options: RunOptions) -> tuple[batch_file.BatchFile, tuple[Task, ...]]:
    batch = batch_file.load(options.file)
    tasks = in_order(expand(batch, options.changed), batch)
    check(tasks, batch.folder)
    return batch, choose(tasks, options.only)


def _shown(task: Task) -> str:
    return ("cli " if task.is_cli else "") + shown(task.words)


def _notice(result: BatchResult) -> Notice:
    failed = [task.name for task in result.tasks if task.outcome == "failed"]
    words = [f"failed: {', '.join(failed)}"] if failed else []
    for outcome in ("done", "up to date", "skipped"):
        if number := sum(task.outcome == outcome for task in result.tasks):
            words.append(f"{number} {outcome}")
    return Notice("failed" if failed else "finished", result.file.name, ", ".join(words), result.seconds)
