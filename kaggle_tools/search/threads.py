"""Several ascents at once: the kernels run without Python's lock, and BLAS stays out of the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


def in_threads(function: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """Results in order; no result depends on another, so none depends on the number of threads."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def one_blas_thread(function: Callable[P, T]) -> Callable[P, T]:
    """A search whose products of matrices run in one thread each.

    They are small. Threads of BLAS that wait for each other take longer than the products, and where other programs
    want the cores, too, many times longer; and their sums depend on how many they are.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with _blas().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return run


@cache
def _blas() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # has a BLAS of its own, which is found only once it is loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
