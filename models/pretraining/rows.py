"""Texts as rows of tokens with the word of each: what masks are drawn over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.inference.tokens import special_tokens
from models.pretraining.words import chinese_words, number_words, word_starts
from models.text.segment import Segmenter

_CHUNK = 2048  # encodings are large Python objects


@dataclass(frozen=True)
class MaskableRows:
    """N rows.

    Attributes:
        ids: N arrays of int64 token ids, special tokens included.
        words: N arrays like `ids`: the word of each token from 0; -1 for special tokens, which are never masked.
        lengths: (N,) int64.
        ordinary: Ids of tokens that may stand where another is masked.
        mask_id, pad_id: Of the tokenizer.
    """

    ids: list[NDArray[np.int64]]
    words: list[NDArray[np.int64]]
    lengths: NDArray[np.int64]
    ordinary: NDArray[np.int64]
    mask_id: int
    pad_id: int

    def take(self, rows: NDArray[np.int64]) -> MaskableRows:
        """Some of the rows."""
        ids, words = [self.ids[i] for i in rows], [self.words[i] for i in rows]
        return MaskableRows(ids, words, self.lengths[rows], self.ordinary, self.mask_id, self.pad_id)


def make_rows(tokenizer: Any, texts: Sequence[str], max_length: int, segment: Segmenter | None) -> MaskableRows:
    """Tokenise texts; one that is too long becomes several rows, cut between words where that is possible.

    Args:
        tokenizer: Has a mask token and a padding token; fast, where words are asked for.
        texts: Cleaned texts.
        max_length: Tokens a row at most, special tokens included.
        segment: Cuts Chinese into words; None: each token is a word of its own.

    Raises:
        ModelError: The tokenizer has no mask or padding token, or is a slow one.
    """
    check_tokenizer(tokenizer, whole_words=segment is not None)
    before, after = special_tokens(tokenizer)
    budget = max_length - len(before) - len(after)
    special = _special(tokenizer)
    ids: list[NDArray[np.int64]] = []
    words: list[NDArray[np.int64]] = []
    for tokens, numbers in encode_words(tokenizer, texts, segment):
        for start, end in _windows(numbers, budget):
            inside = numbers[start:end]
            if inside.max(initial=-1) < 0:
                continue
            ids.append(np.concatenate([before, tokens[start:end], after]).astype(np.int64))
            words.append(np.pad(_renumbered(inside), (len(before), len(after)), constant_values=-1))
    lengths = np.array([len(row) for row in ids], np.int64)
    return MaskableRows(ids, words, lengths, np.flatnonzero(~special), tokenizer.mask_token_id, tokenizer.pad_token_id)


def encode_words(
    tokenizer: Any, texts: Sequence[str], segment: Segmenter | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Token ids of each text, special tokens left out, and the number of each one's word; see `make_rows`."""
    starts, special = word_starts(tokenizer), _special(tokenizer)
    for begin in range(0, len(texts), _CHUNK):
        chunk = list(texts[begin : begin + _CHUNK])
        found = tokenizer(
            chunk, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False,
            return_offsets_mapping=segment is not None, verbose=False,
        )  # fmt: skip
        for i, text in enumerate(chunk):
            ids = np.array(found["input_ids"][i], np.int64)
            if segment is None:
                yield ids, np.where(special[ids], -1, np.arange(len(ids)))
            else:
                yield ids, number_words(ids, found["offset_mapping"][i], starts, special, chinese_words(text, segment))


def check_tokenizer(tokenizer: Any, *, whole_words: bool) -> None:
    """Refuse what cannot be pretrained with. Raises `ModelError`."""
    if tokenizer.mask_token_id is None:
        raise ModelError(
            "the tokenizer has no mask token, so that nothing can be foretold",
            found=f"special tokens {', '.join(map(str, tokenizer.all_special_tokens)) or 'none'}",
            next="choose an encoder that was trained with masks, such as BERT, or make one: [encoder.scratch]",
        )
    if tokenizer.pad_token_id is None:
        raise ModelError("the tokenizer has no padding token", next="choose another encoder")
    if whole_words and not tokenizer.is_fast:
        raise ModelError(
            "whole words need a fast tokenizer, which tells where its tokens stand in the text",
            next="whole_words = false under [masking]",
        )


def _special(tokenizer: Any) -> NDArray[np.bool_]:
    """(V,) tokens that belong to no word."""
    special = np.zeros(len(tokenizer), bool)
    special[[i for i in tokenizer.all_special_ids if i < len(tokenizer)]] = True
    return special


def _windows(words: NDArray[np.int64], budget: int) -> Iterator[tuple[int, int]]:
    """Where rows of at most `budget` tokens begin and end."""
    start = 0
    while start < len(words):
        end = min(start + budget, len(words))
        cut = end
        while end < len(words) and cut > start and words[cut] == words[cut - 1] >= 0:
            cut -= 1
        end = cut if cut > start else end
        yield start, end
        start = end


def _renumbered(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same words, numbered from 0."""
    numbers = np.unique(words[words >= 0], return_inverse=True)[1]
    renumbered = np.full(len(words), -1, np.int64)
    renumbered[words >= 0] = numbers
    return renumbered
