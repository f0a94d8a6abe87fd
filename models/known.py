"""Whether a network reads what its tokenizer gives, all of it and nothing else.

fault = known_by(network).fault(tokens.ids, tokens.types)

Tokens without an embedding end in an IndexError, and break a GPU down.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.classifier import TextClassifier
from models.errors import ModelError

_GIVEN = ("input_ids", "attention_mask", "token_type_ids")
_OTHER = "choose another model, such as BERT, RoBERTa, ALBERT, ELECTRA, DeBERTa or ModernBERT"
TOKENIZER_ADVICE = "put the tokenizer there that it was trained with"


@dataclass(frozen=True)
class Known:
    """What a network has embeddings for; infinite where it looks nothing up in a table.

    Attributes:
        n_tokens: Token ids from 0 on.
        n_types: Token types from 0 on.
    """

    n_tokens: float
    n_types: float

    def fault(self, ids: NDArray[Any], types: NDArray[Any] | None) -> tuple[NDArray[np.int64], str, str] | None:
        """Places of tokens that it does not know, what it lacks, and what to do; None where it knows all.

        Args:
            ids: (T,) token ids.
            types: (T,) their types; None: all are 0.
        """
        if (largest := int(ids.max(initial=0))) >= self.n_tokens:
            lacks = f"has {self.n_tokens:,} embeddings, its tokenizer gives token {largest:,}"
            return np.flatnonzero(ids >= self.n_tokens), lacks, TOKENIZER_ADVICE
        if types is not None and (largest := int(types.max(initial=0))) >= self.n_types:
            lacks = f"knows {self.n_types:,} token type{'s' * (self.n_types != 1)}, its tokenizer gives type {largest}"
            advice = "take token_type_ids out of model_input_names in tokenizer_config.json"
            return np.flatnonzero(types >= self.n_types), lacks, advice
        return None


def known_by(network: TextClassifier) -> Known:
    """What a network has embeddings for."""
    try:
        n_tokens = getattr(network.body.get_input_embeddings(), "num_embeddings", float("inf"))
    except (AttributeError, NotImplementedError):
        n_tokens = float("inf")
    reads_types = network.takes_types and network.form in ("joined", "embedded")
    tables = [m for name, m in network.encoder.named_modules() if name.endswith("token_type_embeddings")]
    n_types = min((getattr(table, "num_embeddings", float("inf")) for table in tables), default=float("inf"))
    return Known(n_tokens, n_types if reads_types else float("inf"))


def refuse_other_inputs(network: TextClassifier, tokenizer: Any) -> None:
    """Refuse a network that reads more of a text than its tokens, or by chance.

    Raises:
        ModelError: Its tokenizer gives more than tokens (shapes and sounds of characters: RoCBert), or wants more than
            a text (tables, pages); or it is a Reformer, whose attention hashes tokens by random numbers.
    """
    kind, where = network.body.config.model_type, network.body.name_or_path
    if kind == "reformer":
        raise ModelError(
            "a reformer scores a text differently each time: its hashes are random", where=where, next=_OTHER
        )
    try:
        given = tokenizer("a")
    except Exception as exc:  # of whatever kind a tokenizer for something else raises
        reason = (str(exc).strip().splitlines() or ["no reason given"])[0]
        raise ModelError(
            f"the tokenizer of this {kind} does not read a text alone", where=where,
            found=f"{type(exc).__name__}: {reason}", next=_OTHER,
        ) from exc  # fmt: skip
    named = inspect.signature(network.body.forward).parameters
    others = [name for name in given if name in named and name not in _GIVEN]
    if others:
        raise ModelError(
            f"a {kind} reads {', '.join(others)} beside the tokens, which it is not given here",
            where=where,
            next=_OTHER,
        )
