"""Workers as actors of a Ray cluster: one that is running, or one of this machine alone that lasts as long as the job.

Only numbers of shards and reports travel. Actors read the plan, the inputs and the models themselves and commit their
own parts, so all nodes must see them under the same paths. Nothing is put into Ray's runtime environment.
"""

from __future__ import annotations

import os

# Before the import, which reads them; whoever wants it otherwise says so in the environment.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # a lost worker is told by us, once
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # spares a warning

import logging
import queue
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from jobs.errors import USER_ERRORS
from jobs.runner.crew import run_crew
from jobs.runner.local import Watch
from jobs.runner.numerics import Numerics, measure_gate
from jobs.runner.planner import load_plan
from jobs.runner.reports import Failed, Lost, Ready
from jobs.runner.worker import Duty, Report, ShardWorker, Work
from kaggle_tools.errors import UserError
from models.inference.arithmetic import resolve_backend
from models.inference.bounds import GateBounds, GateReport
from models.inference.device import resolve_device, resolve_precision
from models.inference.scorer import Scorer

try:
    import ray
except ImportError as missing:
    raise UserError("Ray is not installed", next="pip install 'kaggle-jobs[ray]'") from missing

_STORE_BYTES = 100 * 1024**2  # nearly nothing is stored there; Ray would set a third of the memory aside
_POLL_S = 1.0
_REPORTS = "reports"
_LAST_BATCH_S = 10.0
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class RayEngine:
    """A Ray cluster.

    Args:
        workers: Actors at most; None: one a GPU, without GPUs one a node. Those for which there is no room yet are what
            an autoscaler sees.
        address: Of a running cluster, ``auto`` for the one of this machine; None starts one.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: A device that is for one machine only, an address of Ray's client.
    """

    own_device = "cpu"  # of a head node, or a laptop: the actors have the devices

    def __init__(self, workers: int | None, address: str | None, device: str) -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise UserError(f"--device {device} with --engine ray", expected="auto, cpu or cuda: Ray chooses which")
        if address is not None and "://" in address:
            raise UserError(f"--ray-address {address}", expected="auto or HOST:PORT, from a machine of the cluster")
        self._workers = workers
        self._address = address
        self._device = device
        self._connected = False

    @property
    def kind(self) -> str:
        """As named; else of a running cluster, which is asked; of one that is started here: this machine's."""
        if self._device != "auto":
            return self._device
        if self._address is None:
            return "cuda" if torch.cuda.is_available() else "cpu"
        with self.session():
            return self._kind()

    @property
    def n_devices(self) -> int:
        """GPUs that have an actor; an actor on a CPU has cores that are no device of their own."""
        return self._size() if self._kind() == "cuda" else 1

    @property
    def default_threads(self) -> int:
        """As many as each actor has cores."""
        threads = cpus_per_worker(self._cpus(), self._size())
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return min(threads, int(asked)) if asked.isdecimal() and int(asked) else threads

    def resolve(self, precision: str, scorer: Scorer) -> tuple[str, str]:
        """Asked of a node that has such a device."""
        if precision == "fp32" or scorer.flop_per_token == 0:
            return self._kind(), "fp32"
        return self._kind(), str(self._ask(_resolve, precision, self._kind()))

    def backend(self, work: Work, asked: str, precision: str, threads: int | None, watch: Watch) -> str:  # noqa: ARG002
        """torch, unless another was asked for by name: nodes may differ in what is faster."""
        if asked == "torch" and precision != "int8":
            return asked
        found = str(self._ask(_backend, asked, precision, self._kind()))
        return "torch" if found == "auto" else found

    def gate(self, work: Work, precision: str, backend: str, bounds: GateBounds) -> GateReport | None:
        """By a task on such a node."""
        found = self._ask(_gate, work.duty(), self._kind(), precision, backend, bounds)
        assert found is None or isinstance(found, GateReport)
        return found

    def run(self, work: Work, numerics: Numerics, watch: Watch) -> None:
        """A crew of actors."""
        crew = _RayCrew(work.duty(numerics), self._kind(), self._size(), self._resources())
        run_crew(work.job.plan, work.job.store, crew, watch, ceiling=0.0)

    def ceiling(self, precision: str, scorer: Scorer) -> float | None:  # noqa: ARG002
        """Never asked: nodes may differ."""
        return None

    @contextmanager
    def session(self) -> Iterator[None]:
        """Ray is connected to, or started; at the end it is left, and a cluster of our own stopped."""
        # Ray prints what happens to other processes to stdout, which is for data; what matters of it we say ourselves.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            try:
                self._connect()
                yield
            finally:
                if self._connected:
                    self._connected = False
                    ray.shutdown()
                    if self._address is None:
                        shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if self._address is not None:
                ray.init(address=self._address, **quiet)
            else:
                _sweep()
                self._folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}.", dir=PLACE)
                with _alone():
                    ray.init(
                        address="local",
                        num_cpus=max(self._workers or 1, torch.get_num_threads()),
                        include_dashboard=False,
                        object_store_memory=_STORE_BYTES,
                        _temp_dir=self._folder,
                        _node_ip_address="127.0.0.1",
                        **quiet,
                    )
        except (ConnectionError, RuntimeError, ValueError) as exc:
            raise UserError(
                f"no Ray cluster at '{self._address or 'this machine'}': {str(exc).splitlines()[0]}",
                next="start one with `ray start --head`, or leave --ray-address out",
            ) from exc
        finally:
            for number, handler in handlers.items():  # Ray has its own for SIGTERM
                with suppress(ValueError):  # not in the main thread
                    signal.signal(number, handler)
        self._connected = True

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def _cpus(self) -> list[int]:
        return [int(node.get("CPU", 0)) for node in self._nodes()]

    def _kind(self) -> str:
        if self._device == "auto":
            return "cuda" if sum(node.get("GPU", 0) for node in self._nodes()) >= 1 else "cpu"
        return self._device

    def _size(self) -> int:
        nodes = self._nodes()
        n_gpus = int(sum(node.get("GPU", 0) for node in nodes))
        return self._workers or max(1, n_gpus if self._kind() == "cuda" else sum(n.get("CPU", 0) >= 1 for n in nodes))

    def _resources(self) -> dict[str, float]:
        """Of each actor."""
        if self._kind() == "cuda":
            return {"num_cpus": 1, "num_gpus": 1}
        return {"num_cpus": cpus_per_worker(self._cpus(), self._size()), "num_gpus": 0}

    def _ask(self, function: Any, *arguments: object) -> object:
        """A function's answer from a node with such a device."""
        task = ray.remote(max_retries=3, **self._resources())(_answer)
        answer = ray.get(task.remote(function, *arguments))
        if isinstance(answer, Exception):
            raise answer
        return answer


def cpus_per_worker(cpus: Sequence[int], n_workers: int) -> int:
    """The most cores that each of so many workers can have on nodes of so many cores; 1 where not all fit."""
    return max((k for k in range(1, max(cpus, default=1) + 1) if sum(n // k for n in cpus) >= n_workers), default=1)


class _Actor:
    """A `ShardWorker` that is asked for its reports."""

    def __init__(self) -> None:
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._worker: ShardWorker | None = None

    def begin(self, duty: Duty, device: str) -> None:
        try:
            self._worker = ShardWorker(duty, device, self._reports.put)
        except USER_ERRORS as exc:
            self._reports.put(Failed(None, exc))
        else:
            self._reports.put(Ready())

    def take(self, index: int) -> None:
        assert self._worker is not None
        self._worker.take(index)

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop(_LAST_BATCH_S)

    def reports(self) -> list[Report]:
        """What was reported since the last call; waits a while for the first."""
        found = []
        with suppress(queue.Empty):
            found.append(self._reports.get(timeout=_POLL_S))
            while True:
                found.append(self._reports.get_nowait())
        return found


class _RayCrew:
    """Actors. One that is lost is not restarted by Ray but hired anew by us: its shards need not wait for that."""

    def __init__(self, duty: Duty, device: str, size: int, resources: dict[str, float]) -> None:
        self.size = size
        self._duty = duty
        self._device = device
        self._resources = resources
        # Reports are waited for beside the orders, which come one after the other.
        self._make = ray.remote(concurrency_groups={_REPORTS: 1}, max_restarts=0, **resources)(_Actor)
        self._actors: dict[int, Any] = {}
        self._polls: dict[Any, int] = {}

    def hire(self, place: int) -> None:
        actor = self._make.remote()
        actor.begin.remote(self._duty, self._device)
        self._actors[place] = actor
        self._poll(place)

    def assign(self, place: int, index: int) -> None:
        self._actors[place].take.remote(index)

    def dismiss(self, place: int) -> None:
        actor = self._actors.pop(place, None)
        if actor is not None:
            self._polls = {poll: other for poll, other in self._polls.items() if other != place}
            ray.kill(actor)

    def reports(self, timeout_s: float) -> Iterator[tuple[int, Report]]:
        ready, _ = ray.wait(list(self._polls), num_returns=1, timeout=timeout_s)
        for poll in ready:
            place = self._polls.pop(poll)
            try:
                found = ray.get(poll)
            except ray.exceptions.RayError as exc:
                self.dismiss(place)
                yield place, Lost(str(exc).strip().splitlines()[0].rstrip("."))
                continue
            self._poll(place)
            for report in found:
                yield place, report

    def _poll(self, place: int) -> None:
        self._polls[self._actors[place].reports.options(concurrency_group=_REPORTS).remote()] = place

    def what_is_missing(self) -> str:
        asked = " and ".join(f"{amount:g} {name[4:-1].upper()}" for name, amount in self._resources.items() if amount)
        free = ray.available_resources()
        return (
            f"{self.size} actors of {asked} each are asked for; free are {free.get('CPU', 0):g} CPU and "
            f"{free.get('GPU', 0):g} GPU, and those that have their place load the models"
        )

    def close(self) -> None:
        stopping = [actor.stop.remote() for actor in self._actors.values()]
        with suppress(ray.exceptions.RayError):
            ray.wait(stopping, num_returns=len(stopping), timeout=_LAST_BATCH_S) if stopping else None
        for place in list(self._actors):
            self.dismiss(place)


def _answer(function: Any, *arguments: object) -> object:
    """What `function` gives, or the error that it raises: Ray would wrap it."""
    try:
        return function(*arguments)
    except USER_ERRORS as exc:
        return exc


def _resolve(precision: str, device: str) -> str:
    return resolve_precision(precision, resolve_device(device))


def _backend(asked: str, precision: str, device: str) -> str:
    return resolve_backend(asked, precision, resolve_device(device))


def _gate(duty: Duty, device: str, precision: str, backend: str, bounds: GateBounds) -> GateReport | None:
    plan = load_plan(duty.store)
    assert plan is not None
    request = plan.request
    scorer = Scorer(
        duty.models,
        device=device,
        precision="fp32",
        classes=request.classes,
        token_budget=request.token_budget,
        max_length=request.max_length,
        tokenizer=request.tokenizer,
        backend="torch",
    )
    return measure_gate(plan, precision, backend, bounds, scorer)


# Short: sockets lie below it, and their paths may have 107 bytes.
PLACE = Path("/tmp")
PREFIX = "kaggle-jobs-ray."


@contextmanager
def _alone() -> Iterator[None]:
    """Around the start of a Ray of our own: it listens on 127.0.0.1, and asks nobody anything.

    By itself Ray puts the machine's own address in the place of 127.0.0.1, except where it supports no clusters. And
    without a dashboard it still starts its process, for usage statistics alone: before that looks whether they are
    wanted, it asks the metadata services of three clouds whose machine this is.
    """
    from ray._private import node, ray_constants

    before = os.environ.get(_CLUSTERS)
    clusters, start_api_server = ray_constants.ENABLE_RAY_CLUSTER, node.Node.start_api_server
    os.environ[_CLUSTERS] = "0"  # for the processes that it starts
    ray_constants.ENABLE_RAY_CLUSTER = False
    node.Node.start_api_server = lambda _self, **_: None
    try:
        yield
    finally:
        del os.environ[_CLUSTERS]
        if before is not None:
            os.environ[_CLUSTERS] = before
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        node.Node.start_api_server = start_api_server


def _sweep() -> None:
    """Remove the logs of clusters whose job was killed."""
    for folder in PLACE.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).split(".")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
