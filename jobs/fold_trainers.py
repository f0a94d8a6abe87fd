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

from jobs.pseudo_labels import PseudoRows
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
        pseudo: Rows with pseudo-labels for a fold; they are trained on and never validated.
        on_progress: Called after each step and each validation.
    """

    recipe: Recipe
    classes: tuple[str, ...]
    rows: TrainingRows
    metric: Metric
    device: str
    pseudo: Callable[[int], PseudoRows | None]
    on_progress: OnProgress | None


@dataclass(frozen=True)
class Trained:
    """What training a fold gave.

    Attributes:
        probs: (n, C) float32 validation probabilities.
        kept: Epoch that was kept; 0 for a linear run.
        history: A dictionary an epoch.
        micro_batch_size: Rows that went through the network at once; 0 for a linear run.
        halvings: How often memory made it smaller.
        n_pseudo: Rows with pseudo-labels.
    """

    probs: NDArray[np.float32]
    kept: int = 0
    history: tuple[dict[str, Any], ...] = ()
    micro_batch_size: int = 0
    halvings: int = 0
    n_pseudo: int = 0


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
        extra = task.pseudo(fold) or _no_rows(targets)
        result = train_fold(
            task.recipe,
            task.classes,
            [*(texts[i] for i in train), *extra.texts],
            np.concatenate([targets[train], extra.targets]),
            [texts[i] for i in valid],
            targets[valid],
            tokenizer,
            folder=folder,
            train_ids=[*task.rows.ids.gather(train), *extra.names],
            fold=fold,
            on_progress=task.on_progress,
            metric=lambda probs, labels: evaluate(task.metric.name, labels, probs),
            greater_is_better=task.metric.greater_is_better,
            device=task.device,
        )
        history = tuple(map(dataclasses.asdict, result.history))
        return Trained(
            result.valid_probs, result.kept, history, result.micro_batch_size, result.halvings, len(extra.texts)
        )

    return train_one


def _linear_trainer(task: Task) -> TrainOne:
    from scipy.sparse import csr_matrix, vstack
    from scipy.special import softmax

    from models.linear import LinearModel, fit_vectorizer, split_options

    texts, targets = task.rows.texts.to_list(), task.rows.targets
    of_vectorizer, of_classifier = split_options(task.recipe.linear)
    vectorizer = fit_vectorizer(texts, **of_vectorizer)
    features = vectorizer.transform(texts)

    def train_one(fold: int, train: NDArray[np.int64], valid: NDArray[np.int64], folder: Path) -> Trained:
        extra = task.pseudo(fold) or _no_rows(targets)
        seen = csr_matrix(vstack([features[train], vectorizer.transform(list(extra.texts))]))
        codes = np.concatenate([targets[train], extra.targets])
        model = LinearModel.fit(vectorizer, seen, codes, task.classes, **of_classifier)
        probs = softmax(model.logits(features[valid]), axis=1).astype(np.float32)
        value = evaluate(task.metric.name, targets[valid], probs)
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted call left
        model.save(folder, cleaning=task.recipe.data.cleaning, score=value)
        if task.on_progress is not None:
            task.on_progress(Progress(fold, epoch=1, epochs=1, step=1, n_steps=1, loss=None, score=value))
        return Trained(probs, n_pseudo=len(extra.texts))

    return train_one


def _no_rows(targets: NDArray[Any]) -> PseudoRows:
    return PseudoRows((), (), targets[:0])
