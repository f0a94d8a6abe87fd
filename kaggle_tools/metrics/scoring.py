"""Computing one metric, after its input has been checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics.registry import METRICS, find_metric
from kaggle_tools.predictions import Predictions


def score(name: str, predictions: Predictions) -> float:
    """A metric of predictions that carry their true labels.

    Raises:
        UserError: No labels, a label that is not a class, or as `evaluate`.
    """
    if predictions.task == "multi_label":
        if predictions.labels is None:
            raise UserError("these predictions carry no labels", next="OOF predictions do: runs/<run>/oof.parquet")
        return evaluate(name, encode_label_sets(predictions.labels, predictions.classes), predictions.probs)
    return evaluate(name, predictions.label_codes, predictions.probs)


def evaluate(name: str, codes: ArrayLike, probs: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """A metric of arrays.

    Args:
        name: A name or alias in the registry.
        codes: (N,) int64 true classes, or (N, C) of 0 and 1 for a multi-label task.
        probs: (N, C) probabilities.
        weights: (N,) sample weights, none negative; None counts every row the same.

    Raises:
        UserError: Unknown metric, a metric of the other task, no rows, shapes that do not fit, a probability that is
            not a number or outside [0, 1], a code that is no class, or a metric that is undefined for these rows.
    """
    metric = find_metric(name)
    checked_probs = _checked_probs(np.asarray(probs, np.float64))
    truth = _truth(np.asarray(codes), checked_probs.shape)
    task = "multi_label" if np.ndim(codes) == 2 else "single_label"
    if task not in metric.functions:
        raise UserError(
            f"metric '{metric.name}' is not for {task} tasks",
            next="use one of " + ", ".join(other.name for other in METRICS.values() if task in other.tasks),
        )
    return metric.functions[task](truth, checked_probs, _checked_weights(weights, len(truth)))


def encode_label_sets(labels: pl.Series, classes: Sequence[str]) -> NDArray[np.bool_]:
    """(N, C) bool: which of the classes each row's ``|``-joined labels name; an empty string names none.

    Raises:
        UserError: A row is null or names something that is not a class.
    """
    if labels.null_count():
        raise UserError(
            f"{labels.null_count():,} of {len(labels):,} rows have no label", where=f"column '{labels.name}'"
        )
    place = {name: j for j, name in enumerate(classes)}
    truth = np.zeros((len(labels), len(classes)), np.bool_)
    for row, joined in enumerate(labels.cast(pl.String).to_list()):
        for name in joined.split("|") if joined else ():
            if name not in place:
                raise UserError(f"label {name!r} is not among the classes", first=f"row {row + 1:,}: {joined!r}")
            truth[row, place[name]] = True
    return truth


def _checked_probs(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    if probs.ndim != 2:
        raise UserError(f"probabilities have shape {probs.shape}", expected="(N, C): rows × classes")
    if not len(probs):
        raise UserError("no rows to score")
    bad = np.flatnonzero(~np.isfinite(probs).all(axis=1))
    if bad.size:
        raise UserError(
            f"{bad.size:,} of {len(probs):,} rows have a probability that is not a number",
            first=f"row {bad[0] + 1:,}: {probs[bad[0]]}",
        )
    # A little beyond the bounds is float32 rounding of a softmax; more is something else than probabilities.
    outside = np.flatnonzero(((probs < -1e-6) | (probs > 1 + 1e-6)).any(axis=1))
    if outside.size:
        raise UserError(
            f"{outside.size:,} of {len(probs):,} rows have values outside [0, 1]",
            first=f"row {outside[0] + 1:,}: {probs[outside[0]]}",
            next="logits become probabilities by a softmax over the classes",
        )
    return probs


def _truth(codes: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(N, C) bool of single-label codes or of 0/1 columns."""
    n, c = shape
    if codes.shape not in ((n,), (n, c)):
        raise UserError(f"true labels have shape {codes.shape}", expected=f"({n},) codes, or ({n}, {c}) of 0 and 1")
    lowest, highest = codes.min(), codes.max()
    bound = c - 1 if codes.ndim == 1 else 1
    if lowest < 0 or highest > bound:
        raise UserError(f"true labels lie in [{lowest}, {highest}]", expected=f"[0, {bound}]")
    if codes.ndim == 2:
        return codes.astype(np.bool_)
    truth: NDArray[np.bool_] = codes[:, None] == np.arange(c)
    return truth


def _checked_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    if weights is None:
        return np.ones(n)
    checked = np.asarray(weights, np.float64)
    if checked.shape != (n,):
        raise UserError(f"weights have shape {checked.shape}", expected=f"({n},)")
    if not (np.isfinite(checked).all() and checked.min() >= 0 and checked.sum() > 0):
        raise UserError("weights must be finite, none negative, and not all zero")
    return checked
