"""How a classification report is shown: averages first, then a line a class."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.evaluate import EvaluateResult
from jobs.show.output import short_path
from kaggle_tools.metrics.report import Line


def render_evaluate(result: EvaluateResult, console: Console) -> None:
    """Averages, exact match and Hamming loss, and each class by falling support."""
    report = result.report
    console.print(f"{report.n_rows:,} rows of {short_path(result.source)}", markup=False)
    averages = _table("average")
    for name, line in report.averages.items():
        _add(averages, name, line)
    console.print(averages)
    for name, value in result.groups.items():
        console.print(f"{name} {value:.4f}", markup=False)
    if result.n_illegal:
        console.print(f"{result.n_illegal:,} predicted I- tags go on no entity and count for nothing", markup=False)
    several = result.task != "single_label"
    console.print(f"{result.metric} {result.score:.4f}, {'exact match' if several else 'accuracy'} ", end="")
    console.print(f"{report.exact_match:.4f}, Hamming loss {report.hamming_loss:.5f}")
    if result.threshold is not None:
        console.print(
            f"{report.labels_a_row:.2f} labels a row, {report.predicted_a_row:.2f} predicted "
            f"(from a probability of {result.threshold:g} on)"
        )
    classes = _table("class")
    for name, line in sorted(report.classes.items(), key=lambda item: -item[1].support):
        _add(classes, name, line)
    console.print(classes)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)


def _table(first: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first)
    for heading in ("precision", "recall", "F1", "support"):
        table.add_column(heading, justify="right")
    return table


def _add(table: Table, name: str, line: Line) -> None:
    table.add_row(Text(name), *(f"{v:.4f}" for v in (line.precision, line.recall, line.f1)), f"{line.support:,}")
