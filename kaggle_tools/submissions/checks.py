"""The checks behind `validate`, one function for columns, ids and values each; every one returns all that it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from kaggle_tools.competition import Competition
from kaggle_tools.errors import did_you_mean
from kaggle_tools.joined_labels import joined_by
from kaggle_tools.submissions.layout import Layout, Sample, trimmed

SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a submission.

    Attributes:
        what: With the number of rows or ids concerned.
        first: The first place, as line and id, or the first few ids.
        expected: What should be there.
        next: What to do.
    """

    what: str
    first: str = ""
    expected: str = ""
    next: str = ""

    @property
    def details(self) -> dict[str, str]:
        """Everything but `what`, for a `UserError`."""
        return {"first": self.first, "expected": self.expected, "next": self.next}

    @property
    def line(self) -> str:
        """In one line."""
        return f"{self.what}; first: {self.first}" if self.first else self.what


@dataclass(frozen=True)
class Sheet:
    """A submission that has an id column, and what it is compared with.

    Attributes:
        table: The submission, all String.
        sample: The sample submission.
        competition: For classes and task, where known.
        line_of: The line of the file in which a row begins; rows from 0, lines from 1.
    """

    table: pl.DataFrame
    sample: Sample
    competition: Competition | None
    line_of: Callable[[int], int]

    @property
    def layout(self) -> Layout:
        """The columns that the sample has."""
        return self.sample.layout

    @property
    def ids(self) -> pl.Series:
        """(N,) the submission's ids without blanks around them."""
        return trimmed(self.table[self.layout.id_column])

    def place(self, bad: pl.Series) -> str:
        """The first row for which `bad` is true: line of the file, and id."""
        row = bad.fill_null(True).arg_max() or 0
        return f"line {self.line_of(row):,}, {self.layout.id_column} '{self.ids[row]}'"


def check_columns(table: pl.DataFrame, layout: Layout) -> list[Problem]:
    """Columns that are missing, unknown or in another order."""
    expected = ", ".join(layout.columns)
    missing = [column for column in layout.columns if column not in table.columns]
    unknown = [column for column in table.columns if column not in layout.columns]
    problems = []
    if missing:
        hint = did_you_mean(missing[0], unknown) if unknown else ""
        problems.append(Problem(f"column missing: {', '.join(missing)}", expected=expected, next=hint))
    if unknown:
        problems.append(Problem(f"column not in the sample: {', '.join(unknown)}", expected=expected))
    if not problems and table.columns != list(layout.columns):
        problems.append(Problem(f"columns in another order: {', '.join(table.columns)}", expected=expected))
    return problems


def check_ids(sheet: Sheet) -> list[Problem]:
    """Ids that are empty, twice there, missing, unknown, spelled differently or in another order."""
    ids, wanted = sheet.ids, trimmed(sheet.sample.table[sheet.layout.id_column])
    if not len(ids):
        return [Problem("a header and no rows", expected=f"{len(wanted):,} rows")]
    problems = []
    empty = ids == ""
    if empty.any():
        problems.append(Problem(f"{empty.sum():,} rows have no id", first=sheet.place(empty)))
    again = ~ids.is_first_distinct() & ~empty
    if again.any():
        problems.append(Problem(f"{again.sum():,} rows repeat an id", first=sheet.place(again)))
    missing = wanted.filter(~wanted.is_in(ids.implode()))
    if len(missing):
        problems.append(
            Problem(
                f"{len(missing):,} of {len(wanted):,} ids are missing",
                first=", ".join(missing.head(5)),
                next="score the whole test file",
            )
        )
    extra = ~ids.is_in(wanted.implode()) & ~empty
    if extra.any():
        problems.append(Problem(f"{extra.sum():,} ids are not in the sample", first=sheet.place(extra)))
    return problems or _check_spelling_and_order(sheet, ids, wanted)


def _check_spelling_and_order(sheet: Sheet, ids: pl.Series, wanted: pl.Series) -> list[Problem]:
    """For the right set of ids, each once."""
    moved = ids != wanted
    if moved.any():
        return [
            Problem(
                f"{moved.sum():,} rows are not where the sample has them",
                first=sheet.place(moved),
                expected="the order of the sample",
            )
        ]
    spelled = sheet.table[sheet.layout.id_column] != sheet.sample.table[sheet.layout.id_column]
    if spelled.any():
        first = f"{sheet.place(spelled)}: blanks around it differ from the sample's"
        return [Problem(f"{spelled.sum():,} ids are spelled differently", first=first)]
    return []


def check_values(sheet: Sheet) -> list[Problem]:
    """Values that are empty, no label of the competition or no probability."""
    present = [column for column in sheet.layout.values if column in sheet.table.columns]
    several = sheet.competition is not None and sheet.competition.task in ("multi_label", "token")
    problems: list[Problem] = []
    if sheet.layout.format == "probabilities" or not several:  # A row may well have none of several labels.
        problems += [problem for column in present for problem in _check_filled(sheet, column)]
    if sheet.layout.format == "labels":
        problems += [problem for column in present for problem in _check_labels(sheet, column)]
        if sheet.competition is not None and sheet.competition.task == "token":
            problems += [problem for column in present for problem in _check_tag_counts(sheet, column)]
        return problems
    problems += [problem for column in present for problem in _check_fractions(sheet, column)]
    if problems or len(present) != len(sheet.layout.values) or not _sums_to_one(sheet):
        return problems
    total = _total(sheet.table.select(present))
    off = (total - 1).abs() > SUM_TOLERANCE
    if off.any():
        row = off.arg_max() or 0
        first = f"{sheet.place(off)}: {total[row]:.6g}"
        problems.append(Problem(f"{off.sum():,} rows do not sum to one", first=first, expected="1 ± 0.001"))
    return problems


def _check_filled(sheet: Sheet, column: str) -> Iterator[Problem]:
    empty = _empty(sheet.table[column])
    if empty.any():
        yield Problem(f"{empty.sum():,} rows have no value in column '{column}'", first=sheet.place(empty))


def _check_labels(sheet: Sheet, column: str) -> Iterator[Problem]:
    labels = sheet.table[column]
    allowed = _allowed(sheet, column)
    if allowed is None:
        return
    separators = {"multi_label": sheet.layout.joined_by, "token": " "}
    separator = separators.get(sheet.competition.task) if sheet.competition else None
    if separator is None:
        bad = ~labels.is_in(allowed.implode())
    else:
        bad = ~labels.str.split(separator).list.eval(pl.element().is_in(allowed.implode())).list.all()
    bad = bad & ~_empty(labels)
    if bad.any():
        value = labels[bad.arg_max() or 0]
        yield Problem(
            f"{bad.sum():,} rows have a label that is not allowed in column '{column}'",
            first=f"{sheet.place(bad)}: '{value}'",
            expected=", ".join(allowed.head(30)),
            next=_advice(labels.filter(bad), allowed, separator),
        )


def _check_tag_counts(sheet: Sheet, column: str) -> Iterator[Problem]:
    """As many tags in each row as the sample has, unless it has the same number everywhere: those stand for any."""
    wanted = _n_tags(sheet.sample.table[column])
    if wanted.n_unique() < 2:
        return
    sample = pl.DataFrame({"id": trimmed(sheet.sample.table[sheet.layout.id_column]), "n": wanted})
    expected = pl.DataFrame({"id": sheet.ids}).join(sample, on="id", how="left", maintain_order="left")["n"]
    own = _n_tags(sheet.table[column])
    bad = (own != expected).fill_null(False)
    if bad.any():
        row = bad.arg_max() or 0
        yield Problem(
            f"{bad.sum():,} rows have more or fewer tags than the sample in column '{column}'",
            first=f"{sheet.place(bad)}: {own[row]:,} for {expected[row]:,}",
            expected="a tag for each word",
        )


def _n_tags(cells: pl.Series) -> pl.Series:
    return cells.fill_null("").str.count_matches(r"\S+")


def _advice(wrong: pl.Series, allowed: pl.Series, separator: str | None) -> str:
    """What became of whole numbers in a table with a gap, of classes in another case or joined otherwise, is known."""
    own = joined_by(wrong, allowed.to_list())
    if separator is not None and own != separator and wrong.str.contains(own, literal=True).any():
        return f"labels are joined by '{own}', where the competition has '{separator}'"
    if wrong.str.strip_suffix(".0").is_in(allowed.implode()).all():
        return "whole numbers were written as fractions: cast the column to int before saving"
    if wrong.str.strip_chars().str.to_lowercase().is_in(allowed.str.to_lowercase().implode()).all():
        return "only blanks or upper and lower case differ: spell labels as the competition does"
    numbers = wrong.cast(pl.Float64, strict=False)
    if numbers.is_between(0, 1).fill_null(False).all():
        return "these look like probabilities: the competition wants labels"
    return ""


def _check_fractions(sheet: Sheet, column: str) -> Iterator[Problem]:
    text = sheet.table[column]
    numbers = _numbers(text)
    present = ~_empty(text)
    no_number = (numbers.is_null() | numbers.is_nan()) & present
    outside = ~numbers.is_between(0, 1).fill_null(True) & ~no_number & present
    for bad, what in ((no_number, "that is not a number"), (outside, "outside [0, 1]")):
        if bad.any():
            first = f"{sheet.place(bad)}: '{text[bad.arg_max() or 0]}'"
            yield Problem(f"{bad.sum():,} rows have a value {what} in column '{column}'", first=first)


def _allowed(sheet: Sheet, column: str) -> pl.Series | None:
    """Labels that may be used; None where nobody knows, since the sample has the same one everywhere."""
    for group, own in sheet.layout.groups.items():
        if own == column and sheet.competition is not None:
            return pl.Series(sheet.competition.label_groups[group], dtype=pl.String)
    if sheet.competition is not None:
        return pl.Series(sheet.competition.classes, dtype=pl.String)
    used = sheet.sample.table[column].drop_nulls().unique().sort()
    return used if len(used) > 1 else None


def _sums_to_one(sheet: Sheet) -> bool:
    if len(sheet.layout.values) < 2:
        return False
    if sheet.competition is not None:
        return sheet.competition.task == "single_label"
    return bool(((_total(sheet.sample.table.select(sheet.layout.values)) - 1).abs() <= SUM_TOLERANCE).all())


def _total(table: pl.DataFrame) -> pl.Series:
    return table.select(pl.all().str.strip_chars().cast(pl.Float64, strict=False)).sum_horizontal()


def _numbers(text: pl.Series) -> pl.Series:
    return text.str.strip_chars().cast(pl.Float64, strict=False)


def _empty(text: pl.Series) -> pl.Series:
    return text.is_null() | (text.str.strip_chars() == "").fill_null(True)
