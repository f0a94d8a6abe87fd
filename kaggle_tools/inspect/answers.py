"""What the answer looks like: task, classes, submission format, metric. Each function gives value and reason."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from kaggle_tools.bio import OUTSIDE, check_tags
from kaggle_tools.class_columns import is_of_first, match_class_columns
from kaggle_tools.competition import SUBMISSION_FORMATS, TASKS, SubmissionFormat, Task
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.inspect.files import File
from kaggle_tools.label_groups import join_columns
from kaggle_tools.metrics import find_metric, metric_for

# Tasks by what is read; what is answered is one label a row.
ONE_LABEL = {"pair": "one label a pair of texts", "relation": "one label a text that marks two entities"}

_TAGS = r"^(O|[BI]-\S+)( (O|[BI]-\S+))*$"
_IMBALANCED = 1.5
_MOST_NUMBERS = 50


def conclude_task(labels: pl.Series | None, asked: str | None) -> tuple[Task, str]:
    """``multi_label`` where labels are joined by ``|``, ``token`` where they are BIO tags joined by blanks."""
    if asked in ONE_LABEL:
        return "single_label", f"asked for: {ONE_LABEL[asked]}"
    if asked is not None:
        return _one_of(asked, (*TASKS, *ONE_LABEL), "task"), "asked for"  # type: ignore[return-value]
    n_joined = 0 if labels is None else int(labels.str.contains("|", literal=True).sum())
    if labels is None:
        return "single_label", "no train file to tell; --task multi_label otherwise"
    if n_joined:
        return "multi_label", f"{n_joined:,} of {len(labels):,} labels are several, joined by '|'"
    if labels.str.contains(_TAGS).all() and labels.str.contains(" ", literal=True).any():
        return "token", "the labels are BIO tags, one a word"
    return "single_label", f"no label holds '|'{_joined_otherwise(labels)}"


def _joined_otherwise(labels: pl.Series) -> str:
    """A word of labels that look joined by something else: they have fewer different parts than there are of them."""
    distinct = labels.drop_nulls().unique()
    for separator in ",; ":
        n_joined = int(labels.str.contains(separator, literal=True).sum())
        parts = distinct.str.split(separator).explode().str.strip_chars()
        if n_joined and parts.n_unique() < len(distinct):
            return f", {n_joined:,} hold '{separator}': if these are several labels, join them by '|'"
    return ""


def conclude_classes(
    labels: pl.Series | None, task: Task, sample_values: dict[str, pl.Series], asked: Sequence[str]
) -> tuple[tuple[str, ...], str]:
    """Class names in order.

    Raises:
        UserError: Neither file tells them, there are fewer than two, the labels are quantities or lists, or the
            sample has columns beside the id that are neither classes nor the answer.
    """
    if asked:
        if "" in asked or len(set(asked)) < max(2, len(asked)):
            raise UserError(
                "--classes takes two different names or more", found=", ".join(map(repr, asked)), next="--classes a,b,c"
            )
        return tuple(asked), "asked for"
    distinct = [] if labels is None else _distinct(labels, task)
    if labels is not None and hold_quantities(distinct):
        raise _no_classes(labels.name, distinct, "name the classes with --classes if these are classes all the same")
    if labels is not None and _are_lists(distinct):
        raise UserError(
            "the labels are lists, not classes",
            where=f"column '{labels.name}' of train",
            found=f"{len(distinct):,} different ones, such as {distinct[0]}",
            next="join each row's labels by '|' (in polars: list.join('|') of strings); or name the classes with "
            "--classes if these are classes all the same",
        )
    if len(sample_values) > 1:
        _check_class_columns(labels, distinct, list(sample_values))
        return _in_sample_order(list(sample_values), distinct)
    if distinct:
        found, why = distinct, "the labels of train"
    elif sample_values:
        (column,) = sample_values.values()
        found, why = _distinct(column, task), "the labels in the sample: there may be more"
    else:
        raise UserError("no file tells the classes", next="give --train FILE, or name them: --classes a,b,c")
    if len(found) < 2:
        raise UserError(
            f"only one class: {', '.join(found)}",
            next="is it the label column (--label)? Or name them: --classes a,b,c",
        )
    numeric = _as_numbers(found)
    if numeric is not None:
        ordered, why = [name for _, name in sorted(zip(numeric, found, strict=True))], f"{why}, as numbers in order"
        why += "; if they are quantities: regression is not served" if len(found) > _MOST_NUMBERS else ""
    else:
        ordered, why = sorted(found), f"{why}, sorted"
    if len(ordered) == 2 and len(sample_values) == 1 and is_of_first(next(iter(sample_values)), ordered):
        return (ordered[1], ordered[0]), f"{why}, last the one that the sample's column is called like"
    return tuple(ordered), why


def bio_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Tags of a token task; ``O`` is one of them even where every word is part of an entity, as in segmentation.

    Raises:
        UserError: They are no BIO tags.
    """
    tags = tuple(classes) if OUTSIDE in classes else (*classes, OUTSIDE)
    try:
        check_tags(tags)
    except UserError as exc:
        exc.details["next"] = (
            "a token task has words and BIO tags separated by blanks; --label names the tags. `cli conll` makes such a "
            "table of CoNLL files, of BMES, BIOES and BILOU tags, too"
        )
        raise
    return tags


def conclude_groups(train: File, columns: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], str]:
    """Classes of several label columns, sorted.

    Raises:
        UserError: A column that is not there, quantities, or cells with several labels.
    """
    for column in columns:
        if column not in train.columns:
            raise UserError(f"no column '{column}' in {train.path.name}", next=did_you_mean(column, train.columns))
    join_columns(train.frame, columns)
    groups = {column: tuple(_distinct(train.frame[column], "single_label")) for column in columns}
    for column, classes in groups.items():
        if hold_quantities(classes):
            raise _no_classes(
                column, classes, "classes all the same need names that are no numbers, such as 'grade 1.5'"
            )
    return groups, "the labels of train, sorted"


def conclude_group_metric(asked: str | None) -> tuple[str, str]:
    """``exact_match`` unless another is asked for. Raises `UserError` for one of another task."""
    if asked is None:
        return "exact_match", "a guess, --metric tells better: rows that are right in every group"
    return metric_for(asked, "multi_group").name, "asked for"


def conclude_format(
    sample_values: dict[str, pl.Series], classes: Sequence[str], asked: str | None, metric: str | None = None
) -> tuple[SubmissionFormat, str]:
    """Labels in one column, or probabilities, a column a class (one column for two classes).

    Args:
        sample_values: Columns of the sample beside the id.
        classes: Names.
        asked: What the user says.
        metric: That the user says, for one label a row: of probabilities it decides what a lone column means.

    Raises:
        UserError: The sample's labels are those of train in another spelling, such as 1 and 1.0; 0 and 1 alone where
            train has other numbers; unknown metric.
    """
    if asked is None and len(sample_values) == 1 and len(classes) == 2 and metric is not None:
        found = find_metric(metric)
        if found.takes == "probs":
            (name,) = sample_values
            return "probabilities", f"{found.name} is of probabilities: column '{name}' holds that of '{classes[1]}'"
    if len(sample_values) == 1 and asked != "probabilities":
        refuse_other_spelling(*next(iter(sample_values.items())), classes)
    if asked is not None:
        return _one_of(asked, SUBMISSION_FORMATS, "submission format"), "asked for"  # type: ignore[return-value]
    if not sample_values:
        return "probabilities", "no sample submission to tell; --format labels otherwise"
    if len(sample_values) > 1:
        return "probabilities", f"the sample has a column for each of {len(sample_values)} classes"
    ((name, column),) = sample_values.items()
    values = set(column.drop_nulls().to_list())
    numbers = _as_numbers(sorted(values)) or []
    if len(classes) == 2 and not values <= set(classes) and numbers and 0 <= min(numbers) <= max(numbers) <= 1:
        if holds_fractions(column):
            return "probabilities", f"column '{name}' of the sample holds fractions: the probability of '{classes[1]}'"
        if _as_numbers(classes) is None:
            why = f"column '{name}' of the sample holds numbers, no labels: the probability of '{classes[1]}'"
            return "probabilities", why
        raise UserError(
            f"column '{name}' of the sample holds neither the labels of train nor fractions",
            found=f"{', '.join(sorted(values))} in the sample, {', '.join(classes)} in train",
            next=f"--format labels, or --format probabilities if it is the probability of '{classes[1]}'",
        )
    return "labels", f"the sample has one column, '{name}'"


def refuse_other_spelling(name: str, labels: pl.Series, classes: Sequence[str]) -> None:
    """Raises `UserError` where a column of the sample has the classes in another spelling, such as 1 and 1.0."""
    values = sorted(set(labels.drop_nulls().to_list()))
    numbers, own = _as_numbers(values), _as_numbers(classes)
    if not numbers or own is None or set(values) & set(classes) or not set(numbers) <= set(own):
        return
    of_second = f"; or --format probabilities, if it is the probability of '{classes[1]}'" if len(classes) == 2 else ""
    raise UserError(
        f"column '{name}' of the sample has the labels of train in another spelling",
        found=f"{', '.join(values[:5])} in the sample, {', '.join(classes[:5])} in train",
        next=f"write them alike: the label column of train as the sample has it, integers perhaps{of_second}",
    )


def conclude_metric(
    labels: pl.Series | None,
    task: Task,
    n_classes: int,
    submission_format: SubmissionFormat,
    n_columns: int,
    asked: str | None,
) -> tuple[str, str]:
    """The competition's metric: asked for, or the usual one.

    Raises:
        UserError: Unknown metric, one of another task, or one for another number of classes.
    """
    if asked is not None:
        return metric_for(asked, task, n_classes).name, "asked for"
    guess = "a guess, --metric tells better"
    if submission_format == "probabilities" and task != "token":
        if n_columns == 1:
            return "roc_auc", f"{guess}: usual for one column of probabilities"
        return "log_loss", f"{guess}: usual for probabilities"
    if task == "token":
        return "entity_f1", f"{guess}: usual for tags"
    if task == "multi_label":
        return "micro_f1", f"{guess}: usual for label sets"
    counts = [] if labels is None else labels.drop_nulls().value_counts()["count"].to_list()
    if counts and max(counts) > _IMBALANCED * min(counts):
        return (
            "macro_f1",
            f"{guess}: usual for labels whose classes differ in size ({min(counts):,} to {max(counts):,})",
        )
    return "accuracy", f"{guess}: usual for labels"


def _check_class_columns(labels: pl.Series | None, distinct: list[str], columns: list[str]) -> None:
    """Refuse columns of the sample for classes where the label's own is among them, or no label is called like one."""
    if labels is None or set(distinct) & set(columns):
        return
    if labels.name in columns:
        others = ", ".join(name for name in columns if name != labels.name)
        raise UserError(
            f"the sample has other columns beside the id and '{labels.name}': {others}",
            expected="the id and the label, or the id and a column a class",
            next="leave them out of the sample; or name the column of ids (--id) or of labels (--label)",
        )
    if len(distinct) > len(columns):
        raise UserError(
            f"none of the {len(distinct):,} labels is called like one of the sample's {len(columns)} columns",
            found=f"labels {', '.join(distinct[:5])}; columns {', '.join(columns[:5])}",
            next="call them alike; or name the column of labels: --label COLUMN",
        )


def _in_sample_order(columns: list[str], distinct: list[str]) -> tuple[tuple[str, ...], str]:
    """Labels in the order of the sample's columns, which may have a prefix; the columns themselves without labels."""
    if distinct and len(distinct) == len(columns):
        try:
            column_of = match_class_columns(columns, distinct)
        except UserError:
            return tuple(columns), "the sample's columns in order; the labels of train are called otherwise"
        return tuple(sorted(distinct, key=lambda name: columns.index(column_of[name]))), "the sample's columns in order"
    return tuple(columns), "the sample's columns in order"


def _distinct(labels: pl.Series, task: Task) -> list[str]:
    values = labels.drop_nulls()
    if task == "multi_label":
        values = values.str.split("|").explode()
    if task == "token":
        values = values.str.split(" ").explode()
    return sorted(set(values.to_list()) - {""})


def _as_numbers(values: Sequence[str]) -> list[float] | None:
    numbers = pl.Series(values, dtype=pl.String).cast(pl.Float64, strict=False)
    return numbers.to_list() if numbers.is_finite().fill_null(False).all() else None


def holds_fractions(values: pl.Series) -> bool:
    """Whether a column of the sample holds numbers between 0 and 1 that are neither."""
    return bool(values.cast(pl.Float64, strict=False).is_between(0, 1, closed="none").any())


def hold_quantities(values: Sequence[str]) -> bool:
    """Whether labels are numbers that are not all whole."""
    return any(number % 1 for number in _as_numbers(values) or [])


def _are_lists(values: Sequence[str]) -> bool:
    """Whether labels are lists, as Parquet has them (``["a", "b"]``) or pandas writes them (``['a', 'b']``)."""
    return all(value[0] + value[-1] == "[]" for value in values) and any(re.search("[,'\"]", value) for value in values)


def _no_classes(column: str, values: Sequence[str], otherwise: str) -> UserError:
    return UserError(
        "the labels are numbers with fractions: quantities, not classes",
        where=f"column '{column}' of train",
        found=f"{len(values):,} different ones, such as {', '.join(values[:3])}",
        next=f"regression is not served; {otherwise}",
    )


def _one_of(value: str, known: tuple[str, ...], what: str) -> str:
    if value not in known:
        raise UserError(f"unknown {what} '{value}'", next=did_you_mean(value, known))
    return value
