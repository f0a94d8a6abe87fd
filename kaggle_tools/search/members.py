"""Predictions of several models as one array: joined by id, checked to be about the same rows, classes and folds.

members = stack({"roberta": oof_a, "bert": oof_b})
members.probs                # (M, N, C) float32, the first model's row order
members.codes                # (N,) int64 true classes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import encode_label_sets
from kaggle_tools.predictions import Predictions, encode_labels


@dataclass(frozen=True, repr=False)
class Members:
    """M models' predictions of the same N rows.

    Attributes:
        names: M model names.
        ids: (N,) String.
        classes: C class names.
        probs: (M, N, C) float32.
        task: ``single_label`` or ``multi_label``.
        labels: (N,) String true labels, where any model carries them.
        folds: (N,) int16, where any model carries them.
    """

    names: tuple[str, ...]
    ids: pl.Series
    classes: tuple[str, ...]
    probs: NDArray[np.float32]
    task: str
    labels: pl.Series | None = None
    folds: NDArray[np.int16] | None = None

    def __repr__(self) -> str:
        m, n, c = self.probs.shape
        return f"Members({m} models × {n:,} rows × {c} classes: {', '.join(self.names)})"

    @property
    def codes(self) -> NDArray[np.int64]:
        """(N,) int64 true classes, or (N, C) of 0 and 1 for ``multi_label``.

        Raises:
            UserError: No labels, or a label that is not a class.
        """
        if self.labels is None:
            raise UserError("these predictions carry no labels", next="OOF predictions do: runs/<run>/oof.parquet")
        if self.task == "multi_label":
            return encode_label_sets(self.labels, self.classes).astype(np.int64)
        return encode_labels(self.labels, self.classes)


def stack(members: Mapping[str, Predictions], names: Sequence[str] | None = None) -> Members:
    """Join predictions by id, in the row order of the first model.

    Args:
        members: Predictions by model name.
        names: Which models, in which order; None takes all as they come.

    Raises:
        UserError: A model is missing (names the nearest), ids do not match (counts and first few of each side), or
            classes, their order, tasks, labels or folds differ between models.
    """
    chosen = list(members if names is None else names)
    if not chosen:
        raise UserError("no models to put together")
    for name in chosen:
        if name not in members:
            raise UserError(f"model '{name}' is missing", next=did_you_mean(name, list(members)))
    first = members[chosen[0]]
    probs = np.empty((len(chosen), *first.probs.shape), np.float32)
    probs[0] = first.probs
    labels, folds = first.labels, first.folds
    for m, name in enumerate(chosen[1:], start=1):
        _check_same_classes(chosen[0], first, name, members[name])
        aligned = _aligned(chosen[0], first, name, members[name])
        probs[m] = aligned.probs
        labels = _agreed_labels(labels, aligned.labels, first.ids, name)
        folds = _agreed_folds(folds, aligned.folds, first.ids, name)
    return Members(tuple(chosen), first.ids, first.classes, probs, first.task, labels, folds)


def _aligned(base: str, first: Predictions, name: str, other: Predictions) -> Predictions:
    if other.ids.equals(first.ids):
        return other
    try:
        return other.align(first.ids)
    except UserError as exc:
        summary = f"'{name}' and '{base}' do not hold the same rows: {exc.summary}"
        raise UserError(summary, exit_code=exc.exit_code, **exc.details) from exc


def _check_same_classes(base: str, first: Predictions, name: str, other: Predictions) -> None:
    if other.task != first.task:
        raise UserError(f"'{name}' is {other.task}, '{base}' is {first.task}")
    if other.classes != first.classes:
        raise UserError(differing_classes(f"'{name}'", other.classes, f"'{base}'", first.classes))


def differing_classes(a: str, classes_a: Sequence[str], b: str, classes_b: Sequence[str]) -> str:
    """One sentence on how two tuples of classes differ."""
    only_a = [name for name in classes_a if name not in classes_b]
    only_b = [name for name in classes_b if name not in classes_a]
    if not only_a and not only_b:
        return f"{a} has the classes in another order than {b}: {', '.join(classes_a)} and {', '.join(classes_b)}"
    return (
        f"{a} and {b} have different classes: {len(only_a)} only in {a} ({', '.join(only_a[:5]) or 'none'}), "
        f"{len(only_b)} only in {b} ({', '.join(only_b[:5]) or 'none'})"
    )


def _agreed_labels(known: pl.Series | None, other: pl.Series | None, ids: pl.Series, name: str) -> pl.Series | None:
    if known is None or other is None:
        return other if known is None else known
    written = np.flatnonzero(known.cast(pl.String).ne_missing(other.cast(pl.String)).to_numpy())
    # Few rows, if any, are written differently; to split those of a million takes seconds.
    same = (sorted_labels(known[written]) == sorted_labels(other[written])).fill_null(False).to_numpy()
    differ = written[~same]
    if differ.size:
        row = int(differ[0])
        raise UserError(
            f"the true label of {differ.size:,} of {len(ids):,} rows differs between models",
            where=f"'{name}'",
            first=f"{ids[row]}: {known[row]!r} and {other[row]!r}",
        )
    return known


def sorted_labels(labels: pl.Series) -> pl.Series:
    """Labels such that ``b|a`` equals ``a|b``."""
    return labels.cast(pl.String).str.split("|").list.sort().list.join("|")


def _agreed_folds(
    known: NDArray[np.int16] | None, other: NDArray[np.int16] | None, ids: pl.Series, name: str
) -> NDArray[np.int16] | None:
    if known is None or other is None:
        return other if known is None else known
    differ = np.flatnonzero(known != other)
    if differ.size:
        row = int(differ[0])
        raise UserError(
            f"the fold of {differ.size:,} of {len(ids):,} rows differs between models",
            where=f"'{name}'",
            first=f"{ids[row]}: fold {known[row]} and {other[row]}",
            next="blend runs that were trained on the same folds, or leave the folds out",
        )
    return known
