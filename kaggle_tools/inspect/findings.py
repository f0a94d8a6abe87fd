"""What else is worth knowing about the files before training: sentences for people, nothing is concluded from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from kaggle_tools.competition import Competition
from kaggle_tools.inspect.files import File
from kaggle_tools.joined_labels import joined_by
from kaggle_tools.label_groups import join_columns
from kaggle_tools.metrics import find_metric

_MISSING = ("nan", "null", "none", "na", "n/a", "<na>")


def find(competition: Competition, train: File | None, test: File | None, sample: File | None) -> tuple[str, ...]:
    """Counts of classes, odd labels, bad rows, duplicate and empty texts, ids that do not match."""
    found: list[str] = []
    if train is not None:
        found += _of_labels(competition, train)
        found += _of_rows("train", train, competition.text_column, competition.pair_column, competition.id_column)
    if test is not None:
        found += _of_rows("test", test, competition.test_text, competition.test_pair, competition.test_id)
    if train is not None and test is not None:
        seen = _texts(train, competition.text_column, competition.pair_column).drop_nulls().implode()
        n_seen = int(_texts(test, competition.test_text, competition.test_pair).is_in(seen).sum())
        if n_seen:
            found.append(f"{n_seen:,} {_what(competition.pair_column)} of test are in train too")
    if test and sample and competition.test_id in test.columns and competition.submission_id in sample.columns:
        found += _of_ids(test.ids(competition.test_id), sample.ids(competition.submission_id))
    if sample is not None and competition.task == "multi_label" and competition.submission_format == "labels":
        found += _of_joined_labels(sample.frame[competition.submission_columns[0]], competition.classes)
    if sample is not None and competition.task == "single_label" and competition.submission_format == "labels":
        found += _of_foreign_labels(sample, competition)
    if sample is not None and competition.submission_format == "probabilities":
        found += _of_decided_columns(sample, competition)
    return tuple(found)


def _of_labels(competition: Competition, train: File) -> Iterator[str]:
    if competition.label_groups:
        labels = join_columns(train.frame, competition.label_columns)
    else:
        assert competition.label_column is not None  # concluded with every train file
        labels = train.frame[competition.label_column]
    if labels.null_count():
        yield f"{labels.null_count():,} rows of train have no label"
    values = labels.drop_nulls()
    if competition.task in ("multi_label", "multi_group"):
        values = values.str.split("|").explode()
    if competition.task == "token":
        values = values.str.split(" ").explode().replace("", None).drop_nulls()
    counts = dict(values.alias("label").value_counts(sort=True).iter_rows())
    known = sorted((name for name in competition.classes if name in counts), key=lambda name: -counts[name])
    shown = " · ".join(f"{name} {counts[name]:,}" for name in known[:10])
    more = f" · and {len(known) - 10:,} more, the rarest {known[-1]} {counts[known[-1]]:,}" if len(known) > 10 else ""
    yield f"classes in train: {shown}{more}"
    absent = [name for name in competition.classes if name not in counts]
    if absent:
        yield f"classes without a row in train: {', '.join(absent[:10])}"
    yield from _of_names(competition.classes)
    foreign = {name: count for name, count in counts.items() if name not in competition.classes}
    if foreign:
        first = ", ".join(repr(name) for name in list(foreign)[:5])
        yield f"{sum(foreign.values()):,} labels of train are no class: {first}"


def _of_names(classes: Sequence[str]) -> Iterator[str]:
    """Classes that may be meant as one, or as none."""
    first: dict[str, str] = {}
    for name in classes:
        folded = " ".join(name.split()).casefold()
        if folded in first:
            yield f"classes {first[folded]!r} and {name!r} differ by blanks or capitals alone"
        first.setdefault(folded, name)
        if folded in _MISSING:
            yield f"class {name!r} is called like a missing value"


def _texts(file: File, text_column: str, pair_column: str | None) -> pl.Series:
    """(N,) texts; of pairs both as one, null where neither is there."""
    if pair_column is None:
        return file.frame[text_column]
    both = pl.concat_str(text_column, pair_column, separator="\n", ignore_nulls=True)
    neither = pl.col(text_column).is_null() & pl.col(pair_column).is_null()
    return file.frame.select(pl.when(neither).then(None).otherwise(both).alias("pair")).to_series()


def _what(pair_column: str | None) -> str:
    return "texts" if pair_column is None else "pairs"


def _marks_two_entities(text: pl.Series) -> bool:
    marks = [text.str.contains(mark, literal=True) for mark in ("<e1>", "</e1>", "<e2>", "</e2>")]
    return bool(len(text)) and all(bool(found.all()) for found in marks)


def _of_rows(role: str, file: File, text_column: str, pair_column: str | None, id_column: str | None) -> Iterator[str]:
    text, what = _texts(file, text_column, pair_column), _what(pair_column)
    yield f"{role}: {len(text):,} rows"
    if file.bad_rows:
        row = file.bad_rows[0]
        yield f"{len(file.bad_rows):,} rows of {role} cannot be read; the first is in line {row.line:,}: {row.reason}"
    empty = int((text.fill_null("").str.strip_chars() == "").sum())
    if empty:
        yield f"{empty:,} {what} of {role} are empty"
    full = text.drop_nulls()
    again = len(full) - full.n_unique()
    if again:
        yield f"{again:,} {what} of {role} repeat an earlier one"
    if pair_column is not None:
        yield from _of_pairs(role, file.frame[text_column], file.frame[pair_column])
    elif _marks_two_entities(full):
        yield f"each text of {role} marks two entities: recipes/relation-*.toml read them"
    if id_column in file.columns:  # rows of test may be numbered where those of train have ids
        ids = file.ids(id_column)
        if ids.n_unique() != len(ids):
            yield f"{len(ids) - ids.n_unique():,} ids of {role} repeat an earlier one"


def _of_pairs(role: str, first: pl.Series, second: pl.Series) -> Iterator[str]:
    one_empty = sum(int((side.fill_null("").str.strip_chars() == "").sum()) for side in (first, second))
    if one_empty:
        yield f"{one_empty:,} texts in pairs of {role} are empty"
    alike = int((first == second).sum())
    if alike:
        yield f"{alike:,} pairs of {role} are one text twice"


def _of_joined_labels(cells: pl.Series, classes: Sequence[str]) -> Iterator[str]:
    separator = joined_by(cells, classes)
    if cells.str.contains(separator, literal=True).any():
        yield f"the sample joins several labels by '{separator}', and so do submissions"
    else:
        yield f"the sample shows no row of several labels: submissions join them by '{separator}'"


def _of_foreign_labels(sample: File, competition: Competition) -> Iterator[str]:
    for column in competition.submission_columns:
        foreign = sorted(set(sample.frame[column].drop_nulls().to_list()) - set(competition.classes))
        if foreign:
            first = ", ".join(repr(value) for value in foreign[:3])
            yield f"column '{column}' of the sample holds {first}, no labels of train: submissions hold those of train"


def _of_decided_columns(sample: File, competition: Competition) -> Iterator[str]:
    """A column a class of 0 and 1, for a metric of decisions: no submission of ours looks like that."""
    values = sample.frame.select(competition.submission_columns)
    metric = find_metric(competition.metric)
    if metric.takes != "probs" and values.select(pl.all_horizontal(pl.all().is_in(["0", "1"]).all())).item():
        yield (
            f"the sample holds 0 and 1, and {metric.name} is of decisions, but submissions hold probabilities: "
            "a board that takes only 0 and 1 needs them rounded"
        )


def _of_ids(test: pl.Series, sample: pl.Series) -> Iterator[str]:
    in_test, in_sample = set(test.to_list()), set(sample.to_list())
    if in_sample - in_test:
        yield f"{len(in_sample - in_test):,} ids of the sample submission are not in test"
    if in_test - in_sample:
        yield f"{len(in_test - in_sample):,} ids of test are not in the sample submission"
