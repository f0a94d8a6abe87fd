"""Which columns a submission has and what stands in them, concluded from the sample submission and the competition."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from kaggle_tools.class_columns import is_of_first, match_class_columns
from kaggle_tools.competition import Competition, SubmissionFormat
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.joined_labels import joined_by
from kaggle_tools.predictions import SEPARATOR
from kaggle_tools.tables import read_table, sniff_format


@dataclass(frozen=True)
class Layout:
    """The columns of a submission.

    Attributes:
        columns: All columns in order.
        id_column: The one that names the row.
        format: ``labels``, or ``probabilities``.
        classes: Class → its probability column; empty for ``labels``. With two classes and one probability column only
            the second class, the positive one, is here.
        groups: Label group → its column of labels, for ``multi_group``.
        joined_by: What joins several labels in a cell, for ``multi_label``.
    """

    columns: tuple[str, ...]
    id_column: str
    format: SubmissionFormat
    classes: dict[str, str]
    groups: dict[str, str] = field(default_factory=dict)
    joined_by: str = SEPARATOR

    @property
    def values(self) -> list[str]:
        """Every column but the id."""
        return [column for column in self.columns if column != self.id_column]


@dataclass(frozen=True)
class Sample:
    """A sample submission: its layout, its rows as strings, and what separates its fields."""

    layout: Layout
    table: pl.DataFrame
    separator: str


def read_sample(path: Path, competition: Competition | None) -> Sample:
    """Read the sample submission.

    Raises:
        UserError: The file cannot be read, has no rows, an id that is empty or occurs twice, or columns that are
            neither labels nor probabilities of the classes.
    """
    fmt = sniff_format(path)
    table = read_table(path, fmt=fmt)
    if not len(table):
        raise UserError("the sample submission has no rows", where=path)
    columns = tuple(table.columns)
    if len(columns) < 2:
        raise UserError(
            f"the sample submission has only one column, '{columns[0]}'", where=path, expected="an id and a value"
        )
    id_column = _id_column(columns, competition, path)
    layout = _layout(table, columns, id_column, competition, path)
    twice = trimmed(table[id_column]).is_duplicated().sum()
    empty = (trimmed(table[id_column]) == "").sum()
    if twice or empty:
        raise UserError(
            f"the sample submission has {twice:,} rows with an id that is not theirs alone, {empty:,} without one",
            where=path,
            column=f"'{id_column}'",
            next="name the id column in competition.toml: submission_id = …",
        )
    return Sample(layout, table, fmt.separator)


def separator_of(sample: Path | None) -> str:
    """What separates the fields of a submission: the sample's separator, a comma where there is none.

    Raises:
        UserError: The file cannot be read.
    """
    return "," if sample is None else sniff_format(sample).separator


def trimmed(ids: pl.Series) -> pl.Series:
    """Ids as they are compared: without blanks around them, empty where null."""
    return ids.cast(pl.String).fill_null("").str.strip_chars()


def _id_column(columns: tuple[str, ...], competition: Competition | None, path: Path) -> str:
    if competition is not None and competition.submission_id is not None:
        if competition.submission_id not in columns:
            raise UserError(
                f"the sample submission has no id column '{competition.submission_id}'",
                where=path,
                found=", ".join(columns),
                next=did_you_mean(competition.submission_id, columns),
            )
        return competition.submission_id
    if competition is not None:
        for name in (competition.test_id, competition.id_column):
            if name in columns:
                return name
    return next((column for column in columns if column.lower().endswith("id")), columns[0])


def second_class(column: str, competition: Competition) -> str:
    """The second of two classes, whose probability a lone column holds. Raises `UserError` for one called otherwise."""
    if is_of_first(column, competition.classes):
        raise UserError(
            "the submission has one column, of the first class, where that of the second is expected",
            found=column,
            expected=competition.classes[1],
            next="write the classes in competition.toml in the other order",
        )
    return competition.classes[1]


def _layout(
    table: pl.DataFrame, columns: tuple[str, ...], id_column: str, competition: Competition | None, path: Path
) -> Layout:
    values = [column for column in columns if column != id_column]
    if competition is None:
        numeric = _are_fractions(table.select(values))
        matched = {column: column for column in values} if numeric else {}
        return Layout(columns, id_column, "probabilities" if numeric else "labels", matched)
    if competition.submission_format == "labels" and competition.label_groups:
        groups = match_class_columns(values, competition.label_columns)
        if len(groups) == len(values):
            return Layout(columns, id_column, "labels", {}, groups)
        raise UserError(
            "the sample submission has columns that are no label group",
            where=path,
            found=", ".join(values),
            expected=", ".join(competition.label_columns),
        )
    if competition.submission_format == "labels" or competition.task == "token":
        if len(values) > 1:
            raise UserError(
                f"the sample submission has {len(values)} columns beside the id, but labels need one",
                where=path,
                found=", ".join(columns),
                next='set submission_format = "probabilities" in competition.toml',
            )
        several = competition.task == "multi_label"
        joined = joined_by(table[values[0]], competition.classes) if several else SEPARATOR
        return Layout(columns, id_column, "labels", {}, joined_by=joined)
    if len(values) == 1 and len(competition.classes) == 2:
        return Layout(columns, id_column, "probabilities", {second_class(values[0], competition): values[0]})
    try:
        matched = match_class_columns(values, competition.classes)
    except UserError as exc:
        details: dict[str, Any] = {**exc.details, "where": path}
        raise UserError(f"sample submission: {exc.summary}", **details) from exc
    unknown = [column for column in values if column not in matched.values()]
    if unknown:
        raise UserError(
            f"the sample submission has columns that belong to no class: {', '.join(unknown)}",
            where=path,
            expected=", ".join(competition.classes),
        )
    return Layout(columns, id_column, "probabilities", matched)


def _are_fractions(values: pl.DataFrame) -> bool:
    """Whether columns of strings hold probabilities; whole numbers in a single column are labels."""
    numbers = values.cast(pl.Float64, strict=False)
    within = numbers.select(pl.all().is_between(0, 1).fill_null(False).all()).row(0)
    return all(within) and (len(within) > 1 or bool((numbers.to_series() % 1 != 0).any()))
