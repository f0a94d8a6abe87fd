"""Contrast in a batch: each text of a pair that says the same must find its partner among all texts of the batch.

The similarity half of SimBERT's objective (Su 2020, spaces.ac.cn/archives/7427). Knows nothing of labels: what decides
whether a pair says the same is settled once for all training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from models.errors import ModelError
from models.recipe import ContrastOptions
from models.text.pairs import split_text


@dataclass(frozen=True)
class Contrast:
    """What the loss needs to know of the training rows.

    Attributes:
        options: Of the recipe.
        groups: (N, 2) int64: texts of one group say the same, so that they are no negatives of each other.
        positive: (N,) bool: pairs of two different texts that say the same.
        skip: Tokens that the tokenizer puts before a text.
    """

    options: ContrastOptions
    groups: Tensor
    positive: Tensor
    skip: int


def contrastive_loss(vectors: Tensor, groups: Tensor, positive: Tensor, scale: float) -> Tensor:
    """Mean cross-entropy of 2B-way choices: of each text of a positive pair, which of the others is its partner.

    The text itself and others of its group are no choices.

    Args:
        vectors: (2B, D): first the B first texts, then the B second ones.
        groups: (2B,) int64, in the same order.
        positive: (B,) bool.
        scale: Cosines are multiplied by it.

    Returns:
        Float32 scalar; 0 where no pair is positive.
    """
    n = len(positive)
    unit = F.normalize(vectors.float(), dim=-1)
    scores = scale * unit @ unit.T  # (2B, 2B)
    partner = torch.arange(2 * n, device=vectors.device).roll(n)
    barred = groups[:, None] == groups[None, :]
    barred = barred.scatter(1, partner[:, None], False)
    chosen = positive.repeat(2)
    if not bool(chosen.any()):
        return vectors.float().sum() * 0.0
    return F.cross_entropy(scores.masked_fill(barred, -torch.inf)[chosen], partner[chosen])


def make_contrast(
    options: ContrastOptions,
    texts: Sequence[str],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    device: torch.device,
    *,
    skip: int = 1,
) -> Contrast | None:
    """What a recipe asks for; None where it asks for nothing.

    Texts that positive pairs link, directly or through others, are one group.

    Args:
        options: Of the recipe.
        texts: N training rows, pairs as `models.text.pairs` joins them.
        labels: (N,) classes.
        classes: C class names.
        device: Where the loss is computed.
        skip: Tokens that the tokenizer puts before a text.

    Raises:
        ModelError: Several labels a row, no such class, no pair of it, or rows that are no pairs.
    """
    if options.weight == 0:
        return None
    if labels.ndim != 1:
        raise ModelError("[contrast] needs one label a pair")
    name = classes[-1] if options.positive is None else options.positive
    if name not in classes:
        raise ModelError(f"[contrast] positive = '{name}' is no class", expected=", ".join(classes))
    sides = [split_text(text) for text in texts]
    if any(len(side) != 2 for side in sides):
        raise ModelError(
            "[contrast] needs pairs of texts", next="name the second column: pair_column in competition.toml"
        )
    _, codes = np.unique(np.array([side for pair in sides for side in pair], dtype=object), return_inverse=True)
    pairs = codes.reshape(-1, 2)
    same = labels == list(classes).index(name)
    positive = same & (pairs[:, 0] != pairs[:, 1])
    if not positive.any():
        raise ModelError(f"[contrast] no pair of two different texts has the label '{name}'")
    n = int(codes.max()) + 1
    links = coo_array((np.ones(int(same.sum())), (pairs[same, 0], pairs[same, 1])), shape=(n, n))
    _, group_of = connected_components(links, directed=False)
    groups = torch.from_numpy(group_of[pairs].astype(np.int64)).to(device)
    return Contrast(options, groups, torch.from_numpy(positive).to(device), skip)
