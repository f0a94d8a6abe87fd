"""The words of some texts as their tokenizer spells them, and vectors of them: for `[words]` in a recipe.

Chinese is cut into words by a segmenter; of other scripts the marks of the vocabulary tell where words begin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.pretraining.rows import encode_words
from models.recipe_options import Recipe
from models.text.pairs import split_text
from models.text.segment import make_segmenter
from models.vectors import VECTORS
from models.words import LONGEST

Spelling = tuple[int, ...]


@dataclass(frozen=True)
class Lexicon:
    """Words and where their vectors begin.

    Attributes:
        spellings: Token ids of each word.
        vectors: (words, W) float32.
    """

    spellings: tuple[Spelling, ...]
    vectors: NDArray[np.float32]


def make_lexicon(recipe: Recipe, texts: Sequence[str], tokenizer: Any) -> Lexicon | None:
    """The most frequent words of the texts with vectors learnt from these; None where the recipe wants none.

    Args:
        recipe: `[words]` and the seed are read.
        texts: Cleaned texts, all that there are; no labels are involved.
        tokenizer: Of the run.

    Raises:
        ModelError: A slow tokenizer, a segmenter that cannot be had, or no word that occurs twice.
    """
    options = recipe.words
    if options.name == "none":
        return None
    if not tokenizer.is_fast:
        raise ModelError("[words] needs a fast tokenizer, which tells where its tokens stand in the text")
    sides = [side for text in texts for side in split_text(text)]
    segment = make_segmenter(options.chinese, sides, options.file)
    rows = [_spellings(ids, words) for ids, words in encode_words(tokenizer, sides, segment)]
    counts = Counter(word for row in rows for word in row if len(word) <= LONGEST)
    # Of words as frequent as each other the one that is spelt first: the same texts in any order give the same words.
    known = sorted((word for word, n in counts.items() if n > 1), key=lambda word: (-counts[word], word))[
        : options.most
    ]
    if not known:
        raise ModelError("[words] found no word that occurs twice in the texts", found=f"{len(sides):,} texts")
    place = {word: number for number, word in enumerate(known)}
    numbers = [[place[word] for word in row if word in place] for row in rows]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in numbers])]).astype(np.int64)
    ids = np.fromiter((number for row in numbers for number in row), np.int32, count=int(offsets[-1]))
    vectors = VECTORS[options.name](ids, offsets, len(known), options.size, recipe.seed, **options.options)
    return Lexicon(tuple(known), np.nan_to_num(vectors))  # a word that meets no other says nothing at first


def _spellings(ids: NDArray[np.int64], words: NDArray[np.int64]) -> list[Spelling]:
    """The words of a text, one after the other."""
    inside = words >= 0
    starts = np.flatnonzero(np.diff(words[inside], prepend=-1))
    return [tuple(part.tolist()) for part in np.split(ids[inside], starts[1:])] if inside.any() else []
