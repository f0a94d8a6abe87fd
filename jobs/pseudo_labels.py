"""Texts without labels as training rows: labelled by a teacher where it is sure, and never part of a validation fold.

A teacher is a run, or a blend of several: the mean of their probabilities, rescaled by its class weights, decides then.

Two things could leak. A validation row's own text may stand in the table of texts: a text that equals one of the
training table is left out. And a teacher that has seen a fold's validation rows tells their labels on: with source
``fold`` each fold is taught by the teacher's checkpoints of the same fold, which have not (all runs of a workspace
share one division into folds); source ``predictions`` is the mean over the teacher's folds, most of which have, and the
out-of-fold score flatters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.training_rows import TrainingRows, check_entities
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest, table_stem
from kaggle_tools.label_groups import split_probs
from kaggle_tools.predictions import Predictions
from kaggle_tools.tables import read_table, sniff_format
from models.recipe import PseudoLabelOptions, Recipe
from models.text.cleaning import clean
from models.text.pairs import join_texts, single_texts

if TYPE_CHECKING:
    from jobs.teachers import SoftTeacher


@dataclass(frozen=True)
class PseudoRows:
    """Rows for one fold.

    Attributes:
        names: What errors call them.
        texts: Cleaned as the recipe says.
        targets: (M,) int64 classes for single_label, (M, C) float32 of 0 and 1 for multi_label.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    targets: NDArray[Any]


Labeller = Callable[[int, str], PseudoRows | None]


@dataclass(frozen=True)
class Teacher:
    """Who labels, and the texts that it is to label.

    Attributes:
        soft: Ways to its probabilities.
        options: Source and threshold.
        task: Of the competition.
        classes: C class names.
        names: (M,) ids, or row numbers where there are none.
        raw: (M,) texts as in the table; the teacher cleans them in its own way.
        cleaned: (M,) texts as the student reads them, none twice and none of the training table.
        stem: Of the table's file, by which predictions are called.
        n_folds: Of the workspace.
    """

    soft: SoftTeacher
    options: PseudoLabelOptions
    task: str
    classes: tuple[str, ...]
    names: pl.Series
    raw: pl.Series
    cleaned: pl.Series
    stem: str
    n_folds: int

    @property
    def fingerprint(self) -> str:
        """Of the texts and of what labels them."""
        texts = digest(self.names.to_list(), self.raw.to_list())
        if self.options.source == "fold":
            return digest(texts, self.soft.fingerprint(self.n_folds))
        return digest(texts, self._of_predictions().tobytes())

    def label(self, fold: int, device: str) -> PseudoRows:
        """The texts of which the teacher is sure enough, labelled for one fold.

        Args:
            fold: Its number.
            device: Where the teacher's checkpoints run.

        Raises:
            UserError: There are none, or the teacher has no such checkpoint or predictions.
        """
        if self.options.source == "fold":
            probs = self.soft.of_fold(fold, self.raw, self.classes, device)
        else:
            probs = self._of_predictions()
        targets, confidence = decide(probs, self.task, self.classes)
        sure = np.flatnonzero(confidence >= self.options.threshold)
        if not sure.size:
            raise UserError(
                f"'{self.soft.name}' is sure of none of {len(self.raw):,} texts",
                found=f"confidence of {confidence.max():.3f} at most",
                expected=f"{self.options.threshold} for some: threshold under [pseudo_labels]",
            )
        names = tuple(f"pseudo {name}" for name in self.names.gather(sure))
        return PseudoRows(names, tuple(self.cleaned.gather(sure)), targets[sure])

    def _of_predictions(self) -> NDArray[np.float32]:
        found = self.soft.load(self.stem)
        wanted = pl.DataFrame({"id": self.names}).with_row_index("row")
        known = wanted.join(pl.DataFrame({"id": found.ids, "at": np.arange(len(found))}), on="id", how="left")
        at = known.sort("row")["at"]
        if at.null_count():
            raise UserError(
                f"'{self.soft.name}' has no prediction of {at.null_count():,} of {len(at):,} texts",
                first=", ".join(self.names.filter(at.is_null()).head(5)), next="score the table with `cli score`",
            )  # fmt: skip
        columns = [found.classes.index(name) for name in self.classes]
        return np.ascontiguousarray(found.probs[at.to_numpy()][:, columns])


def decide(
    probs: NDArray[np.float32], task: str, classes: Sequence[str] = ()
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Labels that probabilities say, and how sure they are.

    Args:
        probs: (M, C).
        task: ``single_label``, ``multi_label`` or ``multi_group``.
        classes: C names, which tell the groups of ``multi_group``.

    Returns:
        Targets as for training, and (M,) confidence: the greatest probability, or of several labels the least of
        max(p, 1 − p), or of label groups the least of theirs.
    """
    if task == "multi_group":
        parts = split_probs(probs, classes)
        sure = np.stack([part.max(axis=1) for part in parts]).min(axis=0)
        return np.stack([part.argmax(axis=1) for part in parts], axis=1).astype(np.int64), sure
    if task == "single_label":
        return probs.argmax(axis=1).astype(np.int64), probs.max(axis=1)
    return (probs >= 0.5).astype(np.float32), np.maximum(probs, 1 - probs).min(axis=1)


def find_teacher(workspace: Workspace, competition: Competition, recipe: Recipe, rows: TrainingRows) -> Teacher | None:
    """What `[pseudo_labels]` asks for; None where it asks for nothing.

    Raises:
        UserError: No such run, table or predictions, or nothing but texts of the training table in it.
    """
    options = recipe.pseudo_labels
    if options.run is None:
        return None
    path = competition.path(options.table or competition.test)
    if path is None:
        raise UserError("no table of texts to label", next='name one: table = "unlabelled.csv" under [pseudo_labels]')
    from jobs.teachers import find_soft_teacher  # imports the search, which other runs do without

    soft = find_soft_teacher(workspace, competition, options.run, recipe.name, deciding=True)
    if not soft.runs:
        raise UserError(
            f"'{soft.name}' is a file: it labels training rows alone",
            next="make it a run: `cli import NAME --test FILE`",
        )
    for run in soft.runs if options.source == "fold" else ():
        _check_folds(run, rows)
    new = new_texts(path, competition, recipe, rows)
    stem = table_stem(path.name)
    for run in soft.runs if options.source == "predictions" else ():
        if not run.predictions(stem).is_file():
            raise UserError(
                f"no predictions of run '{run.name}' for {stem}",
                where=run.predictions(stem),
                next='score the competition\'s test table with `cli score`, or set source = "fold" under '
                "[pseudo_labels]",
            )
    return Teacher(
        soft, options, competition.task, competition.classes, new["id"], new["text"], new["cleaned"], stem,
        recipe.folds.n,
    )  # fmt: skip


def _check_folds(run: Run, rows: TrainingRows) -> None:
    """Refuse a run of other folds: its checkpoint of a fold saw rows that this fold validates on."""
    if not run.oof.is_file():
        return
    oof = Predictions.load(run.oof)
    if oof.folds is None:  # imported, without checkpoints
        return
    its = pl.DataFrame({"id": oof.ids, "its": oof.folds})
    both = pl.DataFrame({"id": rows.ids, "fold": rows.folds}).join(its, on="id", maintain_order="left")
    other = both.filter(pl.col("fold") != pl.col("its"))
    if len(other):
        row, fold, its_fold = other.row(0)
        raise UserError(
            f"run '{run.name}' was trained on other folds: {len(other):,} of {len(both):,} rows differ",
            first=f"{row}: fold {its_fold}, here {fold}",
            next="train it again: its checkpoints would tell the labels of rows that are validated on",
        )


def new_texts(path: Path, competition: Competition, recipe: Recipe, rows: TrainingRows) -> pl.DataFrame:
    """The texts of a table that do not stand in the training table, none twice.

    Returns:
        Columns ``id`` (row numbers where there are none), ``text`` as in the table, ``cleaned`` as the recipe says.

    Raises:
        UserError: The table cannot be read, holds nothing new, or texts that do not mark the entities that the recipe
            asks for.
    """
    table = _read_texts(path, competition)
    table = table.with_columns(clean(table["text"], recipe.data.cleaning).alias("cleaned"))
    cleaned = table["cleaned"]
    new = table.filter(cleaned.is_first_distinct() & ~cleaned.is_in(rows.all_texts.implode()))
    if new.is_empty():
        raise UserError(f"each of the {len(table):,} texts stands in the training table", where=path)
    check_entities(recipe, new["id"], new["cleaned"], path)
    return new


def _read_texts(path: Path, competition: Competition) -> pl.DataFrame:
    """Columns ``id`` and ``text``; rows are numbered where the competition has no ids."""
    encoding, errors = competition.encoding_of(path)
    is_test = path == competition.path(competition.test)
    text = competition.test_text if is_test else competition.text_column
    id_column = competition.test_id if is_test else competition.id_column
    pair = competition.test_pair if is_test else competition.pair_column
    columns = [name for name in (id_column, text, pair) if name is not None]
    fmt = sniff_format(path, encoding=encoding, encoding_errors=errors)
    table = read_table(path, columns=columns, fmt=fmt, id_column=id_column)
    ids = pl.col(id_column) if id_column is not None else pl.int_range(pl.len()).cast(pl.String)
    texts = single_texts(table[text]).fill_null("") if pair is None else join_texts(table[text], table[pair])
    return table.select(ids.alias("id"), texts.alias("text"))


def labeller(teacher: Teacher | None) -> Labeller:
    """A function from fold and device to the fold's rows, for a trainer. It can be sent to another process."""
    return _no_labels if teacher is None else teacher.label


def _no_labels(_fold: int, _device: str) -> None:
    return None


def with_teacher(rows: TrainingRows, teacher: Teacher | None) -> TrainingRows:
    """The same rows with a fingerprint that tells of the teacher."""
    if teacher is None:
        return rows
    return dataclasses.replace(rows, fingerprint=digest(rows.fingerprint, teacher.fingerprint))
