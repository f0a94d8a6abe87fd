"""Parquet tables as shards: whole row groups, or row ranges of large ones. Values become strings, NaN is missing.

Ids that are whole numbers stored as floats, as pandas stores them where one was missing, lose their ``.0``.

A shard's checksum is that of the file's footer, which holds the place, size and statistics of every column chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest
from kaggle_tools.remote import Place
from kaggle_tools.tables.header import refuse_duplicates
from kaggle_tools.tables.records import to_text
from kaggle_tools.tables.shard import Shard
from kaggle_tools.whole_numbers import as_integers, ids_as_text

_BATCH_ROWS = 4096
_SCAN_ROWS = 1 << 20  # numbers, not texts


def parquet_shards(path: Place, shard_rows: int) -> tuple[tuple[str, ...], list[Shard], str]:
    """Column names, shards and the digest of the content.

    Raises:
        UserError: Not a Parquet file, or a damaged one.
    """
    with _open(path) as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        columns = tuple(file.schema_arrow.names)
    crc = _footer_crc(path)
    shards: list[Shard] = []
    first_row = 0
    for n_rows in _cut(groups, shard_rows):
        shards.append(Shard(len(shards), path, first_row, n_rows, first_row + 1, 0, 0, crc))
        first_row += n_rows
    return columns, shards, file_digest(path)


def parquet_columns(path: Place) -> tuple[str, ...]:
    """Column names.

    Raises:
        UserError: Not a Parquet file, or a damaged one.
    """
    with _open(path) as file:
        return tuple(file.schema_arrow.names)


def parquet_floats(path: Place) -> frozenset[str]:
    """Names of the columns of floats.

    Raises:
        UserError: Not a Parquet file, or a damaged one.
    """
    with _open(path) as file:
        return frozenset(field.name for field in file.schema_arrow if pa.types.is_floating(field.type))


class ParquetRows:
    """An open Parquet file whose rows are read forward; going back starts at the row group that holds the row.

    Args:
        path: The file.
        columns: The columns to read.
        id_column: One of them, or None.

    Raises:
        UserError: Not a Parquet file, a damaged one, or one where the name of such a column occurs more than once.
    """

    def __init__(self, path: Place, columns: Sequence[str], id_column: str | None = None) -> None:
        self.crc32 = _footer_crc(path)
        self._path = path
        self._columns = list(columns)
        self._file = _open(path)
        self.names = tuple(self._file.schema_arrow.names)
        refuse_duplicates(path, [name for name in self.names if name in self._columns], where=path)
        self._first_rows = [0]
        for i in range(self._file.metadata.num_row_groups):
            self._first_rows.append(self._first_rows[-1] + self._file.metadata.row_group(i).num_rows)
        self._start(0)
        self._whole_ids = id_column if id_column is not None and self._is_whole(id_column) else None

    def read(self, first_row: int, n_rows: int) -> pl.DataFrame:
        """Rows `first_row` to `first_row + n_rows`, all columns String, nulls kept, nested values as JSON text."""
        # Skipping is cheap inside a row group, whose pages are decoded anyway; across row groups we jump.
        if first_row < self._position or first_row >= self._next_group_row():
            self._start(first_row)
        self._drop(first_row - self._position)
        parts: list[Any] = []
        missing = n_rows
        while missing:
            batch = self._take(missing)
            parts.append(batch)
            missing -= batch.num_rows
        table = pa.Table.from_batches(parts)
        _check_text(table, self._path)
        frame = pl.DataFrame(pl.from_arrow(pa.table([_known(column) for column in table.columns], table.column_names)))
        if self._whole_ids is not None:
            frame = frame.with_columns(as_integers(frame[self._whole_ids]))
        return pl.DataFrame([_as_strings(frame[name], self._path) for name in self._columns])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _is_whole(self, name: str) -> bool:
        """Whether a column is floats, of which all are whole: one shard alone cannot tell."""
        if name not in self.names or not pa.types.is_floating(self._file.schema_arrow.field(name).type):
            return False
        first_row = 0
        batches = self._file.iter_batches(_SCAN_ROWS, columns=[name])
        while (batch := self._next(batches, first_row)) is not None:
            ids = pl.Series(name, pl.from_arrow(batch.column(0)))
            try:
                ids_as_text(ids)
            except UserError as exc:
                exc.details["where"] = f"{self._path}, rows counted from row {first_row + 1:,}"
                raise
            if as_integers(ids).dtype.is_float():
                return False
            first_row += len(ids)
        return True

    def _start(self, first_row: int) -> None:
        group = max(i for i, row in enumerate(self._first_rows) if row <= first_row)
        groups = list(range(group, len(self._first_rows) - 1))
        self._position = self._first_rows[group]
        self._batches = self._file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=self._columns)
        self._rest: Any = None

    def _next_group_row(self) -> int:
        return next((row for row in self._first_rows if row > self._position), self._first_rows[-1])

    def _drop(self, n_rows: int) -> None:
        while n_rows:
            n_rows -= self._take(n_rows).num_rows

    def _take(self, n_rows: int) -> Any:
        """Up to `n_rows` rows of the current batch, as an Arrow record batch."""
        if self._rest is None or not self._rest.num_rows:
            self._rest = self._next(self._batches, self._position)
        batch = self._rest.slice(0, n_rows)
        self._rest = self._rest.slice(batch.num_rows)
        self._position += batch.num_rows
        return batch

    def _next(self, batches: Iterator[Any], first_row: int) -> Any:
        """The next Arrow record batch; None where there is none."""
        try:
            return next(batches, None)
        except (pa.ArrowInvalid, OSError) as exc:
            raise UserError(
                f"rows of {self._path.name} from row {first_row} on cannot be read",
                where=self._path,
                found=str(exc).splitlines()[0],
                next="copy the file again, or write it anew from where it came",
            ) from exc


def _check_text(table: Any, path: Place) -> None:
    """Refuse strings that are none: neither who writes Parquet nor who reads it need look at their bytes."""
    for name in table.column_names:
        try:
            table[name].validate(full=True)
        except pa.ArrowInvalid as exc:
            raise _no_text(name, path) from exc


def _known(column: Any) -> Any:
    """The same values in a type that polars has: UUIDs as they are written, JSON as its text."""
    kind = column.type
    if str(kind) == "extension<arrow.uuid>":
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        return _known(column.cast(kind.storage_type))
    if pa.types.is_fixed_size_list(kind):  # polars reads a slice of them with nulls among them as damaged
        return column.cast(pa.list_(kind.value_type))
    return column.cast(pa.string()) if pa.types.is_decimal256(kind) else column


def _no_text(column: str, path: Place) -> UserError:
    return UserError(
        f"column '{column}' of {path.name} holds bytes that are not UTF-8 text",
        where=path,
        next="decode them first, and store the column as strings",
    )


def _as_strings(series: pl.Series, path: Place) -> pl.Series:
    if series.dtype == pl.Binary:
        try:
            return series.cast(pl.String)
        except pl.exceptions.PolarsError as exc:
            raise _no_text(series.name, path) from exc
    if series.dtype == pl.Duration:
        return series.dt.to_string("iso")
    if series.dtype.is_nested():
        return pl.Series(series.name, [to_text(value) for value in series.to_list()], dtype=pl.String)
    return (series.fill_nan(None) if series.dtype.is_float() else series).cast(pl.String)


def _cut(groups: Sequence[int], shard_rows: int) -> list[int]:
    """Rows of each shard: small row groups are joined up to `shard_rows`, one of up to twice that is left whole."""
    sizes: list[int] = []
    pending = 0
    for n_rows in groups:
        if pending and pending + n_rows > shard_rows:
            sizes.append(pending)
            pending = 0
        pending += n_rows
        while pending > 2 * shard_rows:
            sizes.append(shard_rows)
            pending -= shard_rows
        if pending >= shard_rows:
            sizes.append(pending)
            pending = 0
    return [*sizes, pending] if pending else sizes


def _open(path: Place) -> Any:
    try:
        return pq.ParquetFile(path if isinstance(path, Path) else path.open("rb"))
    except (pa.ArrowInvalid, OSError) as exc:
        raise UserError(f"{path.name} is not a whole Parquet file", where=path, found=str(exc).splitlines()[0]) from exc


def _footer_crc(path: Place) -> int:
    with path.open("rb") as handle:
        handle.seek(-8, 2)
        n_bytes = int.from_bytes(handle.read(4), "little")
        handle.seek(-8 - n_bytes, 2)
        return zlib.crc32(handle.read())
