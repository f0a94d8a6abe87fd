"""A text classifier: an encoder and a head. Token ids to logits.

    logits = classifier(input_ids)      # (B, C)

Built from a recipe by `models.build`, saved and loaded by `models.saved`. Knows nothing of training and of batches.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from models import peculiar
from models.words import WordVectors


class TextClassifier(nn.Module):
    """Token ids to logits.

    Args:
        body: A transformers model: with its classification head if `head` is None, else the bare encoder.
        head: A module as `models.heads` describes.
        form: Of the rows (`models.text.forms`): what token types tell, and to whom.
        words: Vectors of words that stand beside the tokens' own for a head of ours; None: none do.

    Attributes:
        pads: Whether the mask hides padding (`models.padding` finds out); where not, each length goes by itself.
    """

    def __init__(self, body: Any, head: Any = None, form: str = "joined", words: WordVectors | None = None) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.words = words
        self.form = form
        self.pads = True
        self.generator: nn.Module | None = None  # for losses that serve in training only; not saved
        self.fixed: frozenset[str] = frozenset()  # names of weights that never train, with LoRA
        named = inspect.signature(body.forward).parameters
        self.takes_types, self.takes_mask = "token_type_ids" in named, "attention_mask" in named

    @property
    def encoder(self) -> nn.Module:
        """The part that comes pretrained; everything else is the head."""
        return self.body.base_model  # type: ignore[no-any-return]

    @property
    def end_of_text(self) -> int | None:
        """The token by which the stock head of an encoder-decoder finds what it reads; None where none is needed."""
        return peculiar.end_of_text(self.body.config) if self.head is None else None

    @property
    def sparse_beyond(self) -> int | None:
        """Tokens of a row up to which all of it is attended to; None where no length changes the attention."""
        return peculiar.sparse_beyond(self.body.config)

    @property
    def takes_targets(self) -> bool:
        """Whether the head is shown the batch's targets in training."""
        return bool(getattr(self.head, "takes_targets", False))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Logits of a batch.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T), nonzero where a token is real; None where all are.
            token_type_ids: (B, T) int64: as the form of the rows says, types of a pair's texts, the texts that a row
                has one behind the other, or entities; None for all zero.
            targets: Of the batch, for a head that is shown them in training; others do without.

        Returns:
            (B, C), or (B, T, C) with a head for tags.
        """
        if self.form == "apart":
            return self.head.decide(self.embed(input_ids, attention_mask, token_type_ids))  # type: ignore[no-any-return]
        if attention_mask is not None and not self.pads:

            def logits_of(rows: Tensor, length: int) -> Tensor:
                types = None if token_type_ids is None else token_type_ids[rows, :length]
                shown = None if targets is None else targets[rows]
                return self._logits(input_ids[rows, :length], None, types, shown)

            return peculiar.by_length(logits_of, attention_mask)
        return self._logits(input_ids, attention_mask, token_type_ids, targets)

    def _logits(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None, targets: Tensor | None
    ) -> Tensor:
        input_ids, attention_mask, token_type_ids = peculiar.long_enough(
            self.body.config, input_ids, attention_mask, token_type_ids
        )
        inputs = self._inputs(input_ids, attention_mask)
        types = self.types_of_body(token_type_ids)
        if types is not None:
            inputs["token_type_ids"] = types
        if self.head is None:
            return peculiar.by_stock_head(self.body, inputs)
        output = self.body(**inputs, output_hidden_states=self.head.all_layers)
        earlier = output.hidden_states[:-1] if self.head.all_layers else ()
        shown: dict[str, Any] = {"targets": targets} if self.takes_targets else {}
        if getattr(self.head, "reads_segments", False):
            shown["segments"] = token_type_ids
        hidden = self.beside_words((*earlier, output.last_hidden_state), input_ids, attention_mask)
        return self.head(hidden, attention_mask, **shown)  # type: ignore[no-any-return]

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
        """What the body is called with, token types apart; it attends from now on as these rows' length wants."""
        config = self.body.config
        peculiar.attend_by_length(self.encoder, config, input_ids.shape[1])
        if not self.takes_mask:
            return {"input_ids": input_ids}
        return {"input_ids": input_ids, "attention_mask": peculiar.mask_of(config, input_ids, attention_mask)}

    def beside_words(self, hidden: tuple[Tensor, ...], input_ids: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """Hidden states (B, T, D) as the head reads them: (B, T, D + W) where there are vectors of words."""
        if self.words is None:
            return hidden
        vectors = self.words(input_ids, mask)
        return tuple(torch.cat([layer, vectors.to(layer.dtype)], dim=-1) for layer in hidden)

    def embed(self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        """Vectors of B pairs' texts, in form ``apart``: (2B, D) float32, the first texts first; see `forward`."""
        assert token_type_ids is not None  # rows of two texts always tell which is which
        ids, mask = split_pairs(input_ids, attention_mask, token_type_ids, self.body.config.pad_token_id or 0)
        if mask is None or self.pads:
            return self._vectors(ids, mask)
        return peculiar.by_length(lambda rows, length: self._vectors(ids[rows, :length], None), mask)

    def _vectors(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B, D) float32 vectors of texts in form ``apart``."""
        ids, mask, _ = peculiar.long_enough(self.body.config, ids, mask, None)
        output = self.body(**self._inputs(ids, mask))
        return self.head.embed((output.last_hidden_state,), mask)  # type: ignore[no-any-return]

    def types_of_body(self, types: Tensor | None) -> Tensor | None:
        """What of the token types is for the encoder; the rest is for the head."""
        if types is None or not self.takes_types or self.form in ("marked", "plain"):
            return None
        return types


def split_pairs(ids: Tensor, mask: Tensor | None, types: Tensor, pad_id: int) -> tuple[Tensor, Tensor | None]:
    """Rows of two sequences, one behind the other, as twice as many rows of one.

    Args:
        ids: (B, T) int64.
        mask: (B, T), nonzero where a token is real; None where all are.
        types: (B, T): 0 for the tokens of a row's first sequence, 1 for those of its second.
        pad_id: Fills short rows.

    Returns:
        (2B, W) ids, first all first sequences, and their (2B, W) int64 mask; None where all are of one length.
    """
    real = torch.ones_like(ids) if mask is None else (mask != 0).long()
    n_second = (types * real).sum(1)
    n_first = real.sum(1) - n_second
    lengths = torch.cat([n_first, n_second]).unsqueeze(1)  # (2B, 1)
    starts = torch.cat([torch.zeros_like(n_first), n_first]).unsqueeze(1)
    columns = torch.arange(int(lengths.max()), device=ids.device)
    inside = columns < lengths
    places = torch.where(inside, starts + columns, 0)
    split = torch.where(inside, torch.cat([ids, ids]).gather(1, places), pad_id)
    return split, None if bool(inside.all()) else inside.long()
