"""Distillation: a student learns the labels and, beside them, a teacher's probabilities of the same rows.

    loss = (1 − alpha) · loss of the labels + alpha · T² · KL(teacher at temperature T ‖ student at temperature T)

Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network" (arXiv:1503.02531); the T² keeps both terms'
gradients in proportion whatever the temperature. Rows without a label count in the second term alone, rows that are not
taught in the first. Knows nothing of where the teacher's probabilities come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.label_groups import group_sizes, split_groups
from models.losses import Loss
from models.recipe import DistillOptions

_FLOOR = 1e-7  # of probabilities, before a logarithm


@dataclass(frozen=True)
class Teaching:
    """What a teacher says of all training rows.

    Attributes:
        options: Temperature and alpha.
        task: ``single_label``, ``multi_label`` or ``multi_group``.
        classes: C names, which tell the groups of ``multi_group``.
        probs: (N, C) float32 probabilities, on the network's device; NaN in rows that are not taught.
        labelled: (N,) bool: whether a row's own label counts.
    """

    options: DistillOptions
    task: str
    classes: tuple[str, ...]
    probs: Tensor
    labelled: Tensor

    def beside(self, hard: Loss, rows: Tensor) -> Loss:
        """The loss of a batch, of logits and targets, for the training rows with these numbers (B,).

        A mean over rows wherever `hard` is one, so that micro-batches add up to it.
        """
        probs, labelled = self.probs[rows], self.labelled[rows]
        taught = ~probs.isnan().any(1)
        alpha, temperature = self.options.alpha, self.options.temperature

        def of_both(logits: Tensor, targets: Tensor) -> Tensor:
            loss = logits.float().sum() * 0.0  # a batch may have no row that counts
            if bool(taught.any()) and alpha > 0:
                soft = soft_loss(logits[taught], probs[taught], self.task, temperature, self.classes)
                loss = loss + alpha * taught.float().mean() * soft
            if bool(labelled.any()) and alpha < 1:
                loss = loss + (1 - alpha) * labelled.float().mean() * hard(logits[labelled], targets[labelled])
            return loss

        return of_both


def soft_loss(logits: Tensor, probs: Tensor, task: str, temperature: float, classes: Sequence[str] = ()) -> Tensor:
    """How far a student is from its teacher at a temperature, times its square; mean over rows, in float32.

    Args:
        logits: (B, C) of the student.
        probs: (B, C) of the teacher, at temperature 1.
        task: ``single_label``: KL(teacher ‖ student) of the softmax distributions; ``multi_group``: the sum of that
            over the groups; ``multi_label``: binary cross-entropy with the teacher's probabilities as targets, mean
            over classes, too.
        temperature: T: both sides' logits are divided by it.
        classes: C names, which tell the groups of ``multi_group``.
    """
    if task == "multi_group":
        sizes = group_sizes(classes)
        pairs = zip(split_groups(logits, sizes), split_groups(probs, sizes), strict=True)
        return torch.stack([soft_loss(s, p, "single_label", temperature) for s, p in pairs]).sum()
    p = probs.float().clamp(_FLOOR, 1 - _FLOOR)
    scaled = logits.float() / temperature
    if task == "multi_label":
        soft = torch.sigmoid(torch.logit(p) / temperature)
        return temperature**2 * F.binary_cross_entropy_with_logits(scaled, soft)
    soft = (p.log() / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(scaled.log_softmax(-1), soft, reduction="batchmean", log_target=True)
