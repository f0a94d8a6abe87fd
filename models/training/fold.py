"""Train one fold: texts and labels in, validation probabilities and a checkpoint directory out.

A plain loop over batches. Knows nothing of tables, ids, folds of other runs and how progress is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from models.checkpoint import CheckpointSpec
from models.classifier import TextClassifier, build_classifier, save_checkpoint
from models.errors import ModelError
from models.inference.device import has_fast_bf16, resolve_device, resolve_precision
from models.losses import Loss, balanced_weights, make_loss
from models.pretrained import load_tokenizer
from models.recipe import Recipe, TrainingOptions
from models.scratch import train_tokenizer
from models.training.batches import Rows, padded, random_batches, sorted_batches, tokenise
from models.training.optimizer import make_optimizer, make_schedule
from models.training.progress import Epoch, FoldResult, OnProgress, Progress

Metric = Callable[[NDArray[np.float32], NDArray[Any]], float]


def make_tokenizer(recipe: Recipe, texts: Sequence[str]) -> Any:
    """The tokenizer of a run, the same in all its folds.

    For an encoder from scratch it is learnt from all training texts, those of each fold's validation rows included:
    that uses text without its labels, as a pretrained vocabulary does, and leaks no answer.

    Args:
        recipe: Encoder and max_length are read.
        texts: Cleaned texts of all training rows.

    Raises:
        ModelError: The encoder has no tokenizer.
    """
    if recipe.encoder.scratch is not None:
        return train_tokenizer(texts, recipe.encoder.scratch, recipe.data.max_length)
    return load_tokenizer(str(recipe.encoder.path))


def train_fold(
    recipe: Recipe,
    classes: Sequence[str],
    train_texts: Sequence[str],
    train_labels: NDArray[Any],
    valid_texts: Sequence[str],
    valid_labels: NDArray[Any],
    tokenizer: Any,
    *,
    folder: Path,
    fold: int = 0,
    on_progress: OnProgress | None = None,
    metric: Metric | None = None,
    greater_is_better: bool = True,
    device: str = "auto",
) -> FoldResult:
    """Train a classifier on some rows, validate it on others after each epoch, and save the epoch that is kept.

    Nothing but the arguments decides the outcome: on a CPU the same call gives the same bytes (with as many threads),
    on a GPU the same up to rounding. The global random state is left as it was.

    Args:
        recipe: What to build and how to train it.
        classes: C class names.
        train_texts: Cleaned texts.
        train_labels: (N,) int64 classes for single_label, (N, C) of 0 and 1 for multi_label.
        valid_texts: Cleaned texts of the rows that the model does not see.
        valid_labels: As `train_labels`.
        tokenizer: As `make_tokenizer` gives it.
        folder: Where the checkpoint goes; replaced where it exists.
        fold: Told in progress.
        on_progress: Called after each step and each validation.
        metric: (probs (N, C), labels) to a score; without one the validation loss decides which epoch is best.
        greater_is_better: Direction of `metric`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``…

    Raises:
        ModelError: The recipe does not fit the encoder or task, or the loss is not a number; no checkpoint is left.
    """
    began = time.perf_counter()
    where = resolve_device(device)
    task = "single_label" if train_labels.ndim == 1 else "multi_label"
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        network = build_classifier(recipe, classes, tokenizer, task).to(where)
        if recipe.training.gradient_checkpointing and not network.body.supports_gradient_checkpointing:
            raise ModelError("this encoder has no gradient_checkpointing", next="leave it out of [training]")
        run = _Loop(
            options=recipe.training,
            network=network,
            loss=_make_loss(recipe, task, train_labels, len(classes), where),
            train=tokenise(tokenizer, train_texts, recipe.data.max_length),
            train_labels=torch.from_numpy(train_labels).to(where),
            valid=tokenise(tokenizer, valid_texts, recipe.data.max_length),
            valid_labels=valid_labels,
            task=task,
            device=where,
            generator=np.random.default_rng(recipe.seed),
            fold=fold,
            on_progress=on_progress or (lambda _: None),
            metric=metric,
            sign=1.0 if greater_is_better else -1.0,
            bf16=_use_bf16(recipe.training.precision, where),
        )
        history, kept, probs = _train(run)
    score = history[kept - 1].score
    spec = CheckpointSpec(
        kind="transformer",
        classes=tuple(classes),
        task=task,
        max_length=recipe.data.max_length,
        cleaning=recipe.data.cleaning,
        head=recipe.head.name,
        head_options=recipe.head.options,
        score=score,
    )
    save_checkpoint(folder, network, tokenizer, spec)
    return FoldResult(probs, tuple(history), kept, score, time.perf_counter() - began)


@dataclass(frozen=True)
class _Loop:
    """Everything that the loop works with."""

    options: TrainingOptions
    network: TextClassifier
    loss: Loss
    train: Rows
    train_labels: Tensor
    valid: Rows
    valid_labels: NDArray[Any]
    task: str
    device: torch.device
    generator: np.random.Generator
    fold: int
    on_progress: OnProgress
    metric: Metric | None
    sign: float
    bf16: bool


def _train(run: _Loop) -> tuple[list[Epoch], int, NDArray[np.float32]]:
    """All epochs; leaves the network with the weights that are kept. History, kept epoch, its probabilities."""
    options = run.options
    n_batches = -(-len(run.train.ids) // options.batch_size)
    optimizer = make_optimizer(run.network, options)
    schedule = make_schedule(optimizer, options, options.epochs * n_batches)
    if options.gradient_checkpointing:
        body = run.network.body
        renamed = hasattr(body, "activation_checkpointing_enable")  # in transformers 5.23
        getattr(body, "activation_checkpointing_enable" if renamed else "gradient_checkpointing_enable")()
    history: list[Epoch] = []
    best, best_value, best_weights, best_probs = 0, -np.inf, None, np.empty(0, np.float32)
    for epoch in range(1, options.epochs + 1):
        began = time.perf_counter()
        train_loss = _train_epoch(run, epoch, n_batches, optimizer, schedule)
        probs, valid_loss = _validate(run, epoch)
        score = None if run.metric is None else run.metric(probs, run.valid_labels)
        history.append(Epoch(epoch, train_loss, valid_loss, score, time.perf_counter() - began))
        run.on_progress(
            Progress(run.fold, epoch, options.epochs, epoch * n_batches, options.epochs * n_batches, train_loss, score)
        )
        value = -valid_loss if score is None else run.sign * score
        if value > best_value or options.keep == "last":
            best, best_value, best_probs = epoch, value, probs
            if options.keep == "best" and epoch < options.epochs:
                best_weights = {k: v.to("cpu", copy=True) for k, v in run.network.state_dict().items()}
        elif options.patience is not None and epoch - best >= options.patience:
            break
    if best < len(history) and best_weights is not None:
        run.network.load_state_dict(best_weights)
    return history, best, best_probs


def _train_epoch(run: _Loop, epoch: int, n_batches: int, optimizer: Any, schedule: Any) -> float:
    """One pass over the training rows; gives the mean loss."""
    run.network.train()
    total = 0.0
    for i, batch in enumerate(random_batches(run.train.lengths, run.options.batch_size, run.generator), start=1):
        ids, mask = padded(run.train, batch, run.device)
        with _autocast(run):
            logits = run.network(ids, mask)
        loss = run.loss(logits, run.train_labels[torch.from_numpy(batch).to(run.device)])
        value = float(loss.detach())
        step = (epoch - 1) * n_batches + i
        if not np.isfinite(value):
            raise ModelError(
                f"the loss is {value} at step {step} (epoch {epoch}) of fold {run.fold}",
                next="lower learning_rate, lengthen warmup, or set precision = 'fp32' under [training]",
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(run.network.parameters(), run.options.max_grad_norm)
        optimizer.step()
        schedule.step()
        total += value * len(batch)
        run.on_progress(Progress(run.fold, epoch, run.options.epochs, step, run.options.epochs * n_batches, value))
    return total / len(run.train.ids)


@torch.inference_mode()
def _validate(run: _Loop, epoch: int) -> tuple[NDArray[np.float32], float]:
    """(N, C) float32 probabilities of the validation rows in their order, and the loss over them."""
    run.network.eval()
    outputs: list[Tensor] = []
    batches = sorted_batches(run.valid.lengths, run.options.batch_size)
    for batch in batches:
        with _autocast(run):
            outputs.append(run.network(*padded(run.valid, batch, run.device)).float())
    order = np.concatenate(batches)
    logits = torch.cat(outputs)[torch.from_numpy(np.argsort(order)).to(run.device)]  # (N, C)
    if not torch.isfinite(logits).all():
        raise ModelError(
            f"the network gives values that are no numbers after epoch {epoch} of fold {run.fold}",
            next="lower learning_rate, lengthen warmup, or set precision = 'fp32' under [training]",
        )
    loss = float(run.loss(logits, torch.from_numpy(run.valid_labels).to(run.device)))
    probs = logits.softmax(-1) if run.task == "single_label" else logits.sigmoid()
    return probs.cpu().numpy(), loss


def _make_loss(recipe: Recipe, task: str, labels: NDArray[Any], n_classes: int, device: torch.device) -> Loss:
    weights = None
    if recipe.loss.class_weights == "balanced":
        weights = torch.from_numpy(balanced_weights(labels, n_classes)).to(device)
    return make_loss(recipe.loss, task, weights)


def _use_bf16(precision: str, device: torch.device) -> bool:
    """``auto`` means bf16 on a GPU with hardware for it: on a CPU, small steps gain too little from it."""
    if precision == "auto":
        return device.type == "cuda" and has_fast_bf16(device)
    return resolve_precision(precision, device) == "bf16"


def _autocast(run: _Loop) -> Any:
    return torch.autocast(run.device.type, dtype=torch.bfloat16) if run.bf16 else nullcontext()
