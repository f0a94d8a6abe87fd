"""Heads that pool token vectors into one and put a linear layer on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from models.schema import Between

Dropout = Annotated[float, Between(0.0, 0.95)]


@dataclass(frozen=True)
class HeadShape:
    """What a head must fit: the encoder's width D and number of layers (embeddings not counted), and C classes."""

    hidden: int
    layers: int
    classes: int


class PooledHead(nn.Module):
    """pool → dropout → linear.

    Args:
        pool: ``(hidden, mask) -> (B, width)``; a module where it has weights.
        width: Of what `pool` gives.
        classes: C.
        dropout: On the pooled vector.
        all_layers: Whether `pool` reads more than the last layer.
    """

    def __init__(
        self,
        pool: Callable[[tuple[Tensor, ...], Tensor | None], Tensor],
        *,
        width: int,
        classes: int,
        dropout: float,
        all_layers: bool = False,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, classes)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)
        self.all_layers = all_layers

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(B, C) logits."""
        pooled = self.pool(hidden, mask).to(self.classifier.weight.dtype)  # (B, width)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits


def cls(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """The first token's vector of the last layer."""
    return PooledHead(_first, width=shape.hidden, classes=shape.classes, dropout=dropout)


def mean(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Mean of the last layer over the real tokens."""
    return PooledHead(_mean, width=shape.hidden, classes=shape.classes, dropout=dropout)


def max_(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Maximum of the last layer over the real tokens."""
    return PooledHead(_max, width=shape.hidden, classes=shape.classes, dropout=dropout)


def mean_max(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Mean and maximum side by side."""

    def pool(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        return torch.cat([_mean(hidden, mask), _max(hidden, mask)], dim=-1)

    return PooledHead(pool, width=2 * shape.hidden, classes=shape.classes, dropout=dropout)


def cls_last_layers(shape: HeadShape, *, dropout: Dropout = 0.1, layers: Annotated[int, Between(1)] = 4) -> PooledHead:
    """The first token's vectors of the last `layers` layers side by side; fewer where the encoder has fewer."""
    n = min(layers, shape.layers)

    def pool(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:  # noqa: ARG001
        return torch.cat([layer[:, 0] for layer in hidden[-n:]], dim=-1)

    return PooledHead(pool, width=n * shape.hidden, classes=shape.classes, dropout=dropout, all_layers=True)


def weighted_layers(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Mean over the real tokens of a learned convex combination of all layers, the embeddings included."""
    pool = _WeightedLayers(shape.layers + 1)
    return PooledHead(pool, width=shape.hidden, classes=shape.classes, dropout=dropout, all_layers=True)


class _WeightedLayers(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        weights = self.scores.float().softmax(0)
        mixed = sum((w * layer.float() for w, layer in zip(weights, hidden, strict=True)), torch.zeros(()))
        return _mean((mixed,), mask)


def _first(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:  # noqa: ARG001
    return hidden[-1][:, 0]


def _mean(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
    last = hidden[-1].float()  # sums of hundreds of tokens need more than bf16
    if mask is None:
        return last.mean(dim=1)
    real = mask.to(last.dtype).unsqueeze(-1)  # (B, T, 1)
    return (last * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def _max(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
    last = hidden[-1]
    if mask is not None:
        last = last.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(last.dtype).min)
    return last.amax(dim=1)
