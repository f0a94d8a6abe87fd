"""Stages that work at the same time: each in a thread of its own, with a bounded queue to the next.

    shards   = overlapped(tasks, read)          # reads shard 3
    prepared = overlapped(shards, tokenise)     # while shard 2 is tokenised
    scored   = overlapped(prepared, infer)      # and shard 1 is on the device

An exception in any stage reaches the consumer; a consumer that stops early stops every stage before it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

_POLL_S = 0.1  # how soon a stage notices that its consumer has gone


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class _End:
    pass


def overlapped(source: Iterable[In], work: Callable[[In], Out], depth: int = 2) -> Iterator[Out]:
    """Yield ``work(item)`` for each item of `source`, in order, computed ahead in another thread.

    Args:
        source: Items, often another `overlapped` stage.
        work: What this stage does.
        depth: Results that may wait for the consumer; what bounds memory.
    """
    results: queue.Queue[Out | _Failure | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Out | _Failure | _End) -> bool:
        while not stopped.is_set():
            try:
                results.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        items = iter(source)
        try:
            for item in items:
                if not put(work(item)):
                    break
        except BaseException as error:  # handed to the consumer, whatever it is
            put(_Failure(error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            put(_End())

    thread = threading.Thread(target=fill, daemon=True, name=getattr(work, "__name__", "stage"))
    thread.start()
    try:
        while not isinstance(result := results.get(), _End):
            if isinstance(result, _Failure):
                raise result.error
            yield result
    finally:
        stopped.set()
        thread.join()
