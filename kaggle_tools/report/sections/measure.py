"""What out-of-fold predictions say of one run: scores by fold and class, confusions, calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.label_groups import encode_groups, group_slices, split_probs
from kaggle_tools.metrics import confusion, encode_label_sets, evaluate, evaluate_groups
from kaggle_tools.predictions import THRESHOLD, Predictions

Floats = NDArray[np.float64]
Judge = Callable[[str, NDArray[np.int64], Floats], float]
_BINS = 10
_Z = 1.96


@dataclass(frozen=True)
class Calibration:
    """How often a run is right where it says it is this sure, in bins of equal width.

    Attributes:
        confidence: (B,) mean probability; of the predicted class, or (multi_label) of all labels.
        accuracy: (B,) share that is right, or there.
        rows: (B,) how many; no bin is empty.
        low: (B,) lower ends of the 95 % Wilson intervals of `accuracy`.
        high: (B,) upper ends.
        error: Mean distance of the two, by rows (expected calibration error; Naeini et al. 2015).
        bias: Mean confidence less accuracy: above zero is overconfident.
    """

    confidence: Floats
    accuracy: Floats
    rows: NDArray[np.int64]
    low: Floats
    high: Floats
    error: float
    bias: float


@dataclass(frozen=True)
class Measured:
    """A run that a report shows.

    Attributes:
        name: Of the run.
        kind: ``linear``, ``imported`` …
        score: The competition's metric on all out-of-fold rows; None without such predictions.
        n_rows: Out-of-fold rows.
        fold_scores: The same on each fold; empty where folds are not known.
        class_f1: (C,) F1 of each class; None without predictions.
        matrix: (C, C) rows by true and predicted class; None for multi_label.
        calibration: See there.
        created: ISO time.
        seconds: Of training.
        notes: What was odd about it.
    """

    name: str
    kind: str
    score: float | None = None
    n_rows: int = 0
    fold_scores: tuple[float, ...] = ()
    class_f1: Floats | None = None
    matrix: NDArray[np.int64] | None = None
    calibration: Calibration | None = None
    created: str = ""
    seconds: float | None = None
    notes: tuple[str, ...] = field(default=())


def measure(
    name: str, kind: str, oof: Predictions, metric: str, *, created: str = "", seconds: float | None = None
) -> Measured:
    """Everything about one run's out-of-fold predictions.

    Raises:
        UserError: No labels, or labels that are no classes.
    """
    probs = oof.probs.astype(np.float64)
    notes: list[str] = []
    judge: Judge = evaluate
    if oof.task == "multi_label":
        if oof.labels is None:
            raise UserError("these predictions carry no labels", next="OOF predictions do: runs/<run>/oof.parquet")
        truth = encode_label_sets(oof.labels, oof.classes)
        codes: NDArray[np.int64] = truth.astype(np.int64)
        matrix, f1 = None, _f1_of_sets(truth, oof.probs >= THRESHOLD)
        calibration = _calibrate(oof.probs.ravel(), truth.ravel())
    elif oof.task == "multi_group":
        if oof.labels is None:
            raise UserError("these predictions carry no labels", next="OOF predictions do: runs/<run>/oof.parquet")
        codes, parts = encode_groups(oof.labels, oof.classes), split_probs(oof.probs, oof.classes)
        decided = np.stack([part.argmax(axis=1) for part in parts], axis=1)
        truth = encode_label_sets(oof.labels, oof.classes)
        matrix, f1 = None, _f1_of_sets(truth, encode_label_sets(oof.predicted, oof.classes))
        surest = np.stack([part.max(axis=1) for part in parts], axis=1)
        calibration = _calibrate(surest.ravel(), (decided == codes).ravel())
        judge = partial(_of_groups, oof.classes)
    else:
        codes = oof.label_codes
        predicted = oof.probs.argmax(axis=1)
        matrix = np.asarray(confusion(codes, predicted, len(oof.classes)), np.int64)
        f1 = _f1_of_matrix(matrix)
        calibration = _calibrate(oof.probs.max(axis=1), predicted == codes)
    return Measured(
        name=name,
        kind=kind,
        score=_score(judge, metric, codes, probs, notes),
        n_rows=len(oof),
        fold_scores=_fold_scores(judge, metric, codes, probs, oof.folds),
        class_f1=f1,
        matrix=matrix,
        calibration=calibration,
        created=created,
        seconds=seconds,
        notes=tuple(notes),
    )


def _of_groups(classes: Sequence[str], metric: str, codes: NDArray[np.int64], probs: Floats) -> float:
    return evaluate_groups(metric, codes, [probs[:, place] for place in group_slices(classes).values()])


def _score(judge: Judge, metric: str, codes: NDArray[np.int64], probs: Floats, notes: list[str]) -> float | None:
    try:
        return judge(metric, codes, probs)
    except UserError as exc:
        notes.append(exc.summary)
        return None


def _fold_scores(
    judge: Judge, metric: str, codes: NDArray[np.int64], probs: Floats, folds: NDArray[np.int16] | None
) -> tuple[float, ...]:
    """Empty where folds are unknown or the metric is undefined on one of them."""
    if folds is None:
        return ()
    try:
        return tuple(judge(metric, codes[folds == f], probs[folds == f]) for f in np.unique(folds))
    except UserError:
        return ()


def _f1_of_matrix(matrix: NDArray[np.int64]) -> Floats:
    return _f1(np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1))


def _f1_of_sets(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Floats:
    return _f1((truth & predicted).sum(axis=0), predicted.sum(axis=0), truth.sum(axis=0))


def _f1(hits: NDArray[np.int64], predicted: NDArray[np.int64], actual: NDArray[np.int64]) -> Floats:
    """2 · hits / (predicted + actual); NaN for a class that occurs on neither side."""
    total = predicted + actual
    return np.asarray(np.divide(2.0 * hits, total, out=np.full(len(total), np.nan), where=total > 0))


def _calibrate(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> Calibration | None:
    if not len(confidence):
        return None
    bins = np.minimum((confidence.astype(np.float64) * _BINS).astype(np.int64), _BINS - 1)
    n = np.bincount(bins, minlength=_BINS)
    said = np.bincount(bins, confidence, minlength=_BINS)
    hits = np.bincount(bins, right, minlength=_BINS)
    some = n > 0
    n = n[some]
    mean, share = np.asarray(said[some] / n), np.asarray(hits[some] / n)
    # Wilson 1927: unlike the normal interval it stays within [0, 1] and is right for few rows.
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Calibration(
        confidence=mean,
        accuracy=share,
        rows=n,
        low=np.clip(centre - half, 0, 1),
        high=np.clip(centre + half, 0, 1),
        error=float(np.average(np.abs(mean - share), weights=n)),
        bias=float(np.average(mean - share, weights=n)),
    )
