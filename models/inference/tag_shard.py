"""Tags of a shard's distinct texts by networks that share their tokens, and back to the rows that hold those texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.inference.forward import Shares, TokenBudget
from models.inference.groups import NetworkGroup
from models.memory import until_it_fits
from models.tagging import WordRows


def tag_group(
    group: NetworkGroup,
    words: WordRows,
    classes: Sequence[str],
    device: torch.device,
    budget: TokenBudget,
    tick: Callable[[float], None],
) -> list[NDArray[np.float32]]:
    """For each member (W, C) float32 probabilities, in batches that fit into memory.

    Args:
        group: Networks with a head for tags.
        words: Distinct texts.
        classes: C tags in the wanted order.
        device: Where the networks are.
        budget: Tokens a batch; halved and remembered when memory runs out.
        tick: Called after each batch with its share of the work.
    """
    longest = int(words.rows.lengths.max(initial=1))
    shares = Shares(tick)

    def tag() -> list[NDArray[np.float32]]:
        return group.tag(words, classes, device, max(1, budget.tokens // longest), shares.add)

    def shrink() -> None:
        shares.take_back()
        budget.halve(longest)

    return until_it_fits(tag, shrink, device)


def repeat_words(offsets: NDArray[np.int64], inverse: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Words of rows that repeat distinct ones.

    Args:
        offsets: (U + 1,) of the distinct rows.
        inverse: (N,) which distinct row each row is.

    Returns:
        (N + 1,) offsets of the rows, and (W,) where each of their words is among those of the distinct rows.
    """
    lengths = np.diff(offsets)[inverse]
    repeated = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.arange(repeated[-1]) - np.repeat(repeated[:-1], lengths) + np.repeat(offsets[:-1][inverse], lengths)
    return repeated, places
