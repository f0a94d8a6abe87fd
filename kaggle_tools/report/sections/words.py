"""Numbers and lists in words, the same in every section."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from kaggle_tools.report.blocks import Cell, Note, Tone


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


def day(stamp: str) -> str:
    """An ISO time as ``20 Nov 2026, 21:30``; anything else as it is."""
    try:
        return f"{datetime.fromisoformat(stamp):%d %b %Y, %H:%M}".lstrip("0")
    except ValueError:
        return stamp


def number_cell(
    value: float | None, form: str = ".4f", *, bar: float | None = None, strong: bool = False, tone: Tone = ""
) -> Cell:
    """A number in a table; empty where there is none."""
    if value is None or value != value:
        return Cell("")
    return Cell(format(value, form), float(value), bar=bar, strong=strong, tone=tone)


def warnings(problems: Iterable[str]) -> list[Note]:
    """A note for each thing that could not be read."""
    return [Note(problem, "warning") for problem in problems]
