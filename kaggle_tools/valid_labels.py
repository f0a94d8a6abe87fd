"""Which rows of a table have labels that the competition knows, whatever its task: others can be told, or left out."""

from __future__ import annotations

import polars as pl

from kaggle_tools.competition import Competition
from kaggle_tools.predictions import SEPARATOR


def has_valid_labels(table: pl.DataFrame, competition: Competition) -> pl.Series:
    """(N,) Boolean: whether a row's label is a class, all of its labels or tags are, or that of each group is.

    Args:
        table: The competition's label columns, String.
        competition: Tells task, classes and label groups.
    """
    columns = competition.label_columns
    if competition.label_groups:
        known = {group: list(classes) for group, classes in competition.label_groups.items()}
        parts = [pl.col(name).is_in(known[name]) for name in columns]
        return table.select(pl.all_horizontal(parts).fill_null(False)).to_series()
    label, classes = pl.col(columns[0]), list(competition.classes)
    if competition.task in ("multi_label", "token"):
        separator = SEPARATOR if competition.task == "multi_label" else " "
        joined = label.fill_null("")
        valid = (joined == "") | joined.str.split(separator).list.eval(pl.element().is_in(classes)).list.all()
    else:
        valid = label.is_in(classes)
    return table.select(valid.fill_null(False)).to_series()
