"""What DeBERTa's disentangled attention (He et al. 2021, arXiv:2006.03654) adds to scores for relative positions,
without what the stock one does in vain.

    lighten(network)      # before training: the same losses and gradients, up to rounding

The score of tokens i and j is q_i·k_j + q_i·K(i - j) + k_j·Q(i - j), where keys K and queries Q of relative positions
are the same for every row. Stock, all 512 of them are projected and copied for each row, each token is multiplied by
all, and what is wanted is gathered. Here tokens are multiplied by those distances that rows of their length have;
what is wanted of the products stands on diagonals, which is a view. Only of rows with more distances than there
are places in the table is anything gathered. `models.inference.disentangled` goes further where no gradient is
wanted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention

# Columns of a table are a multiple of so many: cuBLAS wants rows of 16 bytes, and a CPU nothing of the kind.
_STEP = {"cuda": 8}


class LightAttention(DisentangledSelfAttention):
    """The stock module but for how it comes by its bias; draws the same numbers for dropout."""

    def disentangled_attention_bias(
        self,
        query_layer: Tensor,
        key_layer: Tensor,
        relative_pos: Tensor | None,
        rel_embeddings: Tensor,
        scale_factor: int,
    ) -> Tensor:
        """(B x H, L, L) from queries and keys (B x H, L, E), the (1, L, L) buckets of distances i - j, and the
        embeddings (P, D) of buckets. Others are left to the stock module."""
        length, span = query_layer.shape[1], self.pos_ebd_size
        wanted = (1, length, key_layer.shape[1])
        if relative_pos is None or relative_pos.shape != wanted or not {"c2p", "p2c"}.intersection(self.pos_att_type):
            stock: Any = super()
            return stock.disentangled_attention_bias(  # type: ignore[no-any-return]
                query_layer, key_layer, relative_pos, rel_embeddings, scale_factor
            )
        heads = (self.num_attention_heads, self.attention_head_size)
        places = (relative_pos[0] + span).clamp(0, 2 * span - 1)
        near = length <= span
        apart = torch.cat([places[0, 1:].flip(0), places[:, 0]])  # of distances i - j from 1 - L to L - 1
        tables = {}
        for name, of_distances in (("key", apart.flip(0)), ("query", apart)):
            # One distance more, which nothing reads, and up to seven for a GPU's sake.
            within = nn.functional.pad(of_distances, (0, 1 + -2 * length % _STEP["cuda"]))
            rows = rel_embeddings[within] if near else rel_embeddings[: 2 * span]
            projection = position_projection(self, name)
            tables[name] = None if projection is None else projection(rows).unflatten(-1, heads).permute(1, 2, 0)
        q, k = (part.unflatten(0, (-1, heads[0])).transpose(1, 2) for part in (query_layer, key_layer))
        scores = position_scores(q, k, tables["key"], tables["query"], None if near else places)
        assert scores is not None
        scaled: Tensor = scores / (heads[1] * scale_factor) ** 0.5
        return scaled.transpose(0, 1).flatten(0, 1)


def lighten(network: nn.Module) -> None:
    """Let DeBERTas of the second and third version compute so; other networks stay as they are."""
    for module in network.modules():
        if type(module) is DisentangledSelfAttention:
            module.__class__ = LightAttention


def position_projection(module: DisentangledSelfAttention, name: str) -> Any:
    """What makes keys (`name` is ``key``) or queries (``query``) of the embeddings of relative positions; None where
    the network has none."""
    if {"key": "c2p", "query": "p2c"}[name] not in module.pos_att_type:
        return None
    return getattr(module, f"{name}_proj" if module.share_att_key else f"pos_{name}_proj")


def position_scores(
    q: Tensor, k: Tensor, keys: Tensor | None, queries: Tensor | None, places: Tensor | None = None
) -> Tensor | None:
    """(H, B, L, L) what relative positions add to the score of query i and key j, unscaled; None without tables.

    Args:
        q: (B, L, H, E) queries.
        k: (B, L, H, E) keys.
        keys: (H, E, 2L or more) K of distances j - i from 1 - L on, those from L on not read; with `places` (H, E, P) K
            of each place; None: none.
        queries: The same of Q, of distances i - j.
        places: (L, L) int64 place of distance i - j in the tables; None: they are of distances.
    """
    parts = []
    if keys is not None:
        products = _products(q, keys)
        parts.append(_diagonals(products) if places is None else _gathered(products, places))
    if queries is not None:
        products = _products(k, queries)
        parts.append((_diagonals(products) if places is None else _gathered(products, places.T)).transpose(-1, -2))
    return sum(parts[1:], parts[0]) if parts else None


def distances_within(table: Tensor, length: int) -> Tensor:
    """(H, E, 2L or a few more) of a table (H, E, 2N) of distances from 1 - N to N: those from 1 - L on.

    Args:
        table: At least as far-reaching.
        length: L.
    """
    middle = table.shape[-1] // 2
    within = table[..., middle - length : middle + length]
    step = _STEP.get(table.device.type)
    return within if step is None else nn.functional.pad(within, (0, -2 * length % step))


def _products(vectors: Tensor, table: Tensor) -> Tensor:
    """(H, B, L, R) of vectors (B, L, H, E) and a table (H, E, R), head by head."""
    products = torch.bmm(vectors.flatten(0, 1).transpose(0, 1), table)
    return products.view(len(table), *vectors.shape[:2], table.shape[-1])


def _diagonals(products: Tensor) -> Tensor:
    """(…, L, L) with [r, c] taken from [r, c - r + L - 1] of (…, L, 2L or more), as a view."""
    length, width = products.shape[-2], products.shape[-1] - 1  # from one row's diagonal place to the next row's
    flat = products.flatten(-2)[..., length - 1 : length - 1 + length * width]
    return flat.view(*flat.shape[:-1], length, width)[..., :length]


def _gathered(products: Tensor, places: Tensor) -> Tensor:
    """(…, L, L) with [r, c] taken from [r, places[r, c]] of (…, L, P)."""
    return products.gather(-1, places.expand(*products.shape[:-1], places.shape[-1]))
