"""Computing a metric of answers that are not one table of classes: numbers, several label groups, tags of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import groups
from kaggle_tools.metrics.checks import checked_probs, checked_weights
from kaggle_tools.metrics.entities import Tags
from kaggle_tools.metrics.registry import metric_for


def evaluate_values(name: str, truth: ArrayLike, predicted: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """A regression metric: ``rmse``, ``mae``, ``pearson`` or ``spearman``.

    Args:
        name: A name or alias in the registry.
        truth: (N,) true values, or (N, K) of K targets: then the score is the mean of the targets' scores.
        predicted: Predicted values of the same shape.
        weights: (N,) weights of the rows, none negative; None counts every row the same.

    Raises:
        UserError: Unknown metric, one that is not for numbers, no rows, shapes that do not fit, NaN or infinity,
            unusable weights, or a correlation where no target varies.
    """
    metric = metric_for(name, "regression")
    true, guessed = _checked_values(truth, "true"), _checked_values(predicted, "predicted")
    if true.shape != guessed.shape:
        raise UserError(
            f"predicted values have shape {np.shape(predicted)}", expected=f"{np.shape(truth)}, as the truth"
        )
    return metric.functions["regression"](true, guessed, checked_weights(weights, len(true)))


def evaluate_groups(
    name: str, codes: ArrayLike, predicted: Sequence[ArrayLike], *, weights: ArrayLike | None = None
) -> float:
    """A metric of rows with one class in each of G label groups: ``group_accuracy``, ``exact_match``, ``top_2_hit``.

    Args:
        name: A name or alias in the registry.
        codes: (N, G) true classes.
        predicted: For each group (N, C_g) probabilities; or (N,) int64 decisions, where the metric reads only those.
        weights: (N,) weights of the rows, none negative; None counts every row the same.

    Raises:
        UserError: Unknown metric, one that is not for label groups, no rows, shapes that do not fit, NaN, values
            outside [0, 1], codes that are no class, unusable weights, or a metric that is not for so many groups.
    """
    metric = metric_for(name, "multi_group")
    true, checked = checked_groups(codes, predicted)
    return metric.functions["multi_group"](true, checked, checked_weights(weights, len(true)))


def accuracy_by_group(
    codes: ArrayLike, predicted: Sequence[ArrayLike], *, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """(G,) share of rows whose class is right, for each label group. Arguments and errors as `evaluate_groups`."""
    true, checked = checked_groups(codes, predicted)
    return groups.accuracy_by_group(true, checked, checked_weights(weights, len(true)))


def evaluate_tags(name: str, truth: Tags, predicted: Tags, *, weights: ArrayLike | None = None) -> float:
    """A metric of tagged sentences: ``entity_f1``.

    Args:
        name: A name or alias in the registry.
        truth: For each of N sentences its BIO tags.
        predicted: The same sentences as they were predicted.
        weights: (N,) weights of the sentences, none negative; None counts every sentence the same.

    Raises:
        UserError: Unknown metric, one that is not for tags, or as `entities.count_entities`.
    """
    return metric_for(name, "token").functions["token"](truth, predicted, weights)


def checked_groups(codes: ArrayLike, predicted: Sequence[ArrayLike]) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
    """(N, G) int64 true classes, and for each group (N, C_g) float64 or (N,) int64. Raises as `evaluate_groups`."""
    true = np.asarray(codes)
    if true.ndim != 2 or true.dtype.kind not in "iu":
        raise UserError(f"true classes are {true.dtype} of shape {true.shape}", expected="(N, G) whole numbers")
    if not true.size:
        raise UserError("no rows to score")
    if len(predicted) != true.shape[1]:
        raise UserError(f"predictions of {len(predicted)} label groups", expected=f"{true.shape[1]}, as in the truth")
    checked = [_checked_group(group, number, len(true)) for number, group in enumerate(predicted, start=1)]
    for number, (column, group) in enumerate(zip(true.T, checked, strict=True), start=1):
        bound = group.shape[1] - 1 if group.ndim == 2 else column.max()
        if column.min() < 0 or column.max() > bound:
            raise UserError(
                f"group {number}: true classes lie in [{column.min()}, {column.max()}]", expected=f"[0, {bound}]"
            )
    return true.astype(np.int64), checked


def _checked_group(group: ArrayLike, number: int, n_rows: int) -> NDArray[Any]:
    given = np.asarray(group)
    decided = given.ndim == 1 and given.dtype.kind in "iu"
    checked: NDArray[Any] = given.astype(np.int64) if decided else checked_probs(given, f"group {number}: ")
    if len(checked) != n_rows:
        raise UserError(f"group {number} has {len(checked):,} rows", expected=f"{n_rows:,}, as in the truth")
    return checked


def _checked_values(given: ArrayLike, what: str) -> NDArray[np.float64]:
    """(N, K) float64."""
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError) as exc:
        raise UserError(f"{what} values are not numbers", found=repr(given)[:80]) from exc
    if values.ndim not in (1, 2):
        raise UserError(f"{what} values have shape {values.shape}", expected="(N,), or (N, K) of K targets")
    if not values.size:
        raise UserError("no rows to score")
    columns = values.reshape(len(values), -1)
    bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if bad.size:
        raise UserError(
            f"{bad.size:,} of {len(values):,} {what} values are not finite",
            first=f"row {bad[0] + 1:,}: {values[bad[0]]}",
        )
    return columns
