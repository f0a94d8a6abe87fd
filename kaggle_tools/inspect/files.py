"""Reading a file about which nothing is known, its encoding included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from kaggle_tools.competition import EncodingErrors
from kaggle_tools.errors import UserError
from kaggle_tools.tables import BadRow, ShardReader, TableFormat, float_columns, index_file, require_rows, sniff_format
from kaggle_tools.tables.encodings import likely_encoding, normalise_encoding
from kaggle_tools.tables.streams import ByteStream
from kaggle_tools.whole_numbers import as_integers

_SHARD_ROWS = 65_536
_WITH_BROKEN_BYTES = ("utf-8", "gb18030", "big5", "shift_jis", "cp949")
# In the right encoding broken bytes are rare among the characters beyond ASCII; in a wrong one they are everywhere.
_MOST_BROKEN = 0.01


@dataclass(frozen=True)
class File:
    """A table and how it had to be read.

    Attributes:
        path: The file.
        frame: Its good rows, all columns String.
        encoding: Python codec name.
        encoding_errors: ``replace`` where some bytes are outside the encoding.
        why: How the encoding was concluded; empty where it goes without saying (Parquet).
        bad_rows: Rows that cannot be read, such as ragged ones.
        floats: Names of columns that are stored as floats.
    """

    path: Path
    frame: pl.DataFrame
    encoding: str
    encoding_errors: EncodingErrors
    why: str
    bad_rows: tuple[BadRow, ...]
    floats: frozenset[str] = frozenset()

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self.frame.columns

    def ids(self, column: str) -> pl.Series:
        """A column as ids are read (`kaggle_tools.tables.reader`), empty where null."""
        values = self.frame[column]
        if column in self.floats:
            values = as_integers(values.cast(pl.Float64)).cast(pl.String)
        return values.fill_null("").str.strip_chars()


def read_file(path: Path, encoding: str | None) -> File:
    """Read all rows.

    Args:
        path: CSV, TSV, JSON Lines or Parquet.
        encoding: Of the file if it is not UTF-8; None finds it out.

    Raises:
        UserError: The file cannot be read as a table, has no rows, or is in no encoding that we can tell.
    """
    fmt = sniff_format(path)
    why = ""
    if fmt.kind != "parquet":
        fmt, why = _with_encoding(path, fmt, encoding)
    index = index_file(path, fmt, shard_rows=_SHARD_ROWS)
    require_rows(index)
    with ShardReader(fmt, index.columns, id_column=None, on_bad_row="set-aside") as reader:
        tables = [reader.read(shard) for shard in index.shards]
    frame = pl.concat([table.frame for table in tables])
    bad_rows = tuple(row for table in tables for row in table.bad_rows)
    return File(path, frame, fmt.encoding, fmt.encoding_errors, why, bad_rows, float_columns(path, fmt))


def _with_encoding(path: Path, fmt: TableFormat, asked: str | None) -> tuple[TableFormat, str]:
    with ByteStream(path, fmt.compression) as stream:
        data = b"".join(iter(lambda: stream.read(1 << 24), b""))
    utf8_error = _first_broken(data, "utf-8")
    if utf8_error is None:
        return fmt, "all bytes are plain ASCII" if data.isascii() else "all bytes are valid UTF-8"
    not_utf8 = f"not UTF-8 (byte {utf8_error:,})"
    asked = normalise_encoding(asked) if asked else None
    strict = asked or likely_encoding(data, "utf-8")
    if strict is not None and _first_broken(data, strict) is None:
        why = "asked for" if asked else f"{not_utf8}, but all bytes are valid {strict}"
        return sniff_format(path, encoding=strict), why
    counts = {name: _n_broken(data, name) for name in ((asked,) if asked else _WITH_BROKEN_BYTES)}
    best = min(counts, key=counts.__getitem__)
    beyond_ascii = len(data.decode(best, errors="replace")) - len(data.decode("ascii", errors="ignore"))
    if counts[best] > max(1, _MOST_BROKEN * beyond_ascii):
        raise UserError(
            f"cannot tell the encoding of {path.name}",
            where=path,
            found="broken places: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            next="name it: --encoding NAME",
        )
    first = _first_broken(data, best)
    why = f"{not_utf8}; as {best} it breaks in {counts[best]:,} places, the first is byte {first:,}: read as U+FFFD"
    return replace(sniff_format(path, encoding=best), encoding_errors="replace"), why


def _first_broken(data: bytes, encoding: str) -> int | None:
    """Offset of the first byte that does not decode, from 0; None where all do."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as exc:
        return exc.start
    return None


def _n_broken(data: bytes, encoding: str) -> int:
    """How often decoding stumbles (one broken byte may do so twice): U+FFFD that is not in the file itself."""
    own = "\ufffd".encode(encoding, errors="ignore")
    return data.decode(encoding, errors="replace").count("\ufffd") - (data.count(own) if own else 0)
