"""Numbers and lists in words, the same in every section."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from kaggle_tools.report.blocks import Cell, Note, Table, Tone


def plural(n: int, what: str) -> str:
    """``1 run``, ``1,200 rows``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """``a, b and c``; the rest is counted."""
    shown = [*names[:most], *([f"{len(names) - most:,} more"] if len(names) > most else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def spaced(name: str) -> str:
    """``macro_f1`` as ``macro F1``, ``log_loss`` as ``log loss``."""
    capitals = {"f1": "F1", "roc": "ROC", "auc": "AUC", "mcc": "MCC"}
    return " ".join(capitals.get(word, word) for word in name.split("_"))


def seconds(value: float) -> str:
    """``4.2 s``, ``3 min 20 s``, ``5 h 12 min``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def compact(number: float) -> str:
    """``12,345`` below a million, then ``1.2 M``, ``3.4 G``."""
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(number) >= limit:
            return f"{number / limit:,.1f} {suffix}"
    return f"{number:,.0f}"


def time_cell(stamp: str) -> Cell:
    """An ISO time as ``20 Nov 2026``, sorted to the second; anything else as it is."""
    try:
        time = datetime.fromisoformat(stamp)
        return Cell(f"{time.day} {time:%b %Y}", time.timestamp())
    except ValueError:
        return Cell(stamp)


def number_cell(
    value: float | None, form: str = ".4f", *, bar: float | None = None, strong: bool = False, tone: Tone = ""
) -> Cell:
    """A number in a table; empty where there is none."""
    if value is None or value != value:
        return Cell("")
    text = format(value, form)
    rounded_to_zero = not any(digit in text for digit in "123456789")
    return Cell(text.lstrip("+-") if rounded_to_zero else text, float(value), bar=bar, strong=strong, tone=tone)


def without_empty(table: Table) -> Table:
    """The table without columns in which nothing stands, such as private scores while nobody knows any."""
    kept = [i for i in range(len(table.columns)) if i == 0 or any(row[i].text for row in table.rows)]
    return replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        sorted_by=kept.index(table.sorted_by) if table.sorted_by in kept else -1,
    )


def warnings(problems: Iterable[str]) -> list[Note]:
    """A note for each thing that could not be read."""
    return [Note(problem, "warning") for problem in problems]
