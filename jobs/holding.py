"""A folder that one process works in at a time: an advisory lock that dies with its process and says whose it is.

`flock` alone decides whether a folder is held; what stands in the file only says where to find the holder.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import TextIOWrapper
from pathlib import Path

from kaggle_tools.errors import UserError

LOCK_FILE = "lock"
_TRIES, _PAUSE_S = 10, 0.02


@dataclass(frozen=True)
class Holder:
    """The process that holds a folder.

    Attributes:
        pid: Its number.
        host: The machine.
        since: Unix time.
    """

    pid: int
    host: str
    since: float

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self.host == platform.node()


@contextmanager
def hold(folder: Path, complaint: str, *, next: str = "wait for it, or stop it first") -> Iterator[None]:
    """Hold a folder, which is made where it is missing.

    Args:
        folder: What to hold.
        complaint: What to say when another process holds it.
        next: And what to do then.

    Raises:
        UserError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as handle:
        if not _acquire(handle):
            who = holder(folder)
            by = f"process {who.pid} on {who.host}" if who else "a process that did not say which"
            raise UserError(complaint, where=folder, by=by, next=next)
        handle.truncate(0)
        handle.write(json.dumps(asdict(Holder(os.getpid(), platform.node(), time.time()))))
        handle.flush()
        yield


def is_held(folder: Path) -> bool:
    """Whether a process holds the folder now."""
    try:
        with (folder / LOCK_FILE).open("r", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def holder(folder: Path) -> Holder | None:
    """What the last holder said of itself; None where it said nothing."""
    try:
        return Holder(**json.loads((folder / LOCK_FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _acquire(handle: TextIOWrapper) -> bool:
    """Try for a fifth of a second: a reader that asks `is_held` has the lock for a moment."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return True
    return False
