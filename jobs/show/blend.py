"""How blends are shown: the single models, the table of candidates, the choice in words."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from jobs.blend import BlendResult
from jobs.show.output import duration, signed, stderr
from jobs.show.worth import print_files
from kaggle_tools.metrics import find_metric
from kaggle_tools.search.honest import Honest
from kaggle_tools.search.study import Progress

TELL_EVERY_S = 2.0


def render_blend(result: BlendResult, console: Console) -> None:
    """What was tried on which evidence, what was taken, and why."""
    singles = Table.grid(padding=(0, 2))
    for name, score in result.singles.items():
        singles.add_row(name, f"{score:.5f}")
    console.print(f"{result.metric} of each run on {result.n_rows:,} rows", style="bold")
    console.print(singles)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("candidate", "numbers", "fitted", "honest", "optimism", "gain over best single, 95 %", ""):
        table.add_column(heading, justify="left" if heading in ("candidate", "") else "right")
    for row in result.table:
        mark = "taken" if row.name == result.chosen else ""
        table.add_row(
            row.name, str(row.n_parameters), f"{row.fitted:.5f}", f"{row.honest:.5f}", signed(row.optimism),
            f"{signed(row.gain)} [{signed(row.low)}, {signed(row.high)}]", mark,
        )  # fmt: skip
    console.print(table)
    console.print(f"{result.chosen}: {result.reason}", markup=False)
    if len(result.table) > 1:
        flattered = f"having been chosen of {len(result.table)} flattered it by {result.choice_optimism:.5f}"
        console.print(f"honest score {result.honest:.5f}: {flattered}", markup=False)
    console.print(result.verdict, markup=False)
    console.print(result.words, markup=False)
    print_files(console, result)
    console.print(f"{duration(result.seconds)}", markup=False)


class Teller:
    """A line for each candidate as it is done, and for the study every few seconds, with the best so far."""

    def __init__(self) -> None:
        self._best: Honest | None = None
        self._next = 0.0

    def tried(self, name: str, honest: Honest) -> None:
        """A candidate is done."""
        best = self._best
        if best is None or find_metric(honest.metric).better(honest.honest, best.honest):
            self._best = best = honest
        stderr().print(
            f"{name}: fitted {honest.fitted:.5f}, honest {honest.honest:.5f}; best honest so far {best.honest:.5f}",
            markup=False,
        )

    def batch(self, progress: Progress) -> None:
        """A batch of trials is done."""
        now = time.perf_counter()
        if now < self._next and progress.finished < progress.trials:
            return
        self._next = now + TELL_EVERY_S
        stderr().print(
            f"study: {progress.finished:,} of {progress.trials:,} trials, best fitted so far {progress.best:.5f}, "
            f"{duration(progress.seconds)}",
            markup=False,
        )
