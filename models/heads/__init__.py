"""What lies between an encoder and the logits. Adding a head is adding a function and its name to `HEADS`.

A head is a function from a `HeadShape` and keyword options (its section of the recipe) to a module with

    all_layers: bool                                    # whether it wants every layer's hidden states
    forward(hidden, mask) -> logits                     # (B, C); of a head for tags (B, T, C)

    hidden   tuple of (B, T, D): the embeddings and each layer's output if `all_layers`, else the last layer's alone, so
             that ``hidden[-1]`` always is the last layer
    mask     (B, T), nonzero where a token is real; None where all are. Real tokens come first in a row

Heads of `models.heads.entities` are also told which tokens are the entities; those of `models.heads.pairs` get 2B rows,
the first texts of B pairs and then the second ones.
A head that has `takes_targets` is called with the batch's targets besides, in training.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from models.heads.convolutional import conv, rnn_conv, textcnn
from models.heads.entities import entity_spans, entity_starts
from models.heads.linked import linked
from models.heads.pairs import cosine, siamese
from models.heads.pooled import (
    HeadShape,
    attention,
    cls,
    cls_last_layers,
    cls_pooler,
    last,
    max_,
    mean,
    mean_max,
    pooler,
    weighted_layers,
)
from models.heads.recurrent import hire, lstm_gru, pooler_rnn, rnn, weighted_rnn
from models.heads.tagging import crf, tags

__all__ = ["ENTITY_HEADS", "FIRST_TOKEN_HEADS", "HEADS", "ONLY_FOR", "PAIR_HEADS", "HeadShape"]


def stock(shape: HeadShape, *, dropout: float | None = None) -> None:
    """The classification head of the architecture itself, so that stock transformers loads the checkpoint.

    It is made together with the encoder, by `models.build`; here are its options.

    Args:
        shape: Not used.
        dropout: Before the classifier; None: as the configuration says.
    """


# Heads for one kind of task only; all others give a vector of logits for a text.
ONLY_FOR = {"linked": "multi_group", "tags": "token", "crf": "token"}

HEADS: dict[str, Callable[..., nn.Module | None]] = {
    "stock": stock,
    "cls": cls,
    "last": last,
    "mean": mean,
    "max": max_,
    "mean_max": mean_max,
    "cls_last_layers": cls_last_layers,
    "weighted_layers": weighted_layers,
    "pooler": pooler,
    "cls_pooler": cls_pooler,
    "attention": attention,
    "rnn": rnn,
    "pooler_rnn": pooler_rnn,
    "lstm_gru": lstm_gru,
    "weighted_rnn": weighted_rnn,
    "hire": hire,
    "textcnn": textcnn,
    "conv": conv,
    "rnn_conv": rnn_conv,
    "entity_starts": entity_starts,
    "entity_spans": entity_spans,
    "cosine": cosine,
    "siamese": siamese,
    "linked": linked,
    "tags": tags,
    "crf": crf,
}

# What is made of texts in a form of their own; every other head takes any form but "apart".
PAIR_HEADS = ("cosine", "siamese")
ENTITY_HEADS = ("entity_starts", "entity_spans")

# What reads the first token alone, which in a decoder has seen nothing but itself.
FIRST_TOKEN_HEADS = ("cls", "cls_last_layers", "pooler", "cls_pooler", "pooler_rnn")
