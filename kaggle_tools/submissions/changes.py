"""The changed rows of a `Difference` as a person reads them: what was, what is, how far it moved, the text.

changed_rows(found, 10, texts)          # the biggest first, for a screen
changes_table(found, texts)             # all of them, for a CSV that a spreadsheet may open
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.submissions._join import rows_of
from kaggle_tools.submissions.diff import Difference
from kaggle_tools.submissions.judge import Judge
from kaggle_tools.submissions.layout import trimmed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ChangedRow:
    """One changed row.

    Attributes:
        id: Its id.
        label_a: Decision of A.
        label_b: Decision of B.
        moved: Largest absolute change of any of its probabilities; None for labels.
        prob_a: A's probability of A's decision; None for labels or several labels a row.
        prob_b: B's probability of B's decision.
        judge_a: The judge's probability of A's decision; None without a judge, or with several labels a row.
        judge_b: Of B's decision.
        text: What is classified; None where it is not known.
    """

    id: str
    label_a: str
    label_b: str
    moved: float | None
    prob_a: float | None
    prob_b: float | None
    judge_a: float | None
    judge_b: float | None
    text: str | None


@dataclass(frozen=True)
class Texts:
    """(N,) ids and (N,) texts of the test file."""

    ids: pl.Series
    texts: pl.Series

    def of(self, wanted: pl.Series) -> pl.Series:
        """Texts of these ids, null where there is none."""
        ids = trimmed(self.ids)
        rows = rows_of(wanted, ids)
        if rows is None:  # an id twice in the test file: which text is meant is not known
            return pl.Series([None] * len(wanted), dtype=pl.String)
        found = pl.Series(rows)
        return self.texts.gather(found.set(found < 0, None))


def changed_rows(
    found: Difference, n: int, texts: Texts | None = None, judge: Judge | None = None
) -> tuple[ChangedRow, ...]:
    """The biggest changes: other decisions first, then by how far the probabilities moved.

    Labels have not moved by more or less: there the rows come first on which the judge sees the most at stake.
    """
    table = _table(found, _biggest(found, judge, n), texts, judge)
    return tuple(ChangedRow(**row) for row in table.iter_rows(named=True))


def changes_table(found: Difference, texts: Texts | None = None, judge: Judge | None = None) -> pl.DataFrame:
    """Every changed row, biggest first; columns as in `ChangedRow`, then each class's two probabilities.

    Text that a spreadsheet would take for a formula begins with an apostrophe, and columns without a value are left
    out.
    """
    places = _biggest(found, judge, None)
    table = _table(found, places, texts, judge)
    a, b = found.a.probs, found.b.probs
    if a is not None and b is not None:
        p = found.a.in_order(found.classes)[found.rows_a[places]]
        q = found.b.in_order(found.classes)[found.rows_b[places]]
        both = [(f"a_{name}", p[:, k]) for k, name in enumerate(found.classes)]
        both += [(f"b_{name}", q[:, k]) for k, name in enumerate(found.classes)]
        table = table.with_columns(pl.Series(name, values) for name, values in both)
    kept = [column for column in table if column.null_count() < len(column) or not len(column)]
    return pl.DataFrame([guarded(column) if column.dtype == pl.String else column for column in kept])


def guarded(cells: pl.Series) -> pl.Series:
    """Text that no spreadsheet runs: cells that begin like a formula, and are no number, get an apostrophe."""
    risky = cells.str.contains(r"^[=+\-@\t\r]") & cells.str.strip_chars().cast(pl.Float64, strict=False).is_null()
    return pl.select(pl.when(risky).then("'" + cells).otherwise(cells).alias(cells.name)).to_series()


def _biggest(found: Difference, judge: Judge | None, n: int | None) -> NDArray[np.int64]:
    places = found.biggest(n if found.moved is not None else None)
    judged = _judged(found, found.ids.gather(places), judge) if found.moved is None else None
    if judged is not None:
        stake = _at(judged, found.decisions_b[places]) - _at(judged, found.decisions_a[places])
        places = places[np.argsort(-np.abs(stake), kind="stable")]
    return places[:n]


def _table(found: Difference, places: NDArray[np.int64], texts: Texts | None, judge: Judge | None) -> pl.DataFrame:
    ids = found.ids.gather(places)
    judged = _judged(found, ids, judge)
    single = found.task == "single_label"
    probs = [
        _at(side.in_order(found.classes)[rows[places]], decided[places]) if single and side.probs is not None else None
        for side, rows, decided in (
            (found.a, found.rows_a, found.decisions_a),
            (found.b, found.rows_b, found.decisions_b),
        )
    ]
    columns: dict[str, Any] = {
        "id": ids,
        "label_a": pl.Series([found.label("a", int(i)) for i in places], dtype=pl.String),
        "label_b": pl.Series([found.label("b", int(i)) for i in places], dtype=pl.String),
        "moved": None if found.moved is None else found.moved[places],
        "prob_a": probs[0],
        "prob_b": probs[1],
        "judge_a": None if judged is None else _at(judged, found.decisions_a[places]),
        "judge_b": None if judged is None else _at(judged, found.decisions_b[places]),
        "text": None if texts is None else texts.of(ids),
    }
    missing = {"text": pl.String}
    return pl.DataFrame(
        [
            pl.Series(name, [None] * len(places), dtype=missing.get(name, pl.Float64))
            if values is None
            else pl.Series(name, values)
            for name, values in columns.items()
        ]
    )


def _judged(found: Difference, ids: pl.Series, judge: Judge | None) -> Floats | None:
    """(n, C) probabilities of the judge, to six digits; None where it does not know these rows."""
    if judge is None or found.task != "single_label" or set(judge.classes) != set(found.classes):
        return None
    rows = rows_of(ids, judge.ids)
    if rows is None or (rows < 0).any():
        return None
    return np.round(judge.probs[rows][:, [judge.classes.index(name) for name in found.classes]], 6)


def _at(probs: NDArray[Any], chosen: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(probs[np.arange(len(chosen)), chosen])
