"""The training rows of a fold: texts beside labels of every task, changed copies, and what gradients are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.classifier import TextClassifier
from models.crf import NO_WORD
from models.errors import ModelError
from models.label_groups import group_sizes
from models.losses import balanced_weights, make_loss
from models.recipe import Recipe
from models.tagging import align_words, tag_loss
from models.text.augmentation import augment, read_synonyms
from models.training.batches import Rows, tokenise
from models.training.contrast import make_contrast
from models.training.distill import Teaching
from models.training.half import HalfPrecision
from models.training.step import GradientSource, MicroBatch


@dataclass(frozen=True)
class FoldRows:
    """N rows to train on.

    Attributes:
        texts: Cleaned.
        labels: Of the task's shape, see `models.training.fold.train_fold`.
        names: What errors call the rows.
        labelled: (N,) bool: whether a row's label counts.
        teacher_probs: (N, C) what a teacher says of the rows, NaN where it says nothing; None: no teacher.
    """

    texts: list[str]
    labels: NDArray[Any]
    names: tuple[str, ...]
    labelled: NDArray[np.bool_]
    teacher_probs: NDArray[np.float32] | None

    def part(self, rows: slice) -> FoldRows:
        """Some of them."""
        probs = None if self.teacher_probs is None else self.teacher_probs[rows]
        return FoldRows(self.texts[rows], self.labels[rows], self.names[rows], self.labelled[rows], probs)


def augmented(recipe: Recipe, rows: FoldRows) -> FoldRows:
    """The rows and their changed copies."""
    options = recipe.augmentation
    if not options.copies:
        return rows
    generator = np.random.default_rng([recipe.seed, 1])  # apart from that of batches
    synonyms = read_synonyms(Path(options.synonyms)) if options.synonyms is not None else None
    texts = list(rows.texts)
    for _ in range(options.copies):
        texts += augment(rows.texts, options.steps, rate=options.rate, generator=generator, synonyms=synonyms)
    times = 1 + options.copies
    probs = None if rows.teacher_probs is None else np.concatenate([rows.teacher_probs] * times)
    labels, labelled = (np.concatenate([part] * times) for part in (rows.labels, rows.labelled))
    return FoldRows(texts, labels, rows.names * times, labelled, probs)


def make_source(
    recipe: Recipe,
    network: TextClassifier,
    tokenizer: Any,
    rows: FoldRows,
    task: str,
    classes: tuple[str, ...],
    device: torch.device,
) -> GradientSource:
    """Network, tokenised rows and loss, as a recipe puts them together.

    Raises:
        ModelError: A loss, contrast or tokenizer that does not suit the rows.
    """
    tokenised, targets = _tokenised(recipe, tokenizer, rows, task)
    weights = _class_weights(recipe, rows, task, classes)
    if weights is not None:
        weights = weights.to(device)
    loss = make_loss(recipe.loss, task, weights, classes)
    return GradientSource(
        network=network,
        rows=tokenised,
        targets=torch.from_numpy(targets).to(device),
        loss=tag_loss(network, loss) if task == "token" else loss,
        task=task,
        classes=classes,
        device=device,
        half=HalfPrecision.fitting(recipe.training.precision, device, network),
        r_drop=recipe.training.r_drop,
        micro=MicroBatch(recipe.training.micro_batch_size or recipe.training.batch_size),
        contrast=make_contrast(
            recipe.contrast, rows.texts, rows.labels, classes, device, skip=int(tokenizer.cls_token_id is not None)
        ),
        teaching=_teaching(recipe, rows, task, classes, device),
    )


def check_source(recipe: Recipe, tokenizer: Any, rows: FoldRows, task: str, classes: tuple[str, ...]) -> None:
    """Refuse what `make_source` refuses of a recipe, without tokenising all rows.

    Raises:
        ModelError: As `make_source`.
    """
    make_loss(recipe.loss, task, _class_weights(recipe, rows, task, classes), classes)
    make_contrast(recipe.contrast, rows.texts, rows.labels, classes, torch.device("cpu"))
    _tokenised(recipe, tokenizer, rows.part(slice(1)), task)


def has_weight(recipe: Recipe, labels: NDArray[Any], task: str, classes: tuple[str, ...]) -> bool:
    """Whether any of these rows counts by the class weights of the recipe, whatever a network says of it.

    Raises:
        ModelError: Weights or a loss that do not fit the task.
    """
    rows = FoldRows([], labels, (), np.ones(len(labels), bool), None)
    weights = _class_weights(recipe, rows, task, classes)
    if weights is None:
        return True
    of_words = labels[labels != NO_WORD] if task == "token" else labels
    kinds = labels[:1] if task == "multi_label" else np.unique(of_words, axis=0)  # there every class counts in each row
    logits = torch.arange(len(kinds) * len(classes)).sin().reshape(len(kinds), -1)  # any will do
    return float(make_loss(recipe.loss, task, weights, classes)(logits, torch.from_numpy(kinds))) > 0


def marked(labels: NDArray[Any], task: str, classes: Sequence[str]) -> NDArray[Any]:
    """Labels as samplers read them: of groups and tags (N, C) of 0 and 1, so that a row's rarest class counts."""
    if task == "token":
        return np.stack([(labels == tag).any(axis=1) for tag in range(len(classes))], axis=1).astype(np.float32)
    if task != "multi_group":
        return labels
    marks = [column[:, None] == np.arange(n) for column, n in zip(labels.T, group_sizes(classes), strict=True)]
    return np.concatenate(marks, axis=1).astype(np.float32)


def _teaching(
    recipe: Recipe, rows: FoldRows, task: str, classes: tuple[str, ...], device: torch.device
) -> Teaching | None:
    if rows.teacher_probs is None:
        return None
    probs, labelled = (torch.from_numpy(part).to(device) for part in (rows.teacher_probs, rows.labelled))
    return Teaching(recipe.distill, task, classes, probs, labelled)


def _tokenised(recipe: Recipe, tokenizer: Any, rows: FoldRows, task: str) -> tuple[Rows, NDArray[Any]]:
    """Token ids, and what the loss compares with."""
    if task != "token":
        return tokenise(tokenizer, rows.texts, recipe.data.max_length, recipe.data.form), rows.labels
    words = align_words(tokenizer, rows.texts, recipe.data.max_length)
    return words.rows, words.targets(rows.labels)


def _class_weights(recipe: Recipe, rows: FoldRows, task: str, classes: Sequence[str]) -> torch.Tensor | None:
    """(C,) float32 as the recipe asks; None: all classes weigh the same."""
    alpha = recipe.loss.alpha
    if alpha:
        if len(alpha) != len(classes):
            raise ModelError(
                f"[loss] alpha has {len(alpha)} numbers for {len(classes)} classes",
                expected=f"a number each for {', '.join(classes[:10])}{' …' if len(classes) > 10 else ''}",
            )
        return torch.tensor(alpha, dtype=torch.float32)
    if recipe.loss.class_weights == "balanced":
        return torch.from_numpy(_balanced(rows.labels[rows.labelled], task, classes))
    return None


def _balanced(labels: NDArray[Any], task: str, classes: Sequence[str]) -> NDArray[np.float32]:
    """(C,) balanced within each label group, where there are groups; of tags over all words."""
    if task == "token":
        return balanced_weights(labels[labels != NO_WORD], len(classes))
    if task != "multi_group":
        return balanced_weights(labels, len(classes))
    sizes = group_sizes(classes)
    return np.concatenate([balanced_weights(column, size) for column, size in zip(labels.T, sizes, strict=True)])
