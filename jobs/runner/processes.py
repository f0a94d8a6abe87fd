"""Workers as processes of this machine, each with models and threads of its own: one a GPU, or several on a CPU.

A worker that loses its pipe knows that the job's process is gone, and ends between two batches.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Lock

from jobs.errors import USER_ERRORS
from jobs.runner.worker import Duty, Failed, Lost, Ready, Report, ShardWorker

_LAST_BATCH_S = 10.0


class ProcessCrew:
    """Processes that were spawned, not forked: a fork would copy locks that threads hold.

    Args:
        duty: What they do.
        devices: Of each place.
    """

    def __init__(self, duty: Duty, devices: Sequence[str]) -> None:
        self._duty = duty
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
        process = self._spawn.Process(target=_serve, args=(theirs, self._duty, self._devices[place]), daemon=True)
        process.start()
        theirs.close()
        self._workers[place] = (process, ours)

    def assign(self, place: int, index: int) -> None:
        """Send a shard's number."""
        with suppress(BrokenPipeError, ConnectionResetError):  # its end is reported when it is listened to
            self._workers[place][1].send(index)

    def dismiss(self, place: int) -> None:
        """Close the pipe; the process ends on its own."""
        process, connection = self._workers.pop(place)
        connection.close()
        if place not in self._ready:
            process.kill()  # it only loads models
        self._ready.discard(place)
        self._leaving.append(process)

    def reports(self, timeout_s: float) -> Iterator[tuple[int, Report]]:
        """Messages of all pipes; a pipe that ended is a lost worker."""
        places = {connection: place for place, (_, connection) in self._workers.items()}
        for connection in wait(list(places), timeout_s):
            assert isinstance(connection, Connection)
            place = places[connection]
            try:
                report: Report = connection.recv()
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


def _serve(connection: Connection, duty: Duty, device: str) -> None:
    """A worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    lock = Lock()

    def tell(report: Report) -> None:
        with lock:
            connection.send(report)

    try:
        worker = ShardWorker(duty, device, tell)
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
