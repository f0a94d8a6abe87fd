"""A job's folder, `.jobs/<id>/`: the file system is the database.

    plan.json                what will be done; immutable, written first
    precision.json           the number format that the gate let through, and the backend: a resumed job uses the same
    parts/00000.parquet …    a part exists or it does not: its rename is the commit
    quarantine/00000.jsonl   rows of that part's shard that were set aside, with file, line and reason
    events.jsonl             what happened when, one JSON object a line
    result.json              written last: its existence means that the job is complete

One process works on a job at a time (an advisory lock that dies with its process); readers never lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.holding import hold, is_held
from jobs.runner.clock import now
from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.seals import check_parquet, read_sealed, seal_parquet, sealed

# Whoever only asks how far a job is (`cli jobs`) need not wait for these.
if TYPE_CHECKING:
    import polars as pl

    from kaggle_tools.tables import BadRow

STATS_KEY = b"kaggle_jobs_part"
_NEXT = "delete that file and run the command again"


class JobStore:
    """One job's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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
        path = self.folder / name
        try:
            return read_sealed(path, next=f"delete {self.folder} and run the command again")
        except FileNotFoundError:
            return None

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the job, whole or not at all."""
        with write_atomically(self.folder / name) as temporary:
            temporary.write_text(json.dumps(sealed(content), ensure_ascii=False, default=str) + "\n", encoding="utf-8")

    def event(self, kind: str, **fields: object) -> None:
        """Append to `events.jsonl`."""
        line = json.dumps({"time": now(), "event": kind, **fields}, ensure_ascii=False)
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the job; what a killed process left half-written is swept away.

        Raises:
            UserError: Another process is at work on this job.
        """
        next = "wait for it (`cli jobs` shows its progress), or stop it with `cli jobs cancel`"
        with hold(self.folder, f"another process is at work on job {self.id}", next=next):
            for leftover in self.folder.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            yield

    @property
    def is_running(self) -> bool:
        """Whether a process holds the job now."""
        return is_held(self.folder)

    def part(self, index: int) -> Path:
        """Where the part of shard `index` is, or will be."""
        return self.folder / "parts" / f"{index:05d}.parquet"

    def done(self) -> set[int]:
        """Indices of the shards whose parts are committed."""
        return {int(path.stem) for path in (self.folder / "parts").glob("[0-9]*.parquet")}

    def commit(self, index: int, frame: pl.DataFrame, bad_rows: Sequence[BadRow], stats: Mapping[str, Any]) -> None:
        """Write one part; first its quarantine, so that a part never exists without it."""
        import pyarrow.parquet as pq

        if bad_rows:
            with write_atomically(self.folder / "quarantine" / f"{index:05d}.jsonl") as temporary:
                lines = [json.dumps(asdict(row), ensure_ascii=False, default=str) for row in bad_rows]
                temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        table = frame.to_arrow()
        table = table.replace_schema_metadata({STATS_KEY: json.dumps(dict(stats)).encode()})
        with write_atomically(self.part(index)) as temporary:
            pq.write_table(table, temporary, compression="zstd")
            seal_parquet(temporary)

    def read_part(self, index: int) -> pl.DataFrame:
        """A committed part.

        Raises:
            UserError: The file was damaged after it was written.
        """
        import polars as pl
        import pyarrow.parquet as pq

        with _readable(self.part(index)) as path:
            check_parquet(path, next=_NEXT)
            return pl.DataFrame(pq.read_table(path))

    def part_stats(self, index: int) -> dict[str, Any]:
        """What was counted and measured while a part was made.

        Raises:
            UserError: The file was damaged after it was written.
        """
        import pyarrow.parquet as pq

        with _readable(self.part(index)) as path:
            stats: dict[str, Any] = json.loads(pq.read_schema(path).metadata[STATS_KEY])
            return stats


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    import pyarrow as pa

    try:
        yield path
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, json.JSONDecodeError) as exc:
        raise UserError(f"part {path.stem} is damaged: {exc}", where=path, next=_NEXT) from exc
