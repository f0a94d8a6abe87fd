"""Heads with a recurrent network over token vectors (or layers), and the layer mixtures that go with them.

Real tokens come first in a row, padding after them; a bidirectional network reads each row to its own end.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.heads.pooled import (
    Attention,
    Dropout,
    HeadShape,
    Pool,
    PooledHead,
    Pooler,
    max_pool,
    mean_pool,
    mix_layers,
)
from models.schema import Between

Size = Annotated[int, Between(1, 65_536)]
Cell = Literal["lstm", "gru"]


def rnn(
    shape: HeadShape,
    *,
    dropout: Dropout = 0.1,
    cell: Cell = "gru",
    width: Size = 128,
    layers: Size = 1,
    pool: Literal["mean", "max", "mean_max", "attention"] = "mean",
) -> PooledHead:
    """A bidirectional LSTM or GRU over the last layer, pooled over its tokens; `width` is of one direction."""
    tokens = BiRNN(cell, shape.hidden, width, layers)
    size = 4 * width if pool == "mean_max" else 2 * width
    return PooledHead(_OverTokens(tokens, _token_pool(pool, 2 * width)), shape, width=size, dropout=dropout)


def pooler_rnn(shape: HeadShape, *, dropout: Dropout = 0.1, cell: Cell = "gru", width: Size = 128) -> PooledHead:
    """The pooler's vector as a sequence of one through a bidirectional LSTM or GRU."""
    pool = _PoolerRNN(shape.hidden, cell, width)
    return PooledHead(pool, shape, width=2 * width, dropout=dropout)


def lstm_gru(shape: HeadShape, *, dropout: Dropout = 0.1, width: Size = 128) -> PooledHead:
    """BiLSTM → BiGRU over the last layer; mean, maximum and the pooler's vector side by side."""
    pool = _LstmGruPooler(shape.hidden, width)
    return PooledHead(pool, shape, width=4 * width + shape.hidden, dropout=dropout)


def weighted_rnn(
    shape: HeadShape, *, dropout: Dropout = 0.1, cell: Cell = "gru", dense: Size = 512, width: Size = 128
) -> PooledHead:
    """Learned weights over all layers → dense layer → bidirectional LSTM or GRU → mean over tokens."""
    pool = _WeightedRNN(shape, cell, dense, width)
    return PooledHead(pool, shape, width=2 * width, dropout=dropout, all_layers=True)


def hire(shape: HeadShape, *, dropout: Dropout = 0.1, width: Size = 128, weigher: Size = 64) -> PooledHead:
    """HIRE-BERT: each text weighs the layers itself, by a GRU that all layers share.

    A two-layer BiGRU reads each layer's tokens and gives that layer's score; the mixture A of the layers joins the last
    layer R as [R, A, R∘A]; a two-layer BiGRU reads that, and its tokens are averaged. Xu et al. 2020, "Hire-BERT".
    """
    pool = _Hire(shape, width, weigher)
    return PooledHead(pool, shape, width=2 * width, dropout=dropout, all_layers=True)


class BiRNN(nn.Module):
    """A bidirectional recurrent network: (B, T, D) to (B, T, 2 × width), zeros where the mask is.

    Args:
        cell: ``lstm`` or ``gru``.
        size: D.
        width: Of one direction.
        layers: Stacked ones.
    """

    def __init__(self, cell: Cell, size: int, width: int, layers: int = 1) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.network = kind(size, width, num_layers=layers, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """States at each token."""
        tokens = tokens.to(self.network.weight_hh_l0.dtype)
        if mask is None:
            states: Tensor = self.network(tokens)[0]
            return states
        lengths = mask.sum(1).cpu()  # packing wants them there
        packed = pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.network(packed)[0], batch_first=True, total_length=tokens.shape[1])[0]


class _OverTokens(nn.Module):
    def __init__(self, tokens: BiRNN, pool: Pool) -> None:
        super().__init__()
        self.tokens = tokens
        self.pool = pool

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        return self.pool((self.tokens(hidden[-1], mask),), mask)


class _PoolerRNN(nn.Module):
    def __init__(self, hidden: int, cell: Cell, width: int) -> None:
        super().__init__()
        self.pooler = Pooler(hidden)
        self.tokens = BiRNN(cell, hidden, width)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        return self.tokens(self.pooler(hidden, mask).unsqueeze(1), None).squeeze(1)  # type: ignore[no-any-return]


class _LstmGruPooler(nn.Module):
    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.pooler = Pooler(hidden)
        self.lstm = BiRNN("lstm", hidden, width)
        self.gru = BiRNN("gru", 2 * width, width)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        states = self.gru(self.lstm(hidden[-1], mask), mask)
        return torch.cat([_mean_max((states,), mask), self.pooler(hidden, mask).float()], dim=-1)


class _WeightedRNN(nn.Module):
    def __init__(self, shape: HeadShape, cell: Cell, dense: int, width: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(shape.layers + 1))
        self.dense = nn.Linear(shape.hidden, dense)
        self.tokens = BiRNN(cell, dense, width)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        mixed = mix_layers(self.scores, hidden).to(self.dense.weight.dtype)
        return mean_pool((self.tokens(self.dense(mixed), mask),), mask)


class _Hire(nn.Module):
    def __init__(self, shape: HeadShape, width: int, weigher: int) -> None:
        super().__init__()
        self.weigher = BiRNN("gru", shape.hidden, weigher, layers=2)
        self.score = nn.Linear(2 * weigher, 1)
        self.tokens = BiRNN("gru", 3 * shape.hidden, width, layers=2)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        layers = hidden[1:] or hidden  # the embeddings are no layer of the transformer
        read = [mean_pool((self.weigher(layer, mask),), mask) for layer in layers]  # L x (B, 2 weigher)
        scores = self.score(torch.stack(read, 1).to(self.score.weight.dtype)).float().softmax(1)  # (B, L, 1)
        mixed = sum((scores[:, i, None] * layer.float() for i, layer in enumerate(layers)), torch.zeros(()))
        last = hidden[-1].float()
        return mean_pool((self.tokens(torch.cat([last, mixed, last * mixed], dim=-1), mask),), mask)


def _mean_max(hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
    return torch.cat([mean_pool(hidden, mask), max_pool(hidden, mask).float()], dim=-1)


def _token_pool(name: str, size: int) -> Pool:
    if name == "attention":
        return Attention(size, size)
    return {"mean": mean_pool, "max": max_pool, "mean_max": _mean_max}[name]
