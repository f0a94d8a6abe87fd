"""Heads for the relation of two entities: they read where the entities are.

segments   (B, T): which entity a token belongs to, as `models.text.entities` numbers them; None: no token to any
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.heads.pooled import Dropout, HeadShape, PooledHead, first_token
from models.text.entities import FIRST, FIRST_OPENS, SECOND, SECOND_OPENS


def entity_starts(shape: HeadShape, *, dropout: Dropout = 0.1) -> PooledHead:
    """The last layer's vectors where the two entities begin, side by side: at their opening marks, where there are any.

    Baldini Soares et al. 2019, "Matching the blanks: distributional similarity for relation learning".
    """
    return PooledHead(_Starts(), shape, width=2 * shape.hidden, dropout=dropout, reads_segments=True)


def entity_spans(shape: HeadShape, *, dropout: Dropout = 0.1, cls: bool = True) -> PooledHead:
    """Means of the last layer over the tokens of each entity, side by side.

    With `cls` the first token's vector stands beside them and each of the three goes through tanh and a dense layer,
    which the entities share: R-BERT (Wu, He 2019, "Enriching pre-trained language model with entity information for
    relation classification").
    """
    pool = _RBert(shape.hidden) if cls else _Spans()
    width = (3 if cls else 2) * shape.hidden
    return PooledHead(pool, shape, width=width, dropout=dropout, reads_segments=True)


def span_mean(last: Tensor, inside: Tensor) -> Tensor:
    """(B, D) float32 mean of (B, T, D) over the tokens that (B, T) `inside` marks; zeros where it marks none."""
    weights = inside.to(torch.float32).unsqueeze(-1)
    return (last.float() * weights).sum(1) / weights.sum(1).clamp(min=1)


class _Starts(nn.Module):
    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None, segments: Tensor | None) -> Tensor:  # noqa: ARG002
        last = hidden[-1]
        segments = _or_none_inside(segments, last)
        rows = torch.arange(len(last), device=last.device)
        starts = [
            ((segments == inside) | (segments == opens)).long().argmax(1)  # the first of equals; 0 where there is none
            for inside, opens in ((FIRST, FIRST_OPENS), (SECOND, SECOND_OPENS))
        ]
        return torch.cat([last[rows, start] for start in starts], dim=-1)


class _Spans(nn.Module):
    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None, segments: Tensor | None) -> Tensor:  # noqa: ARG002
        last = hidden[-1]
        segments = _or_none_inside(segments, last)
        return torch.cat([span_mean(last, segments == entity) for entity in (FIRST, SECOND)], dim=-1)


class _RBert(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.of_text = nn.Linear(hidden, hidden)
        self.of_entity = nn.Linear(hidden, hidden)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None, segments: Tensor | None) -> Tensor:
        last = hidden[-1]
        segments = _or_none_inside(segments, last)
        means = [span_mean(last, segments == entity).to(self.of_entity.weight.dtype) for entity in (FIRST, SECOND)]
        text = self.of_text(torch.tanh(first_token(hidden, mask).to(self.of_text.weight.dtype)))
        return torch.cat([text, *(self.of_entity(torch.tanh(mean)) for mean in means)], dim=-1)


def _or_none_inside(segments: Tensor | None, last: Tensor) -> Tensor:
    return last.new_zeros(last.shape[:2], dtype=torch.long) if segments is None else segments
