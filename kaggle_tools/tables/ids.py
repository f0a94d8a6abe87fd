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

from kaggle_tools.compiled import compiled
from kaggle_tools.tables.encodings import is_utf8
from kaggle_tools.tables.formats import TableFormat
from kaggle_tools.tables.scanner import END, FIELDS, START

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
        if len(self._begun) > _MAX_RECORD_BYTES:
            self._give_up()

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
        if not even or not is_utf8(records) or not _hash(
            data, marks, begin, self._slot, self._quote, self._separator, found
        ):  # fmt: skip
            self._give_up()
        else:
            self._give(found)

    def _give_up(self) -> None:
        self._readable, self._begun = False, b""


@compiled
def _hash(
    data: NDArray[np.uint8],
    marks: NDArray[np.int64],
    begin: int,
    slot: int,
    quote: int,
    separator: int,
    found: NDArray[np.uint64],
) -> bool:
    """Field `slot` of each record as FNV-1a (Fowler, Noll, Vo), stirred, so that all its bits depend on all bytes;
    False at the first that is no plain one.

    Fields before it may be anything: they are walked over as `fields.py` does it.
    """
    for record in range(marks.shape[0]):
        at, end = marks[record, START] - begin, marks[record, END] - begin
        if end > at and data[end - 1] == 10:
            end -= 1
        if end > at and data[end - 1] == 13:
            end -= 1
        for _ in range(slot):
            if at < end and data[at] == quote:
                at += 1
                while at < end:
                    if data[at] == quote:
                        at += 1
                        if at == end or data[at] != quote:
                            break
                    at += 1
            while at < end and data[at] != separator:
                at += 1
            at += 1
        is_quoted = at < end and data[at] == quote
        if is_quoted:
            at += 1
        first, last = at, at
        value = np.uint64(0xCBF29CE484222325)
        while last < end and data[last] != (quote if is_quoted else separator):
            value = (value ^ np.uint64(data[last])) * np.uint64(0x100000001B3)
            last += 1
        if is_quoted and last + 1 < end and data[last + 1] != separator:
            return False  # a quote in the id, or text after it
        # An id loses the blanks at its ends, of which Unicode has many.
        if last == first or not 32 < data[first] < 127 or not 32 < data[last - 1] < 127:
            return False
        found[record] = (value ^ (value >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return True
