"""What metrics check before they compute: probabilities, and weights of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError


def checked_probs(probs: ArrayLike, what: str = "") -> NDArray[np.float64]:
    """(N, C) float64 probabilities.

    Args:
        probs: What is to be one.
        what: Said in front of a complaint, such as ``group 2: ``.

    Raises:
        UserError: Another shape, no rows, NaN or infinity, values outside [0, 1].
    """
    checked = np.asarray(probs, np.float64)
    if checked.ndim != 2:
        raise UserError(f"{what}probabilities have shape {checked.shape}", expected="(N, C): rows × classes")
    if not len(checked):
        raise UserError("no rows to score")
    bad = np.flatnonzero(~np.isfinite(checked).all(axis=1))
    if bad.size:
        raise UserError(
            f"{what}{bad.size:,} of {len(checked):,} rows have a probability that is not a number",
            first=f"row {bad[0] + 1:,}: {checked[bad[0]]}",
        )
    # A little beyond the bounds is float32 rounding of a softmax; more is something else than probabilities.
    outside = np.flatnonzero(((checked < -1e-6) | (checked > 1 + 1e-6)).any(axis=1))
    if outside.size:
        raise UserError(
            f"{what}{outside.size:,} of {len(checked):,} rows have values outside [0, 1]",
            first=f"row {outside[0] + 1:,}: {checked[outside[0]]}",
            next="logits become probabilities by a softmax over the classes",
        )
    return checked


def checked_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """(N,) float64 weights of rows, ones for None.

    Raises:
        UserError: Another shape, NaN or infinity, a negative weight, or all of them zero.
    """
    if weights is None:
        return np.ones(n)
    checked = np.asarray(weights, np.float64)
    if checked.shape != (n,):
        raise UserError(f"weights have shape {checked.shape}", expected=f"({n},)")
    if not (np.isfinite(checked).all() and checked.min() >= 0 and checked.sum() > 0):
        raise UserError("weights must be finite, none negative, and not all zero")
    return checked
