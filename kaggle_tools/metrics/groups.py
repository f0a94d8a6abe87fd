"""Metrics of several label groups: every row has one class in each of them, such as one of 4 sentiments and one of 27
emotions.

``codes`` is (N, G) int64 true classes; ``predicted`` holds for each group (N, C_g) float64 probabilities, or (N,) int64
decisions where only those matter; ``weights`` is (N,) float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """A weighted mean over rows that come batch by batch.

        tally = Tally()
        for truth, probs, weights in batches:
            tally = tally.add(top_2_hits(truth, probs), weights)
        tally.mean

    Attributes:
        total: Sum of weight times value.
        weight: Sum of weights.
    """

    total: float = 0.0
    weight: float = 0.0

    def add(self, values: NDArray[Any], weights: Floats | None = None) -> Tally:
        """The tally with more rows in it; without weights every row counts one."""
        weights = np.ones(len(values)) if weights is None else weights
        return Tally(self.total + float(weights @ values), self.weight + float(weights.sum()))

    @property
    def mean(self) -> float:
        """The mean so far; 0 before the first row."""
        return self.total / self.weight if self.weight > 0 else 0.0


def accuracy_by_group(codes: Codes, predicted: Sequence[NDArray[Any]], weights: Floats) -> Floats:
    """(G,) share of rows whose class is right, for each group."""
    return np.asarray(np.average(_right(codes, predicted), axis=0, weights=weights))


def group_accuracy(codes: Codes, predicted: Sequence[NDArray[Any]], weights: Floats) -> float:
    """Mean over the groups of their accuracy."""
    return float(accuracy_by_group(codes, predicted, weights).mean())


def exact_match(codes: Codes, predicted: Sequence[NDArray[Any]], weights: Floats) -> float:
    """Share of rows that are right in every group."""
    return float(np.average(_right(codes, predicted).all(axis=1), weights=weights))


def top_2_hit(codes: Codes, predicted: Sequence[NDArray[Any]], weights: Floats) -> float:
    """Share of rows of two groups whose two true classes are the two most probable of all classes of both.

    The groups' probabilities are compared with each other, so a row misses where both of its two most probable classes
    are of one group.

    Raises:
        UserError: Not two groups, or decisions in place of probabilities.
    """
    if codes.shape[1] != 2:
        raise UserError(f"top_2_hit is for two label groups, these are {codes.shape[1]}", next="use exact_match")
    if any(group.ndim == 1 for group in predicted):
        raise UserError("top_2_hit needs probabilities, these are decisions", next="use exact_match or group_accuracy")
    truth = [codes[:, [g]] == np.arange(group.shape[1]) for g, group in enumerate(predicted)]
    return label_top_2_hit(np.concatenate(truth, axis=1), np.concatenate(predicted, axis=1), weights)


def label_top_2_hit(truth: Bools, probs: Floats, weights: Floats) -> float:
    """`top_2_hit` of a multi-label task whose rows all have two labels. Raises as `top_2_hits`."""
    return float(np.average(top_2_hits(truth, probs), weights=weights))


def top_2_hits(truth: Bools, probs: Floats) -> Bools:
    """(N,) whether the two most probable labels of a row are its two true ones; of equals the first are taken.

    Args:
        truth: (N, C) bool, two True in each row.
        probs: (N, C) probabilities.

    Raises:
        UserError: A row without exactly two true labels.
    """
    n_true = truth.sum(axis=1)
    other = np.flatnonzero(n_true != 2)
    if other.size:
        raise UserError(
            f"{other.size:,} of {len(truth):,} rows do not have two true labels",
            first=f"row {other[0] + 1:,}: {n_true[other[0]]}",
            next="top_2_hit is for tasks where every row has two; others: exact_match or samples_f1",
        )
    best = np.argsort(-probs, axis=1, kind="stable")[:, :2]
    return np.asarray(np.take_along_axis(truth, best, axis=1).all(axis=1))


def _right(codes: Codes, predicted: Sequence[NDArray[Any]]) -> Bools:
    """(N, G) whether the decision is the true class; of equally probable classes the first is decided on."""
    decided = [group if group.ndim == 1 else group.argmax(axis=1) for group in predicted]
    return np.asarray(np.stack(decided, axis=1) == codes)
