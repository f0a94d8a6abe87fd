"""Masks: which tokens are to be foretold, and what stands in their place. Drawn anew in each epoch.

Devlin et al. 2019, "BERT": of the chosen tokens 80 % become the mask token, 10 % a random one, 10 % stay. Whole words:
all tokens of a word are chosen or none (Cui et al. 2021, "Pre-training with whole word masking for Chinese BERT").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.pretraining.rows import MaskableRows
from models.training.batches import filled

IGNORED = -100  # label of a token that is not foretold
_MASKED, _RANDOM = 0.8, 0.1


def choose_tokens(words: NDArray[np.int64], share: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """(T,) the tokens to foretell: words in random order, each whole, as far as the budget goes.

    The budget is `share` of the row's tokens that belong to words, rounded up or down at random so that it is right on
    average, and at least one. A word that goes beyond it is passed over, unless nothing else is chosen.

    Args:
        words: (T,) word of each token from 0; -1 for special tokens.
        share: In (0, 1).
        generator: Source of the choice.
    """
    sizes = np.bincount(words[words >= 0])
    exact = share * sizes.sum()
    left = max(1, int(exact) + int(generator.random() < exact % 1))
    order = generator.permutation(len(sizes))
    chosen = np.zeros(len(sizes) + 1, bool)  # the last place is that of -1
    for word in order:
        if sizes[word] <= left:
            chosen[word] = True
            left -= sizes[word]
            if left == 0:
                break
    if not chosen.any():
        chosen[order[0]] = True
    return np.asarray(chosen[words])


def masked_batch(
    rows: MaskableRows, batch: NDArray[np.int64], share: float, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """A batch with masks.

    Args:
        rows: All rows.
        batch: (B,) row numbers.
        share: Of the tokens to foretell.
        generator: Source of the masks.

    Returns:
        (B, T) ids with masks, (B, T) mask of real tokens, and (B, T) labels: the token itself where it is to be
        foretold, else `IGNORED`.
    """
    width = int(rows.lengths[batch].max())
    ids, words = filled(rows.ids, batch, width, rows.pad_id), filled(rows.words, batch, width, -1)
    chosen = np.stack([choose_tokens(row, share, generator) for row in words])
    labels = np.where(chosen, ids, IGNORED)
    fate = generator.random(ids.shape)
    strangers = rows.ordinary[generator.integers(len(rows.ordinary), size=ids.shape)]
    masked = np.where(chosen & (fate < _MASKED), rows.mask_id, ids)
    masked = np.where(chosen & (fate >= _MASKED) & (fate < _MASKED + _RANDOM), strangers, masked)
    real = (np.arange(width) < rows.lengths[batch][:, None]).astype(np.int64)
    return masked, real, labels
