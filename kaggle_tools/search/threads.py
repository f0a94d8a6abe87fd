"""Several ascents at once: the kernels run without Python's lock, and BLAS stays out of the way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

T = TypeVar("T")
U = TypeVar("U")
P = ParamSpec("P")


def in_threads(function: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """Results in order; no result depends on another, so none depends on the number of threads.

    May be called within `function`. Where one item fails, the others that have begun are waited for.
    """
    given = list(items)
    if len(given) < 2:
        return [function(item) for item in given]
    futures = [_pool(getattr(_here, "depth", 0)).submit(function, item) for item in given]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        wait(futures)
        raise


_here = threading.local()


@cache
def _pool(depth: int) -> ThreadPoolExecutor:
    """Threads for calls made `depth` calls deep, kept since starting them takes longer than much of their work.

    A thread waits only for those of the next depth, so that no depth can hold itself up.
    """
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), initializer=lambda: setattr(_here, "depth", depth + 1))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads are not forked


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
