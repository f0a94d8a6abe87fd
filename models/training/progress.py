"""What training tells while it runs, and leaves when it is done. Plain data: a display need not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.tagged import Tagged


@dataclass(frozen=True)
class Progress:
    """One step of one fold has been made, or one epoch has been validated.

    Attributes:
        fold: Number of the fold.
        epoch: From 1.
        epochs: How many there will be at most.
        step: Steps made in this fold.
        n_steps: Steps of the fold if all epochs run.
        loss: Training loss of the step, or the epoch's mean once it has been validated; None where there are no steps.
        score: Validation score at the end of an epoch, else None.
        seed: With which the fold is trained, where there are several.
    """

    fold: int
    epoch: int
    epochs: int
    step: int
    n_steps: int
    loss: float | None
    score: float | None = None
    seed: int | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Epoch:
    """One line of a fold's history; `seconds` includes validation."""

    epoch: int
    train_loss: float
    valid_loss: float
    score: float | None
    seconds: float


@dataclass(frozen=True)
class FoldResult:
    """What training a fold gave.

    Attributes:
        valid_probs: (N, C) float32 probabilities of the validation rows, by what was kept; for token tasks their tags.
        history: All epochs that ran.
        kept: Number of the epoch that was kept, from 1; with a soup that of the best epoch.
        score: Validation score of what was kept, where there is a metric.
        seconds: Wall time.
        micro_batch_size: Rows that went through the network at once, in the end.
        halvings: How often it was halved because the device ran out of memory.
        soup: Epochs whose weights were averaged; empty where one epoch was kept as it is.
    """

    valid_probs: NDArray[np.float32] | Tagged
    history: tuple[Epoch, ...]
    kept: int
    score: float | None
    seconds: float
    micro_batch_size: int = 0
    halvings: int = 0
    soup: tuple[int, ...] = ()
