"""`cli jobs prune`: free the disk of parts whose job is complete; their rows are in its output.

    cli jobs prune --older-than 30 --dry-run
    cli jobs prune

Plans, results, events and rows set aside stay. Jobs that are not complete are never touched, nor are parts on object
storage.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.runner.store import JobStore
from jobs.status import job_folders
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError

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
        n_bytes: What that frees.
        n_kept: Jobs left alone: not complete, not old enough, damaged, at work, or without parts here.
        dry_run: Whether nothing was removed.
    """

    jobs: tuple[Pruned, ...]
    n_bytes: int
    n_kept: int
    dry_run: bool


def run(older_than_days: float = 30.0, *, dry_run: bool = False, start: Path | None = None) -> PruneResult:
    """Remove the parts of jobs that were complete so many days ago.

    Args:
        older_than_days: Since the job was complete; 0 for all complete jobs.
        dry_run: Only say what would be removed.
        start: Where the workspace is looked for.
    """
    folders = job_folders(Workspace.find(start).jobs)
    before = time.time() - older_than_days * DAY_S
    found = [pruned for path in sorted(folders) if (pruned := _prune(JobStore(path), before, dry_run))]
    return PruneResult(tuple(found), sum(job.n_bytes for job in found), len(folders) - len(found), dry_run)


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
