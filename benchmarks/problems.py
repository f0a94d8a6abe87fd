"""Probabilities to search on: imbalanced classes, models that are noisy, correlated and overconfident.

    fitted, held_out = imbalanced(rows=100_000, classes=27, models=10, seed=0)

Class shares fall geometrically from common to rare (a hundredfold). A row's evidence is Gaussian around its class; a
model sees it with noise of its own and noise that all models share, computes the probabilities under a wrong belief
that the classes are equally frequent in part, and sharpens them: argmax is far from best for macro F1, as with
fine-tuned encoders. Truth is known, so what was fitted on one half is scored on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Half:
    """Rows to fit on, or held out.

    Attributes:
        codes: (N,) int64 true classes.
        stack: (M, N, C) float32 probabilities.
    """

    codes: NDArray[np.int64]
    stack: NDArray[np.float32]


def imbalanced(
    *, rows: int, classes: int, models: int = 1, seed: int = 0, imbalance: float = 100.0, strength: float = 2.7
) -> tuple[Half, Half]:
    """Two halves of `rows` each, of one distribution.

    Args:
        rows: N of each half.
        classes: C.
        models: M, of different quality and sharpness.
        seed: Of everything.
        imbalance: How often the most common class is as frequent as the rarest.
        strength: Distance of the classes in units of noise.
    """
    rng = np.random.default_rng(seed)
    shares = imbalance ** -np.linspace(0, 1, classes)
    shares /= shares.sum()
    quality = rng.uniform(0.8, 1.3, models)
    sharpness = rng.uniform(1.0, 2.5, models)
    tilt = 0.8 * rng.standard_normal((models, classes))
    return (
        _half(rng, rows, shares, quality, sharpness, tilt, strength),
        _half(rng, rows, shares, quality, sharpness, tilt, strength),
    )


def _half(
    rng: np.random.Generator,
    rows: int,
    shares: NDArray[np.float64],
    quality: NDArray[np.float64],
    sharpness: NDArray[np.float64],
    tilt: NDArray[np.float64],
    strength: float,
) -> Half:
    classes = len(shares)
    codes = rng.choice(classes, rows, p=shares)
    shared = rng.standard_normal((rows, classes), dtype=np.float32)
    stack = np.empty((len(quality), rows, classes), np.float32)
    for probs, good, sharp, lean in zip(stack, quality, sharpness, tilt, strict=True):
        noise = np.float32(0.7) * shared + np.float32(0.9) * rng.standard_normal((rows, classes), dtype=np.float32)
        evidence = noise
        evidence[np.arange(rows), codes] += strength * good
        logits = sharp * (strength * evidence + 0.5 * np.log(shares) + lean).astype(np.float32)
        probs[:] = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
    return Half(codes, stack)
