"""What training minimises. Adding a loss is adding a function and its name to one of the dictionaries.

A loss is ``loss(logits, targets, weights, **options) -> mean over the batch``; its keyword-only parameters are the keys
of the recipe's `[loss]` section. All compute in float32, whatever the precision of the logits.

    logits    (B, C)
    targets   (B,) int64 classes for single_label, (B, C) of 0 and 1 for multi_label
    weights   (C,) float32 class weights, or None
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.recipe import LossOptions
from models.schema import Between, Place, check_options

Loss = Callable[[Tensor, Tensor], Tensor]
Smoothing = Annotated[float, Between(0.0, 0.99)]


def cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, label_smoothing: Smoothing = 0.0
) -> Tensor:
    """Softmax cross-entropy; with `label_smoothing` ε the target is (1 − ε) one-hot + ε/C."""
    return F.cross_entropy(logits.float(), targets, weight=weights, label_smoothing=label_smoothing)


def focal(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, gamma: Annotated[float, Between(0.0)] = 2.0
) -> Tensor:
    """Cross-entropy times (1 − p)^gamma, p being the probability of the true class: easy rows count less.

    Lin et al. 2017, "Focal loss for dense object detection".
    """
    log_p = logits.float().log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1)  # (B,)
    miss = (-torch.expm1(log_p)).clamp(min=1e-7)  # 1 − p; at 0 a power below 1 has no gradient
    loss = -(miss**gamma) * log_p
    if weights is None:
        return loss.mean()
    row_weights = weights[targets]
    return (row_weights * loss).sum() / row_weights.sum()


def bce(logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, label_smoothing: Smoothing = 0.0) -> Tensor:
    """Binary cross-entropy, mean over rows and classes; `label_smoothing` ε draws targets to ε/2 and 1 − ε/2."""
    smooth = targets.float() * (1 - label_smoothing) + label_smoothing / 2
    loss = F.binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none")  # (B, C)
    return loss.mean() if weights is None else (loss * weights).mean()


SINGLE_LABEL: dict[str, Callable[..., Tensor]] = {"cross_entropy": cross_entropy, "focal": focal}
MULTI_LABEL: dict[str, Callable[..., Tensor]] = {"bce": bce}
LOSSES: dict[str, Callable[..., Tensor]] = {**SINGLE_LABEL, **MULTI_LABEL}


def make_loss(options: LossOptions, task: str, weights: Tensor | None = None) -> Loss:
    """``loss(logits, targets)`` as a recipe asks for it, options filled in; ``auto`` takes the first of the task.

    Raises:
        ModelError: A loss of the other task, or an option that it does not have.
    """
    of_task = SINGLE_LABEL if task == "single_label" else MULTI_LABEL
    name = next(iter(of_task)) if options.name == "auto" else options.name
    if name not in of_task:
        raise ModelError(f"loss '{name}' is not for {task} tasks", expected=", ".join(of_task))
    check_options(of_task[name], options.options, Place("recipe", "loss"))
    return partial(of_task[name], weights=weights, **options.options)


def balanced_weights(targets: NDArray[np.generic], n_classes: int) -> NDArray[np.float32]:
    """(C,) float32 n / (C · n_c), as scikit-learn's "balanced"; a class without rows weighs 0.

    Args:
        targets: (N,) classes, or (N, C) of 0 and 1.
        n_classes: C.
    """
    counts = np.bincount(targets, minlength=n_classes) if targets.ndim == 1 else targets.sum(axis=0)
    present = counts > 0
    weights = np.zeros(n_classes, np.float32)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights
