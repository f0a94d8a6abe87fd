"""How class weights and thresholds are shown: class by class, then what they are worth."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.rescale import RescaleResult
from jobs.show.output import duration
from jobs.show.worth import print_files, print_worth

SHOWN_CLASSES = 40


def render_rescale(result: RescaleResult, console: Console) -> None:
    """Each class's weight or threshold and how many rows it has, gains and loses; scores; the certificate."""
    what = "weight" if result.weights else "threshold"
    values = result.weights or result.thresholds or ()
    console.print(f"{result.metric} of '{result.run}' on {result.n_rows:,} rows", style="bold", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("class", what, "rows", "decided before", "after"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    rows = list(zip(result.classes, values, result.rows, result.before, result.after, strict=True))
    for name, value, n_true, before, after in rows[:SHOWN_CLASSES]:
        table.add_row(Text(name), f"{value:.4f}", f"{n_true:,}", f"{before:,}", f"{after:,}")
    console.print(table)
    if len(rows) > SHOWN_CLASSES:
        console.print(f"and {len(rows) - SHOWN_CLASSES} classes more: --json has them all")
    if result.weights and result.thresholds:
        console.print(f"the same as a threshold on '{result.classes[1]}': {result.thresholds[0]:.4f}", markup=False)
    bags = f", weights averaged over {result.bags} bootstraps" if result.bags else ""
    console.print(f"as it is  {result.score:.5f}", markup=False)
    print_worth(console, result, f"{result.folds}{bags}", "the run as it is")
    console.print(result.optimality, markup=False)
    print_files(console, result)
    console.print(duration(result.seconds), markup=False)
