"""How far a running job is, for those who do not sit before it: `progress.json` in its folder, Prometheus metrics.

A watch around the watch that is shown: every few seconds it writes what `cli jobs` reads and, where one was asked for,
the metrics file, each whole or not at all. A file that cannot be written never stops the job.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.runner.claim import Claim
from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from models.inference.shards import ShardStats

if TYPE_CHECKING:
    from jobs.runner.local import Watch

EVERY_S = 2.0
FIRST_WORDS = "# HELP kaggle_jobs"  # of a metrics file

# Name, type and help of each metric, as Prometheus' text format has it.
_METRICS = (
    ("rows", "gauge", "Rows of the job"),
    ("rows_done", "gauge", "Rows that are scored"),
    ("rows_per_second", "gauge", "Rows a second, of this process"),
    ("tokens_total", "counter", "Tokens of committed parts, of this process"),
    ("parts_total", "counter", "Parts committed by this process"),
    ("truncated_total", "counter", "Texts that lost tokens"),
    ("stage_seconds_total", "counter", "Seconds that each stage has worked"),
    ("running", "gauge", "1 while the job runs, 0 once it has ended"),
    ("complete", "gauge", "1 once everything is written"),
    ("last_update_timestamp_seconds", "gauge", "When this file was written"),
)


@contextmanager
def recording(watch: Watch, store: JobStore, claim: Claim, metrics_file: Path | None) -> Iterator[Watch]:
    """A watch around `watch`; the last words are written when the body ends, whichever way.

    Args:
        watch: The one that is shown.
        store: The job.
        claim: Checked at the same times.
        metrics_file: Where the metrics go; None: nowhere.

    Raises:
        UserError: From a report of progress: another process took over.
    """
    recorded = _Recorded(watch, store, claim, metrics_file)
    try:
        yield recorded
    except BaseException:
        recorded.ended(complete=False)
        raise
    recorded.ended(complete=True)


@dataclass
class _Recorded:
    """A watch that also writes."""

    inner: Watch
    store: JobStore
    claim: Claim
    metrics_file: Path | None = None
    _rows: int = 0
    _done: float = 0.0
    _fresh: float = 0.0
    _counts: dict[str, float] = field(default_factory=lambda: {"tokens": 0, "parts": 0, "truncated": 0})
    _seconds: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _next: float = 0.0
    _complained: bool = False

    def note(self, text: str) -> None:
        """Pass on."""
        self.inner.note(text)

    def started(self, n_rows: int, rows_done: int, ceiling: float) -> None:
        """Pass on; from now on the clock runs."""
        self._rows, self._done, self._began = n_rows, rows_done, time.monotonic()
        self._write()
        self.inner.started(n_rows, rows_done, ceiling)

    def advanced(self, rows: float) -> None:
        """Pass on; when it is time, write, and see whether the job is still ours."""
        self._done += rows
        self._fresh += rows
        if time.monotonic() >= self._next:
            self.claim.check()
            self._write()
        self.inner.advanced(rows)

    def committed(self, stats: ShardStats, seconds: dict[str, float]) -> None:
        """Pass on; take the figures."""
        self._counts["tokens"] += stats.tokens
        self._counts["truncated"] += stats.truncated
        self._counts["parts"] += 1
        for stage, spent in seconds.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + spent
        self.inner.committed(stats, seconds)

    def ended(self, *, complete: bool) -> None:
        """The last words."""
        self._write(running=False, complete=complete)

    def _write(self, *, running: bool = True, complete: bool = False) -> None:
        self._next = time.monotonic() + EVERY_S
        rate = self._fresh / max(time.monotonic() - self._began, 1e-9)
        done = min(round(self._done), self._rows)
        try:
            with suppress(UserError):  # a full disk is told by what matters more
                self.store.write("progress.json", {"rows_done": done, "rows_per_s": round(rate, 3)})
            if self.metrics_file is not None:
                content = self._metrics(rate, done, running, complete)
                with write_atomically(self.metrics_file) as temporary:
                    temporary.write_text(content, encoding="utf-8")
        except (UserError, OSError) as exc:
            if not self._complained:
                self.note(f"the metrics file cannot be written: {exc}")
            self._complained = True

    def _metrics(self, rate: float, done: int, running: bool, complete: bool) -> str:
        values: dict[str, float] = {
            "rows": self._rows,
            "rows_done": done,
            "rows_per_second": round(rate, 3),
            "tokens_total": self._counts["tokens"],
            "parts_total": self._counts["parts"],
            "truncated_total": self._counts["truncated"],
            "running": int(running),
            "complete": int(complete),
            "last_update_timestamp_seconds": round(time.time(), 3),
        }
        label = f'job="{_escape(self.store.id)}"'
        lines = []
        for name, kind, words in _METRICS:
            full = f"kaggle_jobs_{name}"
            lines += [f"# HELP {full} {words}.", f"# TYPE {full} {kind}"]
            if name in values:
                lines.append(f"{full}{{{label}}} {values[name]}")
            else:
                lines += [
                    f'{full}{{{label},stage="{_escape(stage)}"}} {spent:.3f}'
                    for stage, spent in dict(self._seconds).items()  # another thread adds
                ]
        return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
