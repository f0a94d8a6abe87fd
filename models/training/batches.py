"""From texts to padded batches in which rows are of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.training.samplers import draw

# Rows are shuffled, then sorted by length within windows of so many batches: long enough that padding nearly vanishes,
# short enough that a batch is still a random draw.
_WINDOW = 50


@dataclass(frozen=True)
class Rows:
    """Tokenised rows.

    Attributes:
        ids: N arrays of int64 token ids, special tokens included.
        lengths: (N,) int64.
        pad_id: Fills short rows of a batch; the mask hides it.
    """

    ids: list[NDArray[np.int64]]
    lengths: NDArray[np.int64]
    pad_id: int


def tokenise(tokenizer: Any, texts: Sequence[str], max_length: int) -> Rows:
    """Token ids of texts, cut at `max_length`.

    Raises:
        ModelError: The tokenizer has no padding token.
    """
    if tokenizer.pad_token_id is None:
        raise ModelError("the tokenizer has no padding token", next="choose another encoder")
    if not texts:
        return Rows([], np.zeros(0, np.int64), tokenizer.pad_token_id)
    encoded = tokenizer(
        list(texts), truncation=True, max_length=max_length, return_attention_mask=False, return_token_type_ids=False
    )
    ids = [np.asarray(row, np.int64) for row in encoded["input_ids"]]
    return Rows(ids, np.asarray([len(row) for row in ids], np.int64), tokenizer.pad_token_id)


def random_batches(
    lengths: NDArray[np.int64],
    batch_size: int,
    generator: np.random.Generator,
    weights: NDArray[np.float64] | None = None,
) -> list[NDArray[np.int64]]:
    """As many rows as there are, in random batches of rows of like length, in random order.

    Args:
        lengths: (N,) tokens a row.
        batch_size: Rows a batch; one batch may have fewer.
        generator: Source of the order.
        weights: (N,) from a sampler: rows are drawn with replacement by them; None: each row once.

    Returns:
        Row numbers of each batch.
    """
    order = draw(weights, len(lengths), generator)
    window = batch_size * _WINDOW
    batches = []
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def sorted_batches(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """All rows once, shortest first."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def padded(rows: Rows, batch: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(B, T) int64 ids of a batch on `device` and their (B, T) int64 mask; None where all rows have the same length."""
    lengths = rows.lengths[batch]
    longest = int(lengths.max())
    ids = np.full((len(batch), longest), rows.pad_id, np.int64)
    for i, row in enumerate(batch):
        ids[i, : lengths[i]] = rows.ids[row]
    mask = None
    if int(lengths.min()) < longest:
        mask = torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64)).to(device)
    return torch.from_numpy(ids).to(device), mask
