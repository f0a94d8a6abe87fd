"""A command on a leash: it ends when whoever holds the other end of our stdin ends, `kill -9` included.

    python -I -S leash.py 30 python -m jobs.cli train recipes/linear.toml

The command gets a process group of its own. SIGINT and SIGTERM go to that group; after so many seconds of grace, or at
a second signal, it is killed. What it left running in its group goes with it. Standard library alone, so that it starts
in 20 ms.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

_POLL_S = 0.05


def main(grace_s: float, words: list[str]) -> int:
    """Run `words`; gives what a shell would give as the exit code."""
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: signals.append(received))
    try:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, process_group=0)
    except OSError as exc:
        sys.stderr.write(f"cannot start {words[0]}: {exc.strerror}\n")
        return 127
    _wait(child, signals, grace_s)
    _end_group(child.pid)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wait(child: subprocess.Popen[bytes], signals: list[int], grace_s: float) -> None:
    forwarded, deadline, held = 0, None, True
    while child.poll() is None:
        if held:
            held = not select.select([0], [], [], _POLL_S)[0] or os.read(0, 1) != b""
            if not held:
                signals.append(signal.SIGTERM)
        else:
            time.sleep(_POLL_S)
        while forwarded < len(signals):
            _send(child.pid, signals[forwarded] if forwarded == 0 else signal.SIGKILL)
            forwarded += 1
            deadline = deadline or time.monotonic() + grace_s
        if deadline is not None and time.monotonic() > deadline:
            _send(child.pid, signal.SIGKILL)


def _end_group(group: int) -> None:
    """End what the command left behind in its group."""
    _send(group, signal.SIGTERM)
    for _ in range(20):
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(_POLL_S)
    _send(group, signal.SIGKILL)


def _send(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
