"""Token ids to logits: one shard through the networks that share its tokens, batch after batch, on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.errors import ModelError
from models.inference.batching import Batch, plan_batches
from models.inference.device import DEFAULTS
from models.inference.graphs import Graphs
from models.inference.packed import pack, packed_logits
from models.inference.tokens import Tokens
from models.memory import until_it_fits


@dataclass
class TokenBudget:
    """Tokens in a batch; halved when the device runs out of memory, and it stays so."""

    tokens: int
    pass_cost: int
    halvings: int = 0

    @classmethod
    def for_device(cls, device: torch.device, tokens: int | None = None) -> TokenBudget:
        """The device's default, or `tokens` where given."""
        default = DEFAULTS[device.type]
        return cls(tokens or default.token_budget, default.pass_cost)

    def batches(self, lengths: NDArray[np.int64], *, pads: bool, packed: bool) -> list[Batch]:
        """Rows of these (N,) lengths as batches.

        Args:
            lengths: Tokens a row.
            pads: Whether the networks' masks hide padding; where not, no row is ever padded.
            packed: Whether rows of different lengths are packed rather than padded.
        """
        # Where one more pass costs nothing, rows of different lengths are never merged.
        return plan_batches(lengths, self.tokens, self.pass_cost if pads else 0, packed=packed)

    def halve(self, longest: int) -> None:
        """After running out of memory.

        Raises:
            ModelError: Not even a single row fits.
        """
        if self.tokens <= longest:
            raise ModelError(
                f"out of memory with a single row of {longest} tokens",
                next="use a smaller --max-length, --precision bf16, fewer models at a time, or --device cpu",
            )
        self.tokens //= 2
        self.halvings += 1


class Shares:
    """Passes on which share of the work each batch was, and takes it back where the work is begun again.

    Args:
        tick: Takes shares; negative ones, too.
    """

    def __init__(self, tick: Callable[[float], None]) -> None:
        self._tick = tick
        self._told = 0.0

    def add(self, share: float) -> None:
        """So much more is done."""
        self._told += share
        self._tick(share)

    def take_back(self) -> None:
        """Nothing is done."""
        told, self._told = self._told, 0.0
        if told:
            self._tick(-told)


def run_networks(
    networks: Sequence[nn.Module],
    tokens: Tokens,
    device: torch.device,
    budget: TokenBudget,
    tick: Callable[[float], None],
    *,
    pads: bool = True,
    packed: bool = False,
    graphs: Graphs | None = None,
) -> tuple[list[torch.Tensor], list[Batch]]:
    """Every network's logits for N tokenised rows; each batch is cut and sent once for all of them.

    Args:
        networks: M modules with ``forward(input_ids, attention_mask[, token_type_ids]) -> logits (B, C)``, on `device`.
        tokens: Token ids of the rows.
        device: Where the networks are.
        budget: Batch size; halved and remembered when memory runs out.
        tick: Called after each batch with its share of the work; with what was told, negative, where memory ran out.
        pads: Whether the networks' masks hide padding; where not, no row is ever padded.
        packed: Whether all of them are `TextClassifier`s whose rows can be packed (`models.inference.packed`).
        graphs: Of these networks: batches of one exact length go through it.

    Returns:
        M tensors (N, C) float32 logits on `device`, and the batches that were computed.
    """
    lengths, shares = tokens.lengths, Shares(tick)

    def work() -> tuple[list[torch.Tensor], list[Batch]]:
        batches = budget.batches(lengths, pads=pads, packed=packed)
        return _run(networks, tokens, batches, device, shares.add, graphs), batches

    def shrink() -> None:
        shares.take_back()
        if graphs is not None:
            graphs.clear()
        budget.halve(int(lengths.max()))

    return until_it_fits(work, shrink, device)


def _run(
    networks: Sequence[nn.Module],
    tokens: Tokens,
    batches: Sequence[Batch],
    device: torch.device,
    tick: Callable[[float], None],
    graphs: Graphs | None = None,
) -> list[torch.Tensor]:
    def compute(
        ids: torch.Tensor, types: torch.Tensor | None = None, mask: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        named = {} if types is None else {"token_type_ids": types}
        return [network(input_ids=ids, attention_mask=mask, **named).float() for network in networks]

    n = len(tokens.offsets) - 1
    total = sum(batch.n_tokens for batch in batches)
    outputs: list[torch.Tensor] = []
    with torch.inference_mode():
        # The whole shard goes over once, and which rows each batch has; batches are gathered there, so the loop below
        # never waits.
        ids, offsets = send(tokens.ids, device), send(tokens.offsets, device)
        types = None if tokens.types is None else send(tokens.types, device)
        order = send(np.concatenate([batch.rows for batch in batches]), device)
        for batch, rows in zip(batches, torch.split(order, [len(batch.rows) for batch in batches]), strict=True):
            logits: Sequence[torch.Tensor]  # M x (B, C)
            if batch.packed_tokens:
                flat = pack(ids, offsets, rows, batch.packed_tokens, batch.length, types)
                logits = [packed_logits(network, flat).float() for network in networks]  # type: ignore[arg-type]
            else:
                input_ids, mask = _gather(ids, offsets, rows, batch, tokens.pad_id)
                own_types = None if types is None else _gather(types, offsets, rows, batch, 0)[0]
                if graphs is not None and mask is None:
                    logits = graphs.run(compute, [input_ids] if own_types is None else [input_ids, own_types])
                else:
                    logits = compute(input_ids, own_types, mask)
            if not outputs:
                outputs = [torch.empty(n, part.shape[1], dtype=torch.float32, device=device) for part in logits]
            for output, part in zip(outputs, logits, strict=True):
                output[rows] = part
            tick(batch.n_tokens / total)
    return outputs


def _gather(
    ids: torch.Tensor, offsets: torch.Tensor, rows: torch.Tensor, batch: Batch, pad_id: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(B, L) int64 ids of a batch, and its (B, L) int64 mask, or None where all rows have the same length.

    Where a row ends early `pad_id` stands: some architectures look for it, the others have the mask.
    """
    column = torch.arange(batch.length, device=ids.device)
    start = offsets[rows].unsqueeze(1)
    if not batch.padded:
        return ids[start + column].long(), None
    inside = column < (offsets[rows + 1].unsqueeze(1) - start)
    position = torch.where(inside, start + column, 0)
    return torch.where(inside, ids[position].long(), pad_id), inside.long()


def pinned(tokens: Tokens) -> Tokens:
    """The same in memory that a GPU copies from by itself."""
    types = None if tokens.types is None else _pin(tokens.types)
    return replace(tokens, ids=_pin(tokens.ids), offsets=_pin(tokens.offsets), types=types)


def _pin(array: np.ndarray) -> np.ndarray:
    return torch.from_numpy(array).pin_memory().numpy()


def send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on the device; a GPU is not waited for."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)  # what is pinned already is not copied again
    return tensor.to(device)
