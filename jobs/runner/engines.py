"""Where a job's workers live: in this process, in several of this machine, or on a Ray cluster. Same parts.

engine = choose_engine(EngineOptions(workers=2), "cpu")
engine.run(work, numerics, watch)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from jobs.ceilings import known
from jobs.runner.crew import run_crew
from jobs.runner.engine_options import EngineOptions
from jobs.runner.local import Watch, run_shards
from jobs.runner.numerics import Numerics, choose_for_job, measure_gate
from jobs.runner.places import devices_of_workers
from jobs.runner.processes import ProcessCrew
from jobs.runner.worker import Report, ShardWorker, Work, check_weights
from kaggle_tools.errors import UserError
from models.inference.arithmetic import resolve_backend
from models.inference.bounds import GateBounds, GateReport
from models.inference.device import PRECISIONS, measure_matmul_rate, resolve_device, resolve_precision
from models.inference.groups import NetworkGroup
from models.inference.scorer import Scorer
from models.memory import release


class Engine(Protocol):
    """Runs a plan."""

    @property
    def own_device(self) -> str:
        """Of the Scorer in this process."""

    @property
    def kind(self) -> str:
        """``cpu``, ``cuda`` or ``mps``: the workers' kind of device, for which shards are cut. Asked outside `session`.

        Raises:
            UserError: A cluster that is not there.
        """

    @property
    def n_devices(self) -> int:
        """Devices that share the work; workers on a CPU share it."""

    @property
    def default_threads(self) -> int:
        """Of each worker's networks on a CPU."""

    def resolve(self, precision: str, scorer: Scorer) -> tuple[str, str]:
        """The workers' kind of device, and what `precision` means there."""

    def backend(self, work: Work, asked: str, precision: str, threads: int | None, watch: Watch) -> str:
        """``torch`` or ``openvino``: what `asked`, which may be ``auto``, means on such a device."""

    def gate(self, work: Work, precision: str, backend: str, bounds: GateBounds) -> GateReport | None:
        """`measure_gate` on such a device."""

    def session(self) -> AbstractContextManager[None]:
        """Around all of the above: what the engine has started ends with it."""

    def run(self, work: Work, numerics: Numerics, watch: Watch) -> None:
        """Score every shard whose part is not there yet. Raises as `run_shards` and `run_crew`."""

    def ceiling(self, precision: str, scorer: Scorer) -> float | None:
        """FLOP/s that all devices together can do, as `cli doctor --measure` found; None where it was never asked."""


def choose_engine(asked: EngineOptions, device: str) -> Engine:
    """The engine for these options; `device` may name several: ``cuda:0,cuda:1`` or ``cuda:all``.

    Several workers share out the GPUs where `device` leaves open which.

    Raises:
        UserError: Options that do not go together, Ray where it is not installed.
    """
    if asked.engine == "ray":
        from jobs.runner.ray_engine import RayEngine

        return RayEngine(asked.workers, asked.ray_address, device)
    if asked.ray_address is not None:
        raise UserError("--ray-address is for --engine ray", next="add --engine ray, or leave it out")
    devices = devices_of_workers(device, asked.workers)
    return Here(devices[0]) if len(devices) == 1 else Several(devices)


@dataclass(frozen=True)
class Here:
    """This process does it all."""

    own_device: str

    @property
    def kind(self) -> str:
        """The one device's."""
        return resolve_device(self.own_device).type

    @property
    def n_devices(self) -> int:
        """One."""
        return 1

    @property
    def default_threads(self) -> int:
        """As many as torch takes."""
        return torch.get_num_threads()

    def resolve(self, precision: str, scorer: Scorer) -> tuple[str, str]:
        """By this process's Scorer."""
        return scorer.device.type, resolve_precision(precision, scorer.device)

    def backend(self, work: Work, asked: str, precision: str, threads: int | None, watch: Watch) -> str:
        """By this process's Scorer."""
        return _backend(work, asked, precision, threads, watch)

    def gate(self, work: Work, precision: str, backend: str, bounds: GateBounds) -> GateReport | None:
        """By this process's Scorer."""
        return measure_gate(work.job.plan, precision, backend, bounds, work.scorer)

    def session(self) -> AbstractContextManager[None]:
        """Nothing stays."""
        return nullcontext()

    def run(self, work: Work, numerics: Numerics, watch: Watch) -> None:
        """One stage after the other, all at once."""
        numerics.apply(work)  # after the gate weights may be read anew
        check_weights(work.job.plan, work.models)
        told = work.scorer.notes
        _tell(told, watch)
        run_shards(work.job.plan, work.job.store, work.scorer, watch, self.ceiling(numerics.precision, work.scorer))
        _tell([note for note in work.scorer.notes if note not in told], watch)

    def ceiling(self, precision: str, scorer: Scorer) -> float | None:
        """Of the one device."""
        return _known_ceiling(precision, scorer)


@dataclass(frozen=True)
class Several:
    """Processes of this machine, one for each entry of `devices`."""

    devices: Sequence[str]

    @property
    def own_device(self) -> str:
        """The first worker's, for the gate."""
        return self.devices[0]

    @property
    def kind(self) -> str:
        """All are of one kind."""
        return resolve_device(self.own_device).type

    @property
    def n_devices(self) -> int:
        """A device may have several workers."""
        return len(set(self.devices))

    @property
    def default_threads(self) -> int:
        """This process's, divided."""
        return max(1, torch.get_num_threads() // len(self.devices))

    def resolve(self, precision: str, scorer: Scorer) -> tuple[str, str]:
        """By this process's Scorer."""
        return scorer.device.type, resolve_precision(precision, scorer.device)

    def backend(self, work: Work, asked: str, precision: str, threads: int | None, watch: Watch) -> str:
        """By this process's Scorer."""
        return _backend(work, asked, precision, threads, watch)

    def gate(self, work: Work, precision: str, backend: str, bounds: GateBounds) -> GateReport | None:
        """By this process's Scorer."""
        return measure_gate(work.job.plan, precision, backend, bounds, work.scorer)

    def session(self) -> AbstractContextManager[None]:
        """Nothing stays."""
        return nullcontext()

    def run(self, work: Work, numerics: Numerics, watch: Watch) -> None:
        """A crew of processes."""
        scorer = work.scorer
        _tell(scorer.notes, watch)
        ceiling = self.ceiling(numerics.precision, scorer)
        if ceiling is None and scorer.flop_per_token > 0 and numerics.precision in PRECISIONS:
            ceiling = self.n_devices * measure_matmul_rate(scorer.device, PRECISIONS[numerics.precision])
        _make_room(scorer)
        crew = ProcessCrew[Report](partial(ShardWorker, work.duty(numerics)), self.devices)
        run_crew(work.job.plan, work.job.store, crew, watch, ceiling or 0.0)

    def ceiling(self, precision: str, scorer: Scorer) -> float | None:
        """Of one device times their number; workers on a CPU share it."""
        found = _known_ceiling(precision, scorer)
        return None if found is None else found * self.n_devices


def _backend(work: Work, asked: str, precision: str, threads: int | None, watch: Watch) -> str:
    name = resolve_backend(asked, precision, work.scorer.device)
    if name == "auto":
        name = choose_for_job(work.job.plan, precision, work.scorer, threads, watch)
    if name == "torch" or precision == "int8":
        return name
    work.scorer.set_precision(precision, name)  # workers find in the cache what is exported here
    if work.scorer.backend != name:
        _tell(work.scorer.notes, watch)  # why not
    return work.scorer.backend


def _known_ceiling(precision: str, scorer: Scorer) -> float | None:
    found = known(scorer.device) if scorer.flop_per_token > 0 else None
    return None if found is None else found.rates.get(precision)


def _tell(notes: Sequence[str], watch: Watch) -> None:
    for note in notes:
        watch.note(note)


def _make_room(scorer: Scorer) -> None:
    """Workers have the device now: the networks of this process are not needed any more."""
    if scorer.device.type != "cuda":
        return
    for group in scorer.groups:
        if isinstance(group, NetworkGroup):
            group.graphs = None
            for network in group.networks:
                network.to("cpu")
    release(scorer.device)
