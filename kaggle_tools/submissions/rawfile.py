"""What only the bytes of a file tell: its encoding, its line ends, how many lines it has."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

from kaggle_tools.errors import UserError
from kaggle_tools.submissions.checks import Problem

BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"

# What is handed in by mistake, by its first bytes.
_OTHER_KINDS = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\x93NUMPY": "a NumPy array",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
}


@dataclass(frozen=True)
class Raw:
    """Facts about the bytes.

    Attributes:
        encoding: ``utf-8``, ``utf-8 with a byte order mark`` or ``not utf-8``.
        line_ends: ``LF``, ``CRLF``, ``CR``, ``mixed`` or ``none``.
        n_lines: Lines, those inside quotes included.
        ends_with_newline: Whether the last line is finished.
        problem: Why the bytes cannot be read as a table, or None.
    """

    encoding: str
    line_ends: str
    n_lines: int
    ends_with_newline: bool
    problem: Problem | None


def read_raw(path: Path) -> Raw:
    """Look at a file, plain or gzip.

    Raises:
        UserError: No such file, or it cannot be opened.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(GZIP) else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        return Raw("not utf-8", "none", 0, True, Problem(f"not a whole gzip file: {exc}"))
    except OSError as exc:
        raise UserError(f"the submission cannot be read: {exc.strerror}", where=path) from exc
    encoding, problem = _encoding(content)
    for magic, kind in _OTHER_KINDS.items():
        if content.startswith(magic):
            problem = Problem(f"the file is {kind}, not CSV", next="save it as CSV, or `cli submissions adopt` it")
    ends = content.endswith((b"\n", b"\r"))
    crlf = content.count(b"\r\n")
    lf, cr = content.count(b"\n") - crlf, content.count(b"\r") - crlf
    kinds = [name for name, count in (("CRLF", crlf), ("LF", lf), ("CR", cr)) if count]
    line_ends = kinds[0] if len(kinds) == 1 else "mixed" if kinds else "none"
    if line_ends == "CR":
        problem = Problem("lines end in CR alone: one long line for most readers", next="save it with LF line ends")
    elif cr and b'"' not in content:
        problem = problem or _cr_within_a_line(content)
    if not content.strip():
        problem = Problem("the file is empty", next="is it the right one?")
    return Raw(encoding, line_ends, crlf + lf + cr + (not ends), ends, problem)


def line_of_row(path: Path, row: int) -> int:
    """The line, from 1, in which row `row` (from 0, after the header) begins, where values may hold line ends."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if content.startswith(GZIP) else content).decode("utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""))
    found, begins = -1, 1
    for fields in reader:
        found += bool(fields)  # a blank line is no row
        if fields and found == row + 1:
            return begins
        begins = reader.line_num + 1
    return begins


def _cr_within_a_line(content: bytes) -> Problem:
    line = content.replace(b"\r\n", b"\n").partition(b"\r")[0].count(b"\n") + 1
    what = "a CR within a line, where many readers end it"
    return Problem(what, first=f"line {line:,}", next="save it with LF line ends")


def _encoding(content: bytes) -> tuple[str, Problem | None]:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        byte = content[exc.start]
        return "not utf-8", Problem(
            "the file is not UTF-8 text",
            first=f"byte 0x{byte:02x} at offset {exc.start:,}, line {line:,}",
            next="save it as UTF-8",
        )
    return ("utf-8 with a byte order mark" if content.startswith(BOM) else "utf-8"), None
