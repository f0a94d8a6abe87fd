"""AdamW with its parameter groups, and how the learning rate moves: a schedule is a function in `SCHEDULES`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from models.classifier import TextClassifier
from models.depth import count_layers, parameter_depths
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
    """AdamW over groups of one learning rate each, with and without weight decay.

    Vectors (biases, norms) have no decay. Parameters that are frozen now are in the groups too, so that they train once
    they are thawed. With `layer_decay` d the encoder's layer of depth l (embeddings 0, top layer L) has the rate
    ``learning_rate × d^(L − l)``; without it the whole encoder has one rate.

    Raises:
        ModelError: `layer_decay` with an encoder whose layers cannot be told apart.
    """
    members: dict[tuple[float, float], list[Parameter]] = {}
    rates = _rates(network, options)
    for parameter in network.parameters():
        decay = options.weight_decay if parameter.ndim > 1 else 0.0
        members.setdefault((rates[id(parameter)], decay), []).append(parameter)
    groups = [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in members.items()]
    return AdamW(groups, fused=True)


def _rates(network: TextClassifier, options: TrainingOptions) -> dict[int, float]:
    """``id(parameter)`` to its peak learning rate."""
    rate, factor = options.learning_rate, options.layer_decay
    head_rate = rate if options.head_learning_rate is None else options.head_learning_rate
    if factor is None:
        encoder = {id(parameter) for parameter in network.encoder.parameters()}
        return {id(p): rate if id(p) in encoder else head_rate for p in network.parameters()}
    depths = parameter_depths(network)
    top = count_layers(network)
    return {key: head_rate if depth > top else rate * factor ** (top - depth) for key, depth in depths.items()}


class Schedule(Protocol):
    """Options that have a warm-up and a schedule."""

    @property
    def warmup(self) -> float:
        """Share of all steps."""

    @property
    def schedule(self) -> str:
        """Name in `SCHEDULES`."""


def make_schedule(optimizer: AdamW, options: Schedule, n_steps: int) -> LambdaLR:
    """Learning rates over `n_steps` steps: a linear rise from 0, then the schedule of the recipe."""
    warmup = round(options.warmup * n_steps)
    after = SCHEDULES[options.schedule]

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return after(min(1.0, (step - warmup) / max(1, n_steps - warmup)))

    return LambdaLR(optimizer, factor)
