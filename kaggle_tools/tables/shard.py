"""What a shard is: a run of rows of one file, described so that any process can read it alone."""

from __future__ import annotations

from dataclasses import dataclass

from kaggle_tools.remote import Place


@dataclass(frozen=True)
class Shard:
    """A run of rows of one file.

    Attributes:
        index: Position among the shards of its file, from 0.
        path: The file.
        first_row: Number of its first row in the file, from 0.
        n_rows: Rows, bad ones included.
        first_line: Physical line where it starts, from 1. For Parquet the row's number, from 1.
        start: Offset of its first byte in the (decompressed) stream; unused for Parquet.
        end: Offset after its last byte; unused for Parquet.
        crc32: CRC-32 of these bytes; for Parquet, of the file's footer.
    """

    index: int
    path: Place
    first_row: int
    n_rows: int
    first_line: int
    start: int
    end: int
    crc32: int
