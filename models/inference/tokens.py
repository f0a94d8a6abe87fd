"""Texts to flat token ids: one int32 array for a whole shard, and where each row begins in it.

No padding and no per-row tensors: batches are cut from the flat array on the device that runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Encodings are Python objects of some kilobytes: this many exist at a time.
_CHUNK = 4096


@dataclass(frozen=True)
class Tokens:
    """Token ids of N texts, special tokens included.

    Attributes:
        ids: (sum of lengths,) int32, row after row.
        offsets: (N + 1,) int64; row i is ``ids[offsets[i]:offsets[i + 1]]``.
        n_truncated: Rows that were longer than the limit.
        n_lost: Tokens that these rows lost.
        pad_id: Stands where a shorter row ends in a padded batch; hidden by the mask.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    n_truncated: int
    n_lost: int
    pad_id: int = 0

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) int64 tokens a row."""
        return np.diff(self.offsets)


class TextTokenizer:
    """A Hugging Face tokenizer set up for scoring: truncation at `max_length`, no padding, all cores.

    Args:
        tokenizer: Any `PreTrainedTokenizerBase`; one without a fast backend works, slower.
        max_length: Tokens a row at most, special tokens included.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.max_length = max_length
        self._tokenizer = tokenizer
        self._backend = None
        self._pad_id = tokenizer.pad_token_id or 0
        self._n_special = tokenizer.num_special_tokens_to_add()
        if tokenizer.is_fast:
            from tokenizers import Tokenizer

            self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # ours to configure
            self._backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
            self._backend.no_padding()

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenise N texts."""
        rows: list[NDArray[np.int32]] = []
        n_truncated = n_lost = 0
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            if self._backend is None:
                new_rows, lost = self._slow(chunk)
            else:
                new_rows, lost = self._fast(chunk)
            rows += new_rows
            n_truncated += len(lost)
            n_lost += sum(lost)
        # A tokenizer without special tokens gives nothing for an empty text; a network needs at least one token.
        rows = [row if row.size else np.array([self._pad_id], dtype=np.int32) for row in rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([row.size for row in rows], out=offsets[1:])
        ids = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
        return Tokens(ids, offsets, n_truncated, n_lost, self._pad_id)

    def _fast(self, texts: list[str]) -> tuple[list[NDArray[np.int32]], list[int]]:
        assert self._backend is not None
        rows, lost = [], []
        for encoding in self._backend.encode_batch_fast(texts):
            row = np.array(encoding.ids, dtype=np.int32)
            rows.append(row)
            if row.size == self.max_length and encoding.overflowing:
                lost.append(sum(len(piece.ids) - self._n_special for piece in encoding.overflowing))
        return rows, lost

    def _slow(self, texts: list[str]) -> tuple[list[NDArray[np.int32]], list[int]]:
        full = self._tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        cut = self._tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        lost = [len(a) - len(b) for a, b in zip(full, cut, strict=True) if len(a) > len(b)]
        return [np.array(row, dtype=np.int32) for row in cut], lost
