"""How a difference is shown on a terminal: the verdict first, then who became what, then the biggest changes."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.diff import DiffResult
from jobs.show.output import cut, short_path
from jobs.show.submissions import visible
from kaggle_tools.submissions.changes import ChangedRow
from kaggle_tools.submissions.diff import Shift
from kaggle_tools.submissions.expected import ExpectedChange

_MOST_CLASSES = 12
_BAR = 30
_LEAST_TEXT = 20  # columns, below which a text says nothing


def render_diff(result: DiffResult, console: Console) -> None:
    """Everything that was found."""
    console.print(Text.assemble((visible(result.title_a), "bold"), " → ", (visible(result.title_b), "bold")))
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    if result.only_a or result.only_b:
        console.print(f"{result.only_a:,} ids only in A, {result.only_b:,} only in B", markup=False)
    if not result.n_changed:
        console.print(f"the {result.n_rows:,} rows are the same, whatever their order", markup=False)
        return
    console.print(_facts(result))
    console.print()
    if result.n_flipped:
        console.print(_single(result) if result.task == "single_label" else _several(result.transitions))
        console.print()
    if result.shift is not None:
        _render_shift(result.shift, console)
        console.print()
    if result.rows:
        console.print(_rows(result.rows, console.width))
    for what, path in (("all changed rows", result.csv), ("page", result.html)):
        if path is not None:
            console.print(f"{what}: {short_path(path.resolve())}", markup=False)


def _facts(result: DiffResult) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("rows", f"{result.n_rows:,}, {result.compared} compared")
    table.add_row("changed", f"{result.n_changed:,} ({result.n_changed / result.n_rows:.2%})")
    table.add_row("other label", f"{result.n_flipped:,} (churn {result.churn:.2%})")
    if result.expected is None:
        table.add_row("expected", Text(f"not known: {visible(result.not_expected)}"))
        return table
    table.add_row("expected", _expectation(result.expected))
    if result.judge is not None:
        who = ", ".join(result.judge.runs)
        table.add_row(
            "judged by",
            Text(
                f"{who}: calibrated on {result.judge.n_rows:,} out-of-fold rows, "
                f"log loss {result.judge.log_loss:.4f}, calibration error {result.judge.calibration_error:.3f}"
            ),
        )
    return table


def _expectation(expected: ExpectedChange) -> Text:
    sure = expected.low > 0 or expected.high < 0
    style = ("green" if expected.gain > 0 else "red") if sure else "yellow"
    return Text.assemble(
        f"{expected.metric} {expected.score_a:.5f} → {expected.score_b:.5f}, gain ",
        (f"{expected.gain:+.5f}", style),
        f" [{expected.low:+.5f}, {expected.high:+.5f}], P(better) = ",
        (f"{expected.p_better:.3f}", style),
    )


def _single(result: DiffResult) -> Table:
    """Rows by class in A and in B; of many classes those between which most rows moved."""
    moved = {
        name: sum(n for other, n in row.items() if other != name)
        + sum(row[name] for other, row in result.transitions.items() if other != name)
        for name, row in result.transitions.items()
    }
    names = list(result.transitions)
    if len(names) > _MOST_CLASSES:
        most = sorted(names, key=lambda name: -moved[name])[:_MOST_CLASSES]
        names = [name for name in names if name in most]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    table.add_column("A ↓  B →")
    for name in names:
        table.add_column(Text(visible(name)), justify="right")
    table.add_column("rows in A", justify="right", style="dim")
    for name in names:
        cells = [_count(result.transitions[name][other], other == name) for other in names]
        table.add_row(Text(visible(name)), *cells, f"{result.counts_a[name]:,}")
    table.add_row("rows in B", *(f"{result.counts_b[name]:,}" for name in names), f"{result.n_rows:,}", style="dim")
    if len(names) < len(result.transitions):
        table.caption = f"the {len(names)} of {len(result.transitions)} classes that changed most"
    return table


def _count(n: int, same: bool) -> Text:
    return Text(f"{n:,}" if n else "·", style="dim" if same or not n else "")


def _several(transitions: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("label")
    for heading in ("kept", "added", "removed"):
        table.add_column(heading, justify="right")
    ordered = sorted(transitions.items(), key=lambda item: -(item[1]["added"] + item[1]["removed"]))
    for name, counts in ordered[:_MOST_CLASSES]:
        table.add_row(Text(visible(name)), *(f"{counts[key]:,}" for key in ("kept", "added", "removed")))
    if len(ordered) > _MOST_CLASSES:
        table.caption = f"the {_MOST_CLASSES} of {len(ordered)} labels that changed most"
    return table


def _render_shift(shift: Shift, console: Console) -> None:
    quantiles = ", ".join(f"{float(q):.1%} ≤ {value:.4f}" for q, value in shift.quantiles.items())
    console.print(f"largest move of any probability of a row: mean {shift.mean:.4f}, {quantiles}, all ≤ "
                  f"{shift.largest:.4f}", markup=False)  # fmt: skip
    most = max([shift.unmoved, *(n for _, n in shift.histogram)])
    table = Table.grid(padding=(0, 2))
    bins = [("none", shift.unmoved), *((f"≤ {edge:g}", n) for edge, n in shift.histogram)]
    for name, n in bins:
        table.add_row(name, Text(f"{n:,}", justify="right"), "█" * round(_BAR * n / most) or ("▏" if n else ""))
    console.print(table)


def _rows(rows: tuple[ChangedRow, ...], width: int) -> Table:
    """The text takes what room the other columns leave."""
    columns = {
        "id": [row.id for row in rows],
        "A": [_decided(row.label_a, row.prob_a) for row in rows],
        "B": [_decided(row.label_b, row.prob_b) for row in rows],
        "moved": ["" if row.moved is None else f"{row.moved:.4f}" for row in rows],
        "judge": ["" if row.judge_a is None else f"{row.judge_a:.2f} → {row.judge_b:.2f}" for row in rows],
    }
    kept = {heading: [visible(cell) for cell in cells] for heading, cells in columns.items() if any(cells)}
    room = width - 2 - sum(max(map(cell_len, [heading, *cells])) + 2 for heading, cells in kept.items())
    if room >= _LEAST_TEXT and any(row.text for row in rows):
        kept["text"] = [cut(visible(row.text or ""), room) for row in rows]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in kept:
        table.add_column(heading, justify="right" if heading in ("moved", "judge") else "left", no_wrap=True)
    for cells in zip(*kept.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _decided(label: str, prob: float | None) -> str:
    return label if prob is None else f"{label} {prob:.2f}"
