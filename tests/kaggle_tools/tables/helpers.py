"""Table files for tests, and the oracle: Python's csv module."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard

from kaggle_tools.tables import BadRow, FileIndex, ShardReader

Row = tuple[str | None, ...]


def to_csv(
    rows: Sequence[Sequence[str]], *, quoting: int = csv.QUOTE_MINIMAL, end: str = "\n", separator: str = ","
) -> str:
    """CSV text by Python's own writer."""
    out = io.StringIO()
    csv.writer(out, quoting=quoting, lineterminator=end, delimiter=separator).writerows(rows)
    return out.getvalue()


def by_csv_module(text: str, *, separator: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> list[Row]:
    """Data rows by Python's own reader; empty fields as None, empty lines dropped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting)
    return [tuple(value or None for value in row) for row in reader if row][1:]


def compress(data: bytes, compression: str | None) -> bytes:
    """`data` as a gzip or zstd file of two members, as the file of a zip archive, or as it is."""
    half = len(data) // 2
    if compression == "gzip":
        return gzip.compress(data[:half], 1) + gzip.compress(data[half:], 1)
    if compression == "zstd":
        compressor = zstandard.ZstdCompressor(level=1)
        return compressor.compress(data[:half]) + compressor.compress(data[half:])
    return zipped({"table": data}) if compression == "zip" else data


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of these."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_all(
    index: FileIndex,
    columns: Sequence[str] | None = None,
    *,
    id_column: str | None = None,
    on_bad_row: str = "set-aside",
) -> tuple[list[Row], list[BadRow]]:
    """Good rows and bad rows of all shards in order."""
    rows: list[Row] = []
    bad: list[BadRow] = []
    with ShardReader(index.fmt, columns or index.columns, id_column=id_column, on_bad_row=on_bad_row) as reader:
        for shard in index.shards:
            table = reader.read(shard)
            assert table.frame.height + len(table.bad_rows) == shard.n_rows
            rows += table.frame.rows()
            bad += table.bad_rows
    return rows, bad
