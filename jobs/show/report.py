"""`cli report`, shown: where the page is, and what is odd."""

from __future__ import annotations

from rich.console import Console

from jobs.report import ReportResult
from jobs.show.output import duration, short_path, size, stderr


def render_report(result: ReportResult, console: Console) -> None:
    """What could not be read, then the file."""
    for problem in result.problems:
        stderr().print(f"note: {problem}", markup=False)
    console.print(f"report  {short_path(result.path)}", markup=False)
    console.print(
        f"{len(result.sections)} sections, {size(result.n_bytes)}, {duration(result.seconds)}; open it in any browser",
        markup=False,
    )


def tell_section(title: str) -> None:
    """A line for each section before it is made."""
    stderr().print(f"section: {title}", markup=False)
