"""How a running job looks: a bar on a terminal, a line now and then in a log, nothing when quiet.

Both say rows/s, tokens/s, the share of padding, the achieved FLOP/s against the device's measured rate, and which stage
is the bottleneck.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from jobs.show.output import count, flop_rate, stderr
from models.inference.shards import ShardStats

LOG_EVERY_S = 30.0


@dataclass
class Meter:
    """What was measured so far, over all committed shards of this process."""

    ceiling: float = 0.0
    rows: float = 0.0
    tokens: int = 0
    computed_tokens: int = 0
    padding: int = 0
    flop: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stats: ShardStats, seconds: dict[str, float]) -> None:
        """Take a committed shard."""
        self.tokens += stats.tokens
        self.computed_tokens += stats.computed_tokens
        self.padding += stats.padding
        self.flop += stats.flop
        for stage, spent in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def words(self) -> str:
        """The figures of the moment in one line."""
        elapsed = max(time.perf_counter() - self.began, 1e-9)
        parts = [f"{count(self.rows / elapsed)} rows/s"]
        if self.computed_tokens:
            busy = max(self.seconds.get("infer", elapsed), 1e-9)
            parts.append(f"{count(self.tokens / elapsed)} tokens/s")
            parts.append(f"padding {self.padding / self.computed_tokens:.1%}")
            share = f" ({self.flop / busy / self.ceiling:.0%} of this device)" if self.ceiling else ""
            parts.append(f"{flop_rate(self.flop / busy)}{share}")
        if self.seconds:
            stage = max(self.seconds, key=lambda name: self.seconds[name])
            parts.append(f"bottleneck: {stage} ({self.seconds[stage] / elapsed:.0%} busy)")
        return ", ".join(parts)


class LogWatch:
    """One line every half minute, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._meter = Meter()
        self._n_rows = self._done = 0.0
        self._next = 0.0

    def note(self, text: str) -> None:
        """Print at once."""
        self._console.print(f"note: {text}", markup=False)

    def started(self, n_rows: int, rows_done: int, ceiling: float) -> None:
        """Say what is left to do."""
        self._meter = Meter(ceiling)
        self._n_rows, self._done = n_rows, rows_done
        self._next = time.perf_counter() + LOG_EVERY_S
        resumed = f", {rows_done:,} of them were done before" if rows_done else ""
        self._console.print(f"scoring {n_rows:,} rows{resumed}", markup=False)

    def advanced(self, rows: float) -> None:
        """Print when it is time."""
        self._done += rows
        self._meter.rows += rows
        if time.perf_counter() >= self._next:
            self._next = time.perf_counter() + LOG_EVERY_S
            self._line()

    def committed(self, stats: ShardStats, seconds: dict[str, float]) -> None:
        """Take the figures; the last shard has its line."""
        self._meter.add(stats, seconds)
        if self._done >= self._n_rows - 0.5:
            self._line()

    def _line(self) -> None:
        done = min(self._done, self._n_rows)
        self._console.print(f"{done:,.0f} of {self._n_rows:,.0f} rows, {self._meter.words()}", markup=False)


class BarWatch:
    """A progress bar with the figures below it, for terminals."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._meter = Meter()
        self._task: TaskID | None = None

    def note(self, text: str) -> None:
        """Print above the bar."""
        self._progress.console.print(f"note: {text}", markup=False)

    def started(self, n_rows: int, rows_done: int, ceiling: float) -> None:
        """Draw the bar."""
        self._meter = Meter(ceiling)
        self._task = self._progress.add_task("scoring", total=n_rows, completed=rows_done, words="")

    def advanced(self, rows: float) -> None:
        """Move the bar."""
        self._meter.rows += rows
        if self._task is not None:
            self._progress.update(self._task, advance=rows, words=self._meter.words())

    def committed(self, stats: ShardStats, seconds: dict[str, float]) -> None:
        """Take the figures."""
        self._meter.add(stats, seconds)


class SilentWatch:
    """For `--quiet` and for callers from Python."""

    def note(self, text: str) -> None:
        """Nothing."""

    def started(self, n_rows: int, rows_done: int, ceiling: float) -> None:
        """Nothing."""

    def advanced(self, rows: float) -> None:
        """Nothing."""

    def committed(self, stats: ShardStats, seconds: dict[str, float]) -> None:
        """Nothing."""


@contextmanager
def watching(quiet: bool) -> Iterator[BarWatch | LogWatch | SilentWatch]:
    """The watch that fits where stderr goes."""
    console = stderr()
    if quiet:
        yield SilentWatch()
    elif not console.is_terminal:
        yield LogWatch(console)
    else:
        columns = (
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}", style="dim"),
        )
        with Progress(*columns, console=console) as progress:
            yield BarWatch(progress)
