"""Seals: a digest inside a file, by which damage is noticed before anything in it is believed.

A bit that flips on a disk or in a copy leaves most Parquet and JSON files readable, with another number in them. A file
without a seal (of an older version, or written by somebody else) is taken as it is.

A Parquet file keeps its seal between the last column and the footer. Readers look for the footer at the end and for
columns where the footer says, so nobody else sees it, and whoever writes the table anew leaves it behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from kaggle_tools.remote import Place

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "seal"
_MARK = b"kaggle-jobs seal"
_DIGEST_BYTES = 16
_SEAL_BYTES = len(_MARK) + _DIGEST_BYTES
_TAIL_BYTES = 8  # length of the footer, PAR1
_CHUNK = 1 << 20


def seal_parquet(path: Path) -> None:
    """Put a seal into a Parquet file that is not in its place yet; the same content gives the same bytes."""
    with path.open("r+b") as file:
        seal_open_parquet(file)


def seal_open_parquet(file: IO[bytes]) -> None:
    """The same, of a file that is open for reading and writing."""
    start = _footer_start(file)
    if start is None:
        raise ValueError("not a Parquet file")
    file.seek(start)
    footer = file.read()
    content = _digest(file, start, footer)
    file.seek(start)
    file.write(_MARK + content + footer)


def check_parquet(path: Path, next: str = "make the file again, or copy it again") -> None:
    """Compare a Parquet file with its seal, where it has one.

    Args:
        path: The file.
        next: What to do when it is damaged.

    Raises:
        UserError: Its bytes are not those that were sealed.
    """
    with path.open("rb") as file:
        check_open_parquet(file, path, next)


def check_open_parquet(file: IO[bytes], path: Place, next: str) -> None:
    """The same, of a file that is open for reading; `path` is what the error names."""
    start = _footer_start(file)
    if start is None or start < _SEAL_BYTES:
        return  # no Parquet file: its reader will say so
    file.seek(start - _SEAL_BYTES)
    seal, footer = file.read(_SEAL_BYTES), file.read()
    if seal.startswith(_MARK) and seal[len(_MARK) :] != _digest(file, start - _SEAL_BYTES, footer):
        raise UserError(f"{path.name} is damaged: its content is not what was written", where=path, next=next)


def read_parquet(path: Path, next: str = "make the file again, or copy it again") -> pa.Table:
    """The whole of a Parquet file, compared with its seal first.

    Args:
        path: The file.
        next: What to do when it is damaged.

    Raises:
        UserError: Its bytes are not those that were sealed.
        FileNotFoundError: No such file.
        pyarrow.ArrowInvalid: Not Parquet.
    """
    with path.open("rb") as file:
        return read_open_parquet(file, path, next)


def read_open_parquet(file: IO[bytes], path: Place, next: str) -> pa.Table:
    """The same, of a file that is open for reading; `path` is what the error names."""
    import pyarrow.parquet as pq

    check_open_parquet(file, path, next)
    # `pq.read_table` reads data sets, too, and loads pandas for that, where it is there: half a second.
    return pq.ParquetFile(file).read()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """JSON content with its seal as the last key."""
    return {**content, KEY: seal_of(content)}


def seal_of(content: Mapping[str, Any]) -> str:
    """16 hex digits over JSON content, whatever the order of its keys."""
    return digest(json.dumps(content, ensure_ascii=False, sort_keys=True, default=str))


def read_sealed(path: Place, next: str) -> dict[str, Any]:
    """A JSON object without its seal.

    Args:
        path: The file.
        next: What to do when it is damaged.

    Raises:
        UserError: Not JSON, not an object, or a seal of other content.
        FileNotFoundError: No such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (
        ValueError,
        RecursionError,
    ) as exc:  # not UTF-8 or not JSON, a number of too many digits, brackets in brackets
        raise UserError(f"{path.name} is damaged: {exc}", where=path, next=next) from exc
    if not isinstance(content, dict):
        raise UserError(f"{path.name} is damaged: not a JSON object", where=path, next=next)
    seal = content.pop(KEY, None)
    if seal is not None and seal != seal_of(content):
        raise UserError(f"{path.name} is damaged or was edited: it is not what was written", where=path, next=next)
    return content


def _footer_start(file: IO[bytes]) -> int | None:
    size = file.seek(0, 2)
    if size < 2 * _TAIL_BYTES:
        return None
    file.seek(size - _TAIL_BYTES)
    tail = file.read(_TAIL_BYTES)
    start = size - _TAIL_BYTES - int.from_bytes(tail[:4], "little")
    return start if tail.endswith(b"PAR1") and start >= 4 else None


def _digest(file: IO[bytes], n_bytes: int, footer: bytes) -> bytes:
    """Over the first `n_bytes` and the footer."""
    content = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    file.seek(0)
    while n_bytes and (chunk := file.read(min(n_bytes, _CHUNK))):
        content.update(chunk)
        n_bytes -= len(chunk)
    content.update(footer)
    return content.digest()
