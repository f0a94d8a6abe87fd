"""In which form a row's text reaches the network: the `[data] form` of a recipe, kept with the checkpoint."""

from __future__ import annotations

from typing import Literal

Form = Literal[
    "joined",  # a text, or both texts of a pair as one sequence, as the tokenizer joins them
    "apart",  # both texts of a pair, each a sequence of its own
    "marked",  # a text with two entities; their marks <e1> </e1> <e2> </e2> become tokens
    "plain",  # a text with two entities; only the head knows where they are
    "embedded",  # a text with two entities; an embedding of its own is added to the tokens of each
]
ENTITY_FORMS = ("marked", "plain", "embedded")
