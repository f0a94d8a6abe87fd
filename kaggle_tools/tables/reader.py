"""Rows of a shard as a table of strings, with bad rows refused or set aside.

    with ShardReader(index.fmt, ["id", "text"], id_column="id", on_bad_row="set-aside") as reader:
        for shard in index.shards:
            table = reader.read(shard)
            table.frame             # polars, exactly these columns, all String
            table.bad_rows          # where, why, and the row as it stands in the file

Values: an empty CSV field is null, quoted or not; JSON null is null and "" is ""; numbers are as JSON or polars writes
them; nested values are JSON text. Ids lose surrounding whitespace; whole ones that Parquet has as floats, their ``.0``.
A bad row is one that is ragged, has no id, does not decode, or (JSON Lines) is not an object with all wanted columns.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.remote import Place
from kaggle_tools.tables.encodings import MEND_BYTES, without_option
from kaggle_tools.tables.formats import TableFormat, require_file, sniff_format
from kaggle_tools.tables.header import read_header
from kaggle_tools.tables.index import index_file, missing_column, require_columns
from kaggle_tools.tables.records import MEND_LINE, BadRow, Rows, first_records, parse_csv, parse_jsonl
from kaggle_tools.tables.shard import Shard
from kaggle_tools.tables.streams import ByteStream

OnBadRow = Literal["fail", "set-aside"]

_GIVE_ID = "give the row an id"
_SET_ASIDE = "leave such rows out with --on-bad-row set-aside"
_INSTEAD = {  # of mending the file, with the options of `cli score`
    MEND_LINE: _SET_ASIDE,
    MEND_BYTES: f"accept them with --encoding-errors replace, or {_SET_ASIDE}",
    _GIVE_ID: _SET_ASIDE,
}

_TABLE_SHARD_ROWS = 65_536


@dataclass(frozen=True)
class ShardTable:
    """What a shard holds.

    Attributes:
        frame: The good rows in file order; the columns asked for, all String.
        positions: (len(frame),) int64, the place of each good row among all rows of the shard, from 0.
        bad_rows: The others, in file order. Together they are the rows that were asked for.
        n_replaced: Characters U+FFFD that stand for undecodable bytes (only with ``encoding_errors="replace"``).
    """

    frame: pl.DataFrame
    positions: NDArray[np.int64]
    bad_rows: tuple[BadRow, ...] = ()
    n_replaced: int = 0


class ShardReader:
    """Reads shards of files of one format. A context manager; holds one file open; for one thread at a time.

    Shards of a compressed file should be read in order: going back decompresses from the start again.

    Args:
        fmt: Format of the files.
        columns: The columns to read, in this order.
        id_column: The column that must not be empty, one of `columns`; or None.
        on_bad_row: ``fail`` raises at the first bad row, ``set-aside`` reports it in `ShardTable.bad_rows`.
        ahead: Shards will be read one after the other: from object storage, fetch what comes next in advance.
    """

    def __init__(
        self,
        fmt: TableFormat,
        columns: Sequence[str],
        *,
        id_column: str | None,
        on_bad_row: OnBadRow = "fail",
        ahead: bool = False,
    ) -> None:
        if id_column is not None and id_column not in columns:
            raise ValueError(f"id column '{id_column}' is not among the columns to read: {', '.join(columns)}")
        self._fmt = fmt
        self._columns = tuple(columns)
        self._id_column = id_column
        self._on_bad_row = on_bad_row
        self._ahead = ahead or fmt.compression is not None  # there the way to a shard leads through those before it
        self._source: _Source | None = None

    def read(self, shard: Shard, n_rows: int | None = None) -> ShardTable:
        """The rows of `shard`, or the first `n_rows` of them, as if it had no more.

        Raises:
            UserError: The file lacks a column or changed since it was indexed; with ``on_bad_row="fail"``, a bad row.
        """
        if self._source is None or self._source.path != shard.path:
            self.close()
            require_file(shard.path)
            if self._fmt.kind == "parquet":
                self._source = _ParquetSource(shard.path, self._columns, self._id_column)
            else:
                self._source = _TextSource(shard.path, self._fmt, self._columns, ahead=self._ahead)
        rows = self._source.read(shard, shard.n_rows if n_rows is None else n_rows)
        if self._id_column is not None:
            rows = _with_ids(rows, self._id_column, shard.path)
        if rows.bad and self._on_bad_row == "fail":
            raise _bad_row_error(rows.bad[0], with_options=True)
        return ShardTable(rows.frame, rows.positions, rows.bad, rows.n_replaced)

    def close(self) -> None:
        """Close the file that is open."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def read_table(
    path: Place,
    *,
    columns: Sequence[str] | None = None,
    fmt: TableFormat | None = None,
    id_column: str | None = None,
    on_bad_row: OnBadRow = "fail",
) -> pl.DataFrame:
    """A whole table that fits in memory, such as training data; all columns String.

    Args:
        path: The file.
        columns: The columns to read, in this order; None reads all.
        fmt: Its format; None finds it out.
        id_column: The column that must not be empty, or None.
        on_bad_row: ``set-aside`` leaves bad rows out silently; to see them use `ShardReader`.

    Raises:
        UserError: Whatever `sniff_format`, `index_file` and `ShardReader.read` raise; a missing column.
    """
    fmt = fmt or sniff_format(path)
    try:
        index = index_file(path, fmt, shard_rows=_TABLE_SHARD_ROWS)
    except UserError as exc:
        if "next" in exc.details:
            exc.details["next"] = without_option(str(exc.details["next"]), path.name, fmt.encoding)
        raise
    names = tuple(columns) if columns is not None else index.columns
    require_columns(index, names)
    frames = []
    with ShardReader(index.fmt, names, id_column=id_column, on_bad_row="set-aside", ahead=True) as reader:
        for shard in index.shards:
            found = reader.read(shard)
            if found.bad_rows and on_bad_row == "fail":
                bad = found.bad_rows[0]
                advice = without_option(bad.advice, path.name, fmt.encoding)
                raise _bad_row_error(replace(bad, advice=advice), with_options=False)
            frames.append(found.frame)
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict.fromkeys(names, pl.String))


def read_sample(shard: Shard, fmt: TableFormat, columns: Sequence[str]) -> pl.DataFrame:
    """Columns of a shard, String, bad rows left out: rows to measure on, where it does not matter which."""
    names = list(dict.fromkeys(columns))  # both texts of a pair may be one column
    with ShardReader(fmt, names, id_column=None, on_bad_row="set-aside") as reader:
        return reader.read(shard).frame.select(names)


def read_columns(path: Place, fmt: TableFormat) -> tuple[str, ...]:
    """The column names of a file, from its first bytes only (Parquet: its last).

    Raises:
        UserError: What `index_file` raises for a broken header.
    """
    require_file(path)
    if fmt.kind == "parquet":
        from kaggle_tools.tables.parquet import parquet_columns

        return parquet_columns(path)
    return read_header(path, fmt).columns


def float_columns(path: Place, fmt: TableFormat) -> frozenset[str]:
    """Names of the columns of floats; text has none.

    Raises:
        UserError: Not a Parquet file, or a damaged one.
    """
    if fmt.kind != "parquet":
        return frozenset()
    from kaggle_tools.tables.parquet import parquet_floats

    return parquet_floats(path)


class _Source(Protocol):
    """An open file that gives the rows of its shards."""

    @property
    def path(self) -> Place: ...

    def read(self, shard: Shard, n_rows: int) -> Rows: ...

    def close(self) -> None: ...


class _TextSource:
    def __init__(self, path: Place, fmt: TableFormat, wanted: Sequence[str], *, ahead: bool) -> None:
        self.path = path
        self._fmt = fmt
        self._wanted = wanted
        # The keys of JSON Lines may differ from line to line: there each line is asked.
        self._columns = read_header(path, fmt).columns if fmt.kind == "csv" else tuple(wanted)
        _require(path, wanted, self._columns)
        self._stream = ByteStream(path, fmt.compression, ahead=ahead)

    def read(self, shard: Shard, n_rows: int) -> Rows:
        self._stream.seek(shard.start)
        data = self._stream.read(shard.end - shard.start)
        if zlib.crc32(data) != shard.crc32:
            raise _changed(shard)
        if n_rows < shard.n_rows:
            data = first_records(data, self._fmt, n_rows)
        if self._fmt.kind == "jsonl":
            return parse_jsonl(data, shard, self._fmt, self._wanted)
        return parse_csv(data, shard, self._fmt, self._columns, self._wanted)

    def close(self) -> None:
        self._stream.close()


class _ParquetSource:
    def __init__(self, path: Place, wanted: Sequence[str], id_column: str | None) -> None:
        from kaggle_tools.tables.parquet import ParquetRows

        self.path = path
        self._state = _state(path)
        self._rows = ParquetRows(path, wanted, id_column)
        _require(path, wanted, self._rows.names)

    def read(self, shard: Shard, n_rows: int) -> Rows:
        if self._rows.crc32 != shard.crc32:
            raise _changed(shard)
        try:
            frame = self._rows.read(shard.first_row, n_rows)
        finally:  # other bytes in its place may give other rows as well as an error
            if _state(self.path) not in (self._state, None):
                raise _changed(shard)
        positions = np.arange(n_rows, dtype=np.int64)
        return Rows(
            frame,
            positions,
            shard.first_line + positions,
            lambda row: ", ".join(f"{name}={value}" for name, value in frame.row(row, named=True).items()),
        )

    def close(self) -> None:
        self._rows.close()


def _state(path: Place) -> tuple[int, int] | None:
    """Size and time of a file on a disk; None where there is none. Storage answers for the version itself."""
    try:
        stat = path.stat() if isinstance(path, Path) else None
    except FileNotFoundError:
        return None
    return None if stat is None else (stat.st_size, stat.st_mtime_ns)


def _with_ids(rows: Rows, id_column: str, path: Place) -> Rows:
    """Strip the ids, and turn rows without one into bad rows."""
    frame = rows.frame.with_columns(pl.col(id_column).str.strip_chars())
    empty = (frame[id_column].is_null() | (frame[id_column] == "")).to_numpy()
    if not empty.any():
        return replace(rows, frame=frame)
    reason = f"no id in column '{id_column}'"
    nameless = [
        BadRow(path, int(rows.lines[row]), reason, rows.raw(row)[:2_000], _GIVE_ID)
        for row in np.flatnonzero(empty).tolist()
    ]
    bad = tuple(sorted((*rows.bad, *nameless), key=lambda bad_row: bad_row.line))
    return replace(
        rows, frame=frame.filter(~empty), positions=rows.positions[~empty], lines=rows.lines[~empty], bad=bad
    )


def _require(path: Place, wanted: Sequence[str], columns: Sequence[str]) -> None:
    for name in wanted:
        if name not in columns:
            raise missing_column(path, name, columns)


def _bad_row_error(row: BadRow, *, with_options: bool) -> UserError:
    """The error that ends a reading; with the options of `cli score`, which other commands lack, where they help."""
    advice = row.advice
    if with_options and advice in _INSTEAD:
        advice = f"{advice}, or {_INSTEAD[advice]}"
    return UserError(
        f"{row.path.name} line {row.line:,}: {row.reason}", where=row.path, found=row.raw[:200], next=advice
    )


def _changed(shard: Shard) -> UserError:
    return UserError(
        f"{shard.path.name} changed while the job ran",
        where=f"{shard.path}, rows {shard.first_row + 1:,} to {shard.first_row + shard.n_rows:,}",
        found="other bytes than when the job was planned",
        next="run the same command again: it plans a new job for the file as it is now",
    )
