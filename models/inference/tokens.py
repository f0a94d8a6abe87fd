"""Texts to flat token ids: one int32 array for a whole shard, and where each row begins in it.

No padding and no per-row tensors: batches are cut from the flat array on the device that runs them. Training tokenises
here too, so that a network is scored on what it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.text.entities import FIRST_OPENS, MARKS, find_fault, segments_of, window
from models.text.forms import ENTITY_FORMS, Form
from models.text.pairs import SEPARATOR, split_text

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
        types: (sum of lengths,) int8: which text of a pair a token belongs to, or which entity
            (`models.text.entities`); None for plain texts.
        n_rescued: Rows of which a cut at the end would have lost an entity.
        faster: Whether the faster tokenizer made them (`models.inference.faster_tokens`).
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    n_truncated: int
    n_lost: int
    pad_id: int = 0
    types: NDArray[np.int8] | None = None
    n_rescued: int = 0
    faster: bool = False

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) int64 tokens a row."""
        return np.diff(self.offsets)


class UnusableTexts(ModelError):
    """Texts that are not of the form that the network reads.

    Attributes:
        rows: Their positions, ascending.
    """

    def __init__(self, summary: str, rows: list[int], **details: Any) -> None:
        super().__init__(summary, **details)
        self.rows = rows


@dataclass
class _Encoded:
    """What becomes of some texts: a row each, and what truncation took."""

    rows: list[NDArray[np.int32]] = field(default_factory=list)
    types: list[NDArray[np.int8]] = field(default_factory=list)  # as many as rows, or none
    lost: list[int] = field(default_factory=list)
    n_rescued: int = 0


class TextTokenizer:
    """A Hugging Face tokenizer set up for a network: truncation at `max_length`, no padding, all cores.

    Of a joined pair the longer text is cut first. Of a text with marked entities what is nearest to them is kept.

    Args:
        tokenizer: Any `PreTrainedTokenizerBase`; one without a fast backend works, slower. It has the marks of
            entities as tokens where the form asks for them.
        max_length: Tokens a row at most, special tokens included; with form ``apart``, tokens of each text.
        form: In which form the network reads a row.
    """

    def __init__(self, tokenizer: Any, max_length: int, form: Form = "joined") -> None:
        self.max_length = max_length
        self.form = form
        self._tokenizer = tokenizer
        self._backend = None
        self._pad_id = tokenizer.pad_token_id or 0
        self._n_special = tokenizer.num_special_tokens_to_add()
        self._has_types = "token_type_ids" in tokenizer.model_input_names
        if (backend := serialised(tokenizer)) is not None:
            from tokenizers import Tokenizer

            self._backend = Tokenizer.from_str(backend)  # ours to configure
            self._direction = tokenizer.truncation_side
            self._backend.enable_truncation(max_length, direction=self._direction)
            self._backend.no_padding()
        if form in ENTITY_FORMS:
            self._marks = tokenizer.convert_tokens_to_ids(list(MARKS))
            self._before, self._after = special_tokens(tokenizer)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Tokenise N texts, or N pairs.

        Raises:
            UnusableTexts: Not pairs, or entities that are not marked as the form asks.
        """
        self._check(texts)
        encode = self._encoder()
        rows: list[NDArray[np.int32]] = []
        types: list[NDArray[np.int8]] = []
        n_truncated = n_lost = n_rescued = 0
        for start in range(0, len(texts), _CHUNK):
            encoded = encode(list(texts[start : start + _CHUNK]))
            rows += encoded.rows
            types += encoded.types
            n_truncated += len(encoded.lost)
            n_lost += sum(encoded.lost)
            n_rescued += encoded.n_rescued
        # A tokenizer without special tokens gives nothing for an empty text; a network needs at least one token.
        if not types:
            rows = [row if row.size else np.array([self._pad_id], dtype=np.int32) for row in rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([row.size for row in rows], out=offsets[1:])
        ids = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
        flat_types = np.concatenate(types) if types else None
        return Tokens(ids, offsets, n_truncated, n_lost, self._pad_id, flat_types, n_rescued)

    def _check(self, texts: Sequence[str]) -> None:
        if self.form == "apart":
            single = [i for i, text in enumerate(texts) if SEPARATOR not in text]
            if single:
                raise UnusableTexts(
                    "the network compares two texts, but rows have one", single,
                    next="name the second column: --pair COLUMN, or pair_column in competition.toml",
                )  # fmt: skip
        if self.form in ENTITY_FORMS:
            faults = {i: fault for i, text in enumerate(texts) if (fault := find_fault(text)) is not None}
            if faults:
                first = next(iter(faults))
                raise UnusableTexts(
                    f"{len(faults):,} texts do not mark two entities", list(faults),
                    found=f"{faults[first]} in {texts[first][:80]!r}", expected="… <e1>…</e1> … <e2>…</e2> …",
                )  # fmt: skip

    def _encoder(self) -> Callable[[list[str]], _Encoded]:
        if self.form in ENTITY_FORMS:
            return self._around_entities
        return self._apart if self.form == "apart" else self._joined

    def _joined(self, texts: list[str]) -> _Encoded:
        if texts and SEPARATOR in texts[0]:
            return self._pairs([split_text(text) for text in texts])
        return self._slow(texts) if self._backend is None else self._fast(texts)

    def _fast(self, texts: list[str]) -> _Encoded:
        assert self._backend is not None
        encoded = _Encoded()
        for encoding in self._backend.encode_batch_fast(texts):
            row = np.array(encoding.ids, dtype=np.int32)
            encoded.rows.append(row)
            if row.size == self.max_length and encoding.overflowing:
                encoded.lost.append(sum(len(piece.ids) - self._n_special for piece in encoding.overflowing))
        return encoded

    def _slow(self, texts: list[str]) -> _Encoded:
        full = self._tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        cut = self._tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        lost = [len(a) - len(b) for a, b in zip(full, cut, strict=True) if len(a) > len(b)]
        return _Encoded([np.array(row, dtype=np.int32) for row in cut], lost=lost)

    def _pairs(self, pairs: Sequence[tuple[str, ...]]) -> _Encoded:
        encoded = _Encoded()
        for ids, types in self._encode(pairs, cut=True):
            encoded.rows.append(np.array(ids or [self._pad_id], dtype=np.int32))
            if self._has_types:
                encoded.types.append(np.array(types or [0], dtype=np.int8))
        # How much a cut pair lost its overflow does not tell, so that those at the limit are read again.
        full = [pair for pair, row in zip(pairs, encoded.rows, strict=True) if row.size == self.max_length]
        lost = [len(ids) - self.max_length for ids, _ in self._encode(full, cut=False)] if full else []
        encoded.lost = [n for n in lost if n > 0]
        return encoded

    def _encode(self, inputs: Sequence[Any], *, cut: bool, special: bool = True) -> list[tuple[list[int], list[int]]]:
        """Ids and token types of texts or pairs."""
        if self._backend is None:
            first = [i if isinstance(i, str) else i[0] for i in inputs]
            second = None if isinstance(inputs[0], str) else [i[1] for i in inputs]
            found = self._tokenizer(
                first, second, truncation=cut, max_length=self.max_length if cut else None,
                add_special_tokens=special, return_token_type_ids=True, verbose=False,
            )  # fmt: skip
            return list(zip(found["input_ids"], found["token_type_ids"], strict=True))
        if not cut:
            self._backend.no_truncation()
        try:
            encodings = self._backend.encode_batch_fast(list(inputs), add_special_tokens=special)
        finally:
            self._backend.enable_truncation(self.max_length, direction=self._direction)
        return [(encoding.ids, encoding.type_ids) for encoding in encodings]

    def _apart(self, texts: list[str]) -> _Encoded:
        """Rows of two sequences, one behind the other; types tell them apart."""
        sides = zip(*(split_text(text) for text in texts), strict=True)
        first, second = (self._slow(list(side)) if self._backend is None else self._fast(list(side)) for side in sides)
        encoded = _Encoded(lost=first.lost + second.lost)
        blank = np.array([self._pad_id], dtype=np.int32)
        for left, right in zip(first.rows, second.rows, strict=True):
            pair = [row if row.size else blank for row in (left, right)]
            encoded.rows.append(np.concatenate(pair))
            encoded.types.append(np.repeat(np.array([0, 1], np.int8), [row.size for row in pair]))
        return encoded

    def _around_entities(self, texts: list[str]) -> _Encoded:
        encoded = _Encoded()
        budget = self.max_length - len(self._before) - len(self._after)
        for whole, _ in self._encode(texts, cut=False, special=False):
            ids = np.array(whole, dtype=np.int32)
            segments = segments_of(ids, self._marks)
            closing = np.isin(ids, self._marks) & (segments == 0)
            entities = np.where(segments >= FIRST_OPENS, segments - 2, segments).astype(np.int64)
            if self.form == "marked":
                entities[closing] = entities[np.flatnonzero(closing) - 1]
            else:
                text = (segments < FIRST_OPENS) & ~closing
                ids, segments, entities = ids[text], segments[text], entities[text]
            if len(ids) > budget:
                encoded.lost.append(len(ids) - budget)
                encoded.n_rescued += bool(entities[budget:].any())
                kept = window(entities, budget)
                ids, segments = ids[kept], segments[kept]
            encoded.rows.append(np.concatenate([self._before, ids, self._after]))
            encoded.types.append(np.pad(segments, (len(self._before), len(self._after))))
        return encoded


def serialised(tokenizer: Any) -> str | None:
    """A fast tokenizer as JSON; None where all of it, or a part (RoFormer finds words by jieba), is Python."""
    if not tokenizer.is_fast:
        return None
    try:
        return str(tokenizer.backend_tokenizer.to_str())
    except Exception as exc:  # tokenizers raises no narrower one
        if "cannot be serialized" not in str(exc):
            raise
        return None


def special_tokens(tokenizer: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids of what a tokenizer puts before a text and after it."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    before, after = whole[:start], whole[start + len(bare) :]
    return np.array(before, dtype=np.int32), np.array(after, dtype=np.int32)
