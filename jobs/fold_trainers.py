"""How a fold of each kind of run is trained: what all folds share is made once, then each gives its probabilities."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.training_rows import TrainingRows
from kaggle_tools.metrics import Metric, evaluate
from models.recipe import Recipe
from models.training.progress import OnProgress, Progress


@dataclass(frozen=True)
class Task:
    """What is trained, on what, judged how.

    Attributes:
        recipe: Of the run.
        classes: C class names.
        rows: All training rows.
        metric: Of the competition.
        device: Name of the device; linear runs have no use for it.
        on_progress: Called after each step and each validation.
    """

    recipe: Recipe
    classes: tuple[str, ...]
    rows: TrainingRows
    metric: Metric
    device: str
    on_progress: OnProgress | None


@dataclass(frozen=True)
class Trained:
    """What training a fold gave: (n, C) float32 validation probabilities, the kept epoch, a dictionary an epoch."""

    probs: NDArray[np.float32]
    kept: int = 0
    history: tuple[dict[str, Any], ...] = ()


# (fold, rows to train on, rows to validate on, folder of the checkpoint)
TrainOne = Callable[[int, NDArray[np.int64], NDArray[np.int64], Path], Trained]


def fold_trainer(task: Task) -> TrainOne:
    """A function that trains one fold; tokenizer or vectorizer are made here, once for all of them."""
    return _linear_trainer(task) if task.recipe.kind == "linear" else _transformer_trainer(task)


def _transformer_trainer(task: Task) -> TrainOne:
    from models.training.fold import make_tokenizer, train_fold

    texts, targets = task.rows.texts.to_list(), task.rows.targets
    tokenizer = make_tokenizer(task.recipe, texts)

    def train_one(fold: int, train: NDArray[np.int64], valid: NDArray[np.int64], folder: Path) -> Trained:
        result = train_fold(
            task.recipe,
            task.classes,
            [texts[i] for i in train],
            targets[train],
            [texts[i] for i in valid],
            targets[valid],
            tokenizer,
            folder=folder,
            fold=fold,
            on_progress=task.on_progress,
            metric=lambda probs, labels: evaluate(task.metric.name, labels, probs),
            greater_is_better=task.metric.greater_is_better,
            device=task.device,
        )
        return Trained(result.valid_probs, result.kept, tuple(map(dataclasses.asdict, result.history)))

    return train_one


def _linear_trainer(task: Task) -> TrainOne:
    from scipy.special import softmax

    from models.linear import LinearModel, fit_vectorizer, split_options

    texts, targets = task.rows.texts.to_list(), task.rows.targets
    of_vectorizer, of_classifier = split_options(task.recipe.linear)
    vectorizer = fit_vectorizer(texts, **of_vectorizer)
    features = vectorizer.transform(texts)

    def train_one(fold: int, train: NDArray[np.int64], valid: NDArray[np.int64], folder: Path) -> Trained:
        model = LinearModel.fit(vectorizer, features[train], targets[train], task.classes, **of_classifier)
        probs = softmax(model.logits(features[valid]), axis=1).astype(np.float32)
        value = evaluate(task.metric.name, targets[valid], probs)
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted call left
        model.save(folder, cleaning=task.recipe.data.cleaning, score=value)
        if task.on_progress is not None:
            task.on_progress(Progress(fold, epoch=1, epochs=1, step=1, n_steps=1, loss=None, score=value))
        return Trained(probs)

    return train_one
