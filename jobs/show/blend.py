"""How blends are shown: the single models, the table of candidates, the choice in words."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from jobs.blend import BlendResult
from jobs.show.output import duration, short_path, stderr
from kaggle_tools.search.honest import Honest


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
            row.name, str(row.n_parameters), f"{row.fitted:.5f}", f"{row.honest:.5f}", f"{row.optimism:+.5f}",
            f"{row.gain:+.5f} [{row.low:+.5f}, {row.high:+.5f}]", mark,
        )  # fmt: skip
    console.print(table)
    console.print(f"{result.chosen}: {result.reason}", markup=False)
    if len(result.table) > 1:
        flattered = f"having been chosen of {len(result.table)} flattered it by {result.choice_optimism:.5f}"
        console.print(f"honest score {result.honest:.5f}: {flattered}", markup=False)
    console.print(result.verdict, markup=False)
    console.print(result.words, markup=False)
    console.print(f"recipe      {short_path(result.recipe)}", markup=False)
    if result.submission:
        console.print(f"submission  submissions/{result.submission}/submission.csv", markup=False)
    console.print(f"{duration(result.seconds)}", markup=False)


def tell_tried(name: str, honest: Honest) -> None:
    """A line for each candidate as it is done."""
    stderr().print(f"{name}: fitted {honest.fitted:.5f}, honest {honest.honest:.5f}", markup=False)
