"""Computing one metric, after its input has been checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.label_groups import encode_groups, group_slices, split_probs
from kaggle_tools.metrics.checks import checked_probs, checked_weights
from kaggle_tools.metrics.other_tasks import accuracy_by_group, evaluate_groups, evaluate_tags
from kaggle_tools.metrics.registry import metric_for
from kaggle_tools.predictions import Predictions
from kaggle_tools.tag_predictions import TagPredictions


def score(name: str, predictions: Predictions | TagPredictions) -> float:
    """A metric of predictions that carry their true labels.

    Raises:
        UserError: No labels, a label that is not a class, or as `evaluate`.
    """
    if isinstance(predictions, TagPredictions):
        if predictions.labels is None:
            raise UserError("these predictions carry no tags", next="OOF predictions do: runs/<run>/oof.parquet")
        return evaluate_tags(name, predictions.labels.to_list(), predictions.tags)
    labels, classes, probs = predictions.labels, predictions.classes, predictions.probs
    if predictions.task in ("multi_label", "multi_group"):
        if labels is None:
            raise UserError("these predictions carry no labels", next="OOF predictions do: runs/<run>/oof.parquet")
        if predictions.task == "multi_group":
            return evaluate_groups(name, encode_groups(labels, classes), split_probs(probs, classes))
        return evaluate(name, encode_label_sets(labels, classes), probs)
    return evaluate(name, predictions.label_codes, predictions.probs)


def group_scores(predictions: Predictions) -> dict[str, float]:
    """Of label groups: each group's accuracy, their mean, ``exact_match`` and, for two groups, ``top_2_hit``.

    Raises:
        UserError: As `score`.
    """
    classes = predictions.classes
    if predictions.labels is None:
        raise UserError("these predictions carry no labels", next="OOF predictions do: runs/<run>/oof.parquet")
    codes, probs = encode_groups(predictions.labels, classes), split_probs(predictions.probs, classes)
    names = tuple(group_slices(classes))
    found = dict(zip(names, map(float, accuracy_by_group(codes, probs)), strict=True))
    wanted = ("group_accuracy", "exact_match", *(("top_2_hit",) if len(names) == 2 else ()))
    return found | {name: evaluate_groups(name, codes, probs) for name in wanted}


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
    values = checked_probs(probs)
    truth = _truth(np.asarray(codes), values.shape)
    task = "multi_label" if np.ndim(codes) == 2 else "single_label"
    metric = metric_for(name, task, values.shape[1])
    return metric.functions[task](truth, values, checked_weights(weights, len(truth)))


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
