"""A teacher's probabilities as soft targets of a student: those of a run, a predictions file or a blend in `blends/`.

Training rows get the teacher's out-of-fold probabilities, so that no row is taught by a model that was trained on it;
the teacher's folds must be the workspace's own, or what is out of fold for it is not for the student. Two small leaks
remain, as in stacking: the teacher of a training row has seen the labels of the student's validation fold, and test
rows are taught by the mean of the teacher's folds. A blend teaches without its class weights and thresholds, which make
decisions of probabilities; the student's own are found by `cli rescale`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.members import load_checked, test_stem
from jobs.pseudo_labels import PseudoRows, decide, new_texts
from jobs.recipes import FOLDER, find_recipe
from jobs.soft_targets import SoftTargets
from jobs.training_rows import TrainingRows
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.predictions import Predictions
from kaggle_tools.search.recipe import apply
from models.recipe import Recipe


def find_soft_targets(
    workspace: Workspace, competition: Competition, recipe: Recipe, name: str, rows: TrainingRows
) -> SoftTargets:
    """What `[distill]` asks for: the probabilities of the teacher of this name.

    Raises:
        UserError: No such teacher, or one that holds this run itself; out-of-fold predictions that lack training rows,
            classes or folds, or are of other folds; no test predictions where test rows are asked for.
    """
    teacher = _find(workspace, competition, name, recipe.name)
    probs = _of_classes(_aligned(teacher.load("oof"), rows, name), competition)
    extra, extra_probs = None, probs[:0]
    if recipe.distill.test:
        extra, extra_probs = _test_rows(teacher, competition, recipe, rows)
    return SoftTargets(probs, extra, extra_probs)


@dataclass(frozen=True)
class _Teacher:
    """A name and a way to its predictions: ``oof`` or the stem of the test file."""

    name: str
    load: Callable[[str], Predictions]


def _find(workspace: Workspace, competition: Competition, name: str, student: str) -> _Teacher:
    runs = {run.name: run for run in workspace.runs()}
    if name == student:
        raise UserError(f"run '{student}' cannot be its own teacher", next="give this run another --name")
    if name in runs:
        return _Teacher(name, lambda part: _of_run(runs[name], part))
    path = competition.path(name)
    if name.endswith(".parquet") and path is not None and path.is_file():
        return _Teacher(name, lambda part: _of_file(path, part))
    return _blend(workspace, name, student, sorted(runs))


def _blend(workspace: Workspace, name: str, student: str, runs: list[str]) -> _Teacher:
    known = [path.stem for path in sorted((workspace.root / FOLDER).glob("*.json"))]
    if name != "latest" and not any(stem.startswith(name) for stem in known) and not Path(name).is_file():
        raise UserError(
            f"no teacher '{name}'",
            found=f"runs: {', '.join(runs) or 'none'}; blends: {', '.join(known) or 'none'}",
            expected="a complete run, a recipe in blends/, or a predictions file of ours (.parquet)",
            next=did_you_mean(name, [*runs, *known]),
        )
    _, recipe = find_recipe(workspace, name)
    if student in recipe.models:
        raise UserError(
            f"the blend '{name}' holds run '{student}' itself",
            found=", ".join(recipe.models),
            next="give this run another --name",
        )
    members = [workspace.run(model) for model in recipe.models]
    plain = recipe.without_adjustment()
    return _Teacher(name, lambda part: apply(plain, {run.name: _of_run(run, part) for run in members}))


def _of_run(run: Run, part: str) -> Predictions:
    path = run.oof if part == "oof" else run.predictions(part)
    if not path.is_file():
        what = "out-of-fold predictions" if part == "oof" else f"predictions for {part}"
        raise UserError(f"no {what} of run '{run.name}'", where=path, next="`cli score` the competition's test table")
    return load_checked(path)


def _of_file(path: Path, part: str) -> Predictions:
    if part != "oof":
        raise UserError(
            "[distill] test = true, but a file holds out-of-fold predictions alone",
            where=path,
            next="make it a run: `cli import NAME --oof FILE --test FILE`",
        )
    return load_checked(path)


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


def _test_rows(
    teacher: _Teacher, competition: Competition, recipe: Recipe, rows: TrainingRows
) -> tuple[PseudoRows, NDArray[np.float32]]:
    """The test rows that are new, and what the teacher says of them."""
    path = competition.path(competition.test)
    if path is None:
        raise UserError("[distill] test = true, but the competition names no test table", next="test = false")
    workspace = Workspace(competition.root, competition)
    found = teacher.load(test_stem(workspace))
    table = new_texts(path, competition, recipe, rows)
    place = pl.DataFrame({"id": found.ids, "at": np.arange(len(found))})
    at = table.select("id").join(place, on="id", how="left", maintain_order="left")["at"]
    if at.null_count():
        absent = table["id"].filter(at.is_null())
        raise UserError(
            f"'{teacher.name}' has no prediction of {len(absent):,} of {len(table):,} test rows",
            first=", ".join(absent.head(5)),
            next="`cli score` the competition's test table",
        )
    probs = _of_classes(found, competition)[at.to_numpy()]
    targets, _ = decide(probs, competition.task, competition.classes)
    names = tuple(f"test {name}" for name in table["id"])
    return PseudoRows(names, tuple(table["cleaned"]), targets), probs
