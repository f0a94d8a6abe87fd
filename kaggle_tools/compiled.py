"""One way to compile inner loops: cached on disk, without Python's lock, plain IEEE arithmetic.

Without ``fastmath`` neither numba nor LLVM reorders a sum or fuses a product into it, so a loop gives the same bits on
every machine.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numba.core import event
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, once for each kind of arguments; later processes load it from the cache."""
    return njit(cache=True, nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Like `compiled`, written into its callers: for short functions of many arrays, where the call costs most."""
    return njit(cache=True, nogil=True, inline="always")(function)


def is_compiled(function: Any) -> bool:
    """Whether a `compiled` function lies in the cache for some kind of arguments; also where nothing can be kept."""
    folder, python = function._cache.cache_path, function.py_func
    if folder is None:
        return True
    name = f"{Path(python.__code__.co_filename).stem}.{python.__qualname__}-{python.__code__.co_firstlineno}."
    return any(path.name.startswith(name) for path in Path(folder).glob("*.nbi"))


class _WithoutCollection(event.Listener):
    """Compiling makes millions of objects that live until its end: collecting garbage meanwhile is a tenth of its time.

    numba compiles in one thread at a time, what a function calls within it.
    """

    def __init__(self) -> None:
        self._depth, self._collects = 0, True

    def on_start(self, _event: event.Event) -> None:
        if not self._depth:
            self._collects = gc.isenabled()
            gc.disable()
        self._depth += 1

    def on_end(self, _event: event.Event) -> None:
        self._depth -= 1
        if not self._depth and self._collects:
            gc.enable()


event.register("numba:compile", _WithoutCollection())  # type: ignore[no-untyped-call]


def plain(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """The same values in a writeable array without gaps.

    A kernel is compiled anew for an array that is borrowed (read-only) or a view with gaps: this spares that.
    """
    return np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"])
