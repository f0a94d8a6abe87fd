"""Tags of words as plain arrays: what tagging gives, and what need not import torch to be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tagged:
    """Tags of the W words of N rows.

    Attributes:
        probs: (W, C) float32; words that the network did not see are ``O`` for sure.
        codes: (W,) int64 the tags that the head decides on.
        offsets: (N + 1,) int64; row i has the words ``offsets[i]:offsets[i + 1]``.
        n_unseen: Words beyond max_length, or of which the tokenizer leaves nothing.
    """

    probs: NDArray[np.float32]
    codes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    n_unseen: int = 0
