"""Rows of different lengths through an encoder as one flat sequence: no padding, and attention within each row alone.

The stock transformers body runs unchanged. It is told where rows begin and their tokens' positions, and calls the
attention of `models.inference.varlen`. Behind the body rows are laid side by side again for the head, which does as
always.

Whether a network can be packed is not concluded but tried: `refusal` compares it with the stock forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from models.classifier import TextClassifier
from models.heads.pooled import mean_pool
from models.inference.varlen import packed_attention
from models.peculiar import n_known_tokens

# Longest row of the check. A CPU would take seconds over long ones; any sliding window must still be shorter.
_CHECK_LENGTH = {"cuda": 512, "cpu": 32}
# How far packed logits may be from the stock ones, relative to their norm. Rows that see each other are off by more.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class PackedRows:
    """B rows of T tokens in all, one behind the other.

    Attributes:
        ids: (1, T) int64.
        types: (1, T) int64 token types, as `TextClassifier.forward` takes them; None for all zero.
        starts: (B + 1,) int32; row i has the tokens ``starts[i]:starts[i + 1]``.
        columns: (1, T) int64 place of each token in its row.
        longest: Tokens of the longest row.
    """

    ids: Tensor
    types: Tensor | None
    starts: Tensor
    columns: Tensor
    longest: int

    @cached_property
    def _inside(self) -> Tensor:
        column = torch.arange(self.longest, device=self.starts.device)
        return column < self.starts.diff().unsqueeze(1)

    @cached_property
    def mask(self) -> Tensor:
        """(B, L) int64, one where a token is real, zero behind the end of a short row."""
        return self._inside.long()

    def side_by_side(self, flat: Tensor) -> Tensor:
        """(B, L, …) from (1, T, …). What stands behind the end of a short row means nothing."""
        column = torch.arange(self.longest, device=flat.device)
        places = torch.where(self._inside, self.starts[:-1, None] + column, 0)
        return flat[0][places]

    def first(self, flat: Tensor) -> Tensor:
        """(B, 1, …) each row's first token, from (1, T, …)."""
        return flat[0][self.starts[:-1].long()].unsqueeze(1)


def pack(ids: Tensor, offsets: Tensor, rows: Tensor, n_tokens: int, longest: int, types: Tensor | None) -> PackedRows:
    """Some rows of a shard as one sequence; waits for no device.

    Args:
        ids: (sum of lengths,) the shard's token ids.
        offsets: (N + 1,) int64 where its rows begin.
        rows: (B,) int64 which ones, in this order.
        n_tokens: T, tokens of these rows.
        longest: Tokens of the longest of them.
        types: (sum of lengths,) token types; None for all zero.
    """
    begin = offsets[rows]
    lengths = offsets[rows + 1] - begin
    starts = nn.functional.pad(lengths.cumsum(0), (1, 0))
    columns = torch.arange(n_tokens, device=ids.device) - _repeat(starts[:-1], lengths, n_tokens)
    places = _repeat(begin, lengths, n_tokens) + columns
    flat_types = None if types is None else types[places].long().unsqueeze(0)
    return PackedRows(ids[places].long().unsqueeze(0), flat_types, starts.int(), columns.unsqueeze(0), longest)


def packed_logits(network: TextClassifier, rows: PackedRows) -> Tensor:
    """(B, C) logits, as ``network(...)`` gives them for the same rows padded and masked.

    Args:
        network: In a form other than ``apart``; with its architecture's own head, of one in `STOCK_HEADS`.
        rows: On the network's device.
    """
    head = network.head
    inputs = {"input_ids": rows.ids, "position_ids": _positions(network, rows)}
    if (types := network.types_of_body(rows.types)) is not None:
        inputs["token_type_ids"] = types
    with packed_attention(network.body.config):
        output = network.encoder(
            **inputs,
            output_hidden_states=head is not None and head.all_layers,
            cu_seq_lens_q=rows.starts,
            cu_seq_lens_k=rows.starts,
            max_length_q=rows.longest,
            max_length_k=rows.longest,
        )
    if head is None:
        return STOCK_HEADS[network.body.config.model_type](network.body, output.last_hidden_state, rows)
    earlier = output.hidden_states[:-1] if head.all_layers else ()
    hidden = tuple(rows.side_by_side(layer) for layer in (*earlier, output.last_hidden_state))
    shown = {}
    if getattr(head, "reads_segments", False) and rows.types is not None:
        shown["segments"] = rows.side_by_side(rows.types) * rows.mask
    hidden = network.beside_words(hidden, rows.side_by_side(rows.ids), rows.mask)
    return head(hidden, rows.mask, **shown)  # type: ignore[no-any-return]


def _bert(body: Any, last: Tensor, rows: PackedRows) -> Tensor:
    return body.classifier(body.bert.pooler(rows.first(last)))  # type: ignore[no-any-return]


def _roberta(body: Any, last: Tensor, rows: PackedRows) -> Tensor:
    return body.classifier(rows.first(last))  # type: ignore[no-any-return]


def _albert(body: Any, last: Tensor, rows: PackedRows) -> Tensor:
    first = rows.first(last)[:, 0]
    return body.classifier(body.albert.pooler_activation(body.albert.pooler(first)))  # type: ignore[no-any-return]


def _distilbert(body: Any, last: Tensor, rows: PackedRows) -> Tensor:
    return body.classifier(body.pre_classifier(rows.first(last)[:, 0]).relu())  # type: ignore[no-any-return]


def _deberta(body: Any, last: Tensor, rows: PackedRows) -> Tensor:
    return body.classifier(body.pooler(rows.first(last)))  # type: ignore[no-any-return]


def _modernbert(body: Any, last: Tensor, rows: PackedRows) -> Tensor:
    if body.config.classifier_pooling == "cls":
        pooled = rows.first(last)[:, 0]
    else:
        pooled = mean_pool((rows.side_by_side(last),), rows.mask).to(last.dtype)
    return body.classifier(body.head(pooled))  # type: ignore[no-any-return]


# What an architecture's own classification head makes of (1, T, D) token vectors.
STOCK_HEADS: dict[str, Callable[[Any, Tensor, PackedRows], Tensor]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "electra": _roberta,
    "albert": _albert,
    "distilbert": _distilbert,
    "deberta-v2": _deberta,
    "modernbert": _modernbert,
}


def wants_packing(device: torch.device, dtype: torch.dtype) -> bool:
    """Where packing is faster than padding: on a CPU; on CUDA in the formats that its kernel computes in."""
    return device.type == "cpu" or (device.type == "cuda" and dtype in (torch.bfloat16, torch.float16))


def refusal(network: TextClassifier, max_length: int) -> str | None:
    """Why a network's rows are not to be packed; None where packed logits are those of the stock forward pass.

    Both see the same few rows of random tokens, from two to `max_length` of them; on CUDA at most 512, on a CPU fewer.

    Args:
        network: On its device, in its number format.
        max_length: Tokens a row at most.
    """
    architecture = network.body.config.model_type
    if network.form == "apart":
        return "it reads two texts apart"
    if network.head is None and architecture not in STOCK_HEADS:
        return f"not known for {architecture}"
    rows, alone = _examples(network, min(max_length, _check_length(network)))
    with torch.inference_mode():
        stock = torch.cat([network(ids, None, types) for ids, types in alone]).float()
        try:
            packed = packed_logits(network, rows).float()
        except Exception as exc:  # whatever an architecture or a device trips over: its stock forward pass works
            return f"{architecture} fails: {str(exc).splitlines()[0] if str(exc) else type(exc).__name__}"
        error = float((packed - stock).norm() / stock.norm().clamp(min=1e-12))
    if not error <= TOLERANCE[next(network.parameters()).dtype]:  # NaN is refused, too
        return f"logits of {architecture} were {error:.1e} off those of its stock forward pass"
    return None


def _check_length(network: TextClassifier) -> int:
    window = getattr(network.body.config, "sliding_window", None) or 0
    return max(_CHECK_LENGTH.get(next(network.parameters()).device.type, 512), 2 * window + 2)


def _examples(network: TextClassifier, longest: int) -> tuple[PackedRows, list[tuple[Tensor, Tensor | None]]]:
    """Rows of random tokens, packed and each alone."""
    config: Any = network.body.config
    device = next(network.parameters()).device
    lengths = torch.tensor([max(1, n) for n in (2, longest, 3, longest // 2, longest // 3, 2, 7 * longest // 8)])
    offsets = nn.functional.pad(lengths.cumsum(0), (1, 0))
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(n_known_tokens(config), (int(offsets[-1]),), generator=random)
    types = None
    n_types = min(2, getattr(config, "type_vocab_size", 0))
    if network.takes_types and n_types:
        types = torch.randint(n_types, (len(ids),), generator=random).to(device)
    ids = ids.to(device)
    order = torch.arange(len(lengths), device=device)
    rows = pack(ids, offsets.to(device), order, len(ids), int(lengths.max()), types)
    spans = [slice(a, b) for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    return rows, [(ids[None, span], None if types is None else types[None, span]) for span in spans]


def _positions(network: TextClassifier, rows: PackedRows) -> Tensor:
    """(1, T) position of each token in its row, as its architecture counts.

    RoBERTa and its kin count from padding_idx + 1, and do not count a padding token, even where a text holds one.
    """
    table = getattr(getattr(network.encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if padding is None:
        return rows.columns
    real: Tensor = (rows.ids[0] != padding).long()
    counted = nn.functional.pad(real.cumsum(0), (1, 0))
    before = counted[torch.arange(len(real), device=real.device) - rows.columns[0]]
    positions: Tensor = (counted[1:] - before) * real + int(padding)
    return positions.unsqueeze(0)


def _repeat(values: Tensor, counts: Tensor, total: int) -> Tensor:
    # Told the total, it need not wait for the device to count.
    repeated: Tensor = torch.repeat_interleave(values, counts, output_size=total)
    return repeated
