"""One way to compile inner loops: cached on disk, without Python's lock, plain IEEE arithmetic.

Without ``fastmath`` neither numba nor LLVM reorders a sum or fuses a product into it, so a loop gives the same bits on
every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, once for each kind of arguments; later processes load it from the cache."""
    return njit(cache=True, nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Like `compiled`, written into its callers: for short functions of many arrays, where the call costs most."""
    return njit(cache=True, nogil=True, inline="always")(function)


def plain(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """The same values in a writeable array without gaps.

    A kernel is compiled anew for an array that is borrowed (read-only) or a view with gaps: this spares that.
    """
    return np.require(array, requirements=["C_CONTIGUOUS", "WRITEABLE"])
