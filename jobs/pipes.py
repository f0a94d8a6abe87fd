"""`-` on the command line: a table that comes from a pipe, and one that goes into a pipe.

    zcat big.csv.gz | cli score --input - --output - --model runs/roberta | head

What comes from stdin is kept as a file first, named for its content: the same bytes give the same file and so the same
job, and a pipe that broke is resumed by piping again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import sys
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


def keep_stdin(asked: InputOptions, folder: Path, stream: BinaryIO | None = None) -> InputOptions:
    """Replace an input of `-` by a file with what stdin holds; everything else is as it was.

    Args:
        asked: What was said of the input.
        folder: Where the file goes.
        stream: Bytes to read; None: stdin.

    Raises:
        UserError: `-` beside other inputs, a terminal, nothing in the pipe, a folder that cannot be written to.
    """
    if PIPE not in asked.patterns:
        return asked
    if len(asked.patterns) > 1:
        raise UserError("stdin and files together", found=", ".join(asked.patterns), next="score them one by one")
    source = stream or sys.stdin.buffer
    if source.isatty():
        raise UserError("--input - reads a table from stdin, but stdin is a terminal", next="pipe a table into it")
    return dataclasses.replace(asked, patterns=(str(_keep(source, folder)),))


def forget_stdin(asked: InputOptions, folder: Path) -> None:
    """Delete a file that `keep_stdin` made in `folder`, once its job is complete; other inputs are left alone."""
    for path in map(Path, asked.patterns):
        if path.parent == folder:
            path.unlink(missing_ok=True)


def send(path: Path, stream: BinaryIO | None = None) -> None:
    """Copy a file to stdout."""
    with path.open("rb") as source:
        shutil.copyfileobj(source, stream or sys.stdout.buffer, _CHUNK)


def _keep(source: BinaryIO, folder: Path) -> Path:
    content = hashlib.blake2b(digest_size=5)
    with write_atomically(folder / "arriving") as temporary:
        with temporary.open("wb") as file:
            while chunk := source.read(_CHUNK):
                content.update(chunk)
                file.write(chunk)
        if not temporary.stat().st_size:
            raise UserError("nothing came from stdin", expected="a table: CSV, TSV, JSON Lines or Parquet")
        kept = folder / f"stdin-{content.hexdigest()}"
        if not kept.exists():  # else a job may be reading it
            try:
                kept.hardlink_to(temporary)
            except OSError:  # a file system without links
                with write_atomically(kept) as copy:
                    shutil.copyfile(temporary, copy)
    (folder / "arriving").unlink(missing_ok=True)  # another pipe's, perhaps: its content has a name by then as well
    return kept
