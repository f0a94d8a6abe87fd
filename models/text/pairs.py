"""Two texts of one row as one value, so that whatever carries texts about carries pairs as well.

    pairs = join_texts(pl.Series(["how are you"]), pl.Series(["how do you do"]))
    split_text(pairs[0])                    # ("how are you", "how do you do")

Cleaning, augmentation and tokenisation take a pair apart; all else (distinct rows, fingerprints, folds) need not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

# A noncharacter: Unicode keeps it for use inside a program, so that no text has it.
SEPARATOR = "\ufdd0"

Text = str | tuple[str | None, str | None] | None


def join_texts(first: pl.Series, second: pl.Series) -> pl.Series:
    """(N,) String: pairs of two (N,) String. Null counts as empty; a separator inside a text becomes a blank."""
    columns = {"first": first.cast(pl.String), "second": second.cast(pl.String)}
    sides = [pl.col(name).fill_null("").str.replace_all(SEPARATOR, " ", literal=True) for name in columns]
    return pl.DataFrame(columns).select(pl.concat_str(sides, separator=SEPARATOR).alias(first.name)).to_series()


def single_texts(texts: pl.Series) -> pl.Series:
    """(N,) String: texts of which none is taken for a pair; a separator inside one becomes a blank."""
    return texts.cast(pl.String).str.replace_all(SEPARATOR, " ", literal=True)


def as_series(texts: Sequence[Text] | pl.Series) -> pl.Series:
    """(N,) String without nulls: texts, or pairs of texts given as tuples, as one column."""
    if isinstance(texts, pl.Series):
        return texts.cast(pl.String).fill_null("").alias("text")
    if any(isinstance(text, tuple) for text in texts):
        pairs = [text if isinstance(text, tuple) else (text, "") for text in texts]
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        return join_texts(pl.Series("text", first, dtype=pl.String), pl.Series("second", second, dtype=pl.String))
    return pl.Series("text", texts, dtype=pl.String).fill_null("")


def are_pairs(texts: pl.Series) -> bool:
    """Whether the rows are pairs; a column has pairs throughout or not at all."""
    return len(texts) > 0 and SEPARATOR in (texts[0] or "")


def split_texts(pairs: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The inverse of `join_texts`: the first and the second texts, (N,) String each."""
    sides = pairs.str.split_exact(SEPARATOR, 1).struct.unnest()
    return sides.to_series(0), sides.to_series(1)


def split_text(text: str) -> tuple[str, ...]:
    """The two texts of a pair, or the text alone."""
    return tuple(text.split(SEPARATOR))
