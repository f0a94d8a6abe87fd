"""What stands in the value columns of a submission file: labels, or one probability a class; or why it is neither."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.class_columns import is_of_first, match_class_columns
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.joined_labels import joined_by
from kaggle_tools.label_groups import join_columns
from kaggle_tools.predictions import SEPARATOR
from kaggle_tools.whole_numbers import as_integers

SUM_TOLERANCE = 1e-3

Floats = NDArray[np.float32] | NDArray[np.float64]

# Classes, task, labels or None, probabilities or None.
Parts = tuple[tuple[str, ...], str, pl.Series | None, Floats | None]


def of_competition(path: Path, values: pl.DataFrame, competition: Competition) -> Parts:
    """Class columns count first; else a single column of labels, or of the second class's probability (the first's
    where it is called so); of label groups a column each."""
    classes, task = competition.classes, competition.task
    try:
        matched = match_class_columns(values.columns, classes)
    except UserError as exc:
        if competition.label_groups:
            return classes, task, _of_groups(path, values, competition), None
        if values.width > 1 and competition.label_column not in values.columns:
            raise no_submission(path, values, exc.summary, expected=", ".join(classes)) from exc
    else:
        return classes, task, None, _fractions(path, values.select(matched.values()))
    column = competition.label_column if competition.label_column in values.columns else values.columns[0]
    single = values[column]
    # 0 and 1 are probabilities of the second class where the competition wants those, though classes may be called so.
    probability = competition.submission_format == "probabilities" and len(competition.submission_columns) == 1
    are_numbers = probability and set(classes) == {"0", "1"}
    if task == "single_label" and len(classes) == 2 and (are_numbers or not _all_among(single, classes)):
        own = _fractions(path, single.to_frame())
        return classes, task, None, _two_columns(1 - own if is_of_first(column, classes) else own)
    labels = _labels(path, single, empty=task != "single_label")
    if task == "single_label":
        _refuse_others(path, labels, classes)
    if task == "multi_label":
        labels = labels.str.replace_all(joined_by(labels, classes), SEPARATOR, literal=True)
    return classes, task, labels, None


def _of_groups(path: Path, values: pl.DataFrame, competition: Competition) -> pl.Series:
    """(N,) String ``<group>:<class>`` of all groups, joined by ``|``."""
    try:
        columns = match_class_columns(values.columns, competition.label_columns)
    except UserError as exc:
        raise no_submission(path, values, exc.summary, expected=", ".join(competition.label_columns)) from exc
    groups = {group: _labels(path, values[column], empty=False) for group, column in columns.items()}
    for group, labels in groups.items():
        _refuse_others(path, labels, competition.label_groups[group])
    return join_columns(pl.DataFrame(groups), tuple(groups))


def _refuse_others(path: Path, labels: pl.Series, classes: Sequence[str]) -> None:
    wrong = ~labels.is_in(list(classes))
    if wrong.any():
        row = wrong.arg_max() or 0
        raise UserError(
            f"{path.name} holds labels that are no classes of the competition",
            where=path,
            found=f"{wrong.sum():,} of {len(labels):,} rows; row {row + 1:,}: '{labels[row]}' "
            f"in column '{labels.name}'",
            expected=", ".join(classes),
            next="check the file with `cli validate FILE`",
        )


def of_values(path: Path, values: pl.DataFrame) -> Parts:
    """Without a competition: several columns are probabilities of classes named so, a single one of labels."""
    numbers = [_numbers(values[name]) for name in values.columns]
    fractions = [bool(n.is_between(0, 1).fill_null(False).all()) for n in numbers]
    if values.width == 1:
        if fractions[0] and (numbers[0] % 1 != 0).any():
            name = values.columns[0]
            return (f"not {name}", name), "single_label", None, _two_columns(_fractions(path, values))
        labels = _labels(path, values.to_series(), empty=False)
        return tuple(labels.unique().sort()), "single_label", labels, None
    if not all(fractions):
        other = values.columns[fractions.index(False)]
        raise no_submission(path, values, f"column '{other}' holds no probabilities, and there is more than one column")
    probs = _fractions(path, values)
    one = bool((np.abs(probs.sum(axis=1) - 1) <= SUM_TOLERANCE).all())
    return tuple(values.columns), "single_label" if one else "multi_label", None, probs


def _fractions(path: Path, values: pl.DataFrame) -> Floats:
    """(N, C) of columns that hold numbers in [0, 1].

    Raises:
        UserError: A value is something else; names row, column and value.
    """
    columns = [_numbers(values[name]) for name in values.columns]
    for name, numbers in zip(values.columns, columns, strict=True):
        wrong = ~numbers.is_between(0, 1).fill_null(False)
        if wrong.any():
            row = wrong.arg_max() or 0
            raise UserError(
                f"{path.name} holds values that are no probabilities",
                where=path,
                found=f"{wrong.sum():,} of {len(values):,} rows; row {row + 1:,}: '{values[name][row]}' "
                f"in column '{name}'",
                expected="numbers in [0, 1]",
                next="logits become probabilities on `cli import NAME --test FILE --logits`",
            )
    return np.ascontiguousarray(np.column_stack([numbers.to_numpy() for numbers in columns]))


def _two_columns(second: Floats) -> Floats:
    return np.ascontiguousarray(np.column_stack([1 - second[:, 0], second[:, 0]]))


def _labels(path: Path, values: pl.Series, *, empty: bool) -> pl.Series:
    labels = _text(values)
    missing = labels.is_null() | (labels == "")
    if missing.any() and not empty:
        row = missing.arg_max() or 0
        raise UserError(
            f"{missing.sum():,} of {len(labels):,} rows of {path.name} have no label",
            where=path,
            first=f"row {row + 1:,}, column '{values.name}'",
            next="check the file with `cli validate FILE`",
        )
    return labels.fill_null("")


def _numbers(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        fast = values.cast(pl.Float64, strict=False)
        return fast if not fast.null_count() else values.str.strip_chars().cast(pl.Float64, strict=False)
    if values.dtype.is_float():
        return values
    return values.cast(pl.Float64, strict=False) if values.dtype.is_numeric() else pl.Series([None] * len(values))


def _text(values: pl.Series) -> pl.Series:
    return as_integers(values).cast(pl.String).str.strip_chars()


def _all_among(values: pl.Series, classes: Sequence[str]) -> bool:
    return bool(_text(values).is_in(list(classes)).fill_null(False).all())


def no_submission(
    path: Path,
    table: pl.DataFrame,
    why: str,
    expected: str = "an id column, and a label or one probability a class",
) -> UserError:
    shown = ", ".join(table.columns[:8]) + (" …" if table.width > 8 else "")
    return UserError(
        f"{path.name} is not a submission: {why}",
        where=path,
        found=f"{len(table):,} rows, columns {shown}" if table.width else "nothing",
        expected=expected,
    )
