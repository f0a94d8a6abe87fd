"""Predictions become the table that is submitted: the sample's columns, rows and spelling of ids, our values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.label_groups import class_name, group_slices
from kaggle_tools.predictions import SEPARATOR, Predictions
from kaggle_tools.submissions.layout import Layout, read_sample, second_class, trimmed
from kaggle_tools.tag_predictions import TagPredictions


def build_submission(
    predictions: Predictions | TagPredictions, sample: Path | None, competition: Competition
) -> pl.DataFrame:
    """The submission of these predictions.

    With a sample, columns, their order, the rows' order and the ids' spelling are the sample's; ids are compared
    without the blanks around them. Without one, rows are in the order of the predictions. Labels are the class with the
    highest probability (the first of equals); several labels a row are those of at least one half, joined as in the
    sample (by ``|`` where it does not tell); label groups have a column of labels each; tags are joined by blanks. Two
    classes and a single probability column mean the second class.

    Returns:
        The id column and labels as String, probabilities as Float32.

    Raises:
        UserError: Ids of sample and predictions differ (counts and first of each), or the classes do.
    """
    if set(predictions.classes) != set(competition.classes):
        raise UserError(
            "the predictions have other classes than the competition",
            found=", ".join(predictions.classes),
            expected=", ".join(competition.classes),
        )
    if sample is None:
        layout = own_layout(predictions.ids.name, competition)
        return _fill(predictions, layout, predictions.ids)
    wanted = read_sample(sample, competition)
    ids = wanted.table[wanted.layout.id_column]
    return _fill(_in_order_of(predictions, ids, sample), wanted.layout, ids)


def count_classes(predictions: Predictions) -> dict[str, int]:
    """Rows predicted as each class, classes in order; a row with several labels counts for each."""
    labels = predictions.predicted
    single = labels if predictions.task == "single_label" else labels.str.split(SEPARATOR).explode()
    found = dict(single.value_counts(name="n").iter_rows())
    return {name: found.get(name, 0) for name in predictions.classes}


def own_layout(id_column: str, competition: Competition) -> Layout:
    """What a submission looks like where there is no sample; `id_column` where the competition names none."""
    id_column = competition.submission_id or id_column
    named = competition.submission_columns
    if competition.submission_format == "labels" and competition.label_groups:
        groups = {group: group for group in competition.label_columns}
        return Layout((id_column, *groups), id_column, "labels", {}, groups)
    if competition.submission_format == "labels" or competition.task == "token":
        column = named[0] if named else competition.label_column or "label"
        return Layout((id_column, column), id_column, "labels", {})
    if len(named) == 1 and len(competition.classes) == 2:
        return Layout((id_column, *named), id_column, "probabilities", {second_class(named[0], competition): named[0]})
    columns = named if len(named) == len(competition.classes) else competition.classes
    return Layout(
        (id_column, *columns), id_column, "probabilities", dict(zip(competition.classes, columns, strict=True))
    )


def _in_order_of(
    predictions: Predictions | TagPredictions, ids: pl.Series, sample: Path
) -> Predictions | TagPredictions:
    ours = trimmed(predictions.ids)
    if ours.n_unique() != len(ours):
        raise UserError("ids of the predictions differ only by the blanks around them", where=f"column '{ours.name}'")
    require_same_ids(ours, ids, sample, next="score the competition's whole test file: `cli score --input <test file>`")
    return dataclasses.replace(predictions, ids=ours).align(trimmed(ids))


def require_same_ids(ours: pl.Series, sample_ids: pl.Series, sample: Path, *, next: str) -> None:
    """Make sure that predictions are of the sample submission's rows.

    Args:
        ours: Ids of the predictions, without blanks around them.
        sample_ids: As they stand in the sample.
        sample: The file.
        next: What to do where they differ.

    Raises:
        UserError: They do.
    """
    theirs = trimmed(sample_ids)
    missing = theirs.filter(~theirs.is_in(ours.implode()))
    extra = ours.filter(~ours.is_in(theirs.implode()))
    if len(missing) or len(extra):
        raise UserError(
            f"the predictions have {len(ours):,} ids, the sample submission has {len(theirs):,}: "
            f"{len(missing):,} missing, {len(extra):,} unexpected",
            missing=", ".join(missing.head(5)) or "none",
            unexpected=", ".join(extra.head(5)) or "none",
            sample=sample,
            next=next,
        )


def _fill(predictions: Predictions | TagPredictions, layout: Layout, ids: pl.Series) -> pl.DataFrame:
    filled = {layout.id_column: ids}
    for name, column in layout.classes.items():
        filled[column] = pl.Series(predictions.probs[:, predictions.classes.index(name)], dtype=pl.Float32)
    if layout.groups:
        filled |= _group_labels(predictions, layout.groups)
    elif layout.format == "labels":
        labels = predictions.predicted
        if predictions.task == "multi_label":
            labels = labels.str.replace_all(SEPARATOR, layout.joined_by, literal=True)
        filled[layout.values[0]] = labels
    return pl.DataFrame({column: filled[column] for column in layout.columns})


def _group_labels(predictions: Predictions | TagPredictions, groups: Mapping[str, str]) -> dict[str, pl.Series]:
    """Column → the most probable class of its group, without the group's name."""
    filled = {}
    for group, place in group_slices(predictions.classes).items():
        names = pl.Series([class_name(name) for name in predictions.classes[place]], dtype=pl.String)
        filled[groups[group]] = names.gather(predictions.probs[:, place].argmax(axis=1))
    return filled
