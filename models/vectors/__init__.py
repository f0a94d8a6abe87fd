"""Vectors of tokens, learnt from texts without labels: where the embeddings of an encoder from scratch begin.

    vectors = VECTORS["glove"](ids, offsets, n_tokens=5000, size=128, seed=42, window=8)       # (V, D) float32

Adding one is adding a function and its name to `VECTORS`. A row of NaN means that the token does not occur.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.vectors.global_vectors import glove

VECTORS: dict[str, Callable[..., NDArray[np.float32]]] = {"glove": glove}
