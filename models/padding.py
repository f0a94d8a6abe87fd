"""Whether rows of different lengths may share a batch: tried with a few made-up rows, not concluded.

Not where convolutions, Fourier transforms or pooling (Funnel; of pairs of tokens, so that rows of even and of odd
length are tried) mix padding in, where the last position is read (XLNet), or where a row's length decides how it is
attended to (BigBird).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import pad

from models.classifier import TextClassifier
from models.errors import ModelError
from models.known import TOKENIZER_ADVICE, known_by
from models.memory import is_out_of_memory
from models.peculiar import n_known_tokens
from models.text.entities import FIRST, SECOND
from models.text.forms import ENTITY_FORMS

_TOLERANCE = 1e-4  # of logits
_LENGTH = 9  # of the row that is padded to find out


@torch.inference_mode()
def hides_padding(network: TextClassifier, pad_id: int, max_length: int) -> bool:
    """Whether a row's logits are the same beside a longer row; of texts that are read apart, whether its vector is.

    Args:
        network: In evaluation mode and float32; its `pads` says nothing of it yet.
        pad_id: Stands behind the end of a short row.
        max_length: Tokens a row at most.

    Raises:
        ModelError: The network cannot be computed from token ids: it is of an architecture for something else, its
            configuration is at odds with itself, or its tokenizer is another's.
    """
    if network.sparse_beyond is not None and max_length > network.sparse_beyond:
        return False  # a short row beside a long one would be read as a long one is
    length = min(_LENGTH, max_length)
    half = max(1, length // 2)
    if pad_id >= (n_tokens := known_by(network).n_tokens):
        raise ModelError(
            f"the tokenizer pads with token {pad_id:,}, the network has {n_tokens:,} embeddings",
            where=network.body.name_or_path,
            next=f"{TOKENIZER_ADVICE}, tokenizer_config.json included",
        )
    with _failure_told(network):
        return all(_hides_behind(network, pad_id, n, length) for n in dict.fromkeys((half, min(half + 1, length))))


@contextmanager
def _failure_told(network: TextClassifier) -> Iterator[None]:
    """What a foreign forward pass raises over rows that any encoder of texts can read, as a `ModelError`."""
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as exc:
        if isinstance(exc, RuntimeError) and is_out_of_memory(exc):
            raise
        other = "another encoder, such as BERT, RoBERTa, ALBERT, ELECTRA, DeBERTa or ModernBERT"
        raise ModelError(
            f"this {network.body.config.model_type} cannot be computed from the tokens of a text alone",
            where=network.body.name_or_path or "the encoder",
            found=f"{type(exc).__name__}: {(str(exc).strip().splitlines() or ['no reason given'])[0]}",
            next=f"put the tokenizer and config.json there that its weights belong to, or choose {other}"
            if network.head is None
            else f"[head] name = 'stock', or {other}",
        ) from exc


def _hides_behind(network: TextClassifier, pad_id: int, n_tokens: int, length: int) -> bool:
    row = made_up_row(network, pad_id, n_tokens)
    if network.form == "apart":
        return _hides_in_pairs(network, row, length)
    end_text(network, row)
    types = None
    if network.form in ENTITY_FORMS:
        types = torch.tensor([[(FIRST, SECOND)[i % 2] for i in range(n_tokens)]], device=row.device)
    behind = (0, length - n_tokens)
    alone = network(row, None, types)
    beside = network(
        pad(row, behind, value=pad_id), pad(torch.ones_like(row), behind), None if types is None else pad(types, behind)
    )
    if alone.ndim > 2:  # tags: logits of each token
        alone, beside = alone[:, :n_tokens], beside[:, :n_tokens]
    return torch.allclose(alone, beside, atol=_TOLERANCE)


def _hides_in_pairs(network: TextClassifier, row: Tensor, length: int) -> bool:
    """The row (1, T) as a text whose partner is as long, and as one whose partner is longer."""
    n_tokens = row.shape[1]
    longer = pad(row, (0, length - n_tokens), value=int(row[0, 0]))
    alone, beside = (
        network.embed(torch.cat([row, other], 1), None, pad(torch.ones_like(other), (n_tokens, 0)))[0]
        for other in (row, longer)
    )
    return torch.allclose(alone, beside, atol=_TOLERANCE)


def made_up_row(network: TextClassifier, pad_id: int, n_tokens: int) -> Tensor:
    """(1, n) token ids that every vocabulary has, on the network's device."""
    known = min(_LENGTH + 1, n_known_tokens(network.body.config))
    tokens = [token for token in range(known) if token != pad_id] or [pad_id]
    device = next(network.parameters()).device
    return torch.tensor([[tokens[i % len(tokens)] for i in range(n_tokens)]], device=device)


def end_text(network: TextClassifier, ids: Tensor) -> None:
    """Let made-up rows (B, T) end as the tokenizer's do, where the network reads that token."""
    if network.end_of_text is not None:
        ids[:, -1] = network.end_of_text
