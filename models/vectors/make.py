"""The vectors that a recipe asks for, over the tokens of its own tokenizer, and their place in the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.recipe_options import Recipe
from models.text.pairs import split_text
from models.vectors import VECTORS


def make_vectors(recipe: Recipe, texts: Sequence[str], tokenizer: Any) -> NDArray[np.float32] | None:
    """(V, D) vectors of the tokenizer's tokens, NaN where one does not occur; None where the recipe wants none.

    Args:
        recipe: Encoder and seed are read.
        texts: Cleaned texts, all that there are; no labels are involved.
        tokenizer: Of the run.
    """
    options, scratch = recipe.encoder.vectors, recipe.encoder.scratch
    if options.name == "none" or scratch is None:
        return None
    sides = [side for text in texts for side in split_text(text)]
    rows = tokenizer(sides, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.fromiter((token for row in rows for token in row), np.int32, count=int(offsets[-1]))
    return VECTORS[options.name](ids, offsets, len(tokenizer), scratch.hidden, recipe.seed, **options.options)


@torch.no_grad()
def place_vectors(body: Any, vectors: NDArray[np.float32] | None) -> None:
    """Let the embeddings of a new encoder begin at the vectors; those without one stay as they were drawn."""
    if vectors is None:
        return
    weight = body.get_input_embeddings().weight
    known = np.flatnonzero(~np.isnan(vectors).any(axis=1))
    weight[torch.from_numpy(known)] = torch.from_numpy(vectors[known]).to(weight)
