"""Texts as a person hands them over in a notebook: looked at before anything is done with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from models.errors import ModelError
from models.inference.tokens import UnusableTexts
from models.text.pairs import as_series

_TEXT_TYPES = (pl.String, pl.Categorical, pl.Enum, pl.Null)


def read_given(texts: Any) -> tuple[pl.Series, int]:
    """(N,) String without nulls (pairs as `models.text.pairs` joins them), and how many of the texts were None.

    Args:
        texts: Strings or None, pairs of these as tuples, or a polars Series of strings.

    Raises:
        ModelError: One string, or something that holds no texts.
        UnusableTexts: Some are no strings, or one text stands among pairs; `rows` says where.
    """
    if isinstance(texts, (str, bytes)):
        raise ModelError("one text, where a list of texts is expected", found=repr(texts)[:80], next="score([text])")
    if isinstance(texts, pl.Series):
        if texts.dtype not in _TEXT_TYPES:
            raise ModelError(f"a Series of {texts.dtype}, not of strings", where=f"'{texts.name}'", next="cast it")
        return as_series(texts), texts.null_count()
    check_list(texts)
    given = list(texts)
    _refuse([i for i, text in enumerate(given) if not _is_text(text)], given, "are no strings",
            "None stands for a text that is missing, (first, second) for a pair")  # fmt: skip
    _refuse([i for i, text in enumerate(given) if not _is_unicode(text)], given, "hold half of a character",
            "a lone surrogate is no character: text.encode('utf-8', 'replace').decode()")  # fmt: skip
    pairs = [isinstance(text, tuple) for text in given]
    if any(pairs):
        single = [i for i, (text, pair) in enumerate(zip(given, pairs, strict=True)) if not pair and text is not None]
        _refuse(single, given, "are one text among pairs", 'give pairs throughout: (text, "")')
    return as_series(given), sum(text is None or (isinstance(text, tuple) and None in text) for text in given)


def check_list(texts: Any) -> None:
    """Refuse what holds texts in another way than one after the other, such as a table.

    Raises:
        ModelError: Says to name a column.
    """
    table = isinstance(texts, (pl.DataFrame, dict)) or getattr(texts, "ndim", 1) != 1  # pandas, numpy
    if table or not isinstance(texts, Iterable):
        raise ModelError(f"a {type(texts).__name__}, where a list of texts is expected", next="name a column of it")


def _refuse(rows: list[int], given: list[Any], what: str, next_step: str) -> None:
    if rows:
        first = given[rows[0]]
        raise UnusableTexts(
            f"{len(rows):,} of {len(given):,} texts {what}", rows,
            found=f"{type(first).__name__} {first!r:.60}", next=next_step,
        )  # fmt: skip


def _is_unicode(value: Any) -> bool:
    sides = value if isinstance(value, tuple) else (value,)
    try:
        for side in sides:
            if side is not None and not side.isascii():
                side.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_text(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) == 2 and all(side is None or isinstance(side, str) for side in value)
    return value is None or isinstance(value, str)
