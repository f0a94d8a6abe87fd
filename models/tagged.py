"""Tags of words as plain arrays: what tagging gives, and what need not import torch to be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tagged:
    """Probabilities of the tags of the W words of N rows.

    Attributes:
        probs: (W, C) float32; words that the network did not see are ``O`` for sure.
        offsets: (N + 1,) int64; row i has the words ``offsets[i]:offsets[i + 1]``.
    """

    probs: NDArray[np.float32]
    offsets: NDArray[np.int64]
