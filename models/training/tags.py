"""Validation of a token task: tags of the held-out rows, and the loss over their words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.crf import NO_WORD
from models.tagged import Tagged
from models.tagging import WordRows, tag_rows
from models.training.step import GradientSource


def tag_and_judge(
    source: GradientSource, words: WordRows, tags: NDArray[np.int64], batch_size: int
) -> tuple[Tagged, float]:
    """Tags of rows, and the mean loss over those of their words that the network sees.

    Args:
        source: Network in eval mode, loss, device.
        words: Rows that the network does not train on.
        tags: (N, W) true tags, `NO_WORD` after a row's last.
        batch_size: Rows at once.
    """
    targets = words.targets(tags)
    total = n_words = 0.0

    def forward(ids: Tensor, mask: Tensor | None) -> Tensor:
        with source.half.autocast(source.device):
            return source.network(ids, mask)  # type: ignore[no-any-return]

    def add(logits: Tensor, rows: NDArray[np.int64]) -> None:
        nonlocal total, n_words
        own = torch.from_numpy(targets[rows][:, : logits.shape[1]]).to(source.device)
        count = int((own != NO_WORD).sum())
        total += float(source.loss(logits, own)) * count
        n_words += count

    tagged = tag_rows(
        source.network, words, source.classes, source.device, batch_size=batch_size, forward=forward, on_batch=add
    )
    return tagged, total / max(1.0, n_words)
