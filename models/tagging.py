"""Words and their tags around a network that answers for each token: alignment, loss, decisions.

A row is a text whose words are separated by single blanks. The tokenizer cuts a word into pieces; its first piece
carries the word's tag, the others and the special tokens carry none. A word beyond max_length, or of which the
tokenizer leaves nothing, is not seen by the network and counts as ``O``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.classifier import TextClassifier
from models.crf import NO_WORD
from models.errors import ModelError
from models.losses import Loss
from models.tagged import Tagged
from models.training.batches import Rows, padded, sorted_batches

OUTSIDE = "O"
_CHUNK = 1024  # encodings are Python objects of some kilobytes: this many exist at a time


@dataclass(frozen=True)
class WordRows:
    """Tokenised rows that know where their words begin.

    Attributes:
        rows: Token ids.
        first: For each row (n_words,) int64 position of each word's first piece; -1 where the network does not see it.
    """

    rows: Rows
    first: list[NDArray[np.int64]]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(N + 1,) int64; row i has the words ``offsets[i]:offsets[i + 1]``."""
        return np.concatenate([[0], np.cumsum([len(row) for row in self.first])]).astype(np.int64)

    def targets(self, tags: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N, T) int64 tag of each token, `NO_WORD` where it carries none.

        Args:
            tags: (N, W) tag of each word, `NO_WORD` after a row's last.
        """
        longest = int(self.rows.lengths.max(initial=1))
        found = np.full((len(self.first), longest), NO_WORD, np.int64)
        for row, first in enumerate(self.first):
            seen = np.flatnonzero(first >= 0)
            found[row, first[seen]] = tags[row, seen]
        return found


def align_words(tokenizer: Any, texts: Sequence[str], max_length: int) -> WordRows:
    """Token ids of rows of words, cut at `max_length`, and where each word begins.

    Raises:
        ModelError: A tokenizer that cannot tell pieces of words apart, or has no padding token.
    """
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise ModelError("token tasks need a fast tokenizer with a padding token", next="choose another encoder")
    ids: list[NDArray[np.int64]] = []
    first: list[NDArray[np.int64]] = []
    for start in range(0, len(texts), _CHUNK):
        words = [text.split(" ") if text else [] for text in texts[start : start + _CHUNK]]
        encoded = _encode(tokenizer, [row or [""] for row in words], max_length)
        for row, encoding in zip(words, encoded.encodings, strict=True):
            ids.append(np.asarray(encoding.ids, np.int64))
            first.append(_first_pieces(encoding.word_ids, len(row)))
    return WordRows(Rows(ids, np.asarray([len(row) for row in ids], np.int64), tokenizer.pad_token_id), first)


def tag_loss(network: TextClassifier, of_tokens: Loss) -> Loss:
    """``loss(logits (B, T, C), targets (B, T))``: the CRF's where the head has one, else `of_tokens` over the words.

    Both are means over the words of the batch.
    """
    crf = getattr(network.head, "crf", None)
    if crf is not None:
        return crf.nll  # type: ignore[no-any-return]

    def over_words(logits: Tensor, targets: Tensor) -> Tensor:
        words = targets != NO_WORD
        return of_tokens(logits[words], targets[words]) if bool(words.any()) else logits.sum() * 0.0

    return over_words


@torch.inference_mode()
def tag_rows(
    network: TextClassifier,
    words: WordRows,
    classes: Sequence[str],
    device: torch.device,
    *,
    batch_size: int,
    forward: Callable[[Tensor, Tensor | None], Tensor] | None = None,
    on_batch: Callable[[Tensor, NDArray[np.int64]], None] | None = None,
) -> Tagged:
    """Probabilities of the tags of every word of every row.

    Args:
        network: In eval mode, with a head of `models.heads.tagging`.
        words: Rows.
        classes: C tags in the order of the logits.
        device: Where the network is.
        batch_size: Rows at once.
        forward: Called in place of the network, under autocast for example.
        on_batch: Is told each batch's (B, T, C) float32 logits and its rows.
    """
    offsets, outside = words.offsets, list(classes).index(OUTSIDE)
    probs = np.zeros((int(offsets[-1]), len(classes)), np.float32)
    probs[:, outside] = 1.0
    crf = getattr(network.head, "crf", None)
    for batch in sorted_batches(words.rows.lengths, batch_size, pads=network.pads):
        ids, mask = padded(words.rows, batch, device)
        logits = (forward or network)(ids, mask).float()  # (B, T, C)
        if on_batch is not None:
            on_batch(logits, batch)
        is_word = _word_mask([words.first[row] for row in batch], logits.shape[1]).to(device)
        some = logits.softmax(-1) if crf is None else crf.marginals(logits, is_word)
        some_np = some.cpu().numpy()
        for i, row in enumerate(batch):
            seen = np.flatnonzero(words.first[row] >= 0)
            place = words.first[row][seen]
            probs[offsets[row] + seen] = some_np[i, place]
    return Tagged(probs, offsets)


def _word_mask(first: Sequence[NDArray[np.int64]], length: int) -> Tensor:
    """(B, T) bool."""
    mask = np.zeros((len(first), length), np.bool_)
    for i, places in enumerate(first):
        mask[i, places[places >= 0]] = True
    return torch.from_numpy(mask)


def _encode(tokenizer: Any, words: list[list[str]], max_length: int) -> Any:
    try:
        return tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
    except AssertionError as exc:  # of byte-level tokenizers
        raise ModelError(
            "this tokenizer takes no words apart from each other",
            found=str(exc).splitlines()[0],
            next="set add_prefix_space in its tokenizer_config.json, or choose another encoder",
        ) from exc


def _first_pieces(word_ids: Sequence[int | None], n_words: int) -> NDArray[np.int64]:
    first = np.full(n_words, -1, np.int64)
    for position, word in enumerate(word_ids):
        if word is not None and word < n_words and first[word] < 0:
            first[word] = position
    return first
