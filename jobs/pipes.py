"""`-` on the command line: a table that comes from a pipe, and one that goes into a pipe.

    zcat big.csv.gz | cli score --input - --output - --model runs/roberta | head

What comes from stdin is kept as a file first, named for its content: the same bytes give the same file and so the same
job, and a pipe that broke is resumed by piping again.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jobs.resolve import PIPE, InputOptions
from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.remote import Place

_CHUNK = 1 << 20


def is_pipe(path: Place | None) -> bool:
    """Whether a path is the `-` that means stdin or stdout."""
    return path is not None and str(path) == PIPE


@contextmanager
def keep_stdin(asked: InputOptions, folder: Path, stream: BinaryIO | None = None) -> Iterator[InputOptions]:
    """Give what is asked with a file in place of an input of `-`, which holds what came from stdin.

    Once the body has ended well the file is deleted, unless another process reads it or another job will; so is one
    that was kept earlier and is named as a file. Other inputs are left alone.

    Args:
        asked: What was said of the input.
        folder: Where the file goes.
        stream: Bytes to read; None: stdin.

    Raises:
        UserError: `-` beside other inputs, a terminal, nothing in the pipe, a folder that cannot be written to.
    """
    with ExitStack() as stack:
        if PIPE in asked.patterns:
            kept, reading = _keep(_source(asked, stream), folder)
            asked = dataclasses.replace(asked, patterns=(str(kept),))
            held = {kept: stack.enter_context(reading)}
        else:
            paths = [path for path in map(Path, asked.patterns) if path.parent == folder]
            held = {path: stack.enter_context(handle) for path in paths if (handle := _hold(path)) is not None}
        yield asked
        for path, handle in held.items():
            if not _is_awaited(path) and _is_held_here_alone(handle):
                path.unlink(missing_ok=True)


def _source(asked: InputOptions, stream: BinaryIO | None) -> BinaryIO:
    if len(asked.patterns) > 1:
        raise UserError("stdin and files together", found=", ".join(asked.patterns), next="score them one by one")
    source = stream or sys.stdin.buffer
    if source.isatty():
        raise UserError("--input - reads a table from stdin, but stdin is a terminal", next="pipe a table into it")
    return source


def send(path: Path, stream: BinaryIO | None = None) -> None:
    """Copy a file to stdout."""
    with path.open("rb") as source:
        shutil.copyfileobj(source, stream or sys.stdout.buffer, _CHUNK)


def _keep(source: BinaryIO, folder: Path) -> tuple[Path, BinaryIO]:
    """The file, held."""
    content = hashlib.blake2b(digest_size=5)
    with write_atomically(folder / "arriving") as temporary:
        with temporary.open("wb") as file:
            while chunk := source.read(_CHUNK):
                content.update(chunk)
                file.write(chunk)
        if not temporary.stat().st_size:
            raise UserError("nothing came from stdin", expected="a table: CSV, TSV, JSON Lines or Parquet")
        kept = folder / f"stdin-{content.hexdigest()}"
        while (handle := _hold(kept)) is None:  # else a job may be reading it
            try:
                kept.hardlink_to(temporary)
            except FileExistsError:
                continue
            except OSError:  # a file system without links
                with write_atomically(kept) as copy:
                    shutil.copyfile(temporary, copy)
    (folder / "arriving").unlink(missing_ok=True)  # another pipe's, perhaps: its content has a name by then as well
    return kept, handle


def _hold(kept: Path) -> BinaryIO | None:
    """Say that this process reads a kept file, until what this gives is closed; None where there is none any more."""
    with suppress(FileNotFoundError):
        handle = kept.open("rb")
        fcntl.flock(handle, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), kept.stat()):
                return handle
        handle.close()
    return None


def _is_held_here_alone(handle: BinaryIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_awaited(kept: Path) -> bool:
    """Whether a job of this table is not complete: it will be resumed."""
    jobs = kept.parent.parent.glob(f"{kept.name}-*/plan.json")
    return any(not plan.with_name("result.json").exists() for plan in jobs)
