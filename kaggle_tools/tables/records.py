"""The bytes of a shard as rows: CSV and JSON Lines, good rows as strings, bad rows with their reason.

Knows nothing of files: a shard's bytes come in as they stand in the (decompressed) file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.remote import Place
from kaggle_tools.tables.encodings import decode_advice, is_utf8
from kaggle_tools.tables.fields import extract_columns
from kaggle_tools.tables.formats import TableFormat
from kaggle_tools.tables.scanner import END, FIELDS, LINE, START, RecordScanner
from kaggle_tools.tables.shard import Shard

MEND_LINE = "mend the line"

_MAX_RAW = 2_000


@dataclass(frozen=True)
class BadRow:
    """A row that is left out.

    Attributes:
        path: Its file.
        line: Its first physical line, from 1; in Parquet the row's number, from 1.
        reason: What is wrong with it.
        raw: The row as it stands in the file, at most 2,000 characters.
        advice: What to do about it.
    """

    path: Place
    line: int
    reason: str
    raw: str
    advice: str


@dataclass(frozen=True)
class Rows:
    """The rows of a shard.

    Attributes:
        frame: Good rows, all columns String.
        positions: (len(frame),) int64, the place of each among all rows of the shard, from 0.
        lines: (len(frame),) int64, the physical line of each.
        raw: Gives the text of a good row as it stands in the file.
        bad: The other rows.
        n_replaced: Characters U+FFFD that stand for undecodable bytes.
    """

    frame: pl.DataFrame
    positions: NDArray[np.int64]
    lines: NDArray[np.int64]
    raw: Callable[[int], str]
    bad: tuple[BadRow, ...] = ()
    n_replaced: int = 0


def parse_csv(data: bytes, shard: Shard, fmt: TableFormat, columns: Sequence[str], wanted: Sequence[str]) -> Rows:
    """Rows of delimited text whose header is `columns`; only the fields of `wanted` are copied."""
    marks = _records(fmt.scanner(line=shard.first_line), data)
    bad = {
        record: (f"{marks[record, FIELDS]:,} fields, the header has {len(columns):,}", MEND_LINE)
        for record in np.flatnonzero(marks[:, FIELDS] != len(columns)).tolist()
    }
    bad |= _undecodable(data, marks, shard, fmt)
    positions = np.delete(np.arange(len(marks)), list(bad))
    good = marks[positions]
    kept = b"".join(data[start:end] for start, end in good[:, [START, END]].tolist()) if bad else data
    utf8, n_replaced = _as_utf8(kept, fmt)
    frame = extract_columns(
        utf8,
        _records(fmt.scanner(), utf8) if utf8 is not data else marks,
        quote_char=fmt.quote_char,
        separator=fmt.separator,
        wanted={name: columns.index(name) for name in wanted},
    )
    return Rows(
        frame,
        positions,
        good[:, LINE],
        lambda row: _raw(data, good[row], fmt),
        _bad_rows(bad, data, marks, shard, fmt),
        n_replaced,
    )


def parse_jsonl(data: bytes, shard: Shard, fmt: TableFormat, wanted: Sequence[str]) -> Rows:
    """Rows of JSON Lines. Strings are taken as they are, other values as JSON text, null as null."""
    marks = _records(fmt.scanner(line=shard.first_line), data)
    bad = _undecodable(data, marks, shard, fmt)
    columns: dict[str, list[str | None]] = {name: [] for name in wanted}
    good: list[int] = []
    n_replaced = 0
    for record, (start, end) in enumerate(marks[:, [START, END]].tolist()):
        if record in bad:
            continue
        line, n_broken = _as_utf8(data[start:end], fmt)
        values, n_halves = _json_values(line, wanted, fmt)
        if isinstance(values, str):
            bad[record] = (values, MEND_LINE)
            continue
        good.append(record)
        n_replaced += n_broken + n_halves
        for name, value in zip(wanted, values, strict=True):
            columns[name].append(value)
    frame = pl.DataFrame(columns, schema=dict.fromkeys(wanted, pl.String))
    return Rows(
        frame,
        np.array(good, dtype=np.int64),
        marks[good, LINE],
        lambda row: _raw(data, marks[good[row]], fmt),
        _bad_rows(bad, data, marks, shard, fmt),
        n_replaced,
    )


def first_records(data: bytes, fmt: TableFormat, count: int) -> bytes:
    """The bytes of the first `count` records, of which there are more."""
    return data[: int(_records(fmt.scanner(), data)[count - 1, END])]


def to_text(value: object) -> str | None:
    """A value as a string: strings as they are, None and NaN are None, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and math.isnan(value):
        return None
    return json.dumps(value, ensure_ascii=False, default=str)


def _records(scanner: RecordScanner, data: bytes) -> NDArray[np.int64]:
    """(N, 5) int64 marks of all records."""
    return np.concatenate([scanner.feed(data), scanner.finish()])


def _undecodable(data: bytes, marks: NDArray[np.int64], shard: Shard, fmt: TableFormat) -> dict[int, tuple[str, str]]:
    """Records with bytes outside the encoding, each with reason and advice. One try for the whole shard comes first."""
    if fmt.encoding_errors != "strict":
        return {}
    if is_utf8(data) if fmt.encoding == "utf-8" else _decodes(data, fmt.encoding) is None:
        return {}
    advice = decode_advice(data, fmt.encoding)
    found: dict[int, tuple[str, str]] = {}
    for record, (start, end) in enumerate(marks[:, [START, END]].tolist()):
        at = _decodes(data[start:end], fmt.encoding)
        if at is not None:
            place = "of the decompressed file" if fmt.compression else "of the file"
            found[record] = (f"not {fmt.encoding} at byte {shard.start + start + at:,} {place}", advice)
    return found


def _decodes(data: bytes, encoding: str) -> int | None:
    """Offset of the first byte that does not decode, or None."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as exc:
        return exc.start
    return None


def _as_utf8(data: bytes, fmt: TableFormat) -> tuple[bytes, int]:
    """`data` in UTF-8 (the same object where it is already) and the number of characters that replace broken bytes."""
    if fmt.encoding == "utf-8" and fmt.encoding_errors == "strict":  # what does not decode is out already
        return data, 0
    try:
        text = data.decode(fmt.encoding)
    except UnicodeDecodeError:
        # At the very end a broken character may swallow the newline after it, so we put some there to be swallowed.
        text = (data + b"\n\n\n").decode(fmt.encoding, errors="replace")[:-3]
        return text.encode(), text.count("\ufffd") - data.count("\ufffd".encode(fmt.encoding, errors="ignore") or b"\0")
    return (data if fmt.encoding == "utf-8" else text.encode()), 0


def _json_values(line: bytes, wanted: Sequence[str], fmt: TableFormat) -> tuple[list[str | None] | str, int]:
    """The wanted values of one record, or what is wrong with it; and how many surrogate halves were replaced."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as exc:
        return f"not JSON: {exc}", 0
    if not isinstance(record, dict):
        return "not a JSON object", 0
    missing = [name for name in wanted if name not in record]
    if missing:
        return f"no column '{missing[0]}'", 0
    values = [to_text(record[name]) for name in wanted]
    n_halves = 0
    for i, value in enumerate(values):
        if value is not None and not value.isascii() and (text := _whole_characters(value)) != value:
            if fmt.encoding_errors == "strict":
                return f"half a surrogate pair in column '{wanted[i]}'", 0
            values[i] = text
            n_halves += text.count("\ufffd") - value.count("\ufffd")
    return values, n_halves


def _whole_characters(value: str) -> str:
    """JSON may hold halves of characters (``\\ud83d`` alone), which no encoding has: they become U+FFFD."""
    return value.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")


def _bad_rows(
    bad: dict[int, tuple[str, str]], data: bytes, marks: NDArray[np.int64], shard: Shard, fmt: TableFormat
) -> tuple[BadRow, ...]:
    return tuple(
        BadRow(shard.path, int(marks[record, LINE]), reason, _raw(data, marks[record], fmt), advice)
        for record, (reason, advice) in sorted(bad.items())
    )


def _raw(data: bytes, mark: NDArray[np.int64], fmt: TableFormat) -> str:
    # Four bytes a character are the most that any encoding here takes.
    start, end = int(mark[START]), int(mark[END])
    return data[start : min(end, start + 4 * _MAX_RAW)].decode(fmt.encoding, "replace").rstrip("\r\n")[:_MAX_RAW]
