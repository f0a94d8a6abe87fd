"""AdamW with its parameter groups, and how the learning rate moves: a schedule is a function in `SCHEDULES`."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from models.classifier import TextClassifier
from models.recipe import TrainingOptions


def _linear(done: float) -> float:
    return 1.0 - done


def _cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _constant(done: float) -> float:  # noqa: ARG001
    return 1.0


# Share of the steps after the warm-up that are done, in [0, 1], to a factor on the learning rate.
SCHEDULES: dict[str, Callable[[float], float]] = {"linear": _linear, "cosine": _cosine, "constant": _constant}


def make_optimizer(network: TextClassifier, options: TrainingOptions) -> AdamW:
    """AdamW over four groups: encoder and head, each with and without weight decay.

    Vectors (biases, norms) have no decay. Parameters that are frozen now are in the groups too, so that they train once
    they are thawed.
    """
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    head_rate = options.learning_rate if options.head_learning_rate is None else options.head_learning_rate
    groups = []
    for inside, rate in ((True, options.learning_rate), (False, head_rate)):
        for matrices, decay in ((True, options.weight_decay), (False, 0.0)):
            members = [p for p in network.parameters() if (id(p) in encoder) == inside and (p.ndim > 1) == matrices]
            if members:
                groups.append({"params": members, "lr": rate, "weight_decay": decay})
    return AdamW(groups, fused=True)


def make_schedule(optimizer: AdamW, options: TrainingOptions, n_steps: int) -> LambdaLR:
    """Learning rates over `n_steps` steps: a linear rise from 0, then the schedule of the recipe."""
    warmup = round(options.warmup * n_steps)
    after = SCHEDULES[options.schedule]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return after(min(1.0, (step - warmup) / max(1, n_steps - warmup)))

    return LambdaLR(optimizer, factor)
