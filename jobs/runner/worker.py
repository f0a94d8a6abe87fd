"""One of several workers of a job, wherever it runs: reads its shards itself, scores them, commits its own parts.

    worker = ShardWorker(duty, "cuda:1", tell=connection.send)
    worker.take(3)        # soon tells Advanced(…), then Part(3, …)

A part is committed by a rename, and any worker makes the same one: it does no harm when two make it.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jobs.runner.local import Part, work_through
from jobs.runner.numerics import Numerics, calibration_of
from jobs.runner.overlap import Feed
from jobs.runner.plan import Plan, ShardTask
from jobs.runner.planner import Job, load_plan
from jobs.runner.reports import Failed, Lost, Ready, tell_failure
from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError
from kaggle_tools.remote import RemoteFile
from models.hub import fingerprint
from models.inference.scorer import Scorer

_TELL_EVERY_S = 0.5


@dataclass(frozen=True)
class Duty:
    """What every worker of a job needs to know.

    Attributes:
        folder: The job's, with its plan.
        models: Run name → checkpoint directories.
        precision: As agreed before the work: ``fp32``, ``bf16``, ``fp16``, ``fp8`` or ``int8``.
        threads: Of the networks, on a CPU; None leaves the default.
        compiled: Whether torch compiles the networks' layers, as agreed.
        backend: ``torch`` or ``openvino``, as agreed.
        shared: Where plan and parts lie when machines share no disk.
    """

    folder: Path
    models: Mapping[str, tuple[str, ...]]
    precision: str = "fp32"
    threads: int | None = None
    compiled: bool = False
    backend: str = "torch"
    shared: RemoteFile | None = None

    @property
    def store(self) -> JobStore:
        """The job, as a worker sees it."""
        return JobStore(self.folder, self.shared)


@dataclass(frozen=True)
class Work:
    """A job, and what it is done with.

    Attributes:
        job: Held by this process.
        models: Run name → checkpoint directories.
        scorer: Of this process, in float32.
    """

    job: Job
    models: Mapping[str, Sequence[str]]
    scorer: Scorer

    def duty(self, numerics: Numerics | None = None) -> Duty:
        """What workers need to know of it; without numerics, before they were agreed."""
        models = {run: tuple(folders) for run, folders in self.models.items()}
        store = self.job.store
        duty = Duty(store.folder.resolve(), models, shared=store.shared)
        if numerics is None:
            return duty
        return replace(
            duty,
            precision=numerics.precision,
            threads=numerics.threads,
            compiled=numerics.compiled,
            backend=numerics.backend,
        )

    def calibration(self, precision: str) -> tuple[str, ...]:
        """Texts that int8 is calibrated on; none for other formats."""
        return calibration_of(self.job.plan, "cpu") if precision == "int8" else ()


@dataclass(frozen=True)
class Advanced:
    """So many rows more went through the networks."""

    rows: float


Report = Ready | Advanced | Part | Failed | Lost


class _Stopped(Exception):
    pass


class ShardWorker:
    """A Scorer with its stages, fed shard by shard.

    Args:
        duty: What to do.
        device: Of the Scorer.
        tell: Takes reports, from another thread. What it raises ends the work.

    Raises:
        UserError: No plan here, or other models than the plan's.
        ModelError: What `Scorer` raises.
    """

    def __init__(self, duty: Duty, device: str, tell: Callable[[Report], None]) -> None:
        if duty.threads is not None:
            torch.set_num_threads(duty.threads)
        self._store = duty.store
        self._plan = _plan_of(self._store, duty.models)
        request = self._plan.request
        self._scorer = Scorer(
            duty.models,
            device=device,
            precision=duty.precision,
            classes=request.classes,
            token_budget=request.token_budget,
            max_length=request.max_length,
            compile=duty.compiled,
            tokenizer=request.tokenizer,
            backend=duty.backend,
            calibration=calibration_of(self._plan, "cpu") if duty.precision == "int8" else (),
        )
        check_weights(self._plan, duty.models)
        if duty.compiled != self._scorer.compiled:
            raise UserError(
                f"{platform.node()} cannot compile the networks, as the job's first process could",
                found="; ".join(self._scorer.notes),
                next="--compile off: goes on with eager layers, whose last digits differ",
            )
        self._tell = tell
        self._taken: Feed[ShardTask] = Feed()
        self._unfinished: deque[int] = deque()
        self._rows, self._told = 0.0, 0.0
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="shards")
        self._thread.start()

    def take(self, index: int) -> None:
        """Score a shard after those that were taken before."""
        self._unfinished.append(index)
        self._taken.put(self._plan.tasks[index])

    def stop(self, timeout_s: float) -> None:
        """End between two batches, and wait for that."""
        self._stopping.set()
        self._taken.end()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        try:
            with closing(work_through(self._taken, self._plan, self._store, self._scorer, self._tick)) as parts:
                for part in parts:
                    self._unfinished.popleft()
                    self._tell_advance()
                    self._tell(part)
        except (_Stopped, BrokenPipeError):
            return
        except Exception as exc:
            tell_failure(self._tell, self._unfinished[0] if self._unfinished else None, exc)

    def _tick(self, rows: float) -> None:
        if self._stopping.is_set():
            raise _Stopped
        with self._counting:
            self._rows += rows
        if time.monotonic() - self._told > _TELL_EVERY_S:
            self._tell_advance()

    def _tell_advance(self) -> None:
        with self._counting:
            rows, self._rows, self._told = self._rows, 0.0, time.monotonic()
        self._tell(Advanced(rows))


def _plan_of(store: JobStore, models: Mapping[str, tuple[str, ...]]) -> Plan:
    plan = load_plan(store)
    if plan is None:
        raise UserError(
            f"{platform.node()} does not see the job",
            where=store.folder,
            next="the workspace, its inputs and its models must lie where every node finds them under the same path; "
            "or say --parts s3://…, have the inputs there too, and the models under the same path on each node",
        )
    check_weights(plan, models)
    return plan


def check_weights(plan: Plan, models: Mapping[str, Sequence[str]]) -> None:
    """Make sure that checkpoints are those that the job was planned with; asked again once they are loaded.

    Raises:
        UserError: They are not.
    """
    for run, folders in models.items():
        if tuple(fingerprint(Path(folder)) for folder in folders if Path(folder).is_dir()) != plan.request.models[run]:
            raise UserError(
                f"{platform.node()} has other weights of '{run}' than the job was planned with", where=folders[0]
            )
