"""What `[distill]` asks for, as soft targets of a student's rows.

With source ``oof`` training rows get the teacher's out-of-fold probabilities, so that no row is taught by a model that
was trained on it; the teacher's folds must be the workspace's own, or what is out of fold for it is not for the
student. Test rows get the mean of its folds. Both leak: a model that taught a training or test row has seen the labels
of the student's validation rows, and tells of them through the words that the rows share: the out-of-fold score
flatters.

With source ``fold`` nothing leaks but the few numbers of a blend: test rows alone are taught, by the checkpoints of the
same fold, which saw none of its validation rows; training rows have their labels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.members import test_stem
from jobs.pseudo_labels import PseudoRows, decide, new_texts
from jobs.soft_targets import SoftTargets
from jobs.teachers import SoftTeacher, find_soft_teacher
from jobs.training_rows import TrainingRows
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from kaggle_tools.predictions import Predictions
from models.recipe import Recipe

Probs = NDArray[np.float32]


@dataclass(frozen=True)
class TaughtRows:
    """The test rows that a teacher teaches; called with a fold and a device, what it says of them.

    Attributes:
        teacher: Of whose checkpoints a fold's are asked.
        table: Columns ``id``, ``text`` and ``cleaned``.
        mean: (M, C) of its folds, where these teach all folds; None: the checkpoints of the same fold do.
        task: Of the competition.
        classes: C class names.
    """

    teacher: SoftTeacher
    table: pl.DataFrame
    mean: Probs | None
    task: str
    classes: tuple[str, ...]

    def __call__(self, fold: int, device: str) -> tuple[PseudoRows, Probs]:
        """Rows and their (M, C) probabilities."""
        probs = self.mean
        if probs is None:
            probs = self.teacher.of_fold(fold, self.table["text"], self.classes, device)
        targets, _ = decide(probs, self.task, self.classes)
        names = tuple(f"test {name}" for name in self.table["id"])
        return PseudoRows(names, tuple(self.table["cleaned"]), targets), probs


def find_soft_targets(
    workspace: Workspace, competition: Competition, recipe: Recipe, name: str, rows: TrainingRows
) -> SoftTargets:
    """The probabilities of the teacher of this name.

    Args:
        workspace: Where teachers are.
        competition: Names the test table.
        recipe: Of the student.
        name: Of the teacher.
        rows: Training rows.

    Raises:
        UserError: No such teacher, or one that holds this run itself; out-of-fold predictions that lack training rows,
            classes or folds, or are of other folds; no test predictions or checkpoints where these are asked for.
    """
    teacher = find_soft_teacher(workspace, competition, name, recipe.name)
    oof = _of_classes(_aligned(teacher.load("oof"), rows, name), competition)
    if recipe.distill.source == "fold":
        oof = np.full_like(oof, np.nan)
    if not recipe.distill.test:
        return SoftTargets(oof, None, digest(oof.tobytes()), teacher.runs)
    table = _new_test_rows(competition, recipe, rows)
    mean = None if recipe.distill.source == "fold" else _of_test(teacher, competition, table)
    taught = teacher.fingerprint(recipe.folds.n) if mean is None else digest(mean.tobytes())
    extra = TaughtRows(teacher, table, mean, competition.task, competition.classes)
    known = digest(oof.tobytes(), table["id"].to_list(), table["text"].to_list(), taught)
    return SoftTargets(oof, extra, known, teacher.runs)


def _new_test_rows(competition: Competition, recipe: Recipe, rows: TrainingRows) -> pl.DataFrame:
    """Columns ``id``, ``text`` and ``cleaned`` of the test rows that do not stand in the training table."""
    path = competition.path(competition.test)
    if path is None:
        raise UserError("[distill] test = true, but the competition names no test table", next="test = false")
    return new_texts(path, competition, recipe, rows)


def _of_test(teacher: SoftTeacher, competition: Competition, table: pl.DataFrame) -> Probs:
    """What the mean of the teacher's folds says of the test rows."""
    found = teacher.load(test_stem(Workspace(competition.root, competition)))
    place = pl.DataFrame({"id": found.ids, "at": np.arange(len(found))})
    at = table.select("id").join(place, on="id", how="left", maintain_order="left")["at"]
    if at.null_count():
        absent = table["id"].filter(at.is_null())
        raise UserError(
            f"'{teacher.name}' has no prediction of {len(absent):,} of {len(table):,} test rows",
            first=", ".join(absent.head(5)),
            next="`cli score` the competition's test table",
        )
    probs: Probs = _of_classes(found, competition)[at.to_numpy()]
    return probs


def _aligned(oof: Predictions, rows: TrainingRows, name: str) -> Predictions:
    """The teacher's predictions of the training rows, in their order, found to be out of the same folds."""
    if oof.folds is None:
        raise UserError(
            f"the predictions of '{name}' do not say their folds: the teacher may have been trained on what it teaches",
            expected="out-of-fold predictions with a column 'fold'",
        )
    place = pl.DataFrame({"id": oof.ids, "at": np.arange(len(oof))})
    at = pl.DataFrame({"id": rows.ids}).join(place, on="id", how="left", maintain_order="left")["at"]
    if at.null_count():
        absent = rows.ids.filter(at.is_null())
        raise UserError(
            f"'{name}' has no out-of-fold prediction of {len(absent):,} of {len(rows):,} training rows",
            first=", ".join(absent.head(5)),
            next="train the teacher on all of them, or the student on no more: --limit and seed as the teacher's",
        )
    order = at.to_numpy()
    differ = np.flatnonzero(oof.folds[order] != rows.folds)
    if differ.size:
        row = int(differ[0])
        raise UserError(
            f"'{name}' was trained on other folds: {differ.size:,} of {len(rows):,} rows differ",
            first=f"{rows.ids[row]}: fold {oof.folds[order][row]}, here {rows.folds[row]}",
            next="train it in this workspace: it would teach rows that it was trained on",
        )
    return dataclasses.replace(
        oof, ids=oof.ids.gather(order), probs=oof.probs[order], folds=oof.folds[order],
        labels=None if oof.labels is None else oof.labels.gather(order),
    )  # fmt: skip


def _of_classes(found: Predictions, competition: Competition) -> NDArray[np.float32]:
    """(N, C) with columns in the competition's order."""
    if sorted(found.classes) != sorted(competition.classes) or found.task != competition.task:
        raise UserError(
            "the teacher has other classes, or another task",
            found=f"{found.task}: {', '.join(found.classes[:20])}",
            expected=f"{competition.task}: {', '.join(competition.classes[:20])}",
        )
    columns = [found.classes.index(name) for name in competition.classes]
    return np.ascontiguousarray(found.probs[:, columns])
