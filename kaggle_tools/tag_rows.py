"""Rows of words and tags as a table has them: separated by single blanks, as many tags as words.

labels, n_repaired = read_tags(texts, labels, ("B-PER", "I-PER", "O"), "repair")
encode_tags(labels, ("B-PER", "I-PER", "O"))          # (N, W) int64, -100 after a row's last word
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.bio import entities, repair
from kaggle_tools.errors import UserError

NO_WORD = -100


def split_words(texts: pl.Series) -> list[list[str]]:
    """Each row's words or tags; none for an empty or missing text."""
    return [text.split(" ") if text else [] for text in texts.cast(pl.String).fill_null("").to_list()]


def read_tags(texts: pl.Series, labels: pl.Series, classes: Sequence[str], illegal: str) -> tuple[pl.Series, int]:
    """Labels whose tags are legal, and how many were not.

    Args:
        texts: (N,) words separated by single blanks.
        labels: (N,) tags likewise.
        classes: All tags.
        illegal: ``repair`` makes an illegal ``I-`` a ``B-``; ``reject`` refuses.

    Raises:
        UserError: Rows with another number of tags than of words, tags that are no class, illegal ones to reject.
    """
    words, tags = split_words(texts), split_words(labels)
    other = [i for i, (a, b) in enumerate(zip(words, tags, strict=True)) if len(a) != len(b)]
    if other:
        row = other[0]
        raise UserError(
            f"{len(other):,} of {len(words):,} rows have another number of tags than of words",
            first=f"row {row + 1:,}: {len(tags[row])} tags for {len(words[row])} words",
            next="separate words by single blanks, and tags likewise; `cli conll` makes such a table of CoNLL files",
        )
    known = set(classes)
    for row, own in enumerate(tags):
        for tag in own:
            if tag not in known:
                raise UserError(f"tag {tag!r} is not among the classes", first=f"row {row + 1:,}")
    fixed, n_illegal = repair(tags)
    if n_illegal and illegal == "reject":
        row = next(i for i, (a, b) in enumerate(zip(tags, fixed, strict=True)) if a != b)
        raise UserError(
            f"{n_illegal:,} illegal tags: an I- that goes on no entity",
            first=f"row {row + 1:,}: {' '.join(tags[row])[:80]}",
            next='mend them, or set illegal_tags = "repair" under [data]',
        )
    return pl.Series(labels.name, [" ".join(row) for row in fixed], dtype=pl.String), n_illegal


def encode_tags(labels: pl.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """(N, W) int64 positions of tags in `classes`; `NO_WORD` after a row's last."""
    rows, place = split_words(labels), {name: i for i, name in enumerate(classes)}
    codes = np.full((len(rows), max(map(len, rows), default=0) or 1), NO_WORD, np.int64)
    for i, row in enumerate(rows):
        codes[i, : len(row)] = [place[tag] for tag in row]
    return codes


def kinds_of_entities(labels: pl.Series) -> pl.Series:
    """(N,) String: the types of each row's entities joined by ``|``, by which folds are stratified."""
    kinds = ["|".join(sorted({kind for kind, _, _ in entities(row)})) for row in split_words(labels)]
    return pl.Series(labels.name, kinds, dtype=pl.String)
