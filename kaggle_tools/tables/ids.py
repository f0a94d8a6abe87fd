"""Hashes of ids from the bytes that pass by while a file is indexed: no second pass over the file.

    with PassingIds(fmt, columns, "id", take=repeats.add, threads=2) as ids:
        index_file(path, fmt, shard_rows=4096, also=ids.add)
        ids.are_all         # False: only reading the shards tells

Equal ids have equal hashes, so where all hashes differ all ids do. Whatever is odd (an empty id, one with a blank or a
quote at an end, a ragged row, bytes that do not decode, any encoding but UTF-8) is left to who reads the shards and can
say what it is and where.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.tables.encodings import is_utf8
from kaggle_tools.tables.fields import hash_field
from kaggle_tools.tables.formats import TableFormat
from kaggle_tools.tables.scanner import END, FIELDS

_MAX_RECORD_BYTES = 32 << 20  # a longer one may be a quote that is never closed


class PassingIds:
    """Takes the blocks of one file, in order. A context manager.

    Args:
        fmt: The file's format.
        columns: Its columns.
        id_column: The one that should differ from row to row.
        take: Is given the hashes, (n,) uint64, of some rows at a time, in no order, by any thread.
        threads: So many hash beside the one that gives the blocks; 0: none.
    """

    def __init__(
        self,
        fmt: TableFormat,
        columns: Sequence[str],
        id_column: str,
        take: Callable[[NDArray[np.uint64]], None],
        *,
        threads: int = 0,
    ) -> None:
        plain = fmt.kind == "csv" and fmt.encoding == "utf-8" and fmt.encoding_errors == "strict"
        self._n_columns = len(columns)
        self._slot = columns.index(id_column) if plain and columns.count(id_column) == 1 else -1
        self._quote = ord(fmt.quote_char) if fmt.quote_char else -1
        self._separator = ord(fmt.separator)
        self._give = take
        self._begun = b""  # a record whose end is still to come
        self._readable = self._slot >= 0
        self._pool = ThreadPoolExecutor(threads) if threads and self._readable else None
        self._under_way: deque[Future[None]] = deque()
        self._most_under_way = 2 * threads

    @property
    def are_all(self) -> bool:
        """Whether all rows that passed have a hash; waits for those that are being made.

        Raises:
            Exception: What `take` raised.
        """
        while self._under_way:
            self._under_way.popleft().result()
        return self._readable

    def add(self, block: bytes, offset: int, marks: NDArray[np.int64]) -> None:
        """Take the next block, which begins at byte `offset`, and the (M, 5) marks of all records that end in it."""
        if not self._readable:
            return
        if not len(marks):
            self._begun += block
        else:
            first, last = int(marks[0, END]) - offset, int(marks[-1, END]) - offset
            view = memoryview(block)
            self._hash_now(self._begun + block[:first], marks[:1], offset - len(self._begun))
            self._hash(view[first:last], marks[1:], offset + first)
            self._begun = block[last:]
        if len(self._begun) > _MAX_RECORD_BYTES or not self._readable:
            self._readable, self._begun = False, b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _hash(self, records: bytes | memoryview, marks: NDArray[np.int64], begin: int) -> None:
        """Whole records, the first byte of which is at `begin` of the file; here or in another thread."""
        if self._pool is None:
            self._hash_now(records, marks, begin)
            return
        if len(self._under_way) >= self._most_under_way:
            self._under_way.popleft().result()
        self._under_way.append(self._pool.submit(self._hash_now, records, marks, begin))

    def _hash_now(self, records: bytes | memoryview, marks: NDArray[np.int64], begin: int) -> None:
        found = np.empty(len(marks), dtype=np.uint64)
        even = bool((marks[:, FIELDS] == self._n_columns).all())
        data = np.frombuffer(records, dtype=np.uint8)
        if not even or not is_utf8(records) or not hash_field(
            data, marks, begin, self._slot, self._quote, self._separator, found
        ):  # fmt: skip
            self._readable = False
        else:
            self._give(found)
