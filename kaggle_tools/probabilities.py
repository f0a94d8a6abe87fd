"""Numbers that somebody calls predictions become probabilities, or an error says what they seem to be instead."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError

TOLERANCE = 1e-3

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def to_probabilities(
    values: Floats, ids: pl.Series, *, task: str = "single_label", logits: bool = False, normalise: bool = False
) -> NDArray[np.float32]:
    """Probabilities of `values`.

    For ``single_label`` rows are divided by their sum, which may be off one by 0.001 unless `normalise` is set.

    Args:
        values: (N, C) float64.
        ids: (N,) String, to name rows in errors.
        task: ``single_label`` or ``multi_label``.
        logits: Take the softmax of each row (log-probabilities will do), for ``multi_label`` the sigmoid of each value.
        normalise: Divide rows by their sum, whatever it is.

    Returns:
        (N, C) float32 in [0, 1].

    Raises:
        UserError: Values that are no numbers; not probabilities and neither option given; an option that does not fit.
    """
    broken: Bools = np.asarray(~np.isfinite(values).all(axis=1))
    _refuse(broken, values, ids, "have a value that is not a number", next="fill or drop them")
    if normalise and (logits or task == "multi_label"):
        why = "logits are normalised by the softmax" if logits else "several labels a row need not sum to one"
        raise UserError(f"--normalise does not apply: {why}", next="leave the option out")
    if logits:
        _refuse_probabilities(values, task)
        return (_softmax(values) if task == "single_label" else _sigmoid(values)).astype(np.float32)
    _refuse_logits(values, ids, task)
    if task == "multi_label":
        clipped: NDArray[np.float32] = np.clip(values, 0, 1).astype(np.float32)
        return clipped
    sums = values.sum(axis=1)
    if normalise:
        _refuse(sums <= 0, values, ids, "sum to zero and cannot be normalised")
    else:
        lowest, highest = (sums.min(), sums.max()) if sums.size else (1.0, 1.0)
        _refuse(
            np.abs(sums - 1) > TOLERANCE,
            values,
            ids,
            f"do not sum to one (sums from {lowest:.4g} to {highest:.4g})",
            next="give --normalise to divide rows by their sum, or --logits if these are logits",
        )
    shares: NDArray[np.float32] = (values / sums[:, None]).astype(np.float32)
    return shares


def _refuse(bad: Bools, values: Floats, ids: pl.Series, what: str, **details: str) -> None:
    if not bad.any():
        return
    row = int(bad.argmax())
    shown = ", ".join(f"{value:.6g}" for value in values[row, :6])
    raise UserError(f"{bad.sum():,} of {len(bad):,} rows {what}", first=f"{ids[row]}: {shown}", **details)  # type: ignore[arg-type]


def _refuse_logits(values: Floats, ids: pl.Series, task: str) -> None:
    outside: Bools = np.asarray((values < 0).any(axis=1))
    if task == "multi_label":
        outside |= (values > 1 + TOLERANCE).any(axis=1)
    _refuse(
        outside,
        values,
        ids,
        f"hold values that are no probabilities (from {values.min(initial=0):.4g} to {values.max(initial=1):.4g}): "
        "these look like logits",
        next=f"give --logits to convert them by {'softmax' if task == 'single_label' else 'sigmoid'}",
    )


def _refuse_probabilities(values: Floats, task: str) -> None:
    if not len(values) or values.min() < 0 or values.max() > 1:
        return
    if task == "multi_label" or (np.abs(values.sum(axis=1) - 1) <= TOLERANCE).all():
        raise UserError(
            "these are probabilities already: every value is in [0, 1]"
            + ("" if task == "multi_label" else " and every row sums to one"),
            next="leave --logits out",
        )


def _softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(values: Floats) -> Floats:
    # Of the two equal forms, the one whose exponential cannot overflow.
    small = np.exp(-np.abs(values))
    probs: Floats = np.where(values >= 0, 1, small) / (1 + small)
    return probs
