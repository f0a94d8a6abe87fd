"""Stages that work at the same time: each in a thread of its own, with a bounded queue to the next.

    shards   = overlapped(tasks, read)          # reads shard 3
    prepared = overlapped(shards, tokenise)     # while shard 2 is tokenised
    scored   = overlapped(prepared, infer)      # and shard 1 is on the device

An exception in any stage reaches the consumer; a consumer that stops early stops every stage before it, though that
may wait for an item that never comes.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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


def overlapped(
    source: Iterable[In], work: Callable[[In], Out], depth: int = 2, stopped: threading.Event | None = None
) -> Stage[Out]:
    """Gives ``work(item)`` for each item of `source`, in order, computed ahead in another thread.

    Args:
        source: Items, often another stage.
        work: What this stage does.
        depth: Results that may wait for the consumer; what bounds memory.
        stopped: Set when nobody wants the results any more, for work that takes long: what it raises then is lost.
    """
    return Stage(source, work, depth, stopped or threading.Event())


def several_at_once(items: Iterable[In], work: Callable[[In], Out], at_once: int) -> Iterator[Out]:
    """Gives ``work(item)`` for each item, in order, computed in so many threads; as many results wait at most."""
    coming: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            coming.append(pool.submit(work, item))
            if len(coming) == at_once:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Stage(Generic[Out]):
    """What `overlapped` gives: an iterator that any thread may end."""

    def __init__(self, source: Iterable[Any], work: Callable[[Any], Out], depth: int, stopped: threading.Event) -> None:
        self._source = source
        self._results: queue.Queue[Out | _Failure | _End] = queue.Queue(depth)
        self._stopped = stopped
        self._thread = threading.Thread(
            target=self._fill, args=(work,), daemon=True, name=getattr(work, "__name__", "stage")
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Out]:
        return self

    def __next__(self) -> Out:
        result = self._get()
        if isinstance(result, _End):
            self.close()
            raise StopIteration
        if isinstance(result, _Failure):
            self.close()
            raise result.error
        return result

    def stop(self) -> None:
        """Tell this stage and all before it to end, from any thread, whatever they wait for; waits for none of them."""
        self._stopped.set()
        if isinstance(self._source, Feed):
            self._source.end()
        elif isinstance(self._source, Stage):
            self._source.stop()

    def close(self) -> None:
        """`stop`, and wait until their threads have ended."""
        self.stop()
        self._thread.join()

    def _fill(self, work: Callable[[Any], Out]) -> None:
        items = iter(self._source)
        try:
            for item in items:
                if not self._put(work(item)):
                    break
        except BaseException as error:  # handed to the consumer, whatever it is
            self._put(_Failure(error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            self._put(_End())

    def _put(self, item: Out | _Failure | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._results.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def _get(self) -> Out | _Failure | _End:
        while True:
            try:
                return self._results.get(timeout=_POLL_S)
            except queue.Empty:
                if self._stopped.is_set():
                    return _End()
