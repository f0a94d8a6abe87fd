"""Where the shards of a table file are: one pass over the bytes, memory for one block, about a gigabyte a second.

    index = index_file(path, sniff_format(path), shard_rows=4096)
    index.shards[3]         # rows 12,288 to 16,383: their bytes, their first line, their checksum

A shard says where its rows lie and what their bytes were, so any process can read it alone and notice a changed file.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import digest
from kaggle_tools.remote import Place, RemoteStat
from kaggle_tools.tables.formats import TableFormat, require_file
from kaggle_tools.tables.header import nul_error, open_quote_error, read_header, refuse_duplicates
from kaggle_tools.tables.scanner import END, NEXT_LINE
from kaggle_tools.tables.shard import Shard
from kaggle_tools.tables.streams import ByteStream

# Several shards are in memory at a time, so long rows end one early; checked every so many rows.
MAX_SHARD_BYTES = 32 << 20
_MARK_ROWS = 256

Passer = Callable[[bytes, int, NDArray[np.int64]], None]


@dataclass(frozen=True)
class FileIndex:
    """What one pass over a file found.

    Attributes:
        path: The file.
        fmt: How it was read.
        columns: Column names in file order.
        n_rows: Rows, bad ones included.
        n_ragged: Rows with too few or too many fields.
        first_ragged: Line and number of fields of the first of them, or None.
        digest: 16 hex digits for content, columns and `shard_rows`; the same however the file is compressed.
        size: Bytes on disk.
        mtime_ns: Modification time.
        shards: In file order; together they hold every row once.
    """

    path: Place
    fmt: TableFormat
    columns: tuple[str, ...]
    n_rows: int
    n_ragged: int
    first_ragged: tuple[int, int] | None
    digest: str
    size: int
    mtime_ns: int
    shards: tuple[Shard, ...]


def index_file(
    path: Place, fmt: TableFormat, *, shard_rows: int, also: Passer | None = None, _block_bytes: int = 1 << 20
) -> FileIndex:
    """Find the shards of `path`: `shard_rows` rows each, fewer where these are over 32 MiB, the last what is left.

    A Parquet shard is whole row groups, or a part of a row group of more than twice `shard_rows`.

    Args:
        path: The file.
        fmt: Its format.
        shard_rows: Rows of a shard.
        also: Takes each block of text that passes, where it begins, and the marks of all records that end in it.

    Raises:
        UserError: No such file, an empty one, duplicate column names, a quote that is never closed, NUL bytes, a
            truncated or damaged file, or one that changed during the pass. Rows that are bad on their own are no error
            here: see `require_even_rows` and `ShardReader`.
    """
    if shard_rows < 1:
        raise ValueError(f"shard_rows must be 1 or more, not {shard_rows}")
    require_file(path)
    before = path.stat()
    if fmt.kind == "parquet":
        from kaggle_tools.tables.parquet import parquet_shards

        columns, shards, content = parquet_shards(path, shard_rows)
        ragged: tuple[int, tuple[int, int] | None] = (0, None)
    else:
        content = ""  # the shards' checksums say it
        columns, shards, ragged = _text_shards(path, fmt, shard_rows, also, _block_bytes)
    _refuse_changed(path, before)
    facts = [(shard.n_rows, shard.end - shard.start, shard.crc32) for shard in shards]
    return FileIndex(
        path=path,
        fmt=fmt,
        columns=columns,
        n_rows=sum(shard.n_rows for shard in shards),
        n_ragged=ragged[0],
        first_ragged=ragged[1],
        digest=digest(columns, facts, content),
        size=before.st_size,
        mtime_ns=before.st_mtime_ns,
        shards=tuple(shards),
    )


def require_columns(index: FileIndex, names: Sequence[str]) -> None:
    """Check that the file has columns of these names, each once.

    Raises:
        UserError: One is missing (with the nearest name and the list of columns), or there are several.
    """
    for name in names:
        if name not in index.columns:
            raise missing_column(index.path, name, index.columns)
    refuse_duplicates(index.path, [column for column in index.columns if column in names], where=index.path)


def require_rows(index: FileIndex) -> None:
    """Check that the file has a row.

    Raises:
        UserError: It has a header and nothing else.
    """
    if not index.n_rows:
        raise UserError(f"{index.path.name} has a header but no rows", where=index.path, found=", ".join(index.columns))


def require_even_rows(index: FileIndex) -> None:
    """Check that all rows have as many fields as the header: hours before a reader meets the one that has not.

    Raises:
        UserError: Some have not; with their number and the first one's line.
    """
    if index.first_ragged:
        line, n_fields = index.first_ragged
        raise UserError(
            f"{index.path.name}: {index.n_ragged:,} of {index.n_rows:,} rows are ragged",
            where=index.path,
            first=f"line {line:,} has {n_fields:,} fields",
            expected=f"{len(index.columns):,} fields: {', '.join(index.columns)}",
            next="mend them, or leave them out with --on-bad-row set-aside",
        )


def missing_column(path: Place, name: str, columns: Sequence[str]) -> UserError:
    """The error for a column that a file lacks."""
    return UserError(
        f"{path.name} has no column '{name}'",
        where=path,
        found=", ".join(columns),
        next=did_you_mean(name, tuple(columns)),
    )


def _text_shards(
    path: Place, fmt: TableFormat, shard_rows: int, also: Passer | None, block_bytes: int
) -> tuple[tuple[str, ...], list[Shard], tuple[int, tuple[int, int] | None]]:
    """Columns, shards, and how many rows are ragged with the first of them."""
    header = read_header(path, fmt)
    # Marks come often enough to end a shard early where rows are long.
    every = _MARK_ROWS if shard_rows % _MARK_ROWS == 0 else shard_rows
    scanner = fmt.scanner(
        every=every if also is None else 1,
        offset=header.end,
        line=header.next_line,
        expected_fields=len(header.columns),
    )
    cutter = _Cutter(path, header.end, header.next_line, shard_rows, every)
    n_unmarked = 0
    with ByteStream(path, fmt.compression, ahead=True) as stream:
        stream.seek(header.end)
        while True:
            begin = stream.position
            block = stream.read(block_bytes)
            marks = scanner.feed(block) if block else scanner.finish()
            if also is not None:
                also(block, begin, marks)
                marks, n_unmarked = marks[every - 1 - n_unmarked :: every], (n_unmarked + len(marks)) % every
            cutter.add(block, marks)
            if not block:
                break
    cutter.finish(scanner.n_unmarked if also is None else n_unmarked)
    if scanner.nul_line:
        raise nul_error(path, scanner.nul_line)
    if scanner.open_quote_line:
        raise open_quote_error(path, scanner.open_quote_line)
    return header.columns, cutter.shards, (scanner.n_ragged, scanner.first_ragged)


class _Cutter:
    """Makes shards of marks, and checksums of the bytes between them."""

    def __init__(self, path: Place, start: int, line: int, shard_rows: int, mark_rows: int) -> None:
        self.shards: list[Shard] = []
        self._path = path
        self._shard_rows = shard_rows
        self._mark_rows = mark_rows
        self._rows = 0
        self._start = self._position = start
        self._line = line
        self._crc = 0

    def add(self, block: bytes, marks: NDArray[np.int64]) -> None:
        """Take the next bytes of the stream, and the marks of the records (every `mark_rows`-th) that end in them."""
        view, base = memoryview(block), self._position
        for end, next_line in marks[:, [END, NEXT_LINE]].tolist():
            self._crc = zlib.crc32(view[self._position - base : end - base], self._crc)
            self._position = end
            self._rows += self._mark_rows
            if self._rows == self._shard_rows or self._position - self._start >= MAX_SHARD_BYTES:
                self._cut(next_line)
        self._crc = zlib.crc32(view[self._position - base :], self._crc)
        self._position = base + len(block)

    def finish(self, n_rows: int) -> None:
        """The last shard, of the `n_rows` records after the last mark."""
        self._rows += n_rows
        if self._rows:
            self._cut(self._line)

    def _cut(self, next_line: int) -> None:
        first_row = self.shards[-1].first_row + self.shards[-1].n_rows if self.shards else 0
        self.shards.append(
            Shard(
                len(self.shards), self._path, first_row, self._rows, self._line, self._start, self._position, self._crc
            )
        )
        self._start, self._line, self._crc, self._rows = self._position, next_line, 0, 0


def _refuse_changed(path: Place, before: os.stat_result | RemoteStat) -> None:
    now = path.stat()
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise changed_error(path)


def changed_error(path: Place) -> UserError:
    """The error for a file that is not what it was a moment ago."""
    return UserError(f"{path.name} changed while it was read", where=path, next="run the command again")
