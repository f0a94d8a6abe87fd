"""A faster tokenizer in place of the stock one, as long as it gives the same ids: nanotoken, for WordPiece.

    tokenize = faster(TextTokenizer(tokenizer, 128), tokenizer)     # the same call, the same `Tokens`

Nobody takes its word for it. Both read some thousands of the user's own texts, the longest among them, and a list of
hostile ones (`models.text.hostile`), before ids are used that only the faster one made. After that both read a few
texts of each shard, and always one with each character that no text had before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.errors import ModelError
from models.inference.tokens import TextTokenizer, Tokens, serialised, special_tokens
from models.text.hostile import hostile_texts
from models.text.pairs import SEPARATOR

# Texts to (T,) int32 ids, special tokens included and nothing cut, and the (N + 1,) int64 offsets of their rows.
Encode = Callable[[list[str]], tuple[NDArray[np.int32], NDArray[np.int64]]]

_AT_FIRST = 4096  # texts that both read before the faster one is trusted
_LONGEST = 64  # of the texts of a call
_ALWAYS = 16  # more of them, evenly
_CHUNK = 1 << 14  # texts that are Python strings at a time
_CACHE_ENTRIES = 1 << 17  # words that nanotoken remembers, a thread: 16 MB; eight times as many are no faster


class TokenizersDisagree(ModelError):
    """The faster tokenizer reads a text otherwise, after texts were scored that it alone had read."""


class FasterTokenizer:
    """A `TextTokenizer` that reads single texts by other means. Pairs and marked entities are left to the stock one.

    Attributes:
        refusal: Why the stock one reads everything; None while the faster one serves.

    Args:
        stock: What it must equal.
        encode: The faster one.
        tokenizer: The Hugging Face tokenizer of both: its special tokens and the side that it cuts.
    """

    def __init__(self, stock: TextTokenizer, encode: Encode, tokenizer: Any) -> None:
        self.stock = stock
        self.refusal: str | None = None
        self._encode = encode
        self._before, self._after = special_tokens(tokenizer)
        self._pad_id = tokenizer.pad_token_id or 0
        self._cuts_left = tokenizer.truncation_side == "left"
        self._hostile = pl.Series(hostile_texts(list(tokenizer.all_special_tokens)))
        self._n_compared = 0
        self._trusted = False  # whether ids were given out that only the faster one made
        self._seen = np.arange(0x110000) < 128  # characters of compared texts; ASCII is among the hostile ones

    def __call__(self, texts: Sequence[str] | pl.Series) -> Tokens:
        """Tokenise N texts.

        Raises:
            TokenizersDisagree: Not at first, when the stock one simply takes over, but in the midst of a table.
        """
        series = pl.Series(texts, dtype=pl.String)
        if self.refusal is not None or not len(series) or SEPARATOR in series[0]:
            return self.stock(series.to_list())
        try:
            tokens = self._read(series)
            if not self._n_compared:
                self._compare(self._hostile, self._read(self._hostile), np.arange(len(self._hostile)))
            rows = self._worth_comparing(series)
            self._compare(series, tokens, rows)
        except TokenizersDisagree as exc:
            if self._trusted:
                raise
            self.refusal = exc.summary
        except Exception as exc:  # whatever a young library trips over: the stock one works
            self.refusal = f"the faster tokenizer failed: {exc}"
        else:
            self._trusted = self._trusted or len(rows) < len(series)
            return tokens
        return self.stock(series.to_list())

    def _read(self, texts: pl.Series) -> Tokens:
        """By the faster one; rows longer than the limit lose what the stock one cuts."""
        # Making strings of many rows at once would keep the thread waiting that feeds the device.
        parts = [self._encode(texts[start : start + _CHUNK].to_list()) for start in range(0, len(texts), _CHUNK)]
        ids = np.concatenate([ids for ids, _ in parts])
        whole = np.concatenate([np.diff(offsets) for _, offsets in parts])
        lost = np.maximum(whole - self.stock.max_length, 0)
        n_around = len(self._before) + len(self._after)
        if self.stock.max_length <= n_around:
            raise ValueError(f"no room for a text beside {n_around} special tokens")
        if lost.any():
            side = len(self._before) if self._cuts_left else self.stock.max_length - len(self._after)
            kept = np.ones(ids.size, dtype=bool)
            kept[_spans(np.cumsum(whole) - whole + side, lost)] = False
            ids = ids[kept]
        if not whole.all():  # a tokenizer without special tokens; a network needs at least one
            ids = np.insert(ids, (np.cumsum(whole - lost) - whole + lost)[whole == 0], self._pad_id)
        ends = np.concatenate([[0], np.cumsum(np.maximum(whole - lost, 1))])
        return Tokens(ids, ends, int((lost > 0).sum()), int(lost.sum()), self._pad_id, faster=True)

    def _worth_comparing(self, texts: pl.Series) -> NDArray[np.int64]:
        """Rows that the stock one reads, too: all at first, then a few, the longest, and each new character."""
        n = max(_AT_FIRST - self._n_compared, _ALWAYS)
        evenly = np.linspace(0, len(texts) - 1, min(n, len(texts))).astype(np.int64)
        lengths = texts.str.len_chars().to_numpy()
        longest = np.argpartition(lengths, -min(_LONGEST, len(lengths)))[-_LONGEST:]
        beyond_ascii = np.flatnonzero(texts.str.len_bytes().to_numpy() != lengths)
        return np.unique(np.concatenate([evenly, longest, self._with_new_characters(texts, beyond_ascii)]))

    def _with_new_characters(self, texts: pl.Series, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each character that no text had before the first of these rows that has it."""
        found = [np.empty(0, dtype=np.int64)]
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            part = texts.gather(some).to_list()
            codes = np.frombuffer("".join(part).encode("utf-32-le"), dtype=np.uint32)
            new = np.flatnonzero(~self._seen[codes])
            if new.size:
                _, first = np.unique(codes[new], return_index=True)
                ends = np.cumsum([len(text) for text in part])
                found.append(some[np.searchsorted(ends, new[first], side="right")])
                self._seen[codes] = True
        return np.concatenate(found)

    def _compare(self, texts: pl.Series, tokens: Tokens, rows: NDArray[np.int64]) -> None:
        """Let both read some rows.

        Raises:
            TokenizersDisagree: Names the first text on which they do not agree.
        """
        chosen = texts.gather(rows).to_list()
        stock = self.stock(chosen)
        self._n_compared += len(chosen)
        for place, row in enumerate(rows):
            expected = stock.ids[stock.offsets[place] : stock.offsets[place + 1]]
            if not np.array_equal(expected, tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]]):
                raise TokenizersDisagree(
                    f"the faster tokenizer reads {chosen[place][:60]!r} otherwise than the stock one",
                    next="--tokenizer stock: scores the table anew without it",
                )
        counts = (stock.n_truncated, stock.n_lost)
        if len(chosen) == len(tokens.lengths) and counts != (tokens.n_truncated, tokens.n_lost):
            raise TokenizersDisagree("the faster tokenizer counts other losses than the stock one")


def faster(stock: TextTokenizer, tokenizer: Any) -> TextTokenizer | FasterTokenizer:
    """`stock` behind a faster tokenizer, where one is installed that knows this kind; else `stock` itself."""
    encode = _nanotoken(tokenizer) if stock.form == "joined" else None
    return stock if encode is None else FasterTokenizer(stock, encode, tokenizer)


def _nanotoken(tokenizer: Any) -> Encode | None:
    """For WordPiece; None for other kinds, or where it is not installed."""
    backend_text = serialised(tokenizer)
    if backend_text is None or type(tokenizer.backend_tokenizer.model).__name__ != "WordPiece":
        return None
    try:
        import nanotoken
    except ImportError:
        return None
    nanotoken.set_cache_entries(_CACHE_ENTRIES)
    try:
        backend = nanotoken.WordPieceTokenizer.from_json(backend_text)
    except ValueError:  # a normaliser that it does not know
        return None
    parallel = os.environ.get("TOKENIZERS_PARALLELISM", "true").lower() not in ("0", "false", "off", "no", "n", "f")

    def encode(texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        ids, offsets = backend.encode_batch(texts, parallel=parallel)
        return ids.view(np.int32), offsets

    return encode


def _spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places ``starts[i] … starts[i] + lengths[i] - 1``, one row after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
