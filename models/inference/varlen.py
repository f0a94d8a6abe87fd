"""Attention within each row of a flat sequence, as transformers calls it: under the name `ATTENTION`.

On CUDA it is flash attention for variable lengths, elsewhere one call of the ordinary attention for each length. No
mask is made: the row starts, which a layer hands through as `cu_seq_lens_q`, say it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

ATTENTION = "kaggle_varlen"


@contextmanager
def packed_attention(config: Any) -> Iterator[None]:
    """A transformers model with this configuration attends within rows, as long as the context lasts."""
    stock = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = stock


def _attend(
    module: nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **others: Any,
) -> tuple[Tensor, None]:
    """What a transformers layer calls: (1, H, T, E) queries, keys, values to (1, T, H, E)."""
    unknown = [name for name in ("position_bias", "softcap", "s_aux", "cache") if others.get(name) is not None]
    if unknown or attention_mask is not None:
        raise NotImplementedError(f"attention with {', '.join(unknown) or 'a mask'}")
    flat = [part[0].transpose(0, 1) for part in (query, key, value)]  # (T, H, E)
    # transformers counts a window with the token itself, kernels without.
    reach = -1 if sliding_window is None else sliding_window - 1
    kernel = KERNELS[query.device.type]
    return kernel(*flat, cu_seq_lens_q, max_length_q, scaling, reach).unsqueeze(0), None


def _flash(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, longest: int, scale: float | None, reach: int) -> Tensor:
    # What torch.nn.attention.varlen.varlen_attn calls, too, behind an operator in Python: 50 microseconds a layer.
    out: Tensor = torch.ops.aten._flash_attention_forward(
        q, k, v, starts, starts, longest, longest, 0.0, False, return_debug_mask=False, scale=scale,
        window_size_left=reach, window_size_right=reach,
    )[0]  # fmt: skip
    return out


# An operator of its own, as flash attention is one: a compiled layer calls it and does not look inside.
@torch.library.custom_op("kaggle_jobs::attend_by_length", mutates_args=())
def _by_length(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    starts: Tensor,
    longest: int,  # noqa: ARG001
    scale: float | None,
    reach: int,
) -> Tensor:
    """Neighbours of one length in one call of the ordinary attention."""
    out = torch.empty_like(q)
    begin = 0
    for length, rows in groupby(starts.diff().tolist()):
        span = slice(begin, begin + length * len(list(rows)))
        part_q, part_k, part_v = (  # (n, H, L, E)
            part[span].view(-1, length, *part.shape[1:]).transpose(1, 2) for part in (q, k, v)
        )
        mask = None
        if 0 <= reach < length - 1:
            column = torch.arange(length, device=q.device)
            mask = (column - column[:, None]).abs() <= reach
        attended = nn.functional.scaled_dot_product_attention(part_q, part_k, part_v, attn_mask=mask, scale=scale)
        out[span] = attended.transpose(1, 2).flatten(0, 1)
        begin = span.stop
    return out


@_by_length.register_fake
def _like_queries(q: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(q)


# (T, H, E) queries, keys, values, (B + 1,) starts, longest row, scale, reach of a window (-1: none) to (T, H, E).
KERNELS: dict[str, Callable[..., Tensor]] = {"cuda": _flash, "cpu": _by_length, "mps": _by_length}


def _no_mask(*_: Any, **__: Any) -> None:
    """The row starts say it all."""


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, _no_mask)
