"""Child processes of a batch: each on a leash, each with a log file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from jobs.batch import leash
from jobs.batch.commands import shown

GRACE_S = 30.0  # a scoring job stops between two batches, a training between two steps


class Child:
    """A command that runs."""

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as handle:
            handle.write(f"$ {shown(words)}\n".encode())
            handle.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", leash.__file__, str(GRACE_S), *words],
                cwd=folder,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,  # its other end is what the leash listens to
                stdout=handle,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C of the terminal reaches us alone; we pass it on once
            )

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        code = self._process.poll()
        if code is not None and self._process.stdin is not None:
            self._process.stdin.close()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Pass a signal on; a second one kills."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def end(self) -> None:
        """Stop it, however long that takes, and wait."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


class Stop:
    """Which signal asked us to stop, if any, and who is to hear of it."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.children: dict[str, Child] = {}

    def is_asked(self) -> bool:
        """Whether a signal came."""
        return self.signal_number is not None

    def handle(self, number: int, _frame: FrameType | None = None) -> None:
        """Remember the first; pass each on."""
        self.signal_number = self.signal_number or number
        for child in list(self.children.values()):
            child.send(number)


@contextmanager
def stopping() -> Iterator[Stop]:
    """While the body runs, SIGINT and SIGTERM go to the children; none of them outlives it."""
    stop = Stop()
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for child in stop.children.values():
            child.end()
        for number, handler in before.items():
            signal.signal(number, handler)
