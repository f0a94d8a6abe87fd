"""Committed parts to files: all files in one pass over the parts, in input order, while later parts are still made.

with Joining(plan, store, files) as joining:
    engine.run(...)                       # parts are committed; those that follow one another are joined meanwhile
    joining.wait()                        # for the rest
    joining.place()                       # each file whole in its place; left before, none of them

Memory does not grow with the table. Bytes depend on the parts alone: one Parquet row group a part, one block of text
lines a part.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import polars as pl
import polars.selectors as cs
import pyarrow.parquet as pq

from jobs.runner.plan import Plan
from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import cannot_write, write_atomically
from kaggle_tools.parquet import PARQUET
from kaggle_tools.predictions import METADATA_KEY
from kaggle_tools.remote import Place
from kaggle_tools.seals import seal_parquet

Write = Callable[[pl.DataFrame], None]

_LOOK_S = 0.1  # how often to see whether the next part is there


class NotWanted(Exception):
    """A file is not to be put in its place after all."""


class _GivenUp(Exception):
    """None of them is."""


@dataclass(frozen=True)
class JoinedFile:
    """A file that is made of a job's parts.

    Attributes:
        path: ``.parquet``, ``.csv`` or ``.jsonl``.
        columns: Its rows of a part.
        metadata: JSON; of a Parquet file.
        placing: Called when all is written, before the file is put in its place; what it raises keeps it away, with
            `NotWanted` without a word.
    """

    path: Place
    columns: Callable[[pl.DataFrame], pl.DataFrame]
    metadata: str
    placing: Callable[[], None] = lambda: None


class Joining:
    """Parts on their way into files.

    Args:
        plan: The job's plan.
        store: Where its parts are, or will be. On object storage they are only looked for when all are there.
        files: What is made of them, placed in this order; where one cannot be, those after it are not.
    """

    def __init__(self, plan: Plan, store: JobStore, files: Sequence[JoinedFile]) -> None:
        self._plan, self._store, self._files = plan, store, files
        self._stack = ExitStack()
        self._writes: list[Write] = []
        self._all_there, self._given_up = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="joining", daemon=True)

    def __enter__(self) -> Joining:
        with ExitStack() as stack:
            # Left in the reverse order: the first file is placed first, and if it is not, none of the others is.
            for file in reversed(self._files):
                self._writes.insert(0, stack.enter_context(_writer(file, self._store.folder)))
            self._stack = stack.pop_all()
        self._thread.start()
        return self

    def wait(self) -> None:
        """Until every part has become rows of every file; all parts are there by now.

        Raises:
            UserError: A damaged part, a full disk.
        """
        self._all_there.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def place(self) -> None:
        """Put the files in their places.

        Raises:
            UserError: One cannot be written, or its `placing` raises.
        """
        self._stack.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._given_up.set()
        self._all_there.set()
        self._thread.join()
        with suppress(Exception):  # of files that nobody will see
            self._stack.__exit__(_GivenUp, _GivenUp(), None)

    def _work(self) -> None:
        try:
            for part in self._store.each(self._committed(), self._store.read_part):
                for file, write in zip(self._files, self._writes, strict=True):
                    write(file.columns(part))
        except BaseException as exc:  # told by `wait`
            self._error = exc

    def _committed(self) -> Iterator[int]:
        """Indices of all parts in order, each when it is there."""
        if self._store.shared is not None:
            self._all_there.wait()
        for task in self._plan.tasks:
            while not self._all_there.is_set() and not self._store.part(task.index).is_file():
                self._all_there.wait(_LOOK_S)
            if self._given_up.is_set():
                return
            yield task.index


def join(plan: Plan, store: JobStore, files: Sequence[JoinedFile]) -> None:
    """Make files of parts that are all there.

    Raises:
        UserError: A damaged part, a full disk, whatever `placing` of one of them raises.
    """
    with Joining(plan, store, files) as joining:
        joining.wait()
        joining.place()


def check_suffix(path: Place) -> None:
    """Fail before anything is done.

    Raises:
        UserError: A suffix that we do not write.
    """
    if path.suffix not in _FORMATS:
        known = tuple(_FORMATS)
        raise UserError(f"cannot write '{path.suffix}' files", where=path, next=did_you_mean(path.suffix, known))


@contextmanager
def _writer(file: JoinedFile, scratch: Path) -> Iterator[Write]:
    with suppress(NotWanted), write_atomically(file.path, scratch) as temporary:
        with _FORMATS[file.path.suffix](temporary, file.metadata) as write:
            yield partial(_write, write, file.path, temporary.parent)
        if file.path.suffix == ".parquet" and temporary.exists():  # else the folder of a run was removed meanwhile
            seal_parquet(temporary)
        file.placing()


def _write(write: Write, path: Place, folder: Path, frame: pl.DataFrame) -> None:
    """In the thread, where no `write_atomically` sees what goes wrong."""
    try:
        write(frame)
    except OSError as exc:
        raise cannot_write(path, folder, exc) from exc


@contextmanager
def _parquet(path: Path, metadata: str) -> Iterator[Write]:
    writer: pq.ParquetWriter | None = None

    def write(frame: pl.DataFrame) -> None:
        nonlocal writer
        table = frame.to_arrow().replace_schema_metadata({METADATA_KEY: metadata})
        if writer is None:
            writer = pq.ParquetWriter(handle, table.schema, **PARQUET)
        writer.write_table(table, row_group_size=max(1, len(frame)))

    with path.open("wb") as handle:  # from now on: the folder of a run may be removed before there is a part
        try:
            yield write
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def _csv(path: Path, _metadata: str) -> Iterator[Write]:
    with path.open("wb") as handle:
        yield _text_writer(handle, lambda frame, first: frame.drop(cs.list()).write_csv(include_header=first))


@contextmanager
def _jsonl(path: Path, _metadata: str) -> Iterator[Write]:
    with path.open("wb") as handle:
        yield _text_writer(handle, lambda frame, _first: frame.write_ndjson())


def _text_writer(handle: BinaryIO, render: Callable[[pl.DataFrame, bool], str]) -> Write:
    def write(frame: pl.DataFrame) -> None:
        handle.write(render(frame, handle.tell() == 0).encode())

    return write


_FORMATS = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
