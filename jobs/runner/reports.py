"""What every kind of worker says to the process that holds the work, whatever the work is."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ready:
    """What the worker needs is loaded."""


@dataclass(frozen=True)
class Failed:
    """A piece of work cannot be done, or (index None) the worker cannot work at all. It does nothing more."""

    index: int | None
    error: Exception


@dataclass(frozen=True)
class Lost:
    """The worker is gone without a word; said by whoever watches over it."""

    how: str


def tell_failure(tell: Callable[[Any], None], index: int | None, exc: Exception) -> None:
    """Tell an error that is being handled, with its traceback, which does not travel by itself.

    Also one that cannot be sent to another process, or not be read there: without a word nobody would know of it.
    """
    exc.add_note("in a worker:\n" + traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(exc))
    except Exception:
        told = RuntimeError(f"{type(exc).__name__}: {exc}")
        told.__notes__ = exc.__notes__
        exc = told
    tell(Failed(index, exc))
