"""Which word each token of a text belongs to, so that words are masked whole.

Tokens tell where words begin by the mark of their vocabulary: no ``##`` before it (WordPiece), ``Ġ`` (byte-level BPE)
or ``▁`` (SentencePiece). None of these knows Chinese words, which a segmenter finds in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.text.new_words import HAN_RUN
from models.text.segment import Segmenter

_BYTE_MARKS = ("Ġ", "Ċ", "ĉ")  # blank, newline and tab as byte-level vocabularies spell them


def word_starts(tokenizer: Any) -> NDArray[np.bool_]:
    """(V,) whether a token begins a word, by its mark alone.

    Args:
        tokenizer: Any `PreTrainedTokenizerBase`; of a vocabulary without marks each token is a word.
    """
    tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    pieces = np.array([token.startswith("##") and len(token) > 2 for token in tokens])
    byte_level = np.array([token.startswith(_BYTE_MARKS) for token in tokens])
    sentence = np.array([token.startswith("▁") for token in tokens])
    marked = max(
        (~pieces, pieces.sum()), (byte_level, byte_level.sum()), (sentence, sentence.sum()), key=lambda m: m[1]
    )
    return marked[0] if marked[1] else np.ones(len(tokens), bool)


def chinese_words(text: str, segment: Segmenter) -> NDArray[np.int64]:
    """(len(text),) number of the Chinese word that each character belongs to, from 0; -1 for all other characters."""
    words = np.full(len(text), -1, np.int64)
    number = 0
    for run in HAN_RUN.finditer(text):
        at = run.start()
        for word in segment(run.group()):
            words[at : at + len(word)] = number
            at += len(word)
            number += 1
    return words


def number_words(
    ids: NDArray[np.int64],
    offsets: Sequence[tuple[int, int]],
    starts: NDArray[np.bool_],
    special: NDArray[np.bool_],
    chinese: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Word of each token of a text.

    Args:
        ids: (T,) token ids.
        offsets: (T,) begin and end of each token in the text.
        starts: (V,) as `word_starts` gives it.
        special: (V,) tokens that belong to no word.
        chinese: (characters,) as `chinese_words` gives it.

    Returns:
        (T,) numbers from 0, ascending; -1 for special tokens.
    """
    if not len(ids):
        return np.zeros(0, np.int64)
    spans = np.array(offsets, np.int64)
    first = np.minimum(spans[:, 0], max(len(chinese) - 1, 0))
    # SentencePiece counts the blank before a word to it, of which the character at the end is the word's.
    last = np.clip(spans[:, 1] - 1, first, max(len(chinese) - 1, 0))
    of = chinese[np.where(chinese[first] < 0, last, first)] if len(chinese) else np.full(len(ids), -1)
    before = np.concatenate([[-2], of[:-1]])
    begins = np.where(of >= 0, of != before, starts[ids] | (before >= 0))
    masked_out = special[ids]
    begins |= np.concatenate([[True], masked_out[:-1]])
    numbers = np.cumsum(begins & ~masked_out) - 1
    return np.where(masked_out, -1, numbers)
