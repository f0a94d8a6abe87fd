"""Stages that work at the same time: each in a thread of its own, with a bounded queue to the next.

    shards   = overlapped(tasks, read)          # reads shard 3
    prepared = overlapped(shards, tokenise)     # while shard 2 is tokenised
    scored   = overlapped(prepared, infer)      # and shard 1 is on the device

An exception in any stage reaches the consumer; a consumer that stops early stops every stage before it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

_POLL_S = 0.1  # how soon a stage notices that its consumer has gone


class Feed(Generic[In]):
    """Items from outside, as they come: what an endless first stage works on."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[In | _End] = queue.SimpleQueue()
        self._ended = threading.Event()

    def put(self, item: In) -> None:
        """Add an item."""
        self._items.put(item)

    def end(self) -> None:
        """No more items; those that wait are forgotten."""
        self._ended.set()
        self._items.put(_End())

    def __iter__(self) -> Iterator[In]:
        while not isinstance(item := self._items.get(), _End) and not self._ended.is_set():
            yield item


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class _End:
    pass


def overlapped(source: Iterable[In], work: Callable[[In], Out], depth: int = 2) -> Generator[Out, None, None]:
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
        if isinstance(source, Feed):
            source.end()  # its thread would wait for the next item for ever
        thread.join()
