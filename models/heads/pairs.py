"""Heads that compare two texts, each of which went through the encoder by itself.

Such a head has ``apart = True`` and, besides ``forward``, its two steps:

    embed(hidden, mask) -> vectors     # (2B, D) float32: first the B first texts, then the B second ones
    decide(vectors) -> logits          # (B, C)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, softplus

from models.errors import ModelError
from models.heads.pooled import Dropout, HeadShape, Pool, PooledHead, Pooler, first_token, max_pool, mean_pool

PoolName = Literal["cls", "mean", "max", "pooler", "linear"]


def cosine(shape: HeadShape, *, pool: PoolName = "mean") -> Cosine:
    """Softmax over (0, a·(cos − b)): the second class where the cosine of the two texts exceeds a threshold b.

    a > 0 and b are learnt. Probabilities rise with the cosine, so that `cli rescale` finds its best threshold exactly.
    """
    if shape.classes != 2:
        raise ModelError(
            f"head 'cosine' tells two classes, not {shape.classes}", next="head 'siamese' tells any number"
        )
    return Cosine(_pool(pool, shape.hidden))


def siamese(shape: HeadShape, *, pool: PoolName = "mean", dropout: Dropout = 0.1) -> Siamese:
    """A linear layer on u, v, |u − v| and u·v (elementwise) of the two texts' vectors u and v.

    Reimers, Gurevych 2019, "Sentence-BERT: sentence embeddings using Siamese BERT-networks".
    """
    return Siamese(_pool(pool, shape.hidden), shape, dropout)


class Cosine(nn.Module):
    """See `cosine`."""

    all_layers = False
    apart = True

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.slope = nn.Parameter(torch.tensor(10.0))
        self.threshold = nn.Parameter(torch.tensor(0.5))

    def embed(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(2B, D) float32."""
        return self.pool(hidden, mask).float()

    def decide(self, vectors: Tensor) -> Tensor:
        """(B, 2) float32 logits."""
        first, second = vectors.chunk(2)
        score = softplus(self.slope.float()) * (cosine_similarity(first, second) - self.threshold.float())
        return torch.stack([torch.zeros_like(score), score], dim=-1)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(B, 2) logits."""
        return self.decide(self.embed(hidden, mask))


class Siamese(nn.Module):
    """See `siamese`."""

    all_layers = False
    apart = True

    def __init__(self, pool: Pool, shape: HeadShape, dropout: float) -> None:
        super().__init__()
        self.pool = pool
        self.compare = PooledHead(_features, shape, width=4 * shape.hidden, dropout=dropout)

    def embed(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(2B, D) float32."""
        return self.pool(hidden, mask).float()

    def decide(self, vectors: Tensor) -> Tensor:
        """(B, C) logits."""
        logits: Tensor = self.compare((vectors,), None)
        return logits

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(B, C) logits."""
        return self.decide(self.embed(hidden, mask))


def _features(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:  # noqa: ARG001
    first, second = hidden[-1].chunk(2)
    return torch.cat([first, second, (first - second).abs(), first * second], dim=-1)


def _pool(name: PoolName, hidden: int) -> Pool:
    if name in ("pooler", "linear"):
        return Pooler(hidden, linear=name == "linear")
    return {"cls": first_token, "mean": mean_pool, "max": max_pool}[name]
