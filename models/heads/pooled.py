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
    """What a head must fit.

    Attributes:
        hidden: Width D of the encoder.
        layers: Of the encoder, embeddings not counted; 0 for embeddings alone.
        classes: C.
        dropout_samples: Draws of dropout in training whose logits are averaged (multi-sample dropout, Inoue 2019).
        groups: (G,) classes of each label group, which stand side by side in the logits; empty for other tasks.
        names: C class names, or tags.
    """

    hidden: int
    layers: int
    classes: int
    dropout_samples: int = 1
    groups: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


Pool = Callable[..., Tensor]  # (hidden, mask) -> (B, width); (hidden, mask, segments) for heads that read these


class PooledHead(nn.Module):
    """pool → dropout → linear.

    Args:
        pool: ``(hidden, mask) -> (B, width)``; a module where it has weights.
        shape: Classes and draws of dropout are read.
        width: Of what `pool` gives.
        dropout: On the pooled vector.
        all_layers: Whether `pool` reads more than the last layer.
        reads_segments: Whether `pool` is told which token belongs to which entity (`models.heads.entities`).
    """

    apart = False

    def __init__(
        self,
        pool: Pool,
        shape: HeadShape,
        *,
        width: int,
        dropout: float,
        all_layers: bool = False,
        reads_segments: bool = False,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, shape.classes)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)
        self.all_layers = all_layers
        self.reads_segments = reads_segments
        self.samples = shape.dropout_samples

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None, segments: Tensor | None = None) -> Tensor:
        """(B, C) logits."""
        extra = (segments,) if self.reads_segments else ()
        pooled = self.pool(hidden, mask, *extra).to(self.classifier.weight.dtype)  # (B, width)
        if not self.training or self.samples == 1:
            logits: Tensor = self.classifier(self.dropout(pooled))
            return logits
        # The mean of the logits is the classifier's logits of the mean: one product for all draws.
        drawn = torch.stack([self.dropout(pooled) for _ in range(self.samples)]).mean(0)
        return self.classifier(drawn)  # type: ignore[no-any-return]


def cls(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """The first token's vector of the last layer."""
    return PooledHead(first_token, shape, width=shape.hidden, dropout=dropout)


def last(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """The last real token's vector of the last layer, which has seen the whole text in a decoder."""
    return PooledHead(last_token, shape, width=shape.hidden, dropout=dropout)


def mean(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Mean of the last layer over the real tokens."""
    return PooledHead(mean_pool, shape, width=shape.hidden, dropout=dropout)


def max_(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Maximum of the last layer over the real tokens."""
    return PooledHead(max_pool, shape, width=shape.hidden, dropout=dropout)


def mean_max(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Mean and maximum side by side."""

    def pool(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        return torch.cat([mean_pool(hidden, mask), max_pool(hidden, mask)], dim=-1)

    return PooledHead(pool, shape, width=2 * shape.hidden, dropout=dropout)


def cls_last_layers(shape: HeadShape, *, dropout: Dropout = 0.1, layers: Annotated[int, Between(1)] = 4) -> PooledHead:
    """The first token's vectors of the last `layers` layers side by side; fewer where the encoder has fewer."""
    n = max(1, min(layers, shape.layers))

    def pool(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:  # noqa: ARG001
        return torch.cat([layer[:, 0] for layer in hidden[-n:]], dim=-1)

    return PooledHead(pool, shape, width=n * shape.hidden, dropout=dropout, all_layers=True)


def pooler(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """The first token's vector through a dense layer and tanh, as in BERT; begins with the encoder's own pooler."""
    return PooledHead(Pooler(shape.hidden), shape, width=shape.hidden, dropout=dropout)


def cls_pooler(shape: HeadShape, *, dropout: Dropout = 0.1, layers: Annotated[int, Between(1)] = 2) -> PooledHead:
    """The first token's vectors of the last `layers` layers beside the pooler's."""
    n = max(1, min(layers, shape.layers))
    pool = _FirstsAndPooler(shape.hidden, n)
    return PooledHead(pool, shape, width=(n + 1) * shape.hidden, dropout=dropout, all_layers=True)


def attention(
    shape: HeadShape, *, dropout: Dropout = 0.1, width: Annotated[int, Between(1, 65_536)] = 128
) -> PooledHead:
    """A learned weighted mean of the last layer's tokens: weights are a softmax over tokens of v·tanh(W h)."""
    return PooledHead(Attention(shape.hidden, width), shape, width=shape.hidden, dropout=dropout)


def weighted_layers(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """Mean over the real tokens of a learned convex combination of all layers, the embeddings included."""
    pool = _WeightedLayers(shape.layers + 1)
    return PooledHead(pool, shape, width=shape.hidden, dropout=dropout, all_layers=True)


class Pooler(nn.Module):
    """tanh(W h + b) of the first token's vector of the last layer; linear: W h + b."""

    def __init__(self, hidden: int, *, linear: bool = False) -> None:
        super().__init__()
        self.linear = linear
        self.dense = nn.Linear(hidden, hidden)
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(B, D)."""
        pooled: Tensor = self.dense(first_token(hidden, mask))
        return pooled if self.linear else torch.tanh(pooled)


class Attention(nn.Module):
    """Additive attention with one learned query over the last layer's tokens (Bahdanau et al. 2015)."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, width)
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(B, D) float32."""
        last = hidden[-1]
        scores = self.query(torch.tanh(self.dense(last))).squeeze(-1).float()  # (B, T)
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -torch.inf)
        return torch.einsum("bt,btd->bd", scores.softmax(-1), last.float())


class _WeightedLayers(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        return mean_pool((mix_layers(self.scores, hidden),), mask)


class _FirstsAndPooler(nn.Module):
    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.pooler = Pooler(hidden)
        self.layers = layers

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        firsts = [layer[:, 0] for layer in hidden[-self.layers :]]
        return torch.cat([*firsts, self.pooler(hidden, mask)], dim=-1)


def mix_layers(scores: Tensor, hidden: tuple[Tensor, ...]) -> Tensor:
    """(B, T, D) float32: the layers' convex combination with weights softmax(scores), scores being (L,)."""
    weights = scores.float().softmax(0)
    return sum((w * layer.float() for w, layer in zip(weights, hidden, strict=True)), torch.zeros(()))


def first_token(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:  # noqa: ARG001
    """(B, D) the first token's vector of the last layer."""
    return hidden[-1][:, 0]


def last_token(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
    """(B, D) of the last layer at each row's last real token; padding is on the right."""
    states = hidden[-1]
    if mask is None:
        return states[:, -1]
    return states[torch.arange(len(states), device=states.device), (mask != 0).sum(1) - 1]


def mean_pool(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
    """(B, D) float32 mean of the last layer over the real tokens."""
    last = hidden[-1].float()  # sums of hundreds of tokens need more than bf16
    if mask is None:
        return last.mean(dim=1)
    real = mask.to(last.dtype).unsqueeze(-1)  # (B, T, 1)
    return (last * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def max_pool(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
    """(B, D) maximum of the last layer over the real tokens."""
    last = hidden[-1]
    if mask is not None:
        last = last.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(last.dtype).min)
    return last.amax(dim=1)
