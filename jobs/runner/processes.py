"""Workers as processes of this machine, each with models and threads of its own: one a GPU, or several on a CPU.

    ProcessCrew(partial(ShardWorker, duty), ["cuda:0", "cuda:1"])

A worker that loses its pipe knows that the process which holds the work is gone, and ends soon. Knows nothing of what
they work on: a piece of it is a number, and of reports it reads `Ready` alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from jobs.errors import USER_ERRORS
from jobs.runner.reports import Failed, Lost, Ready

_LAST_BATCH_S = 10.0

Said = TypeVar("Said")


class Worker(Protocol):
    """Works in threads of its own, so that the process hears when its pipe ends."""

    def take(self, index: int) -> None:
        """Do a piece of work after those that were taken before."""

    def stop(self, timeout_s: float) -> None:
        """End soon, and wait so long for that."""


# (device, what takes its reports) to a worker; sent to the process, so it must be one that can be pickled.
MakeWorker = Callable[[str, Callable[[Any], None]], Worker]


class ProcessCrew(Generic[Said]):
    """Processes that were spawned, not forked: a fork would copy locks that threads hold.

    Type parameter: what workers say besides `Ready`, `Failed` and `Lost`.

    Args:
        make: Makes the worker of a process, in it.
        devices: Of each place.
    """

    def __init__(self, make: MakeWorker, devices: Sequence[str]) -> None:
        self._make = make
        self._devices = tuple(devices)
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._ready: set[int] = set()
        self._leaving: list[SpawnProcess] = []

    @property
    def size(self) -> int:
        """Places."""
        return len(self._devices)

    def hire(self, place: int) -> None:
        """Spawn a process."""
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=_serve, args=(theirs, self._make, self._devices[place]), daemon=True)
        with _deaf_to_interrupts():
            process.start()
        theirs.close()
        self._workers[place] = (process, ours)

    def assign(self, place: int, index: int) -> None:
        """Send the number of a piece of work."""
        with suppress(BrokenPipeError, ConnectionResetError):  # its end is reported when it is listened to
            self._workers[place][1].send(index)

    def dismiss(self, place: int) -> None:
        """Close the pipe; the process ends on its own."""
        process, connection = self._workers.pop(place)
        connection.close()
        if place not in self._ready:
            process.kill()  # it only loads
        self._ready.discard(place)
        self._leaving.append(process)

    def reports(self, timeout_s: float) -> Iterator[tuple[int, Said | Ready | Failed | Lost]]:
        """Messages of all pipes; a pipe that ended is a lost worker."""
        places = {connection: place for place, (_, connection) in self._workers.items()}
        for connection in wait(list(places), timeout_s):
            assert isinstance(connection, Connection)
            place = places[connection]
            try:
                report: Said | Ready | Failed | Lost = connection.recv()
            except (EOFError, ConnectionResetError):
                process = self._workers[place][0]
                process.join(_LAST_BATCH_S)
                report = Lost(_how_it_ended(process.exitcode or 0))
                self.dismiss(place)
            if isinstance(report, Ready):
                self._ready.add(place)
            yield place, report

    def what_is_missing(self) -> str:
        """They load."""
        return f"{self.size} processes load the models"

    def close(self) -> None:
        """Close the pipes, wait for the batches that are on their way, then insist."""
        for place in list(self._workers):
            self.dismiss(place)
        for process in self._leaving:
            process.join(_LAST_BATCH_S)
            process.kill()
            process.join()
            process.close()
        self._leaving.clear()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process that starts meanwhile does not hear Ctrl-C, also while it imports; here it is heard afterwards."""
    resource_tracker.ensure_running()  # the first start would begin it, which ends by unblocking the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, make: MakeWorker, device: str) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    lock = Lock()

    def tell(report: Any) -> None:
        with lock:
            connection.send(report)

    try:
        worker = make(device, tell)
    except USER_ERRORS as exc:
        with suppress(BrokenPipeError):
            tell(Failed(None, exc))
        return
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        tell(Ready())
        while True:
            worker.take(connection.recv())
    worker.stop(_LAST_BATCH_S / 2)
    os._exit(0)  # whatever a library's threads still do, nobody waits for it


def _how_it_ended(code: int) -> str:
    with suppress(ValueError):
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
