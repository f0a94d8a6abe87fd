"""Heads that look at windows of neighbouring tokens.

Before a convolution what stands under the mask is set to zero, as what stands beyond the ends; positions under the mask
are left out of every pool. So padding changes nothing, and a text may be shorter than a window.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.heads.pooled import Dropout, HeadShape, PooledHead, max_pool, mean_pool
from models.heads.recurrent import BiRNN
from models.schema import Between

Size = Annotated[int, Between(1, 65_536)]


def textcnn(
    shape: HeadShape, *, dropout: Dropout = 0.1, windows: tuple[int, ...] = (2, 3, 4), filters: Size = 128
) -> PooledHead:
    """TextCNN: for each window width `filters` convolutions, ReLU and maximum over tokens; then LayerNorm(x + W x).

    Kim 2014, "Convolutional neural networks for sentence classification", and the residual layer of seed 001. On an
    encoder from scratch with ``layers = 0`` this is TextCNN over embeddings alone.
    """
    if not windows or min(windows) < 1:
        raise ModelError(f"[head] windows = {list(windows)}", expected="widths of at least 1, such as [2, 3, 4]")
    pool = _TextCNN(shape.hidden, windows, filters)
    return PooledHead(pool, shape, width=len(windows) * filters, dropout=dropout)


def conv(shape: HeadShape, *, dropout: Dropout = 0.1, window: Size = 3, filters: Size = 256) -> PooledHead:
    """A convolution over the last layer, ReLU; maximum and mean over tokens side by side."""
    return PooledHead(_ConvPool(shape.hidden, window, filters), shape, width=2 * filters, dropout=dropout)


def rnn_conv(
    shape: HeadShape, *, dropout: Dropout = 0.1, width: Size = 128, window: Size = 3, filters: Size = 256
) -> PooledHead:
    """BiLSTM → BiGRU → convolution, ReLU; maximum and mean over tokens side by side."""
    return PooledHead(_RnnConvPool(shape.hidden, width, window, filters), shape, width=2 * filters, dropout=dropout)


class MaskedConv(nn.Module):
    """ReLU of a convolution over tokens, at every token: (B, T, D) to (B, T, filters)."""

    def __init__(self, size: int, filters: int, window: int) -> None:
        super().__init__()
        self.network = nn.Conv1d(size, filters, window)
        self.margins = ((window - 1) // 2, window // 2)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Activations; what they are under the mask means nothing."""
        if mask is not None:
            tokens = tokens.masked_fill(mask.unsqueeze(-1) == 0, 0.0)
        columns = tokens.to(self.network.weight.dtype).transpose(1, 2)  # (B, D, T)
        activations: Tensor = self.network(nn.functional.pad(columns, self.margins)).relu()
        return activations.transpose(1, 2)


class _TextCNN(nn.Module):
    def __init__(self, hidden: int, windows: tuple[int, ...], filters: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(MaskedConv(hidden, filters, window) for window in windows)
        self.dense = nn.Linear(len(windows) * filters, len(windows) * filters)
        self.norm = nn.LayerNorm(len(windows) * filters)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        found = torch.cat([max_pool((window(hidden[-1], mask),), mask) for window in self.convolutions], dim=-1)
        normed: Tensor = self.norm(found + self.dense(found))
        return normed


class _ConvPool(nn.Module):
    def __init__(self, size: int, window: int, filters: int) -> None:
        super().__init__()
        self.conv = MaskedConv(size, filters, window)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        found = (self.conv(hidden[-1], mask),)
        return torch.cat([max_pool(found, mask).float(), mean_pool(found, mask)], dim=-1)


class _RnnConvPool(nn.Module):
    def __init__(self, hidden: int, width: int, window: int, filters: int) -> None:
        super().__init__()
        self.lstm = BiRNN("lstm", hidden, width)
        self.gru = BiRNN("gru", 2 * width, width)
        self.pool = _ConvPool(2 * width, window, filters)

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        states = self.gru(self.lstm(hidden[-1], mask), mask)
        pooled: Tensor = self.pool((states,), mask)
        return pooled
