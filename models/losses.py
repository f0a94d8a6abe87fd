"""What training minimises. Adding a loss is adding a function and its name to `SINGLE_LABEL`, `MULTI_LABEL` or both.

A loss is ``loss(logits, targets, weights, **options) -> mean over the batch``; its keyword-only parameters are the keys
of the recipe's `[loss]` section. All compute in float32, whatever the precision of the logits.

    logits    (B, C)
    targets   (B,) int64 classes for single_label, (B, C) of 0 and 1 for multi_label

Label groups (multi_group) have a loss of single labels each; their weighted sum is what counts.
    weights   (C,) float32 class weights, or None
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.label_groups import group_sizes, split_groups
from models.recipe import LossOptions
from models.schema import Between, Place, check_options

Loss = Callable[[Tensor, Tensor], Tensor]
Smoothing = Annotated[float, Between(0.0, 0.99)]


def cross_entropy(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, label_smoothing: Smoothing = 0.0
) -> Tensor:
    """Softmax cross-entropy; with `label_smoothing` ε the target is (1 − ε) one-hot + ε/C."""
    if weights is None:
        return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)
    total = F.cross_entropy(logits.float(), targets, weights, label_smoothing=label_smoothing, reduction="sum")
    return _by_weight(total, targets, weights)


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
    return _by_weight((weights[targets] * loss).sum(), targets, weights)


def _by_weight(total: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """A batch's loss by the weight of its rows; of rows that have none it is 0, whatever smoothing adds to it."""
    weight = weights[targets].sum()
    return torch.where(weight > 0, total, total * 0.0) / weight.clamp(min=torch.finfo(torch.float32).tiny)


def bce(logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, label_smoothing: Smoothing = 0.0) -> Tensor:
    """Binary cross-entropy, mean over rows and classes; `label_smoothing` ε draws targets to ε/2 and 1 − ε/2."""
    smooth = targets.float() * (1 - label_smoothing) + label_smoothing / 2
    loss = F.binary_cross_entropy_with_logits(logits.float(), smooth, reduction="none")  # (B, C)
    return loss.mean() if weights is None else (loss * weights).mean()


def multilabel_ce(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """log(1 + Σ e^s over absent labels) + log(1 + Σ e^−s over present ones), mean over rows.

    A softmax cross-entropy for any number of labels: the 1 is a threshold class with logit 0, which present labels are
    to exceed and absent ones to stay below. One rare label weighs as much as sixty frequent absences, which is what
    `bce` lacks with many labels. Sigmoids of such logits decide rightly at one half, but are no calibrated
    probabilities. Class weights multiply the terms of the sums. Su et al. 2022, "ZLPR: a novel loss for multi-label
    classification".
    """
    scores, present = logits.float(), targets > 0.5
    bonus = 0.0 if weights is None else weights.log()  # (C,); -inf for a weight of 0, which drops the term
    out = scores.new_full((), -torch.inf)
    absent_terms = torch.where(present, out, scores + bonus)
    present_terms = torch.where(present, bonus - scores, out)
    threshold = scores.new_zeros(len(scores), 1)
    both = [torch.cat([terms, threshold], dim=-1).logsumexp(-1) for terms in (absent_terms, present_terms)]
    return (both[0] + both[1]).mean()


def binary_focal(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, gamma: Annotated[float, Between(0.0)] = 2.0
) -> Tensor:
    """Focal loss of each label's own yes or no, mean over rows and labels; see `focal`."""
    present = targets > 0.5
    log_p = F.logsigmoid(torch.where(present, logits.float(), -logits.float()))  # (B, C), of the true answer
    miss = (-torch.expm1(log_p)).clamp(min=1e-7)
    loss = -(miss**gamma) * log_p
    return loss.mean() if weights is None else (loss * weights).mean()


def smooth_f1(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    average: Literal["macro", "micro"] = "macro",
    epsilon: Annotated[float, Between(1e-6)] = 1e-3,
) -> Tensor:
    """1 − F1 of the batch with probabilities in place of counts: F1 = (2 Σ y·p + ε) / (Σ y + Σ p + ε).

    ``macro`` is the mean over classes, ``micro`` sums over classes first. A class that the batch lacks gives ε / (Σ p +
    ε): a large ε punishes its false alarms in all those batches, until a class that is rare is never predicted at all.
    Keep ε well below one row. The loss depends on the batch as a whole: large batches serve it best, and micro-batches
    change it. Class weights weigh classes. Su Jianlin 2019 on smoothing of functions (spaces.ac.cn/archives/6620).
    """
    probs, truth = _probs_and_truth(logits, targets)
    hits, both = (truth * probs).sum(0), truth.sum(0) + probs.sum(0)  # (C,)
    share = torch.ones_like(hits) if weights is None else weights
    if average == "micro":
        return 1 - (2 * (share * hits).sum() + epsilon) / ((share * both).sum() + epsilon)
    f1 = (2 * hits + epsilon) / (both + epsilon)
    # Balanced weights are all 0 where no row has a label.
    return 1 - (share * f1).sum() / share.sum().clamp(min=torch.finfo(torch.float32).tiny)


def mse(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, *, pull: Annotated[float, Between(0.0)] = 0.1
) -> Tensor:
    """Mean of (y − p)² + pull · (½ − p)² over rows and classes: squared error, drawn towards indecision.

    p are probabilities (softmax for one label a row, sigmoids for several). Class weights multiply a class's terms.
    """
    probs, truth = _probs_and_truth(logits, targets)
    loss = (truth - probs).square() + pull * (0.5 - probs).square()
    return loss.mean() if weights is None else (loss * weights).mean()


SINGLE_LABEL: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "smooth_f1": smooth_f1,
    "mse": mse,
}
MULTI_LABEL: dict[str, Callable[..., Tensor]] = {
    "bce": bce,
    "multilabel_ce": multilabel_ce,
    "binary_focal": binary_focal,
    "smooth_f1": smooth_f1,
    "mse": mse,
}
LOSSES: dict[str, Callable[..., Tensor]] = {**SINGLE_LABEL, **MULTI_LABEL}


def symmetric_kl(first: Tensor, second: Tensor, task: str, classes: Sequence[str] = ()) -> Tensor:
    """½ KL(p‖q) + ½ KL(q‖p) of two forward passes over the same rows, mean over rows: the extra term of R-Drop.

    Liang et al. 2021, "R-Drop: regularized dropout for neural networks".

    Args:
        first: (B, C) logits; of tags those of all words, with a CRF the logits of its marginals.
        second: (B, C) logits under another draw of dropout.
        task: ``single_label``: of the two softmax distributions; ``multi_label``: of each label's yes or no, summed;
            ``multi_group``: of the groups' softmax distributions, summed.
        classes: C names, which tell the groups of ``multi_group``.
    """
    if task == "multi_group":
        sizes = group_sizes(classes)
        pairs = zip(split_groups(first, sizes), split_groups(second, sizes), strict=True)
        return torch.stack([symmetric_kl(a, b, "single_label") for a, b in pairs]).sum()
    if task == "single_label":
        log_p, log_q = first.float().log_softmax(-1), second.float().log_softmax(-1)  # (B, C)
    else:
        log_p, log_q = (
            torch.stack([F.logsigmoid(s.float()), F.logsigmoid(-s.float())], dim=-1) for s in (first, second)
        )  # (B, C, 2)
    # (p − q)(log p − log q) is the sum of both divergences, term by term.
    terms = (log_p.exp() - log_q.exp()) * (log_p - log_q)
    return 0.5 * terms.flatten(1).sum(1).mean()


def make_loss(options: LossOptions, task: str, weights: Tensor | None = None, classes: Sequence[str] = ()) -> Loss:
    """``loss(logits, targets)`` as a recipe asks for it, options filled in; ``auto`` takes the first of the task.

    Args:
        options: Of the recipe.
        task: ``single_label``, ``multi_label`` or ``multi_group``, whose targets are (B, G) classes.
        weights: (C,) class weights.
        classes: C names, which tell the groups of ``multi_group``.

    Raises:
        ModelError: A loss of the other task, an option that it does not have, or weights of other groups.
    """
    of_task = MULTI_LABEL if task == "multi_label" else SINGLE_LABEL
    _check_group_weights(options, task, len(group_sizes(classes)))
    name = next(iter(of_task)) if options.name == "auto" else options.name
    if name not in of_task:
        raise ModelError(f"loss '{name}' is not for {task} tasks", expected=", ".join(of_task))
    check_options(of_task[name], options.options, Place("recipe", "loss"))
    one = partial(of_task[name], **options.options)
    if task != "multi_group":
        return partial(one, weights=weights)
    sizes = group_sizes(classes)
    own = [None] * len(sizes) if weights is None else split_groups(weights, sizes)
    shares = options.group_weights or (1.0,) * len(sizes)

    def of_groups(logits: Tensor, targets: Tensor) -> Tensor:
        parts = zip(split_groups(logits, sizes), targets.unbind(1), own, shares, strict=True)
        return torch.stack([share * one(part, truth, w) for part, truth, w, share in parts]).sum()

    return of_groups


def _check_group_weights(options: LossOptions, task: str, n_groups: int) -> None:
    given = options.group_weights
    if given and (task != "multi_group" or len(given) != n_groups or min(given) < 0 or max(given) == 0):
        raise ModelError(
            f"[loss] group_weights = {list(given)}",
            expected=f"{n_groups} numbers, none negative, one for each label group"
            if task == "multi_group"
            else f"none: a {task} task has no label groups",
        )


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


def _probs_and_truth(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C) float32 probabilities and (B, C) float32 of 0 and 1, for either task."""
    if targets.ndim == 1:
        return logits.float().softmax(-1), F.one_hot(targets, logits.shape[-1]).float()
    return logits.float().sigmoid(), targets.float()
