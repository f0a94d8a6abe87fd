"""Who may teach a student: a run, a recipe in `blends/` or a predictions file, and how its probabilities are had.

A blend teaches probabilities without its class weights and thresholds, which make decisions of them; the student's own
are found by `cli rescale`. Where decisions are what is taught, as pseudo-labels, it teaches with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.members import changed_since, load_checked, relabelled
from jobs.recipes import find_recipe, newest_first
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import digest, table_stem
from kaggle_tools.predictions import Predictions
from kaggle_tools.search.recipe import Recipe, apply, apply_stack
from models.fold_folders import fold_and_seed
from models.hub import fingerprint

Mix = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class SoftTeacher:
    """A name, and ways to its probabilities. It can be sent to another process.

    Attributes:
        name: As it was asked for.
        load: Its predictions of the training rows (``oof``) or of the test file (its stem).
        runs: What it is made of; none for a file.
        mix: (M, N, C) probabilities of these runs to (N, C) of their blend.
        mixed_by: What that goes by, as text.
    """

    name: str
    load: Callable[[str], Predictions]
    runs: tuple[Run, ...] = ()
    mix: Mix = itemgetter(0)
    mixed_by: str = ""

    def of_fold(self, fold: int, texts: pl.Series, classes: Sequence[str], device: str) -> NDArray[np.float32]:
        """(N, C) what the checkpoints of a fold say of raw texts: they saw none of its validation rows.

        Raises:
            UserError: A run without checkpoints, such as an imported one.
        """
        from models.inference.scorer import Scorer  # imports torch

        models = {run.name: [str(path) for path in self._checkpoints(run, fold)] for run in self.runs}
        found = Scorer(models, classes=classes, device=device, precision="fp32", backend="torch").score(texts)
        return self.mix(np.stack([found[run.name] for run in self.runs]))

    def fingerprint(self, n_folds: int) -> str:
        """Of all that `of_fold` comes from but the texts. Raises as it does."""
        if not self.runs:
            raise UserError(f"'{self.name}' is a file, without checkpoints", next='source = "oof" under [distill]')
        paths = [path for run in self.runs for fold in range(n_folds) for path in self._checkpoints(run, fold)]
        return digest([fingerprint(path) for path in paths], self.mixed_by)

    def _checkpoints(self, run: Run, fold: int) -> list[Path]:
        found = [path for path in run.checkpoints if fold_and_seed(path)[0] == fold]
        if not found:
            raise UserError(
                f"run '{run.name}' has no checkpoint of fold {fold}", where=run.folder,
                next='an imported run or a file teaches with source = "oof" under [distill], or "predictions" under '
                "[pseudo_labels]",
            )  # fmt: skip
        return found


def find_soft_teacher(
    workspace: Workspace, competition: Competition, name: str, student: str, *, deciding: bool = False
) -> SoftTeacher:
    """The teacher of this name.

    Args:
        workspace: Where runs and blends are.
        competition: Its folder is where paths of files begin.
        name: Of a run, of a recipe in `blends/` or how that begins, or a file.
        student: Name of the run that is to learn.
        deciding: A blend's class weights and thresholds are applied.

    Raises:
        UserError: No such teacher, or one that is the student or holds it.
    """
    runs = {run.name: run for run in workspace.runs()}
    if name == student:
        raise UserError(f"run '{student}' cannot be its own teacher", next="give this run another --name")
    if name in runs:
        return SoftTeacher(name, partial(_of_run, runs[name]), (runs[name],))
    path = competition.path(name)
    if name.endswith(".parquet") and path is not None and path.is_file():
        return SoftTeacher(name, partial(_of_file, path))
    return _blend(workspace, name, student, sorted(runs), deciding)


def notes_on(competition: Competition, runs: Sequence[Run], table: Path | None) -> tuple[str, ...]:
    """What may be out of date about teachers: the training table, or the content of what they scored.

    Args:
        competition: Names the training table.
        runs: That teach.
        table: Whose predictions they teach by; None: by none.
    """
    paths = {run.name: run.predictions(table_stem(table.name)) for run in runs} if table is not None else {}
    inputs = {name: load_checked(path).meta.get("input") for name, path in paths.items() if path.is_file()}
    return (*relabelled(competition, runs), *changed_since(table, inputs))


def _blend(workspace: Workspace, name: str, student: str, runs: list[str], deciding: bool) -> SoftTeacher:
    known = sorted(path.stem for path in newest_first(workspace))
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
    used = recipe if deciding else recipe.without_adjustment()
    return SoftTeacher(
        name,
        partial(_of_blend, used, tuple(members)),
        tuple(members),
        partial(apply_stack, used),
        mixed_by=repr((used.kind, used.models, sorted(used.parameters.items()))),
    )


def _of_blend(recipe: Recipe, members: Sequence[Run], part: str) -> Predictions:
    return apply(recipe, {run.name: _of_run(run, part) for run in members})


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
