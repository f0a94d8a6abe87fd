"""One fold of a run, by one seed: which rows it is trained and validated on, and how it becomes a finished one."""

from __future__ import annotations

import json
import time

import numpy as np
from numpy.typing import NDArray

from jobs.fold_pieces import fold_piece
from jobs.fold_trainers import TrainOne
from jobs.run_folder import RunFolder
from jobs.training_rows import TrainingRows, without_copies
from kaggle_tools.competition import Competition
from models.recipe import Recipe


def divide(fold: int, rows: TrainingRows, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to validate on and rows to train on; where the recipe says so, each text of these once."""
    inside, outside = np.flatnonzero(rows.folds == fold), np.flatnonzero(rows.folds != fold)
    if recipe.data.duplicates == "once":
        outside = without_copies(rows.texts, outside, inside)
    return inside, outside


def train_fold(
    fold: int,
    seed: int | None,
    rows: TrainingRows,
    recipe: Recipe,
    folder: RunFolder,
    competition: Competition,
    train_one: TrainOne,
) -> None:
    """Train a fold and keep its predictions of the rows that it is validated on; from then on it is finished."""
    inside, outside = divide(fold, rows, recipe)
    began = time.perf_counter()
    trained = train_one(fold, seed, outside, inside, folder.fold(fold, seed))
    about = {
        "seconds": time.perf_counter() - began,
        "kept": trained.kept,
        "history": trained.history,
        "micro_batch_size": trained.micro_batch_size,
        "halvings": trained.halvings,
        "n_pseudo": trained.n_pseudo,
        "soup": trained.soup,
    }
    meta = {"run": folder.run.name, **folder.fingerprints, "training": json.dumps(about)}
    folder.finish_fold(fold, fold_piece(rows, inside, trained.probs, competition, meta), seed)
