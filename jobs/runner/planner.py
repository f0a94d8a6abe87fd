"""From a request to a locked job with a plan: a new one, or the one that was interrupted.

Every input is read once before anything is scored: its records are counted and cut into shards, its ids checked (some
are read again for that). What is wrong with the file is known in the first minute, not in the middle of the night.
"""

from __future__ import annotations

import glob
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.machine import usable_cores
from jobs.runner.clock import now
from jobs.runner.overlap import several_at_once
from jobs.runner.plan import Piece, Plan, Request, pieces_of, tasks_of
from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from kaggle_tools.remote import RemoteFile, place
from kaggle_tools.tables import (
    FileIndex,
    PassingIds,
    Repeats,
    ShardReader,
    changed_error,
    index_file,
    read_columns,
    require_columns,
    require_even_rows,
    require_rows,
)
from kaggle_tools.tables.index import Passer

_FILES = 8  # that are indexed at a time, at most
_HASHING = 3  # threads that hash the ids of a file, at most
_READERS = 4  # shards whose ids are read at a time, at most: each takes as much memory as its bytes
_LIBRARIES = ("torch", "transformers", "tokenizers", "polars", "scikit-learn")


class _Stopped(Exception):
    pass


@dataclass(frozen=True)
class Job:
    """A job that this process holds.

    Attributes:
        store: Its folder.
        plan: What is to be done.
        is_new: Whether the plan was made just now.
    """

    store: JobStore
    plan: Plan
    is_new: bool


@contextmanager
def open_job(
    request: Request,
    folder: Path,
    shard_rows: Callable[[], int],
    note: Callable[[str], None],
    parts: RemoteFile | None = None,
) -> Iterator[Job]:
    """Find or plan the job of this request and hold it.

    Args:
        request: What is asked for.
        folder: The workspace's `.jobs/`.
        shard_rows: Gives the rows in a shard; asked for a new job only.
        note: Takes a sentence for the user.
        parts: Where parts go when the workers share no disk; None: beside the plan.

    Raises:
        UserError: Another process works on the job; a missing column, a bad row, duplicate ids, an empty file.
    """
    with ExitStack() as stack:
        store = _store(folder, request.job_id(), parts)
        stack.enter_context(store.lock())
        plan = load_plan(store)
        if plan is not None and _touched(plan, request):
            indexes, _ = _indexes(request, plan.shard_rows)
            if pieces_of(indexes, request.limit) != [piece for task in plan.tasks for piece in task.pieces]:
                store = _store(folder, request.job_id(salt=digest(*(index.digest for index in indexes))), parts)
                stack.enter_context(store.lock())
                plan = load_plan(store)
        is_new = plan is None
        if plan is not None and not store.plan_path.exists():  # made by another machine
            store.write("plan.json", plan.to_json())
        if plan is None:
            _tell_what_changed(request, folder, store.id, note)
            plan = _make_plan(request, store, shard_rows())
            store.write("plan.json", plan.to_json())
            if store.shared is not None:
                plan = load_plan(store) or plan  # another machine may have been first
            store.event("planned", rows=plan.n_rows, shards=len(plan.tasks))
        yield Job(store, plan, is_new)


def _store(folder: Path, job_id: str, parts: RemoteFile | None) -> JobStore:
    return JobStore(folder / job_id, None if parts is None else parts / job_id)


def load_plan(store: JobStore) -> Plan | None:
    """The plan of a job's folder, or None where there is none yet.

    Raises:
        UserError: `plan.json` is damaged, or written by another version.
    """
    raw = store.read("plan.json")
    if raw is None:
        return None
    try:
        return Plan.from_json(raw)
    except (KeyError, TypeError) as exc:
        raise UserError(
            f"the plan cannot be understood: {exc!r}",
            where=store.folder / "plan.json",
            next=f"delete {store.folder} and run the command again",
        ) from exc


def _make_plan(request: Request, store: JobStore, shard_rows: int) -> Plan:
    # What other files than CSV hold, and the rows up to a limit, only reading shards tells.
    in_passing = request.limit is None and all(file.format.kind == "csv" for file in request.inputs)
    with Repeats(store.folder) as seen:
        indexes, are_all = _indexes(request, shard_rows, seen if in_passing else None)
        pieces = pieces_of(indexes, request.limit)
        different = are_all and not len(seen.found())
    if request.id_column is not None and not different:
        _check_ids(request, pieces, store.folder)
    return Plan(
        id=store.id,
        created=now(),
        request=request,
        columns=indexes[0].columns,
        shard_rows=shard_rows,
        n_rows=sum(piece.n_rows for piece in pieces),
        tasks=tuple(tasks_of(pieces, [index.size for index in indexes], shard_rows)),
        versions={name: version(name) for name in _LIBRARIES},
    )


def _indexes(request: Request, shard_rows: int, seen: Repeats | None = None) -> tuple[list[FileIndex], bool]:
    """Of all inputs, several at a time, and whether hashes of all ids went to `seen`.

    Of the first input that has an error it is told, and those behind it are left.
    """
    numbers, stopped = range(len(request.inputs)), threading.Event()

    cores = int(usable_cores())
    at_once = min(_FILES, cores, len(numbers))

    def index(number: int) -> tuple[FileIndex, bool]:
        def also(block: bytes, offset: int, marks: NDArray[np.int64]) -> None:
            if stopped.is_set():
                raise _Stopped
            if ids is not None:
                ids.add(block, offset, marks)

        with ExitStack() as stack:
            file, ids = request.inputs[number], None
            if seen is not None and request.id_column is not None:
                columns = read_columns(place(file.path), file.format)
                threads = min(_HASHING, cores // max(1, at_once) - 1)
                ids = PassingIds(file.format, columns, request.id_column, seen.add, threads=max(0, threads))
                stack.enter_context(ids)
            return _index(request, number, shard_rows, also), ids is not None and ids.are_all

    if at_once <= 1:
        found = list(map(index, numbers))
    else:
        with ThreadPoolExecutor(at_once) as pool:
            coming = [pool.submit(index, number) for number in numbers]
            try:
                found = [each.result() for each in coming]
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [file for file, _ in found], all(are_all for _, are_all in found)


def _index(request: Request, number: int, shard_rows: int, also: Passer) -> FileIndex:
    file = request.inputs[number]
    index = index_file(place(file.path), file.format, shard_rows=shard_rows, also=also)
    if (index.size, index.mtime_ns) != (file.size, file.mtime_ns):  # since its content was sampled for the job's id
        raise changed_error(index.path)
    require_columns(index, [c for c in (request.id_column, *request.text_columns) if c is not None])
    require_rows(index)
    if request.on_bad_row == "fail":
        require_even_rows(index)
    return index


def _touched(plan: Plan, request: Request) -> bool:
    """Whether a file's time differs from the planned one although its size and samples are the same."""
    before = [file.mtime_ns for file in plan.request.inputs]
    return before != [file.mtime_ns for file in request.inputs]


def _check_ids(request: Request, pieces: Sequence[Piece], folder: Path) -> None:
    """Read the id column of every shard: bad rows and broken bytes come up here too.

    Raises:
        UserError: Ids that occur more than once (how many, and the first few), or what `ShardReader.read` raises.
    """
    with Repeats(folder) as seen:
        for ids in _id_shards(request, pieces):
            seen.add(ids.hash().to_numpy())
        twice = seen.found()
    if not twice.size:
        return
    suspects = pl.Series("hash", twice, dtype=pl.UInt64).implode()
    found = pl.concat([ids.filter(ids.hash().is_in(suspects)) for ids in _id_shards(request, pieces)])
    repeated = found.filter(found.is_duplicated()).unique(maintain_order=True)
    if len(repeated):
        raise UserError(
            f"{len(repeated):,} ids occur more than once",
            where=f"column '{request.id_column}' of {', '.join(f.path for f in request.inputs[:3])}",
            first=", ".join(repeated.head(5).to_list()),
            next="remove the repeated rows, name another column with --id, or number the rows with --no-id",
        )


def ids_of(plan: Plan) -> pl.Series:
    """(N,) String: the ids of a plan's good rows, read anew; where rows are numbered, the numbers of all."""
    if plan.request.id_column is None:
        return pl.Series("row", np.arange(plan.n_rows)).cast(pl.String)
    return pl.concat(_id_shards(plan.request, [piece for task in plan.tasks for piece in task.pieces]))


def _id_shards(request: Request, pieces: Sequence[Piece]) -> Iterator[pl.Series]:
    assert request.id_column is not None
    for number, pieces_of_file in groupby(pieces, key=lambda piece: piece.file):
        file, own = request.inputs[number], list(pieces_of_file)
        # What is compressed, or comes over a network, is read from its start to its end.
        streamed = file.format.compression is not None or not isinstance(place(file.path), Path)
        at_once = 1 if streamed else max(1, min(_READERS, int(usable_cores()), len(own)))
        with ExitStack() as stack:
            readers: SimpleQueue[ShardReader] = SimpleQueue()
            for _ in range(at_once):
                reader = ShardReader(
                    file.format, [request.id_column], id_column=request.id_column, on_bad_row=request.on_bad_row,
                    ahead=True,
                )  # fmt: skip
                readers.put(stack.enter_context(reader))
            read = partial(_read_ids, readers, request.id_column)
            yield from map(read, own) if at_once == 1 else several_at_once(own, read, at_once)


def _read_ids(readers: SimpleQueue[ShardReader], column: str, piece: Piece) -> pl.Series:
    """A shard's ids, by a reader that nobody else has meanwhile."""
    reader = readers.get()
    try:
        return reader.read(piece.shard, piece.n_rows).frame[column]
    finally:
        readers.put(reader)


def _tell_what_changed(request: Request, folder: Path, job_id: str, note: Callable[[str], None]) -> None:
    """Say so when this request had a job before, with other content, models, columns or classes."""
    for path in folder.glob(f"{glob.escape(request.job_stem)}-*/plan.json"):
        plan = load_plan(JobStore(path.parent))
        if plan is None or plan.id == job_id or not _is_about(plan.request, request):
            continue
        changed = [
            Path(new.path).name
            for old, new in zip(plan.request.inputs, request.inputs, strict=True)
            if (old.size, old.sample) != (new.size, new.sample)
        ]
        changed += [run for run, prints in request.models.items() if plan.request.models.get(run) != tuple(prints)]
        looked_at = {
            "id column": "id_column",
            "the spelling of ids": "float_ids",
            "text columns": "text_columns",
            "classes": "classes",
        }
        changed += [what for what, name in looked_at.items() if getattr(plan.request, name) != getattr(request, name)]
        if changed:
            note(f"{', '.join(changed)} changed since job {plan.id}: this is a new job")
            return


def _is_about(before: Request, request: Request) -> bool:
    """Whether both score the same tables with models of the same names."""
    same_files = [file.path for file in before.inputs] == [file.path for file in request.inputs]
    return same_files and sorted(before.models) == sorted(request.models) and before.limit == request.limit
