"""The column names of a text table, and where its rows begin."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.remote import Place
from kaggle_tools.tables.encodings import BOMS, decode_advice
from kaggle_tools.tables.fields import extract_columns
from kaggle_tools.tables.formats import TableFormat
from kaggle_tools.tables.scanner import END, FIELDS, LINE, NEXT_LINE, START
from kaggle_tools.tables.streams import ByteStream

# A header longer than this is a quote that nothing closes.
_MAX_BYTES = 16 << 20
_BLOCK_BYTES = 64 << 10


@dataclass(frozen=True)
class Header:
    """What comes before the rows.

    Attributes:
        columns: Column names. For JSON Lines the keys of the first record.
        end: Offset of the first byte after the header, in the decompressed stream.
        next_line: Physical line of that byte, from 1.
    """

    columns: tuple[str, ...]
    end: int
    next_line: int


def read_header(path: Place, fmt: TableFormat) -> Header:
    """Read the first record of a CSV or JSON Lines file.

    Raises:
        UserError: No record at all, duplicate column names, bytes outside the encoding, a quote that is never closed,
            NUL bytes; for JSON Lines a first line that is not a JSON object.
    """
    data, bom, first = _first_record(path, fmt)
    line = int(first[LINE])
    record = data[first[START] : first[END]]
    try:
        text = record.decode(fmt.encoding, fmt.encoding_errors)
    except UnicodeDecodeError as exc:
        raise decode_error(path, line, bom + int(first[START]) + exc.start, record, fmt.encoding) from exc
    if fmt.kind == "jsonl":
        return Header(_keys(path, text, line), bom, 1)
    columns = _names(text.encode(), fmt, n_fields=int(first[FIELDS]))
    refuse_duplicates(path, columns, where=f"{path}, header")
    if len(columns) > 1 and b"\n" not in data.rstrip() and b"\r" in data.rstrip():
        raise UserError(
            f"lines of {path.name} end in CR alone, as on an old Macintosh",
            where=path,
            next=f"convert it: tr '\\r' '\\n' < {path.name} > new_{path.name}",
        )
    return Header(columns, bom + int(first[END]), int(first[NEXT_LINE]))


def refuse_duplicates(path: Place, columns: Sequence[str], where: object) -> None:
    """Make sure that a column is one.

    Raises:
        UserError: Names that occur more than once.
    """
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise UserError(
            f"{path.name} has {len(twice):,} column names that occur more than once",
            where=where,
            first=", ".join(repr(name) for name in twice[:5]),
            next="give each column its own name",
        )


def nul_error(path: Place, line: int) -> UserError:
    """NUL bytes: a binary file, a damaged one, or UTF-16 without its mark."""
    return UserError(
        f"{path.name} line {line:,} has a NUL byte",
        where=path,
        expected="text in UTF-8 or another encoding that holds ASCII",
        next=f"if it is UTF-16, convert it: iconv -f UTF-16LE -t UTF-8 {path.name} > utf8_{path.name}",
    )


def open_quote_error(path: Place, line: int) -> UserError:
    """A quote that nothing closes: where the last record ends is unknown, so it cannot be set aside."""
    return UserError(
        f"{path.name} line {line:,}: the quote that opens here is never closed",
        where=path,
        found="the end of the file inside a quoted field",
        next="close the quote, or remove it",
    )


def decode_error(path: Place, line: int, offset: int, data: bytes, encoding: str) -> UserError:
    """Bytes outside the encoding; `data` is what the advice is drawn from."""
    return UserError(
        f"{path.name} line {line:,} is not {encoding}",
        where=f"{path}, byte {offset:,}",
        next=decode_advice(data, encoding),
    )


def _first_record(path: Place, fmt: TableFormat) -> tuple[bytes, int, NDArray[np.int64]]:
    """The file's first bytes after its byte order mark, the mark's length, and the first record's place in them."""
    with ByteStream(path, fmt.compression) as stream:
        start = stream.read(_BLOCK_BYTES)
        data = start.removeprefix(BOMS.get(fmt.encoding, b""))
        bom = len(start) - len(data)
        scanner = fmt.scanner()
        marks = scanner.feed(data)
        while not len(marks) and len(data) < _MAX_BYTES and (block := stream.read(_BLOCK_BYTES)):
            data += block
            marks = scanner.feed(block)
    if not len(marks):
        marks = scanner.finish()
    if scanner.nul_line:
        raise nul_error(path, scanner.nul_line)
    if len(marks):
        return data, bom, marks[0]
    if scanner.open_quote_line:
        raise open_quote_error(path, scanner.open_quote_line)
    raise UserError(f"{path.name} has no header: it holds nothing but empty lines", where=path)


def _names(record: bytes, fmt: TableFormat, *, n_fields: int) -> tuple[str, ...]:
    scanner = fmt.scanner()
    marks = scanner.feed(record)
    if not len(marks):
        marks = scanner.finish()
    frame = extract_columns(
        record,
        marks,
        quote_char=fmt.quote_char,
        separator=fmt.separator,
        wanted={str(i): i for i in range(n_fields)},
    )
    return tuple(name or "" for name in frame.row(0))


def _keys(path: Place, text: str, line: int) -> tuple[str, ...]:
    try:
        record = json.loads(text)
    except ValueError as exc:
        raise UserError(f"{path.name} line {line:,} is not JSON: {exc}", where=path, found=text[:200]) from exc
    if not isinstance(record, dict):
        raise UserError(f"{path.name} line {line:,} is not a JSON object", where=path, found=text[:200])
    return tuple(record)
