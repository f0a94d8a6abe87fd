"""A job's folder, `.jobs/<id>/`: the file system is the database.

    plan.json                what will be done; immutable, written first
    precision.json           how scores are computed (`jobs.runner.numerics`): a resumed job goes on in the same way
    parts/00000.parquet …    a part exists or it does not: its rename is the commit
    quarantine/00000.jsonl   rows of that part's shard that were set aside, with file, line and reason
    events.jsonl             what happened when, one JSON object a line
    result.json              written last: its existence means that the job is complete

One process works on a job at a time (an advisory lock that dies with its process); readers never lock.

Where machines share no disk, plan, precision, parts and quarantine lie on object storage (`--parts`), at the place that
`parts.json` names; the rest stays with the process that holds the job. See `jobs.runner.claim`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from jobs.holding import hold, is_held
from jobs.runner.clock import now
from jobs.runner.overlap import several_at_once
from kaggle_tools.errors import UserError
from kaggle_tools.files import write_whole
from kaggle_tools.parquet import PARQUET
from kaggle_tools.remote import Place, RemoteFile
from kaggle_tools.seals import read_open_parquet, read_sealed, seal_open_parquet, sealed

# Whoever only asks how far a job is (`cli jobs`) need not wait for these.
if TYPE_CHECKING:
    import polars as pl

    from kaggle_tools.tables import BadRow

OUTPUT_FILE = "output.json"  # see `jobs.overwriting`
STATS_KEY = b"kaggle_jobs_part"
_PARTS_FILE = "parts.json"
_SHARED = ("plan.json", "precision.json")  # what all workers go by
_AT_ONCE = 8
_NEXT = "delete that file and run the command again"

Found = TypeVar("Found")


class JobStore:
    """One job's folder.

    Args:
        folder: Of the process that holds the job, `.jobs/<id>`.
        shared: Where plan and parts lie when machines share no disk; None: where the job says that they do.
    """

    def __init__(self, folder: Path, shared: RemoteFile | None = None) -> None:
        self.folder = folder
        self._shared = shared

    @cached_property
    def shared(self) -> RemoteFile | None:
        """The place on object storage that stands in for a disk that all machines see; mostly None."""
        if self._shared is not None:
            return self._shared
        recorded = self.read(_PARTS_FILE)
        return None if recorded is None else RemoteFile(recorded["at"])

    @property
    def id(self) -> str:
        """The job's id: the folder's name."""
        return self.folder.name

    @property
    def plan_path(self) -> Path:
        """`plan.json`."""
        return self.folder / "plan.json"

    @property
    def result(self) -> dict[str, Any] | None:
        """Content of `result.json`; None while the job is not complete."""
        return self.read("result.json")

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the job, or None where there is none.

        Raises:
            UserError: The file is damaged.
        """
        try:
            return read_sealed(self.folder / name, next=f"delete {self.folder} and run the command again")
        except FileNotFoundError:
            pass
        if name not in _SHARED or self.shared is None:
            return None
        try:
            return read_sealed(self.shared / name, next=f"delete {self.shared} and run the command again")
        except FileNotFoundError:
            return None

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the job, whole or not at all.

        What all machines go by is written once: where another one was first, its content is taken, so read it again.
        """
        data = (json.dumps(sealed(content), ensure_ascii=False, default=str) + "\n").encode()
        if name in _SHARED and self.shared is not None and not (self.shared / name).create(data):
            data = (self.shared / name).read_bytes()
        write_whole(self.folder / name, data)

    def reopen(self) -> None:
        """From now on the job is complete no longer: some of its parts are made again."""
        (self.folder / "result.json").unlink(missing_ok=True)

    def event(self, kind: str, **fields: object) -> None:
        """Append to `events.jsonl`."""
        line = json.dumps({"time": now(), "event": kind, **fields}, ensure_ascii=False)
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the job; what a killed process left half-written is swept away.

        Raises:
            UserError: Another process is at work on this job; its parts lie elsewhere than is asked for.
        """
        next = "wait for it (`cli jobs` shows its progress), or stop it with `cli jobs cancel`"
        with hold(self.folder, f"another process is at work on job {self.id}", next=next):
            for leftover in self.folder.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            self._settle()
            yield

    def _settle(self) -> None:
        """Keep where the parts are, from the first time on."""
        recorded = self.read(_PARTS_FILE)
        begun = recorded["at"] if recorded else str(self.folder) if (self.folder / "plan.json").exists() else None
        if self._shared is not None and begun not in (None, str(self._shared)):
            raise UserError(
                f"job {self.id} has its parts in {begun}",
                found=f"--parts {str(self._shared).removesuffix('/' + self.id)}",
                next="run the command as before",
            )
        if self.shared is not None and recorded is None:
            self.write(_PARTS_FILE, {"at": str(self.shared)})

    @property
    def is_running(self) -> bool:
        """Whether a process holds the job now."""
        return is_held(self.folder)

    def part(self, index: int) -> Place:
        """Where the part of shard `index` is, or will be."""
        return (self.shared or self.folder) / "parts" / f"{index:05d}.parquet"

    def done(self) -> set[int]:
        """Indices of the shards whose parts are committed."""
        return {int(path.stem) for path in ((self.shared or self.folder) / "parts").glob("[0-9]*.parquet")}

    def quarantine(self) -> list[Place]:
        """Files of rows that were set aside, one a shard that has some."""
        return sorted(((self.shared or self.folder) / "quarantine").glob("[0-9]*.jsonl"), key=str)

    def commit(self, index: int, frame: pl.DataFrame, bad_rows: Sequence[BadRow], stats: Mapping[str, Any]) -> None:
        """Write one part; first its quarantine, so that a part never exists without it."""
        import pyarrow.parquet as pq

        if bad_rows:
            lines = [json.dumps(asdict(row), ensure_ascii=False, default=str) for row in bad_rows]
            path = (self.shared or self.folder) / "quarantine" / f"{index:05d}.jsonl"
            write_whole(path, ("\n".join(lines) + "\n").encode())
        table = frame.to_arrow()
        table = table.replace_schema_metadata({STATS_KEY: json.dumps(dict(stats)).encode()})
        part = io.BytesIO()
        pq.write_table(table, part, **PARQUET)
        seal_open_parquet(part)
        write_whole(self.part(index), part.getbuffer())

    def read_part(self, index: int) -> pl.DataFrame:
        """A committed part.

        Raises:
            UserError: The file was damaged after it was written.
        """
        import polars as pl

        with _readable(self.part(index)) as file:
            return pl.DataFrame(read_open_parquet(file, self.part(index), next=_NEXT))

    def each(self, indices: Iterable[int], read: Callable[[int], Found]) -> Iterator[Found]:
        """``read(index)`` of each, in order; several at a time where each is a request to object storage."""
        if self.shared is None:
            yield from map(read, indices)
            return
        yield from several_at_once(indices, read, _AT_ONCE)

    def part_stats(self, index: int) -> dict[str, Any]:
        """What was counted and measured while a part was made.

        Raises:
            UserError: The file was damaged after it was written.
        """
        import pyarrow.parquet as pq

        with _readable(self.part(index)) as file:
            stats: dict[str, Any] = json.loads(pq.read_schema(file).metadata[STATS_KEY])
            return stats


@contextmanager
def _readable(path: Place) -> Iterator[IO[bytes]]:
    import pyarrow as pa

    try:
        with path.open("rb") if isinstance(path, Path) else io.BytesIO(path.read_bytes()) as file:
            yield file
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, json.JSONDecodeError) as exc:
        raise UserError(f"part {path.stem} is damaged: {exc}", where=path, next=_NEXT) from exc
