"""How a table file is written: kind, separator, quotes, encoding, compression; found from its name and its first bytes.

    fmt = sniff_format(Path("test.csv.gz"), encoding="gb18030")

Compression and Parquet are told by their magic bytes whatever the name says. The extension tells CSV from JSON Lines;
where it says nothing, a first character ``{`` means JSON Lines. The separator is the header line's most frequent one.

Quotes: always ``"``, but in tab-separated files, half of which have no quoting and stray quotes in their text, only
where the file really uses them. The rule looks at the records in the first MiB (decompressed): there is at least one
quoted field, no quote is irregular (see `scanner`), and no more records are ragged than without quotes. A file of a
disk for which that holds is looked at whole: it must hold for all of it, and where quotes make fewer records of it,
some must be ragged without them. Two stray quotes far apart would else swallow all lines between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.remote import Place, refuse_address
from kaggle_tools.tables.encodings import BOMS, WIDE_BOMS, hides, is_surely_utf8, normalise_encoding
from kaggle_tools.tables.scanner import FIELDS, RecordScanner
from kaggle_tools.tables.streams import MAGIC, ByteStream, Compression

Kind = Literal["csv", "jsonl", "parquet"]
EncodingErrors = Literal["strict", "replace"]

_KINDS: dict[str, Kind] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json-lines": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_SEPARATORS = (",", "\t", ";", "|")
_PARQUET_MAGIC = b"PAR1"
_FOREIGN_MAGIC = {
    b"PK\x03\x04": ("an archive in an archive", "unpack it, and name the table itself"),
    b"BZh": ("compressed with bzip2", "decompress it: bunzip2 FILE"),
    b"\xfd7zXZ\x00": ("compressed with xz", "decompress it: unxz FILE"),
    b"\x89PNG": ("a picture", "name the table itself"),
    b"%PDF-": ("a PDF document", "name the table itself"),
    b"\x93NUMPY": ("a NumPy array", "bring predictions in with `cli import NAME --oof …`; text belongs in a table"),
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"),
}
_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml)", re.IGNORECASE)  # what a download without a login gives
_HEAD_BYTES = 1 << 20
_COUNT = 1 << 60  # records between two marks: they are only counted


@dataclass(frozen=True)
class TableFormat:
    """How to read a table file.

    Attributes:
        kind: ``csv`` (any separator), ``jsonl`` or ``parquet``.
        separator: One ASCII character, between fields of ``csv``.
        quote_char: The quote of ``csv``, or None where quotes are text.
        encoding: Python codec name. A byte order mark at the start is skipped.
        encoding_errors: ``strict``, or ``replace``: bytes outside the encoding become U+FFFD.
        compression: ``gzip``, ``zstd``, ``zip`` (an archive of one file) or None.
    """

    kind: Kind = "csv"
    separator: str = ","
    quote_char: str | None = '"'
    encoding: str = "utf-8"
    encoding_errors: EncodingErrors = "strict"
    compression: Compression | None = None

    def scanner(self, *, every: int = 1, offset: int = 0, line: int = 1, expected_fields: int = 0) -> RecordScanner:
        """A record scanner for bytes of this format (not Parquet)."""
        delimited = self.kind == "csv"
        return RecordScanner(
            self.quote_char if delimited else None,
            self.separator if delimited else None,
            every=every,
            offset=offset,
            line=line,
            expected_fields=expected_fields if delimited else 0,
        )


def sniff_format(
    path: Place,
    *,
    encoding: str | None = None,
    encoding_errors: EncodingErrors | None = None,
    separator: str | None = None,
    quote_char: str | Literal["auto"] | None = "auto",
) -> TableFormat:
    """Find out how `path` is written. What is given is taken as it is; a UTF-8 byte order mark decides the encoding.

    Args:
        path: The file.
        encoding: Python codec name; default UTF-8. Never guessed: a wrong guess damages text without a word.
            Refused where the file is UTF-8 beyond doubt, most of which decodes as GB18030, to other text.
        encoding_errors: Default ``strict``.
        separator: ``,``, tab, ``;`` or ``|``; default: the most frequent in the header line.
        quote_char: A character, None for no quoting, ``auto`` for the rule above.

    Raises:
        UserError: No such file, an empty file, UTF-16 or UTF-32, an archive, an unknown encoding, another one than
            UTF-8 for what is UTF-8; a separator or quote that cannot be one.
    """
    head_raw = _first_bytes(path)
    compression = next((kind for magic, kind in MAGIC.items() if head_raw.startswith(magic)), None)
    if head_raw.startswith(_PARQUET_MAGIC):
        return TableFormat("parquet")
    with ByteStream(path, compression) as stream:
        head = stream.read(_HEAD_BYTES)
        whole = not stream.read(1)
    if not head:
        raise UserError(f"{path.name} is empty (0 bytes once decompressed)", where=path)
    _refuse_foreign(path, head)
    bom = BOMS["utf-8"] if head.startswith(BOMS["utf-8"]) else b""
    codec = "utf-8" if bom else normalise_encoding(encoding or "utf-8")
    if codec != "utf-8" and is_surely_utf8(head, whole=whole, named=codec):
        raise UserError(
            f"{path.name} is UTF-8, not {codec}",
            where=path,
            found="bytes that are UTF-8 throughout, which text in another encoding never is",
            next="name utf-8 as its encoding: --encoding utf-8, or `encoding` or `test_encoding` in competition.toml; "
            f"where neither applies: iconv -f UTF-8 -t {codec} {path.name} > {codec.replace('-', '')}_{path.name}",
        )
    head = head.removeprefix(bom or BOMS.get(codec, b""))
    kind = _kind(path, head)
    if kind == "jsonl":
        _refuse_json_array(path, head)
        return TableFormat(
            "jsonl", encoding=codec, encoding_errors=encoding_errors or "strict", compression=compression
        )
    separator = _checked_separator(separator, codec) if separator else _sniff_separator(path, head, codec)
    if quote_char == "auto":
        quote_char = _sniff_quote(head, separator, whole=whole)
        if quote_char is not None and separator == "\t" and isinstance(path, Path):
            quote_char = quote_char if _quotes_hold(path, compression, bom or BOMS.get(codec, b"")) else None
    elif quote_char is not None:
        _check_quote(quote_char, separator, codec)
    return TableFormat(
        "csv",
        separator,
        quote_char,
        codec,
        encoding_errors or "strict",
        compression,
    )


def require_file(path: Place) -> None:
    """Check that `path` is a file with something in it.

    Raises:
        UserError: No such file (with the nearest name in its folder), a folder, or 0 bytes.
    """
    if not path.is_file():
        if isinstance(path, Path):
            refuse_address(path)
        if path.is_dir():
            raise UserError(f"{path} is a folder", next=f"name its files: '{path}/*.csv'")
        raise UserError(f"no file {path.name}", where=path.parent.resolve(), next=nearest_file(path))
    if path.stat().st_size == 0:
        raise UserError(f"{path.name} is empty (0 bytes)", where=path)


def nearest_file(path: Place) -> str:
    """The file beside `path` whose name is nearest, as a phrase."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    return did_you_mean(path.name, sorted(entry.name for entry in path.parent.iterdir())[:1000])


def _first_bytes(path: Place) -> bytes:
    require_file(path)
    try:
        with path.open("rb") as handle:
            return handle.read(8)
    except PermissionError as exc:
        raise UserError(f"{path.name} cannot be read: {exc.strerror}", where=path) from exc


def _refuse_foreign(path: Place, head: bytes) -> None:
    for bom, name in WIDE_BOMS.items():
        if head.startswith(bom):
            raise UserError(
                f"{path.name} is {name} text",
                where=path,
                expected="UTF-8 or another encoding that holds ASCII",
                next=f"convert it: iconv -f {name} -t UTF-8 {path.name} > utf8_{path.name}",
            )
    for magic, (what, advice) in _FOREIGN_MAGIC.items():
        if head.startswith(magic):
            raise UserError(f"{path.name} is {what}", where=path, next=advice)
    if _PAGE.match(head):
        raise UserError(f"{path.name} is a web page", where=path, next="download the file again, perhaps logged in")
    if head.startswith(_PARQUET_MAGIC):
        raise UserError(f"{path.name} is a compressed Parquet file", where=path, next="decompress it first")


def _kind(path: Place, head: bytes) -> Kind:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst", ".zip")]
    kind = _KINDS.get(suffixes[-1]) if suffixes else None
    if kind == "parquet":
        raise UserError(
            f"{path.name} is not a Parquet file",
            where=path,
            found=f"it starts with {head[:8]!r}",
            expected="PAR1",
            next="give the file the extension of what it is, such as .csv",
        )
    return kind or ("jsonl" if head.lstrip().startswith(b"{") else "csv")


def _refuse_json_array(path: Place, head: bytes) -> None:
    first = head.lstrip()
    if first.startswith(b"[") or (path.suffix == ".json" and first[:2].strip() == b"{"):
        raise UserError(
            f"{path.name} is one JSON value, not JSON Lines",
            where=path,
            expected="one object a line",
            next=f"convert it: jq -c '.[]' {path.name} > {path.stem}_lines.jsonl",
        )


def _checked_separator(separator: str, encoding: str) -> str:
    separator = "\t" if separator == "\\t" else separator
    if separator not in _SEPARATORS:
        raise UserError(f"separator {separator!r} is not known", expected="comma, tab, semicolon or |")
    if hides(encoding, separator):
        raise UserError(
            f"a table in {encoding} cannot be separated by '{separator}', which is part of other characters there",
            next=f"convert the file: iconv -f {encoding} -t UTF-8 FILE > NEW_FILE",
        )
    return separator


def _check_quote(quote: str, separator: str, encoding: str) -> None:
    if len(quote) != 1 or not quote.isascii() or not quote.isprintable():
        raise UserError(f"{quote!r} cannot be the quote", expected="one ASCII character, such as \" or ', or none")
    if quote == separator:
        raise UserError(f"quote and separator are both {quote!r}", next="name another quote, or none")
    if hides(encoding, quote):
        raise UserError(
            f"a table in {encoding} cannot be quoted by '{quote}', which is part of other characters there",
            next=f"convert the file: iconv -f {encoding} -t UTF-8 FILE > NEW_FILE",
        )


def _sniff_separator(path: Place, head: bytes, encoding: str) -> str:
    """The most frequent separator of the first line; a tab wins in a .tsv. A line without any is one column."""
    line = head.lstrip(b"\r\n").split(b"\n", 1)[0].decode(encoding, errors="replace")
    in_quotes = False
    counts = dict.fromkeys(_SEPARATORS, 0)
    for character in line:
        in_quotes ^= character == '"'
        if character in counts and not in_quotes:
            counts[character] += 1
    if "\t" in line and ".tsv" in path.suffixes:
        return "\t"
    best = max(_SEPARATORS, key=lambda separator: counts[separator])
    return _checked_separator(best, encoding) if counts[best] else ","


def _sniff_quote(head: bytes, separator: str, *, whole: bool) -> str | None:
    if separator != "\t":
        return '"'
    records = head if whole else head[: head.rfind(b"\n") + 1]
    quoted, plain = RecordScanner('"', separator), RecordScanner(None, separator)
    n_ragged = [0, 0]
    for i, scanner in enumerate((quoted, plain)):
        marks = scanner.feed(records)
        fields = (np.concatenate([marks, scanner.finish()]) if whole else marks)[:, FIELDS]
        n_ragged[i] = int((fields != fields[:1]).sum())
    unbalanced = whole and quoted.open_quote_line is not None
    uses_quotes = quoted.n_quoted and not quoted.n_irregular and not unbalanced and n_ragged[0] <= n_ragged[1]
    return '"' if uses_quotes else None


def _quotes_hold(path: Path, compression: Compression | None, bom: bytes) -> bool:
    """Whether a tab-separated file, all of it, uses the quotes that its beginning seems to use."""
    with ByteStream(path, compression) as stream:
        block = stream.read(_HEAD_BYTES).removeprefix(bom)
        header = RecordScanner('"', "\t").feed(block + b"\n")[:1]
        n_fields = int(header[0, FIELDS]) if len(header) else 0
        quoted, plain = (RecordScanner(q, "\t", every=_COUNT, expected_fields=n_fields) for q in ('"', None))
        while block and not quoted.n_irregular:
            quoted.feed(block)
            plain.feed(block)
            block = stream.read(_HEAD_BYTES)
    quoted.finish()
    plain.finish()
    if quoted.n_irregular or quoted.open_quote_line is not None:
        return False
    as_many = quoted.n_unmarked == plain.n_unmarked
    return quoted.n_ragged <= plain.n_ragged and (as_many or quoted.n_ragged < plain.n_ragged)
