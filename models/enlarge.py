"""Room in a pretrained encoder for what it did not know: tokens of the entities' marks, token types of the entities."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.errors import ModelError

N_SEGMENTS = 3  # token types of form "embedded": neither entity, the first, the second


def make_room_for_entities(body: Any, tokenizer: Any, form: str) -> None:
    """Embeddings for the marks' tokens, and, for form ``embedded``, for a token type of each entity.

    Args:
        body: A transformers model.
        tokenizer: Has the marks.
        form: One of `models.text.forms.ENTITY_FORMS`.

    Raises:
        ModelError: Form ``embedded`` with an architecture that has no token types.
    """
    if len(tokenizer) > body.get_input_embeddings().num_embeddings:
        # The mean of the others serves new tokens well, but asks for a covariance of all of them.
        body.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if form != "embedded":
        return
    found = [m for name, m in body.named_modules() if name.endswith("token_type_embeddings")]
    if not found:
        raise ModelError(
            f"a {body.config.model_type} encoder has no token types, which form 'embedded' needs",
            next="form = 'marked' or 'plain' under [data]",
        )
    if found[0].num_embeddings < N_SEGMENTS:
        _grow(found[0], body.config)


def _grow(embeddings: Any, config: Any) -> None:
    """More token types: new ones begin near the first, so that the encoder is little disturbed."""
    old = embeddings.weight.data
    new = old[:1] + 0.02 * torch.randn(N_SEGMENTS, old.shape[1])
    new[: len(old)] = old[:N_SEGMENTS]
    embeddings.weight = nn.Parameter(new)
    embeddings.num_embeddings = N_SEGMENTS
    config.type_vocab_size = N_SEGMENTS
