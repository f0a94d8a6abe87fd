"""`cli jobs prune`: free the disk of parts whose job is complete, whose rows are in its output, and of leftovers.

    cli jobs prune --older-than 30 --dry-run
    cli jobs prune

Plans, results, events and rows set aside stay. The parts of jobs that are not complete are never touched, nor are those
on object storage. Leftovers are what a process that was killed had begun to write: the output and predictions that it
joined, and what it told the workers that trained a run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from jobs.holding import hold
from jobs.runner.store import OUTPUT_FILE, JobStore
from jobs.status import job_folders
from jobs.workspace import DUTY_FILE, Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.files import leftovers
from kaggle_tools.remote import place

DAY_S = 86_400.0


@dataclass(frozen=True)
class Pruned:
    """A job whose parts are gone, or would go."""

    id: str
    n_parts: int
    n_bytes: int


@dataclass(frozen=True)
class PruneResult:
    """What `cli jobs prune` did.

    Attributes:
        jobs: Whose parts are gone, or would go.
        n_leftovers: Files that killed processes left, likewise.
        n_bytes: What all that frees.
        n_kept: Jobs left alone: not complete, not old enough, damaged, at work, or without parts here.
        dry_run: Whether nothing was removed.
    """

    jobs: tuple[Pruned, ...]
    n_leftovers: int
    n_bytes: int
    n_kept: int
    dry_run: bool


def run(older_than_days: float = 30.0, *, dry_run: bool = False, start: Path | None = None) -> PruneResult:
    """Remove the parts of jobs that were complete so many days ago, and what killed processes left.

    Args:
        older_than_days: Since the job was complete; 0 for all complete jobs.
        dry_run: Only say what would be removed.
        start: Where the workspace is looked for.
    """
    workspace = Workspace.find(start)
    stores = [JobStore(path) for path in sorted(job_folders(workspace.jobs))]
    n_leftovers, n_bytes = 0, 0
    for path in chain(_left_by_jobs(workspace, stores), _left_by_training(workspace.jobs / "runs")):
        with suppress(OSError):  # another one prunes; somebody else's
            size = path.stat().st_size
            if not dry_run:
                path.unlink()
            n_leftovers, n_bytes = n_leftovers + 1, n_bytes + size
    before = time.time() - older_than_days * DAY_S
    found = [pruned for store in stores if (pruned := _prune(store, before, dry_run))]
    n_bytes += sum(job.n_bytes for job in found)
    return PruneResult(tuple(found), n_leftovers, n_bytes, len(stores) - len(found), dry_run)


def _left_by_jobs(workspace: Workspace, stores: Iterable[JobStore]) -> Iterator[Path]:
    """Temporary files of what jobs write, of those that nobody holds, and whose process has ended."""
    outputs: dict[bool, set[Path]] = {False: set(), True: set()}  # by whether the job is at work
    tables: set[str] = set()  # whose predictions are written now
    for store in stores:
        at_work = store.is_running
        if at_work:
            tables.add(store.id.rpartition("-")[0])
        with suppress(UserError):  # damaged
            if (claim := store.read(OUTPUT_FILE)) is not None:
                output = place(claim["path"])
                outputs[at_work].add(output if isinstance(output, Path) else store.folder / output.name)
    mine = outputs[False] - outputs[True]
    for folder in {path.parent for path in mine}:
        with suppress(OSError):  # gone, or closed to us
            yield from (left for name, left in leftovers(folder) if folder / name in mine)
    for folder in workspace.runs_folder.glob("*/predictions"):
        with suppress(OSError):
            yield from (left for name, left in leftovers(folder) if Path(name).stem not in tables)


def _left_by_training(folder: Path) -> Iterator[Path]:
    for file in folder.glob(f"*/{DUTY_FILE}"):
        with suppress(UserError), hold(file.parent, "trained now"):
            yield file


def _prune(store: JobStore, before: float, dry_run: bool) -> Pruned | None:
    try:
        if store.shared is not None or not _is_old(store, before):
            return None
        with store.lock():
            if not _is_old(store, before):  # another process had it until a moment ago
                return None
            folder = store.folder / "parts"
            parts = [path for path in folder.glob("*") if path.is_file()]
            if not parts:
                return None
            pruned = Pruned(store.id, len(store.done()), sum(path.stat().st_size for path in parts))
            if not dry_run:
                store.event("pruned", parts=pruned.n_parts, bytes=pruned.n_bytes)
                shutil.rmtree(folder)
            return pruned
    except UserError:  # damaged, or at work
        return None


def _is_old(store: JobStore, before: float) -> bool:
    return store.result is not None and (store.folder / "result.json").stat().st_mtime < before
