"""Named cleaning steps, each a polars expression. A checkpoint keeps their names, so scoring cleans as training did.

    clean(pl.Series(["//@用户:转发微博  好！"]), ("mentions", "drop_boilerplate", "half_width", "collapse_whitespace"))

Order is the reader's business: steps run as listed. Adding one is adding a function and its name to `STEPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import polars as pl

from models.errors import ModelError, did_you_mean
from models.text.pairs import are_pairs, join_texts, split_texts

PLACEHOLDER = "[empty]"

# Weibo's interface leaves these in exported posts. Longer phrases first: the leftmost-longest match is taken anyway.
BOILERPLATE = (
    "展开全文c",
    "展开全文",
    "收起全文d",
    "收起全文",
    "O网页链接",
    "网页链接",
    "转发微博",
    "轉發微博",
    "查看图片",
)

# Full-width ASCII (U+FF01–FF5E) has a fixed distance from ASCII; CJK punctuation has none and is listed.
_HALF_WIDTH = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {
    "\u3000": " ", "。": ".", "、": ",", "【": "[", "】": "]", "“": '"', "”": '"', "‘": "'", "’": "'", "…": "...",
    "《": "<", "》": ">", "「": '"', "」": '"', "～": "~",
}  # fmt: skip

_ENTITIES = {
    "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#34;": '"', "&#39;": "'", "&apos;": "'", "&nbsp;": " ", "&amp;": "&",
}  # fmt: skip

# A run of names becomes one "@ ". What stands before the first may not belong to an e-mail address. The blank after "@"
# keeps the next word from being taken for a name when the step runs twice.
_NAMES = r"(^|[^A-Za-z0-9._%+-])(?:@[\w·-]+[:：]? ?)+"
_REPLY = r"(?:回复|//)\s*@"
_URL = r"(?:https?://|www\.)[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+"
_INVISIBLE = r"[\p{Cc}\p{Cf}&&[^\t\n\r\u200d]]"


def strip(text: pl.Expr) -> pl.Expr:
    """Remove white space at both ends, the ideographic space included."""
    return text.str.strip_chars()


def collapse_whitespace(text: pl.Expr) -> pl.Expr:
    """Each run of white space becomes one blank."""
    return text.str.replace_all(r"\s+", " ")


def drop_invisible(text: pl.Expr) -> pl.Expr:
    """Remove control and format characters; keeps tab, newline and the joiner inside emoji."""
    return text.str.replace_all(_INVISIBLE, "")


def half_width(text: pl.Expr) -> pl.Expr:
    """Full-width ASCII and CJK punctuation become their ASCII forms."""
    return text.str.replace_many(list(_HALF_WIDTH), list(_HALF_WIDTH.values()))


def mentions(text: pl.Expr) -> pl.Expr:
    """Names of mentioned and answered people (``@name``, ``//@name:``, ``回复@name:``) become ``@``."""
    return text.str.replace_all(_NAMES, "${1}@ ").str.replace_all(_REPLY, "@")


def urls(text: pl.Expr) -> pl.Expr:
    """Web addresses become one blank."""
    return text.str.replace_all(_URL, " ")


def drop_boilerplate(text: pl.Expr) -> pl.Expr:
    """Remove phrases that the platform added, such as 展开全文 or 转发微博."""
    return text.str.replace_many(list(BOILERPLATE), [""], leftmost=True)


def html_unescape(text: pl.Expr) -> pl.Expr:
    """The common character entities (``&amp;``, ``&lt;``, ``&#39;``, …) become characters, once."""
    return text.str.replace_many(list(_ENTITIES), list(_ENTITIES.values()))


def simplify(text: pl.Expr) -> pl.Expr:
    """Traditional Chinese becomes simplified, by OpenCC's phrases and characters.

    Of one character (薴 → 苧 → 苎) the simplified form is itself a traditional one, so that all is converted twice:
    cleaning what is clean changes nothing.

    Raises:
        ModelError: OpenCC is not installed.
    """
    convert = _opencc()
    return text.map_batches(
        lambda texts: pl.Series(texts.name, [None if one is None else convert(one) for one in texts], dtype=pl.String),
        return_dtype=pl.String,
    )


def drop_latin(text: pl.Expr) -> pl.Expr:
    """Remove ASCII letters and punctuation, as some do with Chinese posts; digits stay."""
    return text.str.replace_all(r"[A-Za-z!-/:-@\[-`{-~]+", "")


def lowercase(text: pl.Expr) -> pl.Expr:
    """Lower case of every script that has one."""
    return text.str.to_lowercase()


def empty_placeholder(text: pl.Expr) -> pl.Expr:
    """A text without a visible character becomes ``[empty]``, so that a model sees a word there."""
    return pl.when(text.str.strip_chars() == "").then(pl.lit(PLACEHOLDER)).otherwise(text)


STEPS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    step.__name__: step
    for step in (
        strip,
        collapse_whitespace,
        drop_invisible,
        half_width,
        mentions,
        urls,
        drop_boilerplate,
        html_unescape,
        simplify,
        drop_latin,
        lowercase,
        empty_placeholder,
    )
}


def check_steps(steps: Sequence[str]) -> None:
    """Refuse names that are not in `STEPS`.

    Raises:
        ModelError: Unknown step.
    """
    for step in steps:
        if step not in STEPS:
            raise ModelError(f"unknown cleaning step '{step}'", next=did_you_mean(step, list(STEPS)))


def clean(texts: pl.Series, steps: Sequence[str]) -> pl.Series:
    """Apply steps in order; to each text of a pair by itself.

    Args:
        texts: (N,) String; null counts as empty. Pairs as `models.text.pairs` joins them.
        steps: Names in `STEPS`.

    Returns:
        (N,) String without nulls, under the same name.

    Raises:
        ModelError: Unknown step.
    """
    check_steps(steps)
    if are_pairs(texts):
        first, second = (_cleaned(side, steps) for side in split_texts(texts))
        return join_texts(first, second).alias(texts.name)
    return _cleaned(texts, steps)


def _cleaned(texts: pl.Series, steps: Sequence[str]) -> pl.Series:
    text = pl.col("text").fill_null("")
    for step in steps:
        text = STEPS[step](text)
    return pl.DataFrame({"text": texts.cast(pl.String)}).select(text.alias(texts.name)).to_series()


@cache
def _opencc() -> Callable[[str], str]:
    try:
        from opencc import OpenCC
    except ImportError as exc:
        raise ModelError(
            "cleaning step 'simplify' needs the package opencc, which is not installed",
            next="pip install 'kaggle-jobs[chinese]'",
        ) from exc
    convert: Callable[[str], str] = OpenCC("t2s").convert
    return lambda text: convert(convert(text))
