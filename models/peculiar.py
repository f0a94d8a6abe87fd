"""What single architectures want of their rows, that others do not: around the stock forward pass, by model type.

`config` is a transformers configuration throughout; token ids are (B, T) int64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

_COUNTS_WITHOUT_MASK = ("xlm", "flaubert")  # without a mask, a padding token in a text shortens it
_SHORTEST = {"canine": 4, "funnel": 3}  # tokens below which the stock forward pass fails


def n_known_tokens(config: Any) -> int:
    """Token ids from 0 on that such a network knows; CANINE has no vocabulary, it hashes code points."""
    return getattr(config.get_text_config(), "vocab_size", None) or 256


def long_enough(
    config: Any, ids: Tensor, mask: Tensor | None, types: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Rows that the architecture can read: Funnel's pools need three tokens, CANINE's four."""
    missing = _SHORTEST.get(config.model_type, 1) - ids.shape[1]
    if missing <= 0:
        return ids, mask, types
    mask = torch.ones_like(ids) if mask is None else mask
    ids = pad(ids, (0, missing), value=config.pad_token_id or 0)
    return ids, pad(mask, (0, missing)), None if types is None else pad(types, (0, missing))


def mask_of(config: Any, ids: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask that the body is given; None where all tokens are real and it does not count them by itself."""
    return torch.ones_like(ids) if mask is None and config.model_type in _COUNTS_WITHOUT_MASK else mask


def sparse_beyond(config: Any) -> int | None:
    """Tokens of a row up to which BigBird attends to all of it; None where no length changes the attention."""
    if config.model_type != "big_bird" or config.attention_type != "block_sparse":
        return None
    return int((5 + 2 * config.num_random_blocks) * config.block_size)


def attend_by_length(encoder: Any, config: Any, n_tokens: int) -> None:
    """Let a row's length alone decide how it is attended to: BigBird goes over to all of a row, and never back."""
    limit = sparse_beyond(config)
    if limit is not None:
        encoder.set_attention_type("block_sparse" if n_tokens > limit else "original_full")


def by_length(compute: Callable[[Tensor, int], Tensor], mask: Tensor) -> Tensor:
    """What is computed of some rows, those of each length by themselves, so that none is padded.

    Args:
        compute: Of n rows of a batch, given as (n,) their places and their length: (n, D), or (n, length, C).
        mask: (B, T), nonzero where a token is real: all before a row's end.

    Returns:
        (B, D), or (B, T, C) with 0 behind the ends of rows.
    """
    lengths = (mask != 0).sum(1)
    order = lengths.argsort(stable=True)
    found, counts = torch.unique(lengths, return_counts=True)
    together = torch.split(order, counts.tolist())
    parts = [compute(rows, length) for length, rows in zip(found.tolist(), together, strict=True)]
    if parts[0].ndim > 2:
        parts = [pad(part, (0, 0, 0, mask.shape[1] - part.shape[1])) for part in parts]
    return torch.cat(parts)[order.argsort()]


def end_of_text(config: Any) -> int | None:
    """The token by which the stock head of an encoder-decoder finds what it reads; None where none is needed."""
    end = config.eos_token_id if config.is_encoder_decoder else None
    return end if isinstance(end, int) else None


def by_stock_head(body: Any, inputs: dict[str, Any]) -> Tensor:
    """(B, C) logits. The head of an encoder-decoder wants as many ends of text in each row: others go apart."""
    end = end_of_text(body.config)
    n_ends = None if end is None else inputs["input_ids"].eq(end).sum(1)
    if n_ends is None or bool((n_ends == n_ends[0]).all()):
        return body(**inputs).logits  # type: ignore[no-any-return]
    order = n_ends.argsort(stable=True)
    parts = order.split(n_ends.unique(return_counts=True)[1].tolist())
    logits = [body(**{name: v if v is None else v[rows] for name, v in inputs.items()}).logits for rows in parts]
    return torch.cat(logits)[order.argsort()]
