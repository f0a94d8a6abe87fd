"""From texts to padded batches in which rows are of like length."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.inference.tokens import TextTokenizer
from models.text.forms import Form
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
        types: N arrays like `ids`: which text or entity a token belongs to; None for plain texts.
    """

    ids: list[NDArray[np.int64]]
    lengths: NDArray[np.int64]
    pad_id: int
    types: list[NDArray[np.int64]] | None = None


def tokenise(tokenizer: Any, texts: Sequence[str], max_length: int, form: Form = "joined") -> Rows:
    """Token ids of texts, cut at `max_length`, in the form that the network reads.

    Raises:
        ModelError: The tokenizer has no padding token, or texts are not of that form.
    """
    if tokenizer.pad_token_id is None:
        raise ModelError("the tokenizer has no padding token", next="choose another encoder")
    if not texts:
        return Rows([], np.zeros(0, np.int64), tokenizer.pad_token_id)
    tokens = TextTokenizer(tokenizer, max_length, form)(texts)
    types = None if tokens.types is None else _rows_of(tokens.types, tokens.offsets)
    return Rows(_rows_of(tokens.ids, tokens.offsets), tokens.lengths, tokens.pad_id, types)


def _rows_of(flat: NDArray[Any], offsets: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [flat[start:end].astype(np.int64) for start, end in itertools.pairwise(offsets)]


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


def sorted_batches(lengths: NDArray[np.int64], batch_size: int, *, pads: bool = True) -> list[NDArray[np.int64]]:
    """All rows once, shortest first; where the network's mask does not hide padding (`pads`), of one length each."""
    order = np.argsort(lengths, kind="stable")
    parts = [order] if pads else np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
    return [part[i : i + batch_size] for part in parts for i in range(0, len(part), batch_size)]


def padded(rows: Rows, batch: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(B, T) int64 ids of a batch on `device` and their (B, T) int64 mask; None where all rows have the same length."""
    lengths = rows.lengths[batch]
    longest = int(lengths.max())
    ids = filled(rows.ids, batch, longest, rows.pad_id)
    mask = None
    if int(lengths.min()) < longest:
        mask = torch.from_numpy((np.arange(longest) < lengths[:, None]).astype(np.int64)).to(device)
    return torch.from_numpy(ids).to(device), mask


def network_inputs(
    rows: Rows, batch: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What a network takes: ids and mask as `padded` gives them, and (B, T) int64 types; None for plain texts."""
    ids, mask = padded(rows, batch, device)
    if rows.types is None:
        return ids, mask, None
    return ids, mask, torch.from_numpy(filled(rows.types, batch, ids.shape[1], 0)).to(device)


def filled(rows: list[NDArray[np.int64]], batch: NDArray[np.int64], longest: int, filling: int) -> NDArray[np.int64]:
    """(B, longest): some of the rows, each with `filling` behind it."""
    table = np.full((len(batch), longest), filling, np.int64)
    for i, row in enumerate(batch):
        table[i, : len(rows[row])] = rows[row]
    return table
