"""One way to compile inner loops: cached on disk, without Python's lock, plain IEEE arithmetic.

Without ``fastmath`` neither numba nor LLVM reorders a sum or fuses a product into it, so a loop gives the same bits on
every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call; later processes load it from the cache."""
    return njit(cache=True, nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Like `compiled`, written into its callers: for short functions of many arrays, where the call costs most."""
    return njit(cache=True, nogil=True, inline="always")(function)
