"""`cli jobs cancel` and `cli jobs resume`: stop the process that works on a job, start it again as it was called.

cli jobs cancel test-3fa9c1d2
cli jobs resume test-3fa9c1d2
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from jobs.holding import holder
from jobs.runner.store import JobStore
from jobs.status import find
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError

COMMAND_FILE = "command.json"
_ENVIRONMENT = "KAGGLE_JOBS_SCORE_"
_INPUT_VARIABLE = f"{_ENVIRONMENT}INPUT"


@dataclass(frozen=True)
class Cancelled:
    """A job that was asked to end.

    Attributes:
        id: The job.
        pid: The process that worked on it.
        ended: Whether it has.
    """

    id: str
    pid: int
    ended: bool


@dataclass(frozen=True)
class CancelResult:
    """`cli jobs cancel`; exit code 1 where one has not ended yet."""

    jobs: tuple[Cancelled, ...]

    @property
    def exit_code(self) -> int:
        """1 where a job still runs."""
        return int(not all(job.ended for job in self.jobs))


@dataclass(frozen=True)
class Resumed:
    """A job whose command ran again.

    Attributes:
        id: The job.
        command: Words behind ``cli``.
        exit_code: How it ended.
        as_new_job: Whether it made another job, since what this one was planned for has changed.
    """

    id: str
    command: tuple[str, ...]
    exit_code: int
    as_new_job: bool = False


@dataclass(frozen=True)
class ResumeResult:
    """`cli jobs resume`; its exit code is that of the first command that failed."""

    jobs: tuple[Resumed, ...]

    @property
    def exit_code(self) -> int:
        """0 where all went well."""
        return next((job.exit_code for job in self.jobs if job.exit_code), 0)


def record_command(store: JobStore, argv: Sequence[str]) -> None:
    """Keep how a job was called: words, working directory, and the options that came from the environment."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
    store.write(COMMAND_FILE, {"argv": list(argv), "folder": str(Path.cwd()), "environment": environment})


def cancel(job_ids: Sequence[str], timeout_s: float = 60.0) -> CancelResult:
    """Send SIGTERM to the process of each job and wait until it has let go. What is committed is kept.

    Raises:
        UserError: A job that does not run, or runs on another machine. Nothing is sent then.
    """
    targets = [(store, _process_of(store)) for store in map(find, job_ids)]
    for _, process in targets:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    until = time.monotonic() + timeout_s
    while any(store.is_running for store, _ in targets) and time.monotonic() < until:
        time.sleep(0.1)
    return CancelResult(tuple(Cancelled(store.id, pid, not store.is_running) for store, pid in targets))


def resume(job_ids: Sequence[str], *, output_to_stderr: bool = False, quiet: bool = False) -> ResumeResult:
    """Run the command of each job again, one after the other, where it was called.

    Args:
        job_ids: Jobs, by id or the beginning of one.
        output_to_stderr: Keep stdout free.
        quiet: Hide what the commands say.

    Raises:
        UserError: A job that runs, or of which no command is recorded. Nothing is started then.
    """
    calls = [(store, *_command_of(store)) for store in map(find, job_ids)]
    done = []
    for store, argv, folder, environment in calls:
        with _forwarding() as start:
            words = [sys.executable, "-m", "jobs.cli", *argv, *(["--quiet"] if quiet else [])]
            stdout = sys.stderr.fileno() if output_to_stderr else None
            code = start(words, folder, {**os.environ, **environment}, stdout)
        as_new_job = code == 0 and store.result is None
        done.append(Resumed(store.id, tuple(argv), code if code >= 0 else 128 - code, as_new_job))
        if code in (130, 143):  # the next would start all the same
            break
    return ResumeResult(tuple(done))


def _process_of(store: JobStore) -> int:
    if not store.is_running:
        state = "complete" if store.result is not None else "interrupted"
        raise UserError(f"job {store.id} does not run: it is {state}", where=store.folder)
    who = holder(store.folder)
    if who is None:
        raise UserError(f"the process of job {store.id} did not say which it is", next="stop it where it was started")
    if not who.is_here:
        raise UserError(
            f"job {store.id} runs on {who.host}", next=f"there: `cli jobs cancel {store.id}`, or `kill {who.pid}`"
        )
    try:
        is_it = psutil.Process(who.pid).create_time() <= who.since + 1
    except psutil.NoSuchProcess:
        is_it = False
    if not is_it:
        raise UserError(
            f"process {who.pid} of job {store.id} is gone, and yet its lock is held",
            where=store.folder,
            next="look for what it left running, such as worker processes",
        )
    return who.pid


def _command_of(store: JobStore) -> tuple[list[str], Path, dict[str, str]]:
    if store.is_running:
        raise UserError(f"job {store.id} is running", next="`cli jobs --follow` shows its progress")
    command = store.read(COMMAND_FILE)
    if command is None:
        raise UserError(f"how job {store.id} was called is not recorded", next="run its command again")
    try:
        argv, folder, environment = list(command["argv"]), Path(command["folder"]), dict(command["environment"])
    except (KeyError, TypeError) as exc:
        raise UserError(f"{COMMAND_FILE} cannot be understood: {exc!r}", where=store.folder) from exc
    if not folder.is_dir():
        raise UserError("the folder where it was called is gone", where=folder, next="run its command again")
    if Workspace.find(folder).jobs.resolve() != store.folder.parent.resolve():
        raise UserError(
            f"job {store.id} was called in another workspace, of which this one is a copy",
            where=folder,
            next="resume it there, or run its command again here",
        )
    return _without_stdin(argv, environment, store), folder, environment


def _without_stdin(argv: list[str], environment: dict[str, str], store: JobStore) -> list[str]:
    """A table that came through a pipe was kept as a file: read that, however `-` was said."""
    plan = store.read("plan.json") or {}
    inputs = [Path(file["path"]) for file in plan.get("request", {}).get("inputs", [])]
    if len(inputs) != 1 or inputs[0].parent != store.folder.parent / "stdin":
        return argv
    kept = str(inputs[0])
    words = []
    for before, word in zip(["", *argv], argv, strict=False):
        if word == "-" and before in ("--input", "-i"):
            words.append(kept)
        else:
            words.append(f"--input={kept}" if word in ("--input=-", "-i-") else word)
    if words == argv and environment.pop(_INPUT_VARIABLE, None) is not None:
        words.append(f"--input={kept}")
    return words


@contextmanager
def _forwarding() -> Iterator[Any]:
    """Start a process that gets our SIGINT and SIGTERM; it ends a job better than we could."""
    running: list[subprocess.Popen[bytes]] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        for process in running:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def start(words: Sequence[str], folder: Path, environment: Mapping[str, str], stdout: int | None) -> int:
        running.append(
            subprocess.Popen(words, cwd=folder, env=dict(environment), stdout=stdout, start_new_session=True)
        )
        return running[0].wait()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield start
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
