"""What a hostile table holds by readers that are not ours: Python's csv and json modules, gzip, zstandard, pyarrow.

`truth` gives (id, text) pairs, or the reason why a careful reader refuses the table. Rules that are ours by choice are
told in the same words as in `kaggle_tools.tables`: ids are stripped, an empty one is an error, so is one that occurs
twice; a text that is null counts as empty; blank lines are no rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date

import pyarrow.parquet as pq
import zstandard

from benchmarks.faults.corpus import Case, Row

csv.field_size_limit(1 << 30)

# What `cli score` looks for where nobody says anything.
_TEXT_NAMES = ("text", "content", "sentence", "comment_text", "body", "review")


class Refused(Exception):
    """The table is not one that can be scored."""


def truth(case: Case, *, strict: bool = True) -> list[Row]:
    """Ids and texts in order.

    Args:
        case: The table.
        strict: Refuse what the csv module calls malformed: text after a closing quote, a quote that is never closed.

    Raises:
        Refused: With the reason.
    """
    if case.kind == "none":
        raise Refused("no table")
    if case.kind == "parquet":
        return _checked([(_text(i), _text(t)) for i, t in _parquet_rows(case.content)])
    data = _unpacked(case)
    if b"\0" in data:
        raise Refused("NUL byte")
    encoding = case.options.get("encoding", "utf-8")
    errors = case.options.get("encoding_errors", "strict")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode(encoding, errors)
    except (UnicodeDecodeError, LookupError) as exc:
        raise Refused(f"does not decode: {exc}") from exc
    if case.kind == "jsonl":
        return _checked(_json_rows(text))
    return _checked(_csv_rows(text, case) if strict else _lenient_rows(text, case))


def _unpacked(case: Case) -> bytes:
    try:
        if case.compression == "gzip":
            return gzip.decompress(case.content)
        if case.compression == "zstd":
            return _unzstd(case.content)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as exc:
        raise Refused(f"does not decompress: {exc}") from exc
    return case.content


def _unzstd(content: bytes) -> bytes:
    made = b""
    while content:
        inflater = zstandard.ZstdDecompressor().decompressobj()
        made += inflater.decompress(content)
        if not inflater.eof:
            raise Refused("the stream ends too early")
        content = inflater.unused_data.lstrip(b"\0")
    return made


def _lenient_rows(text: str, case: Case) -> list[Row]:
    """A CR that ends no line is text, which the csv module cannot be told: another character stands for it."""
    stands_for_cr = "\ue0fe"
    alone = re.sub(r"\r(?!\n)|(?<=\r)\r", stands_for_cr, re.sub(r"\r(?=\r)", stands_for_cr, text))
    return [(i.replace(stands_for_cr, "\r"), t.replace(stands_for_cr, "\r")) for i, t in _csv_rows(alone, case, False)]


def _csv_rows(text: str, case: Case, strict: bool = True) -> list[Row]:
    quoting = csv.QUOTE_MINIMAL if case.quoted else csv.QUOTE_NONE
    # Lines are cut at LF alone: the csv module then refuses a CR that stands in a field without quotes.
    reader = csv.reader(_lines(text), delimiter=case.separator, quoting=quoting, strict=strict)
    try:
        records = [record for record in reader if record]
    except csv.Error as exc:
        raise Refused(f"csv module: {exc}") from exc
    if not records:
        raise Refused("nothing but blank lines")
    header, rows = records[0], records[1:]
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise Refused(f"column {twice[0]!r} occurs twice")
    if ragged := [row for row in rows if len(row) != len(header)]:
        raise Refused(f"{len(ragged)} ragged rows")
    text_at = _text_column(header)
    id_at = header.index("id") if "id" in header else None
    return [(str(i) if id_at is None else row[id_at], row[text_at]) for i, row in enumerate(rows)]


def _lines(text: str) -> Iterator[str]:
    parts = text.split("\n")
    for part in parts[:-1]:
        yield part + "\n"
    if parts[-1]:
        yield parts[-1]


def _text_column(header: Sequence[str]) -> int:
    for name in _TEXT_NAMES:
        if name in header:
            return header.index(name)
    rest = [i for i, name in enumerate(header) if name != "id"]
    if len(rest) != 1:
        raise Refused("no text column")
    return rest[0]


def _json_rows(text: str) -> list[Row]:
    rows = []
    for line in text.split("\n"):
        if not line.removesuffix("\r"):
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise Refused(f"json module: {exc}") from exc
        if not isinstance(record, dict) or not {"id", "text"} <= set(record):
            raise Refused("no object with id and text")
        rows.append((_text(record["id"]), _text(record["text"])))
    return rows


def _parquet_rows(content: bytes) -> list[tuple[object, object]]:
    try:
        table = pq.read_table(io.BytesIO(content)).to_pydict()
    except Exception as exc:
        raise Refused(f"pyarrow: {exc}") from exc
    if "id" not in table:
        raise Refused("no column id")
    return list(zip(table["id"], table[list(table)[_text_column(list(table))]], strict=True))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as exc:
            raise Refused(f"bytes that are no text: {exc}") from exc
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise Refused("half a surrogate pair") from exc
        return value
    if isinstance(value, date):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except ValueError as exc:
        raise Refused(str(exc)) from exc


def _checked(rows: list[Row]) -> list[Row]:
    if not rows:
        raise Refused("no rows")
    rows = [(_stripped(i), t) for i, t in rows]
    if any(not i for i, _ in rows):
        raise Refused("a row without id")
    if len({i for i, _ in rows}) != len(rows):
        raise Refused("duplicate ids")
    return rows


def _stripped(value: str) -> str:
    """Without white space around it, as Unicode defines that; Python adds four separators of ASCII to it."""
    return re.sub(r"^[^\S\x1c-\x1f]+|[^\S\x1c-\x1f]+$", "", value)
