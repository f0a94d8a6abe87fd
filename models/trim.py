"""A pretrained encoder without the tokens that its texts never use: fewer embeddings to hold, to train and to save.

    trimmed = trim_tokenizer(tokenizer, texts)        # the texts' tokens are what they were, under new numbers
    trim_embeddings(body, tokenizer, trimmed)         # and so are their embeddings

WordPiece takes the longest piece that fits and Unigram the most probable pieces, so that what is never taken can go
without changing what is. Byte-pair encodings make tokens of tokens that no text shows, and are refused. The characters
of the texts stay as pieces, so that in another text a word is unknown only where one of its characters is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.errors import ModelError
from models.pretrained import load_tokenizer, quiet_transformers

KINDS = ("WordPiece", "Unigram")
_MARKS = ("##", "\u2581")  # WordPiece: continues a word; Unigram: begins one


def trim_tokenizer(tokenizer: Any, texts: Sequence[str]) -> Any:
    """The tokenizer with the tokens that `texts` use, their characters, and all special ones.

    Args:
        tokenizer: A fast one, WordPiece or Unigram.
        texts: Cleaned texts, all that there are; no labels are involved.

    Raises:
        ModelError: Another kind of tokenizer, or one that would cut the texts otherwise without the rest.
    """
    kind = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"] if tokenizer.is_fast else "slow"
    if kind not in KINDS:
        raise ModelError(
            f"[encoder] vocabulary = 'used' is for tokenizers of kind {' and '.join(KINDS)}, this one is {kind}",
            next="vocabulary = 'full'",
        )
    before = _encode(tokenizer, texts)
    kept = _kept(tokenizer, {token for row in before for token in row}, set("".join(texts)))
    trimmed = _rebuilt(tokenizer, kept)
    places = {token: i for i, token in enumerate(kept)}
    if trimmed.pad_token_id != tokenizer.pad_token_id or _encode(trimmed, texts) != [
        [places[token] for token in row] for row in before
    ]:
        raise ModelError("this tokenizer cuts texts otherwise when tokens are left out", next="vocabulary = 'full'")
    return trimmed


@torch.no_grad()
def trim_embeddings(body: Any, whole: Any, trimmed: Any) -> None:
    """Leave a model the embeddings of the tokens that its trimmed tokenizer has.

    Args:
        body: A transformers model whose embeddings have the numbers of `whole`.
        whole: Its tokenizer as it was.
        trimmed: As `trim_tokenizer` gave it; tokens that `whole` lacks are left to the caller.
    """
    known = whole.get_vocab()
    names = sorted(trimmed.get_vocab().items(), key=lambda item: item[1])
    kept = torch.tensor([known[name] for name, _ in names if name in known])
    old = body.get_input_embeddings()
    # Not a new Embedding: it would draw numbers, and the head's weights would be others than without trimming.
    rows: Any = nn.Embedding.from_pretrained
    body.set_input_embeddings(rows(old.weight[kept], freeze=False, padding_idx=old.padding_idx))
    body.config.vocab_size = len(kept)
    for name in ("bos_token_id", "eos_token_id"):  # that of padding is the same
        if getattr(body.config, name, None) is not None:
            setattr(body.config, name, getattr(trimmed, name))


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    rows: list[list[int]] = tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
    return rows


def _kept(tokenizer: Any, used: set[int], characters: Iterable[str]) -> list[int]:
    """Old numbers of the tokens that stay, ascending."""
    single = {form.strip() for c in characters for form in _forms(tokenizer, c)}
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    pad = tokenizer.pad_token_id or 0  # some architectures number positions from it, so it may not move
    vocab = tokenizer.get_vocab()
    return sorted(
        i for name, i in vocab.items() if i in used or i in special or i <= pad or name in single or _is_byte(name)
    )


def _forms(tokenizer: Any, character: str) -> list[str]:
    """A character as the tokenizer reads it, alone and beside others."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    plain = character if normalizer is None else normalizer.normalize_str(character)
    return [plain, *(mark + plain for mark in _MARKS)]


def _is_byte(name: str) -> bool:
    return len(name) == 6 and name.startswith("<0x")  # what Unigram falls back to


def _rebuilt(tokenizer: Any, kept: Sequence[int]) -> Any:
    """The tokenizer of these tokens alone, numbered in this order; read back as if from a model's directory."""
    with tempfile.TemporaryDirectory() as name:
        with quiet_transformers():
            tokenizer.save_pretrained(name)
        path = Path(name) / "tokenizer.json"
        raw = json.loads(path.read_text(encoding="utf-8"))
        _renumber(raw, {old: new for new, old in enumerate(kept)})
        path.write_text(json.dumps(raw, ensure_ascii=False), encoding="utf-8")
        return load_tokenizer(name)


def _renumber(raw: dict[str, Any], places: dict[int, int]) -> None:
    """Change the numbers of tokens in all parts of a `tokenizer.json`; tokens without a new one go."""
    model = raw["model"]
    if model["type"] == "WordPiece":
        model["vocab"] = {name: places[i] for name, i in model["vocab"].items() if i in places}
    else:
        model["vocab"] = [piece for i, piece in enumerate(model["vocab"]) if i in places]
        model["unk_id"] = places[model["unk_id"]]
    for token in raw["added_tokens"]:
        token["id"] = places[token["id"]]
    _renumber_template(raw.get("post_processor"), places)


def _renumber_template(processor: dict[str, Any] | None, places: dict[int, int]) -> None:
    """What is put around texts: its kinds name special tokens in different ways."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        _renumber_template(part, places)
    for token in processor.get("special_tokens", {}).values():
        token["ids"] = [places[i] for i in token["ids"]]
    for key in ("sep", "cls"):
        if key in processor:
            processor[key][1] = places[processor[key][1]]
