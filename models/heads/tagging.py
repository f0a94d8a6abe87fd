"""Heads that give every word its tag: a linear layer with softmax, or with a CRF that knows which tag follows which.

They answer for each token; what counts is the first piece of each word (`models.tagging`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from models.crf import Crf
from models.heads.pooled import Dropout, HeadShape
from models.heads.recurrent import BiRNN
from models.schema import Between

Context = Literal["none", "lstm", "gru"]
Width = Annotated[int, Between(1, 65_536)]


class TagHead(nn.Module):
    """(BiRNN →) dropout → linear; `crf` where the tags of a row hang together, else None.

    Args:
        shape: Width and number of tags are read.
        dropout: On the token vectors.
        rnn: A bidirectional network over the tokens before the linear layer.
        width: Of that network, in one direction.
        crf: Decides over whole rows.
    """

    all_layers = False

    def __init__(self, shape: HeadShape, *, dropout: float, rnn: Context, width: int, crf: Crf | None) -> None:
        super().__init__()
        self.rnn = None if rnn == "none" else BiRNN(rnn, shape.hidden, width, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(shape.hidden if rnn == "none" else 2 * width, shape.classes)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)
        self.crf = crf

    def forward(self, hidden: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """(B, T, C) logits of each token."""
        tokens = self.dropout(hidden[-1])
        if self.rnn is not None:
            tokens = self.dropout(self.rnn(tokens, mask))
        logits: Tensor = self.classifier(tokens.to(self.classifier.weight.dtype))
        return logits


def tags(shape: HeadShape, *, dropout: Dropout = 0.1, rnn: Context = "none", width: Width = 128) -> TagHead:
    """For token tasks: a softmax for each word; `rnn` puts a bidirectional LSTM or GRU before it."""
    return TagHead(shape, dropout=dropout, rnn=rnn, width=width, crf=None)


def crf(
    shape: HeadShape, *, dropout: Dropout = 0.1, rnn: Context = "none", width: Width = 128, legal: bool = True
) -> TagHead:
    """For token tasks: a conditional random field over the words; with `legal` it never gives an illegal ``I-``."""
    first, allowed = bio_rules(shape.names) if legal else (None, None)
    return TagHead(shape, dropout=dropout, rnn=rnn, width=width, crf=Crf(shape.classes, first, allowed))


def bio_rules(names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """(C,) bool: tags that a row may begin with; (C, C) bool: whether a tag (row) may be followed by another.

    An ``I-`` needs a ``B-`` or ``I-`` of its type before it.
    """
    opens = [not name.startswith("I-") for name in names]
    allowed = [
        [free or before in (tag, "B" + tag[1:]) for tag, free in zip(names, opens, strict=True)] for before in names
    ]
    return torch.tensor(opens), torch.tensor(allowed)
