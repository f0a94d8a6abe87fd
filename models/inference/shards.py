"""What a shard of texts is on its way through the Scorer: distinct texts, features, probabilities, and what it took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.errors import ModelError

if TYPE_CHECKING:
    from models.inference.groups import Features


@dataclass(frozen=True)
class DistinctTexts:
    """The distinct texts of a shard under one cleaning: U of them for N rows.

    Attributes:
        texts: (U,) String.
        inverse: (N,) int64; row i has the text ``texts[inverse[i]]``.
    """

    texts: pl.Series
    inverse: NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """A shard ready for the device: for each group its distinct texts as token ids or TF-IDF rows."""

    n_rows: int
    distinct: dict[tuple[str, ...], DistinctTexts]
    features: list[Features]
    seconds: float


@dataclass
class ShardStats:
    """What a shard took. Tokens are summed over distinct tokenizers, `computed_tokens` and `flop` over networks.

    Attributes:
        rows: Rows of the shard.
        scored: Distinct texts among them (the most over cleanings).
        tokens: Token ids, special tokens included.
        computed_tokens: Tokens that went through networks, padding included.
        padding: Tokens of these that were padding.
        truncated: Rows longer than a tokenizer's limit.
        lost: Tokens that these rows lost.
        faster_tokens: Of `tokens` those that a faster tokenizer than the stock one made.
        rescued: Rows of which a cut at the end would have lost an entity.
        flop: Floating-point operations of the networks.
        prepare_s: Seconds of cleaning, finding distinct texts, tokenising.
        infer_s: Seconds of inference.
    """

    rows: int = 0
    scored: int = 0
    tokens: int = 0
    computed_tokens: int = 0
    padding: int = 0
    truncated: int = 0
    lost: int = 0
    faster_tokens: int = 0
    rescued: int = 0
    flop: float = 0.0
    prepare_s: float = 0.0
    infer_s: float = 0.0


@dataclass(frozen=True)
class Scored:
    """Probabilities of a shard.

    Attributes:
        probs: For each run (N, C) float32 probabilities, the mean over its folds; columns as `Scorer.classes`.
        stats: What it took.
        offsets: Where words have tags, (N + 1,) int64: row i has the words ``offsets[i]:offsets[i + 1]`` of the (W, C)
            probabilities; None for other tasks.
        logits: For each run (F, N, C) float32 logits of its folds, where they were to be kept.
    """

    probs: dict[str, NDArray[np.float32]]
    stats: ShardStats = field(default_factory=ShardStats)
    offsets: NDArray[np.int64] | None = None
    logits: dict[str, NDArray[np.float32]] | None = None


class NonFinite(ModelError):
    """A network gave NaN or infinite logits.

    Attributes:
        rows: Positions in the shard, ascending.
    """

    def __init__(self, run: str, rows: list[int]) -> None:
        super().__init__(f"run '{run}' gives NaN for {len(rows):,} rows", next="try --precision fp32")
        self.rows = rows


def distinct_texts(texts: pl.Series) -> DistinctTexts:
    """Distinct texts in order of first appearance, so that a shard always gives the same batches."""
    unique = texts.unique(maintain_order=True)
    numbered = pl.DataFrame({"text": unique, "n": np.arange(len(unique))})
    joined = pl.DataFrame({"text": texts}).join(numbered, on="text", how="left", maintain_order="left")
    return DistinctTexts(unique, joined["n"].to_numpy())
