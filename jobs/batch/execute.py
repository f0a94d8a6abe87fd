"""Tasks as child processes: in order, several at a time, past failures on which nothing depends.

The state is written before a task begins and after it ended, so that a killed batch knows where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jobs.batch.children import Child, Stop, stopping
from jobs.batch.commands import has_option, process_environment, process_words
from jobs.batch.fingerprints import Digests, matching, named_in, relative
from jobs.batch.look import Look, look
from jobs.batch.matrix import Task
from jobs.batch.state import BatchStore, Record
from jobs.runner.clock import now
from kaggle_tools.files import WRITTEN_VARIABLE
from kaggle_tools.remote import is_remote

POLL_S = 0.02

Outcome = Literal["running", "done", "up to date", "failed", "skipped", "interrupted"]


@dataclass(frozen=True)
class TaskResult:
    """How a task ended.

    Attributes:
        name: The task's.
        outcome: What became of it.
        reasons: Why it ran, or why it was skipped or counts as failed.
        seconds: How long it took.
        exit_code: Of its process.
        log: What it printed.
    """

    name: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0
    exit_code: int | None = None
    log: Path | None = None


@dataclass
class _Running:
    task: Task
    child: Child
    seen: Look
    before: dict[str, str]
    began: float


class Execution:
    """One call of `cli run`: what waits, what runs, what has ended."""

    def __init__(
        self, tasks: Sequence[Task], store: BatchStore, folder: Path, *, force: bool, tell: Callable[[TaskResult], None]
    ) -> None:
        self._waiting = list(tasks)
        self._running: dict[str, _Running] = {}
        self._results: dict[str, TaskResult] = {}
        self._store, self._folder = store, folder
        self._force, self._tell = force, tell
        self._digests = Digests(store.files)

    def run(self, parallel: int) -> tuple[dict[str, TaskResult], int | None]:
        """Work until nothing is left, or a signal comes.

        Args:
            parallel: Processes at a time.

        Returns:
            Task → how it ended; the signal that stopped us.
        """
        with stopping() as stop:
            while self._waiting or self._running:
                if stop.signal_number is not None:
                    self._waiting.clear()
                moved = self._start_what_may(parallel, stop)
                moved |= self._collect(stop)
                if not moved:
                    time.sleep(POLL_S)
        return self._results, stop.signal_number

    def _start_what_may(self, parallel: int, stop: Stop) -> bool:
        moved = False
        for task in list(self._waiting):
            needed = [self._results.get(need) for need in task.needs]
            if bad := [one for one in needed if one is not None and one.outcome in ("failed", "skipped")]:
                self._waiting.remove(task)
                self._end(TaskResult(task.name, "skipped", tuple(f"needs '{one.name}'" for one in bad)))
                moved = True
            elif all(needed) and len(self._running) < parallel and stop.signal_number is None:
                self._waiting.remove(task)
                self._begin(task, stop)
                moved = True
        return moved

    def _begin(self, task: Task, stop: Stop) -> None:
        seen = look(task, self._store.records, self._digests, self._folder)
        if not seen.reasons and not self._force:
            self._end(TaskResult(task.name, "up to date"))
            return
        reasons = seen.reasons or ("asked for with --force",)
        log, record = self._store.log(task.name), self._store.records.get(task.name)
        outputs = record.outputs if record else {}
        begun = Record("running", seen.command, seen.inputs, outputs, seen.needs, now(), log=log.name)
        self._save(task.name, begun)
        self._store.event("started", task=task.name, reasons=list(reasons))
        missing = [pattern for pattern in task.inputs if not matching((pattern,), self._folder)]
        if missing:
            self._fail(task.name, begun, reasons=tuple(f"its input {path} is not there" for path in missing))
            return
        written = self._written(task.name)
        written.parent.mkdir(parents=True, exist_ok=True)
        environment = process_environment({**task.environment, WRITTEN_VARIABLE: str(written)})
        before = self._digests.of_all(named_in(task, self._folder), self._folder)
        child = Child(process_words(task, *self._permission(task, seen, bool(outputs))), self._folder, environment, log)
        stop.children[task.name] = child
        if stop.signal_number is not None:  # it came while the child was made
            child.send(stop.signal_number)
        self._running[task.name] = _Running(task, child, replace(seen, reasons=reasons), before, time.monotonic())
        self._tell(TaskResult(task.name, "running", reasons, log=log))

    def _permission(self, task: Task, seen: Look, has_written: bool) -> list[str]:
        """What a step of ours wrote itself, and nobody touched since, it may replace."""
        if not self._force and has_option(task, "--replace"):
            return ["--replace"] if has_written and "--force" not in task.words else []
        return ["--force"] if seen.replaces and has_option(task, "--force") else []

    def _collect(self, stop: Stop) -> bool:
        moved = False
        for name, one in list(self._running.items()):
            code = one.child.poll()
            if code is None:
                continue
            moved = True
            del self._running[name], stop.children[name]
            seconds = time.monotonic() - one.began
            record = replace(self._store.records[name], seconds=seconds, exit_code=code)
            if code == 0:
                self._succeed(one, record)
            elif stop.signal_number is not None:
                self._save(name, replace(record, status="interrupted"))
                self._end(TaskResult(name, "interrupted", one.seen.reasons, seconds, code, self._store.log(name)))
            else:
                self._fail(name, record)
        return moved

    def _succeed(self, one: _Running, record: Record) -> None:
        task = one.task
        if unwritten := [pattern for pattern in task.outputs if not matching((pattern,), self._folder)]:
            reasons = tuple(f"it did not write its output {pattern}" for pattern in unwritten)
            self._fail(task.name, record, reasons=reasons)
            return
        outputs = self._outputs(one, record)
        for name, other in self._store.records.items():
            if shared := outputs.keys() & other.outputs.keys() - {task.name} if name != task.name else ():
                # A file belongs to the step that wrote it last.
                kept = {path: value for path, value in other.outputs.items() if path not in shared}
                self._store.records[name] = replace(other, outputs=kept)
        inputs = {path: value for path, value in one.seen.inputs.items() if path not in outputs}
        self._save(task.name, replace(record, status="done", inputs=inputs, outputs=outputs))
        self._written(task.name).unlink(missing_ok=True)
        seconds, log = record.seconds, self._store.log(task.name)
        self._end(TaskResult(task.name, "done", one.seen.reasons, seconds, 0, log))

    def _outputs(self, one: _Running, record: Record) -> dict[str, str]:
        """What a task wrote: what it said it would, told while it ran, changed of what its command line names."""
        folder = self._folder
        found = matching(one.task.outputs, folder)
        with suppress(FileNotFoundError):
            told = self._written(one.task.name).read_text(encoding="utf-8").splitlines()
            found += [path for path in told if is_remote(path)]
            local = [Path(path) for path in told if not is_remote(path)]
            found += [relative(path, folder) for path in local if ".jobs" not in path.parts]
        after = self._digests.of_all(named_in(one.task, folder), folder)
        found += [path for path, value in after.items() if one.before.get(path) != value]
        found += record.outputs  # a command that found its work done wrote nothing
        return self._digests.of_all(dict.fromkeys(found), folder)

    def _fail(self, name: str, record: Record, *, reasons: tuple[str, ...] = ()) -> None:
        self._save(name, replace(record, status="failed"))
        self._end(TaskResult(name, "failed", reasons, record.seconds, record.exit_code, self._store.log(name)))

    def _end(self, result: TaskResult) -> None:
        self._results[result.name] = result
        if result.outcome != "up to date":
            self._store.event(
                result.outcome, task=result.name, seconds=round(result.seconds, 3), exit_code=result.exit_code
            )
        self._tell(result)

    def _save(self, name: str, record: Record) -> None:
        self._store.records[name] = record
        self._store.files |= self._digests.remembered
        self._store.save()

    def _written(self, name: str) -> Path:
        return self._store.log(name).with_suffix(".written")
