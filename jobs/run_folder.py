"""`runs/<name>/` while a run is trained: which folds are finished, whether they fit what is asked, the last files.

A fold is finished once its folder holds `oof.parquet`, written after the checkpoint, with the fingerprints of recipe
and training rows in it. `run.json` is written last and vouches for everything else.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jobs.workspace import RUN_FILE, Run
from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.predictions import Predictions
from kaggle_tools.seals import sealed
from kaggle_tools.tag_predictions import TagPredictions
from kaggle_tools.tag_predictions import join as join_tags
from models.fold_folders import fold_and_seed, folder_name
from models.hub import fingerprint

RECIPE_FILE = "recipe.toml"
OOF_FILE = "oof.parquet"
Answers = Predictions | TagPredictions
_PACKAGES = ("torch", "transformers", "tokenizers", "polars", "numpy", "scikit-learn")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, and what is asked to be in it.

    Attributes:
        run: Name and place.
        recipe: The recipe as TOML.
        fingerprints: ``recipe`` and ``data``: what folds must have been trained by and on.
        n_folds: Folds of the recipe.
        seeds: That each fold is trained with; None alone: one, which names no folder.
        of_tags: Whether predictions are tags of words.
    """

    run: Run
    recipe: str
    fingerprints: Mapping[str, str]
    n_folds: int
    of_tags: bool = False
    seeds: tuple[int | None, ...] = (None,)

    def fold(self, fold: int, seed: int | None = None) -> Path:
        """Where a fold's checkpoint lies."""
        return self.run.folder / folder_name(fold, seed)

    def to_train(
        self, folds: Sequence[int], *, force: bool, replace: bool = False
    ) -> tuple[tuple[int, int | None], ...]:
        """Folds and seeds that are to be trained once the folder is claimed; changes nothing.

        Args:
            folds, force, replace: As `claim` gets them.

        Raises:
            UserError: A run that was not trained here, or one of other settings and neither is said.
        """
        afresh = bool(self._replaceable(force=force, replace=replace)) or force
        members = [(fold, seed) for fold in folds for seed in self.seeds]
        return tuple(member for member in members if afresh or self.finished(*member) is None)

    def claim(self, folds: Sequence[int], *, force: bool, replace: bool = False) -> None:
        """Make the folder ours to train in.

        Args:
            folds: To be trained; with `force` also when they are finished.
            force: Forget finished folds; all of them where they are of another recipe or other rows.
            replace: Forget all folds where they are of another recipe or other rows; keep finished ones that fit.

        Raises:
            UserError: As `to_train`.
        """
        differences = self._replaceable(force=force, replace=replace)
        if force or differences:
            self._forget(None if differences else folds)
        for path in self._strangers():  # never finished: else they would have been told as a difference
            shutil.rmtree(path)
        if any(self.finished(fold, seed) is None for fold in folds for seed in self.seeds):
            self._forget(())
        with write_atomically(self.run.folder / RECIPE_FILE) as temporary:
            temporary.write_text(self.recipe, encoding="utf-8")

    def _replaceable(self, *, force: bool, replace: bool) -> list[str]:
        """How finished folds differ from what is asked, where they may be replaced."""
        if self.run.info is not None and not (self.run.folder / RECIPE_FILE).is_file():
            raise UserError(
                f"run '{self.run.name}' was not trained here", where=self.run.folder, next="use another name"
            )
        differences = self._differences()
        if differences and not force and not replace:
            raise UserError(
                f"run '{self.run.name}' exists with other settings",
                where=self.run.folder,
                differ="; ".join(differences[:6]),
                next="give this one another --name, or replace that one with --force",
            )
        return differences

    def finished(self, fold: int, seed: int | None = None) -> Answers | None:
        """A fold's out-of-fold predictions; None while it is not finished."""
        piece = self._piece(self.fold(fold, seed))
        return piece if piece is not None and self._fits(piece) else None

    def finish_fold(self, fold: int, piece: Answers, seed: int | None = None) -> None:
        """Write recipe and predictions beside a fold's checkpoint: from now on it is finished, and travels as it is."""
        with write_atomically(self.fold(fold, seed) / RECIPE_FILE) as temporary:
            temporary.write_text(self.recipe, encoding="utf-8")
        piece.save(self.fold(fold, seed) / OOF_FILE)

    def join(self, pieces: Sequence[Answers], ids: pl.Series) -> Answers:
        """All folds' predictions as one.

        Args:
            pieces: What `finished` gives for each fold.
            ids: (N,) ids of all rows, in the order of the training table.
        """
        tagged = [piece for piece in pieces if isinstance(piece, TagPredictions)]
        if tagged:
            return join_tags(tagged, {"run": self.run.name, **self.fingerprints}).align(ids)
        pieces = [piece for piece in pieces if isinstance(piece, Predictions)]
        joined = Predictions(
            ids=pl.concat([piece.ids for piece in pieces]),
            classes=pieces[0].classes,
            probs=np.concatenate([piece.probs for piece in pieces]),
            labels=pl.concat([piece.labels for piece in pieces if piece.labels is not None]),
            folds=np.concatenate([piece.folds for piece in pieces if piece.folds is not None]),
            task=pieces[0].task,
            meta={"run": self.run.name, **self.fingerprints},
        )
        return joined.align(ids)

    def finish(self, oof: Answers, about: Mapping[str, Any]) -> None:
        """Write `oof.parquet` and, last, `run.json`.

        Args:
            oof: As `join` gives it.
            about: What `run.json` is to say besides fingerprints, environment and date.
        """
        oof.save(self.run.oof)
        content = {
            **about,
            "checkpoints": {path.name: fingerprint(path) for path in self.run.checkpoints},
            "fingerprints": dict(self.fingerprints),
            "environment": _environment(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with write_atomically(self.run.folder / RUN_FILE) as temporary:
            temporary.write_text(json.dumps(sealed(content), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    def _piece(self, folder: Path) -> Answers | None:
        path = folder / OOF_FILE
        if not path.is_file():
            return None
        return TagPredictions.load(path) if self.of_tags else Predictions.load(path)

    def _strangers(self) -> list[Path]:
        """Checkpoints of folds or seeds that are not asked for: they would count in the run's mean."""
        members = [(path, *fold_and_seed(path)) for path in self.run.checkpoints]
        return [path for path, fold, seed in members if fold >= self.n_folds or seed not in self.seeds]

    def _fits(self, piece: Answers) -> bool:
        return all(piece.meta.get(key) == value for key, value in self.fingerprints.items())

    def _differences(self) -> list[str]:
        """How finished folds differ from what is asked, in words; empty where they do not, or there are none."""
        pieces = [piece for path in self.run.checkpoints if (piece := self._piece(path)) is not None]
        found = []
        if any(piece.meta.get("data") != self.fingerprints["data"] for piece in pieces):
            found.append("training rows, pseudo-labels, teacher, folds, classes or metric")
        if any(piece.meta.get("recipe") != self.fingerprints["recipe"] for piece in pieces):
            found += self._changed_lines() or ["files of the encoder, synonyms or words"]
        strangers = [path.name for path in self._strangers() if self._piece(path) is not None]
        if strangers and not found:
            found += self._changed_lines() or [f"finished {', '.join(strangers)}"]
        return found

    def _changed_lines(self) -> list[str]:
        old = (self.run.folder / RECIPE_FILE).read_text(encoding="utf-8").splitlines()
        new = self.recipe.splitlines()
        before = [line for line in old if line not in new and not line.startswith(("name =", "["))]
        after = [line for line in new if line not in old and not line.startswith(("name =", "["))]
        return [*(f"was {line}" for line in before), *(f"is now {line}" for line in after)]

    def _forget(self, folds: Sequence[int] | None) -> None:
        """Remove folds (None: all) and what was made of them; `run.json` first, since it vouches for the rest."""
        (self.run.folder / RUN_FILE).unlink(missing_ok=True)
        self.run.oof.unlink(missing_ok=True)
        shutil.rmtree(self.run.folder / "predictions", ignore_errors=True)
        for path in self.run.checkpoints:
            if folds is None or fold_and_seed(path)[0] in folds:
                shutil.rmtree(path)


def _environment() -> dict[str, str]:
    versions = {package: version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}
