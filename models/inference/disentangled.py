"""DeBERTa's attention for scoring: relative positions as in `models.disentangled`, projected once, and no mask made.

    disentangle(network, max_length)      # from now on; `restore` is the way back
    reason = refusal(network)             # None where it gives what the stock forward pass gives

Attention is the ordinary one with a bias, so no matrix of scores is kept. Nothing is copied from the host in a pass, so
that it can be recorded. On a CPU rows may be packed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DebertaV2Model
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention, build_relative_position

from models.classifier import TextClassifier
from models.disentangled import distances_within, position_projection, position_scores
from models.inference.packed import TOLERANCE
from models.peculiar import n_known_tokens

_LEAST = 32  # tokens that rows of checks have, whatever the longest text may have
_BUFFERS = ("near_pos_key", "near_pos_query", "far_pos_key", "far_pos_query", "places")


class Attention(DisentangledSelfAttention):
    """The stock module's weights, and buffers of what it makes of relative positions; E wide are its H heads.

    Attributes:
        near_pos_key: (H, E, 2N) K of distances j - i from 1 - N to N, for rows of up to N tokens; or None.
        near_pos_query: (H, E, 2N) Q of distances i - j; or None.
        far_pos_key: (H, E, P) K of each place in the table of relative positions, for longer rows; or None.
        far_pos_query: (H, E, P) Q of each; or None.
        places: (2M - 1,) int64 place in that table of distances i - j from 1 - M to M - 1; or None.
        reach: N.
        longest: M, tokens of the longest row.
    """

    near_pos_key: Tensor | None
    near_pos_query: Tensor | None
    far_pos_key: Tensor | None
    far_pos_query: Tensor | None
    places: Tensor | None
    reach: int
    longest: int

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,  # noqa: ARG002
        query_states: Tensor | None = None,  # noqa: ARG002
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, None]:
        """(B, L, D) token vectors from (B, L, D), as the stock module is called by its layer, but for:

        Args:
            attention_mask: (B, L), nonzero where a key is real; None where all are.
            relative_pos: (n + 1,) where the rows of a flat sequence (B = 1) begin; None: rows are side by side.
        """
        heads = (self.num_attention_heads, self.attention_head_size)
        projections = (self.query_proj, self.key_proj, self.value_proj)
        q, k, v = (projection(hidden_states).unflatten(-1, heads) for projection in projections)
        if relative_pos is None:
            return self._attend(q, k, v, attention_mask).flatten(2), None
        if hidden_states.is_cuda:
            raise NotImplementedError("its attention within packed rows has no kernel for a GPU")
        parts, begin = [], 0
        for length, rows in groupby(relative_pos.diff().tolist()):  # neighbours of one length at once
            span = slice(begin, begin + length * len(list(rows)))
            same_q, same_k, same_v = (part[0, span].unflatten(0, (-1, length)) for part in (q, k, v))
            parts.append(self._attend(same_q, same_k, same_v, None).flatten(0, 1).flatten(1))
            begin = span.stop
        return torch.cat(parts).unsqueeze(0), None

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, H, E) from queries, keys and values of that shape."""
        scale = (self.attention_head_size * (1 + len({"c2p", "p2c"}.intersection(self.pos_att_type)))) ** -0.5
        bias = self._bias(q, k)
        shown = None if bias is None else bias * scale
        if mask is not None:
            keys = mask[:, None, None, :]
            shown = keys != 0 if shown is None else shown.masked_fill(keys == 0, torch.finfo(shown.dtype).min)
        out: Tensor = nn.functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=shown, scale=scale
        )
        return out.transpose(1, 2)

    def _bias(self, q: Tensor, k: Tensor) -> Tensor | None:
        """(B, H, L, L) what relative positions add to the scores of queries i and keys j, unscaled."""
        length = q.shape[1]
        if length <= self.reach:
            keys, queries = (
                None if table is None else distances_within(table, length)
                for table in (self.near_pos_key, self.near_pos_query)
            )
            scores = position_scores(q, k, keys, queries)
        else:
            assert self.places is not None
            token = torch.arange(length, device=q.device)
            places = self.places[token[:, None] - token + self.longest - 1]  # of distances i - j
            scores = position_scores(q, k, self.far_pos_key, self.far_pos_query, places)
        return None if scores is None else scores.transpose(0, 1)


class Encoder(DebertaV2Model):
    """The stock encoder for inference: makes no matrix of a mask, and keeps layers' outputs only where asked for."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        cu_seq_lens_q: Tensor | None = None,
        **_: object,
    ) -> BaseModelOutput:
        """Token vectors (B, L, D), as transformers gives them.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L), nonzero where a token is real; None where all are.
            token_type_ids: (B, L) int64; None for all zero.
            position_ids: (B, L) int64 places of the tokens in their rows, where those are packed.
            output_hidden_states: Whether to give embeddings and each layer's output, too.
            cu_seq_lens_q: (n + 1,) where packed rows begin (B = 1); None: rows are side by side.
        """
        hidden = embedded = self.embeddings(
            input_ids=input_ids, token_type_ids=token_type_ids, position_ids=position_ids, mask=attention_mask
        )
        layers = [embedded]
        for i, layer in enumerate(self.encoder.layer):
            hidden, _ = layer(hidden, attention_mask, relative_pos=cu_seq_lens_q)
            if i == 0 and self.encoder.conv is not None:
                real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
                hidden = self.encoder.conv(embedded, hidden, real)
            if output_hidden_states:
                layers.append(hidden)
        return BaseModelOutput(hidden, tuple(layers) if output_hidden_states else None)


def disentangle(network: TextClassifier, max_length: int, *, one_way: bool = False) -> None:
    """Let a DeBERTa of the second or third version compute so from now on, on whatever device and in whatever format
    it is then; others stay as they are.

    Args:
        network: In evaluation mode, float32, with the stock forward pass.
        max_length: Tokens a row at most.
        one_way: Attend to rows of all lengths in the same way, as a trace does, whose tables have to reach as far. Not
            for twice as many tokens as places to one side: there, that would take longer than stock.
    """
    encoder: Any = network.encoder
    if type(encoder) is not DebertaV2Model:
        return
    if one_way and any(
        max_length > 2 * module.pos_ebd_size for module in _attentions(encoder) if module.relative_attention
    ):
        return
    with torch.no_grad():
        embeddings = encoder.encoder.get_rel_embedding()
        for module in _attentions(encoder):
            _tabulate(module, embeddings, max(_LEAST, max_length), one_way=one_way)
    _become(encoder, Encoder, Attention)


def restore(network: TextClassifier) -> None:
    """The way back from `disentangle`."""
    if not is_disentangled(network):
        return
    _become(network.encoder, DebertaV2Model, DisentangledSelfAttention)
    for module in _attentions(network.encoder):
        for name in (*_BUFFERS, "reach", "longest"):
            delattr(module, name)


def is_disentangled(network: TextClassifier) -> bool:
    """Whether `disentangle` has changed it."""
    return type(network.encoder) is Encoder


def longest_row(network: TextClassifier) -> int | None:
    """Tokens of the longest row that it can read so; None for a network as transformers has it."""
    return _attentions(network.encoder)[0].longest if is_disentangled(network) else None


def table_reach(network: TextClassifier) -> int | None:
    """Tokens beyond which rows are attended to in another way; None where all rows are attended to in one."""
    if not is_disentangled(network):
        return None
    module = _attentions(network.encoder)[0]
    return module.reach if module.longest > module.reach else None


def refusal(network: TextClassifier) -> str | None:
    """Why the stock forward pass should come back; None where the vectors of tokens are its own, on this device and in
    this format: of a few short rows, padded, and in the first layer of a row as long as tables reach and of a longer.

    Args:
        network: As `disentangle` left it.
    """
    encoder: Any = network.encoder
    module = _attentions(encoder)[0]
    weight, short = module.query_proj.weight, min(_LEAST, module.reach)
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(n_known_tokens(network.body.config), (3, short), generator=random).to(weight.device)
    mask = (torch.arange(short) < torch.tensor([[short], [short // 2], [2]])).to(weight.device)
    lengths = {module.reach, min(module.longest, module.reach + _LEAST)}
    rows = [torch.randn(1, length, weight.shape[1], generator=random).to(weight) for length in sorted(lengths)]

    def attended(row: Tensor) -> Tensor:
        seen = torch.ones(1, 1, *[row.shape[1]] * 2, device=row.device)
        embeddings = encoder.encoder.get_rel_embedding()
        found: Tensor = DisentangledSelfAttention.forward(module, row, seen, rel_embeddings=embeddings)[0]
        return found

    with torch.inference_mode():
        ours = [encoder(ids, mask.long()).last_hidden_state[mask], *(module(row)[0] for row in rows)]
        with _stock(encoder):
            stock = [encoder(ids, mask.long()).last_hidden_state[mask], *map(attended, rows)]
        error = max(float((a - b).float().norm() / b.float().norm()) for a, b in zip(ours, stock, strict=True))
    if error <= TOLERANCE[weight.dtype]:  # not if it is NaN
        return None
    return f"its attention was {error:.1e} off that of its stock forward pass"


@contextmanager
def _stock(encoder: Any) -> Iterator[None]:
    _become(encoder, DebertaV2Model, DisentangledSelfAttention)
    try:
        yield
    finally:
        _become(encoder, Encoder, Attention)


def _become(encoder: Any, kind: type[DebertaV2Model], attention: type[DisentangledSelfAttention]) -> None:
    for module in _attentions(encoder):
        module.__class__ = attention
    encoder.__class__ = kind


def _attentions(encoder: nn.Module) -> list[Any]:
    """The attention of each layer, of the stock class or of ours."""
    return [module for module in encoder.modules() if isinstance(module, DisentangledSelfAttention)]


def _tabulate(module: Any, embeddings: Tensor | None, longest: int, *, one_way: bool) -> None:
    """Keep of a layer what it makes of relative positions.

    Args:
        module: Of the stock class as yet.
        embeddings: (P, D) of relative positions; None where the network knows none.
        longest: Tokens a row at most.
    """
    module.longest = module.reach = longest
    tables: dict[str, Tensor | None] = dict.fromkeys(_BUFFERS)
    if embeddings is not None:
        span = module.pos_ebd_size
        module.reach = reach = longest if one_way else min(span, longest)
        places = _places(module, longest)
        apart = torch.arange(1 - reach, reach + 1)
        heads = (module.num_attention_heads, module.attention_head_size)
        for name in ("key", "query"):
            if (projection := position_projection(module, name)) is None:
                continue
            table = projection(embeddings[: 2 * span]).unflatten(-1, heads).permute(1, 2, 0)  # (H, E, P)
            distances = (-apart if name == "key" else apart).clamp(1 - longest, longest - 1)
            tables[f"near_pos_{name}"] = table[..., places[distances + longest - 1]]
            if longest > reach:
                tables[f"far_pos_{name}"] = table.contiguous()
        tables["places"] = places if longest > reach else None
    for name in _BUFFERS:
        module.register_buffer(name, tables[name], persistent=False)


def _places(module: Any, longest: int) -> Tensor:
    """(2M - 1,) int64 place of distances from 1 - M to M - 1 in the table of relative positions, as stock has it."""
    one, all_rows = torch.empty(1, 1), torch.empty(longest, 1)
    behind, before = (
        build_relative_position(
            rows, columns, bucket_size=module.position_buckets, max_position=module.max_relative_positions
        ).flatten()
        for rows, columns in ((all_rows, one), (one, all_rows))
    )
    span = module.pos_ebd_size
    places: Tensor = torch.cat([before.flip(0), behind[1:]]) + span
    return places.clamp(0, 2 * span - 1)
