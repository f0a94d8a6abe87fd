"""The training table as what training needs: ids, cleaned texts, labels as numbers, folds, a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.workspace import FOLD_FILE
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.folds import FoldSettings, load_or_make, uneven_fold
from kaggle_tools.label_groups import encode_groups, join_columns
from kaggle_tools.metrics import encode_label_sets
from kaggle_tools.predictions import encode_labels
from kaggle_tools.tables import read_table, sniff_format
from kaggle_tools.tag_rows import encode_tags, kinds_of_entities, read_tags
from kaggle_tools.valid_labels import has_valid_labels
from models.recipe import Recipe
from models.text.cleaning import clean
from models.text.entities import find_fault
from models.text.forms import ENTITY_FORMS
from models.text.pairs import join_texts, single_texts


@dataclass(frozen=True)
class TrainingRows:
    """N rows in file order.

    Attributes:
        ids: (N,) String.
        texts: (N,) String, cleaned; pairs as `models.text.pairs` joins them.
        labels: (N,) String as in the file; empty for a multi-label row without labels; for multi_group the groups'
            labels ``<group>:<class>`` joined by ``|``.
        targets: (N,) int64 classes for single_label, (N, C) float32 of 0 and 1 for multi_label, (N, G) int64 classes
            for multi_group, (N, W) int64 tags with -100 after a row's last for token.
        folds: (N,) int16.
        all_texts: Cleaned texts of the whole table, those that a limit leaves out included.
        n_null_texts: Texts that were null and count as empty.
        fingerprint: Of everything above and of what it is trained and judged by.
        n_repaired: Illegal tags of the whole table that became legal.
        n_dropped: Rows of the whole table that were left out for their labels.
        keep_folds: Writes the division into folds where no run has one yet. Other runs are bound to it from then on, so
            it is called once it is known that this one can be trained.
        uneven: The fold of the whole table that is much larger than its share, in words; None: there is none.
        corpus: Cleaned texts of all tables, each once, where the recipe learns from them without labels; else empty.
    """

    ids: pl.Series
    texts: pl.Series
    labels: pl.Series
    targets: NDArray[Any]
    folds: NDArray[np.int16]
    all_texts: pl.Series
    n_null_texts: int
    fingerprint: str
    keep_folds: Callable[[], object]
    n_repaired: int = 0
    n_dropped: int = 0
    uneven: str | None = None
    corpus: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def read_training_rows(competition: Competition, recipe: Recipe, runs_folder: Path) -> TrainingRows:
    """Read the training table, check it, and give each row its fold.

    Folds are made for the whole table before `recipe.data.limit` is applied, since all runs share them. Nothing is
    written: see `TrainingRows.keep_folds`.

    Raises:
        UserError: The competition names no training table or label column; the table cannot be read; an id occurs
            twice; a label is not a class; folds cannot be made, or other runs use other ones.
    """
    table, n_dropped = _read(competition, recipe)
    ids, labels = table["id"], table["label"]
    if competition.id_column is not None:
        ids = ids.alias(competition.id_column)
    _check_ids(ids, competition)
    n_repaired = 0
    if competition.task == "token":
        with _naming(competition):
            labels, n_repaired = read_tags(table["text"], labels, competition.classes, recipe.data.illegal_tags)
    targets = _targets(labels, competition)
    f = recipe.folds
    settings = FoldSettings(n=f.n, kind=f.kind, seed=f.seed, group_column=f.group_column)
    groups = table["group"].alias(f.group_column) if f.group_column is not None else None
    several = competition.task != "single_label"
    sets = kinds_of_entities(labels) if competition.task == "token" else labels
    divide = partial(load_or_make, runs_folder / FOLD_FILE, settings, ids, sets, groups, label_sets=several)
    folds = divide(keep=False)
    uneven = None if groups is None else uneven_fold(folds, groups, f.n)
    all_texts = clean(table["text"], recipe.data.cleaning)
    keep = _sample(len(ids), recipe)
    raw, n_null = table["text"].gather(keep), int(table["is_null"].gather(keep).sum())
    check_entities(recipe, ids, all_texts, competition.root / str(competition.train))
    ids, labels, targets, folds = ids.gather(keep), labels.gather(keep), targets[keep], folds[keep]
    return TrainingRows(
        ids=ids,
        texts=all_texts.gather(keep),
        labels=labels,
        targets=targets,
        folds=folds,
        all_texts=all_texts,
        n_null_texts=n_null,
        keep_folds=divide,
        n_repaired=n_repaired,
        n_dropped=n_dropped,
        uneven=uneven,
        fingerprint=_fingerprint(competition, [ids, raw, labels, map(str, folds.tolist())]),
    )


def without_copies(texts: pl.Series, train: NDArray[np.int64], valid: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the rows to train on the first of each text, and none whose text stands among the rows to validate on."""
    own = texts.gather(train)
    kept = own.is_first_distinct() & ~own.is_in(texts.gather(valid).implode())
    return np.asarray(train[kept.to_numpy()])


def check_entities(recipe: Recipe, ids: Iterable[str], texts: pl.Series, path: Path) -> None:
    """Refuse texts of a table of which the recipe's form cannot tell the entities, with their ids.

    Raises:
        UserError: There are some.
    """
    if recipe.kind != "transformer" or recipe.data.form not in ENTITY_FORMS:
        return
    faults = [(row, fault) for row, text in zip(ids, texts, strict=True) if (fault := find_fault(text)) is not None]
    if faults:
        raise UserError(
            f"{len(faults):,} of {len(texts):,} texts do not mark two entities",
            where=path,
            first=", ".join(f"{row} ({fault})" for row, fault in faults[:5]),
            expected="… <e1>…</e1> … <e2>…</e2> … in each, after cleaning",
            next="mend the table, or set form = 'joined' under [data]",
        )


def _read(competition: Competition, recipe: Recipe) -> tuple[pl.DataFrame, int]:
    """The table, and how many rows were left out for their labels.

    Columns ``id``, ``text``, ``is_null`` (of the text), ``label`` and, where folds need it, ``group``.
    """
    path = competition.path(competition.train)
    if path is None or not competition.label_columns:
        what = "training table" if path is None else "label column"
        raise UserError(
            f"competition.toml names no {what}",
            where=competition.root,
            next="write it with `cli init --train … --force`",
        )
    columns = _columns(competition, recipe)
    fmt = sniff_format(path, encoding=competition.encoding, encoding_errors=competition.encoding_errors)
    table = read_table(path, columns=list(dict.fromkeys(columns.values())), fmt=fmt, id_column=competition.id_column)
    if table.is_empty():
        raise UserError("the training table has no rows", where=path)
    n_rows, valid = len(table), None
    if recipe.data.invalid_labels == "drop":
        valid = has_valid_labels(table, competition)
    table = table.select(pl.col(name).alias(key) for key, name in columns.items())
    if competition.id_column is None:
        table = table.with_columns(id=pl.int_range(pl.len()).cast(pl.String))
    if valid is not None:
        table = _of_valid_labels(table, valid, competition)
    texts = [key for key in ("text", "pair") if key in columns]
    table = table.with_columns(is_null=pl.any_horizontal(pl.col(texts).is_null()))
    text = table["text"]
    joined = single_texts(text) if competition.pair_column is None else join_texts(text, table["pair"])
    table = table.with_columns(text=joined)
    table = _with_labels(table, competition)
    if competition.task in ("multi_label", "token"):
        table = table.with_columns(pl.col("label").fill_null(""))
    return table, n_rows - len(table)


def _columns(competition: Competition, recipe: Recipe) -> dict[str, str]:
    """What the columns that are needed are for, and what the table calls them."""
    columns = {"text": competition.text_column, **{f"label:{name}": name for name in competition.label_columns}}
    if competition.pair_column is not None:
        columns["pair"] = competition.pair_column
    if competition.id_column is not None:
        columns["id"] = competition.id_column
    if recipe.folds.group_column is not None:
        columns["group"] = recipe.folds.group_column
    return columns


def _of_valid_labels(table: pl.DataFrame, valid: pl.Series, competition: Competition) -> pl.DataFrame:
    if not valid.any():
        raise UserError(
            f"none of {len(table):,} rows has a label that is a class",
            where=f"{competition.train}, column '{', '.join(competition.label_columns)}'",
            next="look at the classes in competition.toml",
        )
    return table.filter(valid)


def _with_labels(table: pl.DataFrame, competition: Competition) -> pl.DataFrame:
    """Column ``label`` from the one label column, or from those of the label groups."""
    names = {f"label:{name}": name for name in competition.label_columns}
    if not competition.label_groups:
        return table.rename({next(iter(names)): "label"})
    with _naming(competition):
        labels = join_columns(table.select(list(names)).rename(names), competition.label_columns)
    return table.drop(list(names)).with_columns(labels)


def _check_ids(ids: pl.Series, competition: Competition) -> None:
    if ids.n_unique() == len(ids):
        return
    twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True)
    raise UserError(
        f"{len(twice):,} ids occur more than once in the training table",
        where=f"{competition.train}, column '{ids.name}'",
        first=", ".join(twice.head(5).to_list()),
    )


def _targets(labels: pl.Series, competition: Competition) -> NDArray[Any]:
    with _naming(competition):
        if competition.task == "multi_label":
            return encode_label_sets(labels, competition.classes).astype(np.float32)
        if competition.task == "token":
            return encode_tags(labels, competition.classes)
        if competition.task == "multi_group":
            return encode_groups(labels, competition.classes)
        return encode_labels(labels, competition.classes)


@contextmanager
def _naming(competition: Competition) -> Iterator[None]:
    """Errors about labels say where these are."""
    try:
        yield
    except UserError as exc:
        exc.details["where"] = f"{competition.train}, column '{', '.join(competition.label_columns)}'"
        exc.details.setdefault(
            "next", 'mend the table, or the classes in competition.toml; or invalid_labels = "drop" under [data]'
        )
        raise


def _sample(n: int, recipe: Recipe) -> NDArray[np.int64]:
    """Rows that are used, in file order."""
    limit = recipe.data.limit
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(recipe.seed).choice(n, limit, replace=False))


def _fingerprint(competition: Competition, columns: list[Iterable[str | None]]) -> str:
    summary = hashlib.blake2b(digest_size=8)
    summary.update(repr((competition.task, competition.metric, competition.classes)).encode())
    for column in columns:
        # Lengths keep neighbours apart: "ab", "c" is not "a", "bc".
        for value in column:
            data = b"" if value is None else value.encode()
            summary.update(len(data).to_bytes(8, "little") + data)
    return summary.hexdigest()
