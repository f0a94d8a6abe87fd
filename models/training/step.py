"""The gradient of one step: micro-batches, R-Drop, the adversary, and what happens when memory or numbers run out.

Knows nothing of epochs, of the optimizer and of what is validated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.classifier import TextClassifier
from models.crf import NO_WORD
from models.errors import ModelError
from models.losses import Loss, symmetric_kl
from models.memory import until_it_fits
from models.training.batches import Rows, network_inputs
from models.training.contrast import Contrast, contrastive_loss
from models.training.distill import Teaching
from models.training.half import HalfPrecision
from models.training.unilm import generation_loss

Adversary = Callable[[TextClassifier, Callable[[], object]], None]


class NoNumber(Exception):
    """A loss or gradient is NaN or infinite.

    Attributes:
        what: Which, and its value.
        rows: Rows that it comes from, as far as that can be told.
    """

    def __init__(self, what: str, rows: NDArray[np.int64]) -> None:
        super().__init__(what)
        self.what = what
        self.rows = rows


# What to do where memory runs out for what a smaller micro-batch does not make smaller.
MORE_ROOM = "free the device (`nvidia-smi` shows who uses it), or use a smaller encoder, LoRA or --device cpu"


@dataclass
class MicroBatch:
    """Rows that go through the network at once; halved when the device runs out of memory, and it stays so."""

    size: int
    halvings: int = 0

    def halve(self, tried: int) -> None:
        """After running out of memory with so many rows, or with `size` of them where these were more.

        Raises:
            ModelError: Not even a single row fits.
        """
        self.size = min(self.size, tried)
        if self.size == 1:
            raise ModelError(
                "out of memory in training with a single row at a time",
                next="set gradient_checkpointing = true, or a smaller max_length; or use a smaller encoder",
            )
        self.size = (self.size + 1) // 2
        self.halvings += 1


@dataclass(frozen=True)
class GradientSource:
    """What gradients are made of.

    Attributes:
        network: In train mode; receives them.
        rows: Training rows.
        targets: (N,), (N, C), (N, G) or, of tags, (N, T), on `device`.
        loss: Of logits and targets, the mean over a batch.
        task: ``single_label``, ``multi_label``, ``multi_group`` or ``token``.
        classes: C class names, which tell the label groups of ``multi_group``.
        device: Where the network is.
        half: Number format of the passes.
        r_drop: Weight of the divergence between two passes; 0: one pass.
        micro: Rows at once; changes when memory runs out.
        contrast: Added to the loss; a micro-batch's texts find their partners in it alone.
        teaching: A teacher's probabilities of the rows, learnt beside their targets; None: no teacher.
    """

    network: TextClassifier
    rows: Rows
    targets: Tensor
    loss: Loss
    task: str
    device: torch.device
    half: HalfPrecision
    r_drop: float
    micro: MicroBatch
    classes: tuple[str, ...] = ()
    contrast: Contrast | None = None
    teaching: Teaching | None = None


def put_gradient(source: GradientSource, batch: NDArray[np.int64], adversary: Adversary | None) -> float:
    """Leave the gradient of the batch's mean loss in the network's parameters, the adversary's included.

    Micro-batches count by their rows, those of tags by their words, so that the gradient is that of the whole batch
    where the loss is a mean of the rows' own losses, or of the words'. It is begun again with smaller ones when memory
    runs out, and where fp16 overflows.

    Args:
        source: Network and rows.
        batch: Row numbers.
        adversary: Called once the clean gradient is there; None: no adversary.

    Returns:
        The mean loss without the adversary.

    Raises:
        NoNumber: The loss is NaN or infinite.
        ModelError: Out of memory with a single row.
    """
    work = partial(_put_gradient, source, batch, adversary)
    while True:
        loss = until_it_fits(work, partial(source.micro.halve, len(batch)), source.device)
        if source.half.settle(source.network.parameters()):
            return loss


def _put_gradient(source: GradientSource, batch: NDArray[np.int64], adversary: Adversary | None) -> float:
    source.network.zero_grad(set_to_none=True)
    value = _backward(source, batch)
    if adversary is not None:
        adversary(source.network, partial(_backward, source, batch))
    return value


def _backward(source: GradientSource, batch: NDArray[np.int64]) -> float:
    """Add the gradient of the batch's mean loss, micro-batch after micro-batch; gives the loss."""
    total, whole = 0.0, _weight(source, batch)
    for start in range(0, len(batch), source.micro.size):
        rows = batch[start : start + source.micro.size]
        loss = _loss(source, rows) * (_weight(source, rows) / whole)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise NoNumber(f"loss is {value}", _rows_without_number(source, rows))
        source.half.backward(loss)
        total += value
    return total


def _weight(source: GradientSource, rows: NDArray[np.int64]) -> int:
    """What the loss of some rows is a mean over: rows, or their words."""
    if source.task != "token":
        return len(rows)
    return max(1, int((source.targets[torch.from_numpy(rows).to(source.device)] != NO_WORD).sum()))


def _loss(source: GradientSource, rows: NDArray[np.int64]) -> Tensor:
    inputs = network_inputs(source.rows, rows, source.device)
    places = torch.from_numpy(rows).to(source.device)
    targets = source.targets[places]
    if source.contrast is not None:
        return _loss_with_contrast(source, source.contrast, inputs, rows, targets)
    if source.task == "token":
        targets = targets[:, : inputs[0].shape[1]]
    of_batch = source.loss if source.teaching is None else source.teaching.beside(source.loss, places)
    logits = _logits(source, inputs, targets)
    if source.r_drop == 0:
        return of_batch(logits, targets)
    again = _logits(source, inputs, targets)  # under another draw of dropout
    loss = 0.5 * (of_batch(logits, targets) + of_batch(again, targets))
    if source.task != "token":
        return loss + source.r_drop * symmetric_kl(logits, again, source.task, source.classes)
    words = targets != NO_WORD
    if not bool(words.any()):
        return loss
    crf = getattr(source.network.head, "crf", None)
    if crf is not None:  # what it makes of the scores of tags is what is to agree
        logits, again = (crf.marginal_logits(scores, words) for scores in (logits, again))
    return loss + source.r_drop * symmetric_kl(logits[words], again[words], "single_label")


def _loss_with_contrast(
    source: GradientSource,
    contrast: Contrast,
    inputs: tuple[Tensor, Tensor | None, Tensor | None],
    rows: NDArray[np.int64],
    targets: Tensor,
) -> Tensor:
    options, places = contrast.options, torch.from_numpy(rows).to(source.device)
    with source.half.autocast(source.device):
        vectors = source.network.embed(*inputs)  # (2B, D)
        logits = source.network.head.decide(vectors.detach() if options.alone else vectors)
    groups = contrast.groups[places].T.flatten()
    apart = contrastive_loss(vectors, groups, contrast.positive[places], options.scale)
    loss = source.loss(logits, targets) + options.weight * apart
    if options.generate == 0:
        return loss
    ids, mask, types = inputs
    assert types is not None  # rows of two texts always tell which is which
    with source.half.autocast(source.device):
        written = generation_loss(source.network, (ids, mask, types), contrast.positive[places], contrast.skip)
    return loss + options.generate * written


def _logits(source: GradientSource, inputs: tuple[Tensor, Tensor | None, Tensor | None], targets: Tensor) -> Tensor:
    shown = {"targets": targets} if getattr(source.network, "takes_targets", False) else {}
    with source.half.autocast(source.device):
        return source.network(*inputs, **shown)  # type: ignore[no-any-return]


@torch.no_grad()
def _rows_without_number(source: GradientSource, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the rows whose own loss is no number; all of them where that does not tell."""
    bad = [row for row in rows if not bool(torch.isfinite(_loss(source, np.asarray([row]))))]
    return np.asarray(bad, np.int64) if bad else rows
