"""What is known of a batch from earlier calls: `.jobs/batches/<name>/`.

state.json      for each task: how it ended, what it read and wrote, by content; replaced whole at each change
logs/…          what each task printed, the last time it ran
events.jsonl    what happened when, one JSON object a line
lock            held by the process that works on the batch; says which
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jobs.batch.fingerprints import Stat
from jobs.holding import hold
from jobs.runner.clock import now
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest, write_atomically

VERSION = 1


@dataclass(frozen=True)
class Record:
    """How a task ended, or that it was begun.

    Attributes:
        status: ``running`` is what a killed process leaves behind.
        command: Digest of its command line and environment.
        inputs: Path → digest, as they were before it ran.
        outputs: Path → digest, as it left them; those of its last success while it is not ``done``.
        needs: Task → digest of what that one had written.
        started: When, UTC.
        seconds: How long it took.
        exit_code: Of its process; None while it runs.
        log: File name below `logs/`.
    """

    status: Literal["running", "done", "failed", "interrupted"]
    command: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    log: str = ""


class BatchStore:
    """A batch's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, Record] = {}
        self.files: dict[str, tuple[Stat, str]] = {}
        self._load()

    @classmethod
    def of(cls, path: Path) -> BatchStore:
        """The folder of a batch file (or of a watched folder), below `.jobs/` of the workspace that it lies in."""
        workspace = Workspace.find(path.parent)
        place = path.relative_to(workspace.root) if path.is_relative_to(workspace.root) else path
        return cls(workspace.jobs / "batches" / f"{path.stem}-{digest(str(place))[:8]}")

    @contextmanager
    def lock(self, path: Path) -> Iterator[None]:
        """Hold the batch.

        Raises:
            UserError: Another `cli run` of the same file is at work.
        """
        with hold(self.folder, f"another `cli run` is at work on {path.name}"):
            for leftover in self.folder.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            self._load()
            yield

    def log(self, task: str) -> Path:
        """Where a task's output goes."""
        plain = re.sub(r"[^\w.-]+", "_", task).strip("_")[:80]
        return self.folder / "logs" / f"{plain}{'' if plain == task else '-' + digest(task)[:4]}.log"

    def save(self) -> None:
        """Write `state.json`, whole or not at all."""
        content = {
            "version": VERSION,
            "tasks": {name: asdict(record) for name, record in self.records.items()},
            "files": self.files,
        }
        with write_atomically(self.folder / "state.json") as temporary:
            temporary.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")

    def event(self, kind: str, **fields: object) -> None:
        """Append to `events.jsonl`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"time": now(), "event": kind, **fields}, ensure_ascii=False) + "\n")

    def _load(self) -> None:
        path = self.folder / "state.json"
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            self.records = {name: Record(**record) for name, record in raw["tasks"].items()}
            self.files = {name: (tuple(stat), value) for name, (stat, value) in raw["files"].items()}
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise UserError(
                f"damaged: {exc!r}", where=path, next="delete it and run the command again: every step runs once more"
            ) from exc
