"""How far a batch is, for those who do not sit before it: `progress.json` in its folder, which `cli jobs` reads.

Reading needs the standard library alone and never locks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.holding import is_held
from jobs.runner.clock import now
from kaggle_tools.files import write_atomically

if TYPE_CHECKING:
    from jobs.batch.execute import TaskResult

PROGRESS_FILE = "progress.json"


@dataclass(frozen=True)
class BatchSummary:
    """A batch as `cli jobs` lists it.

    Attributes:
        id: The name of its folder.
        state: ``running``, ``finished``, ``failed`` or ``interrupted`` (run the same command to go on).
        file: The batch file.
        began: When the last call of `cli run` began, UTC.
        steps: How many steps stand in what state (``waiting``, ``running``, ``done``, ``up to date``, ``failed``, …).
        running: Steps that run now.
        kind: Tells it from a job where both are listed.
    """

    id: str
    state: str
    file: str
    began: str
    steps: dict[str, int]
    running: tuple[str, ...] = ()
    kind: str = "batch"


def recorded(
    folder: Path, file: Path, tasks: Iterable[str], tell: Callable[[TaskResult], None]
) -> Callable[[TaskResult], None]:
    """A `tell` around `tell` that writes each change down; what waits is written at once.

    Args:
        folder: The batch's.
        file: The batch file.
        tasks: What this call has before it.
        tell: Hears of each change, too.
    """
    steps = dict.fromkeys(tasks, "waiting")
    about: dict[str, Any] = {"file": str(file), "began": now(), "steps": steps}

    def write() -> None:
        with write_atomically(folder / PROGRESS_FILE) as temporary:
            temporary.write_text(json.dumps(about, ensure_ascii=False) + "\n", encoding="utf-8")

    def told(result: TaskResult) -> None:
        steps[result.name] = result.outcome
        write()
        tell(result)

    write()
    return told


def batches(jobs_folder: Path) -> tuple[BatchSummary, ...]:
    """All batches below `.jobs/`, the newest last; one that cannot be read is left out, since nothing rests on it."""
    found = [_summary(path.parent) for path in (jobs_folder / "batches").glob(f"*/{PROGRESS_FILE}")]
    return tuple(sorted((batch for batch in found if batch is not None), key=lambda batch: (batch.began, batch.id)))


def _summary(folder: Path) -> BatchSummary | None:
    try:
        content = json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8"))
        steps, file, began = dict(content["steps"]), str(content["file"]), str(content["began"])
        counts = dict(Counter(steps.values()))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if is_held(folder):
        running = tuple(name for name, state in steps.items() if state == "running")
        return BatchSummary(folder.name, "running", file, began, counts, running)
    return BatchSummary(folder.name, _how_it_ended(counts), file, began, counts)


def _how_it_ended(counts: dict[str, int]) -> str:
    if counts.keys() & {"waiting", "running", "interrupted"}:
        return "interrupted"
    return "failed" if counts.keys() & {"failed", "skipped"} else "finished"
