"""Files that exist whole or not at all, and fingerprints of them."""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError
from kaggle_tools.remote import Place, RemoteFile, refuse_address

# Names a file to which the paths of all files written are appended: how `cli run` learns what its steps wrote.
WRITTEN_VARIABLE = "KAGGLE_JOBS_WRITTEN"

_NUMBERS = itertools.count()  # of temporary files of this process: a file may be written in two places at once
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16
_ENDINGS = re.compile(r"(\.(csv|tsv|txt|jsonl|ndjson|json-lines|json|parquet|gz|zst|zip))+$", re.IGNORECASE)
_HOST = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
_TEMPORARY = re.compile(rf"\.(.+)\.{_HOST}\.(\d+)\.\d+\.tmp", re.DOTALL)


@contextmanager
def write_atomically(path: Place, scratch: Path | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path`; at the end sync it and rename it to `path`. The rename is the commit.

    An object is put together in a local file, and its upload is the commit. When the body raises, the temporary file is
    removed and `path` is as it was. What a killed process of this machine left of an earlier try is removed first.

    Args:
        path: What is written.
        scratch: Where the file of an object lies until it is uploaded; None: with the system's temporary files.

    Raises:
        UserError: The folder cannot be written to, the disk is full, `path` is a folder or a device; of an object,
            whatever `RemoteFile.upload` raises.
    """
    beside = path if isinstance(path, Path) else (scratch or Path(tempfile.gettempdir())) / path.name
    temporary = beside.with_name(f".{path.name}.{_HOST}.{os.getpid()}.{next(_NUMBERS)}.tmp")
    try:
        check_regular(path)
        beside.parent.mkdir(parents=True, exist_ok=True)
        for name, leftover in leftovers(beside.parent):
            if name == beside.name:
                leftover.unlink(missing_ok=True)
        yield temporary
        if isinstance(path, Path):
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        else:
            path.upload(temporary)
        tell_written(path)
    except OSError as exc:
        if exc.filename is not None and Path(exc.filename) not in (temporary, beside, *beside.parents):
            raise
        raise cannot_write(path, beside.parent, exc) from exc
    finally:
        with suppress(NotADirectoryError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Place, folder: Path, exc: OSError) -> UserError:
    """What to say of a file that was to be written in a folder."""
    return UserError(
        f"cannot write {path.name}: {exc.strerror or exc}",
        where=folder,
        next="free some space or name another place, then run the same command again",
    )


def write_whole(path: Place, content: bytes | memoryview) -> None:
    """A file or an object of so many bytes that they are in memory, whole or not at all.

    Raises:
        UserError: As `write_atomically`.
    """
    if isinstance(path, RemoteFile):
        path.write_bytes(content)
        tell_written(path)
        return
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def check_regular(path: Place) -> None:
    """Refuse what a rename would put a file in the place of: `/dev/null` would be gone for everybody.

    Raises:
        UserError: There is a folder, a device, a pipe or a socket.
    """
    if isinstance(path, RemoteFile):
        return
    refuse_address(path)
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise UserError(f"cannot write {path.name}: it is {what}", where=path.parent, next="name a file")


def check_writable(path: Place) -> None:
    """Fail before the work, not after it.

    Raises:
        UserError: The folder cannot be written to, or a folder or device is in the file's place.
    """
    check_regular(path)
    probe = path.with_name(f".{path.name}.probe")
    try:
        with write_atomically(probe) as temporary:
            temporary.touch()
    except UserError as exc:
        details: dict[str, Any] = {**exc.details}
        raise UserError(exc.summary.replace(probe.name, path.name), **details) from exc
    probe.unlink()


def tell_written(path: Place) -> None:
    """Tell the batch that this process is a step of, where it is, that it wrote a file."""
    log = os.environ.get(WRITTEN_VARIABLE)
    if log:
        with suppress(OSError), Path(log).open("a", encoding="utf-8") as handle:
            handle.write(f"{path.resolve()}\n")


def leftovers(folder: Path) -> Iterator[tuple[str, Path]]:
    """What killed processes of this machine left in a folder: the name of what each wrote, and its temporary file."""
    for entry in os.scandir(folder):
        found = _TEMPORARY.fullmatch(entry.name)
        if found is not None and not _is_alive(int(found[2])):
            yield found[1], Path(entry)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def mark_owner(folder: Path) -> None:
    """Write beside a folder that this process is at work in it, or is about to make it.

    The mark lies beside the folder so that there is no moment at which the folder exists without it.
    """
    _owner(folder).touch()


def unmark_owner(folder: Path) -> None:
    """Take the mark away: the folder is finished, or gone."""
    _owner(folder).unlink(missing_ok=True)


def owner_is_gone(folder: Path) -> bool:
    """Whether the processes that marked a folder were of this machine and have ended; False where nobody knows."""
    marks = list(folder.parent.glob(f".owner{folder.name}.*"))
    return bool(marks) and all(_is_of_the_dead(mark) for mark in marks)


def remove_marks_of_nothing(folder: Path) -> None:
    """Remove from `folder` marks whose process of this machine has ended and whose own folder is not there."""
    for mark in folder.glob(".owner.*"):
        if _is_of_the_dead(mark) and not folder.joinpath(mark.name.removeprefix(".owner").rsplit(".", 3)[0]).exists():
            mark.unlink(missing_ok=True)


def _owner(folder: Path) -> Path:
    return folder.with_name(f".owner{folder.name}.{_HOST}.{os.getpid()}.{threading.get_ident()}")


def _is_of_the_dead(mark: Path) -> bool:
    found = re.search(rf"\.{_HOST}\.(\d+)\.\d+$", mark.name)
    return found is not None and not _is_alive(int(found[1]))


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Place) -> str:
    """BLAKE2b of a whole file, 32 hex digits; of an object on storage, those of its version, without reading it."""
    if isinstance(path, RemoteFile):
        return path.version()
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest(*parts: object) -> str:
    """BLAKE2b over the `repr` of plain values, 16 hex digits. For names of jobs and folds, not for security."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def check_name(name: str, what: str) -> None:
    """Refuse a name that cannot be one folder's everywhere, before anything is made.

    Args:
        name: Of a run or a version.
        what: The name's own name, such as ``run name``.

    Raises:
        UserError: Empty, over 200 bytes, or with anything but letters, digits, ``.``, ``_``, ``+`` and ``-``.
    """
    if not re.fullmatch(r"\w[\w.+-]*", name) or len(name.encode()) > 200:
        raise UserError(
            f"'{name}' cannot be a {what}",
            expected="at most 200 bytes of letters, digits, '.', '_', '+' and '-', a letter or digit first",
        )


def table_stem(name: str) -> str:
    """What a table is called, without the endings of its format and compression; perhaps nothing.

    Example:
        >>> table_stem("data.v1.csv.gz")
        'data.v1'
    """
    return _ENDINGS.sub("", name).lstrip(".")


def sample_digest(path: Place) -> str:
    """16 hex digits over 64 spread samples of 64 KiB (all of a file up to 4 MiB); of an object, of its version."""
    if isinstance(path, RemoteFile):
        return path.version()[:16]
    summary = hashlib.blake2b(digest_size=8)
    size = path.stat().st_size
    with path.open("rb") as handle:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            summary.update(handle.read())
        else:
            for i in range(_SAMPLES):
                handle.seek(i * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                summary.update(handle.read(_SAMPLE_BYTES))
    return summary.hexdigest()
