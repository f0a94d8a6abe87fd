"""Files that exist whole or not at all, and fingerprints of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaggle_tools.errors import UserError


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; at the end sync it and rename it to `path`. The rename is the commit.

    When the body raises, the temporary file is removed and `path` is as it was.

    Raises:
        UserError: The folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        if exc.filename is not None and Path(exc.filename) not in (temporary, path, path.parent):
            raise
        raise UserError(
            f"cannot write {path.name}: {exc.strerror or exc}",
            where=path.parent,
            next="free some space or name another place, then run the same command again",
        ) from exc
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """BLAKE2b of a whole file, 32 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(*parts: object) -> str:
    """BLAKE2b over the `repr` of plain values, 16 hex digits. For names of jobs and folds, not for security."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
