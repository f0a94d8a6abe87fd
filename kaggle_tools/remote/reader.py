"""Bytes of an object by requests for ranges, all of one version: one that is replaced meanwhile is noticed.

Storage answers after a twentieth of a second and then fast, so whoever reads from front to back says so (`ahead`): four
blocks are under way at a time. Who reads a shard gets these bytes and no others.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaggle_tools.remote.file import RemoteFile

_BLOCK_BYTES = 8 << 20
_AT_ONCE = 4


class RangeReader(io.RawIOBase):
    """An object opened for reading.

    Args:
        file: Which.
        ahead: Fetch what comes next before it is asked for.

    Raises:
        FileNotFoundError: No such object.
        UserError: No such bucket, no access, no connection.
    """

    def __init__(self, file: RemoteFile, *, ahead: bool) -> None:
        super().__init__()
        stat = file.stat()
        self._file = file
        self._size, self._etag = stat.st_size, stat.etag
        self._position = 0
        self._ahead = _Ahead(self._fetch, self._size) if ahead else None

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset; nothing is requested for it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes; fewer only at the end.

        Raises:
            UserError: The object was replaced since it was opened; no access, no connection.
        """
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        fetch = self._fetch if self._ahead is None else self._ahead.read
        data = fetch(self._position, end)
        self._position = end
        return data

    def readall(self) -> bytes:
        """All that is left."""
        return self.read()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As `read`, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Forget what was fetched ahead."""
        if self._ahead is not None:
            self._ahead.close()
        super().close()

    def _fetch(self, start: int, end: int) -> bytes:
        return self._file.bucket.get(self._file.key, start, end, self._etag)


class _Ahead:
    """Blocks of a file that is read forward; each is requested while earlier ones are used."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ahead")
        self._coming: deque[Future[bytes]] = deque()
        self._start = self._requested = 0  # of the first block that is kept; of the first that is not under way
        self._block = b""

    def read(self, start: int, end: int) -> bytes:
        """Bytes from `start` to `end`, which is within the file."""
        if not self._start <= start <= self._start + len(self._block):
            self._begin_at(start)
        found = []
        while start < end:
            if start == self._start + len(self._block):
                self._next()
            piece = self._block[start - self._start : end - self._start]
            found.append(piece)
            start += len(piece)
        return found[0] if len(found) == 1 else b"".join(found)

    def close(self) -> None:
        """Stop."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin_at(self, start: int) -> None:
        for block in self._coming:
            block.cancel()
        self._coming.clear()
        self._block, self._start, self._requested = b"", start, start

    def _next(self) -> None:
        while self._requested < self._size and len(self._coming) < _AT_ONCE:
            end = min(self._size, self._requested + _BLOCK_BYTES)
            self._coming.append(self._pool.submit(self._fetch, self._requested, end))
            self._requested = end
        self._start += len(self._block)
        self._block = self._coming.popleft().result()
