"""Calibrated probabilities of the test rows' labels, from models whose out-of-fold predictions tell how sure to be.

    judge = fit_judge({"roberta": oof_a, "lgbm": oof_b}, {"roberta": test_a, "lgbm": test_b})
    judge.probs                  # (N, C): the share of such rows that are of each class
    judge.calibration_error      # measured on rows that the fit did not see

All models are pooled by the log-linear pool with the least log loss out of fold, softmax(Σ_m a_m log p_m + b). With one
model that is temperature scaling with a bias for each class (Guo, Pleiss, Sun & Weinberger 2017, "On calibration of
modern neural networks", there 'vector scaling' with one scale); with several it is the same for their product (Genest &
Zidek 1986), and sharper than any of them. Several labels a row: the same for each label's odds. How uncertain the pool
itself is tell refits on bootstraps of the out-of-fold rows.

Knows nothing of submissions: see `expected` for what is concluded from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import logloss
from kaggle_tools.search.members import Members, stack

Floats = NDArray[np.float64]
Stack = NDArray[np.float32]

_BINS = 15
_FOLDS = 5
_REFIT_VALUES = 3_000_000  # OOF or test values beyond which the pool's own uncertainty is not worth its time


@dataclass(frozen=True, eq=False)
class Judge:
    """Probabilities of the unknown labels.

    Attributes:
        names: M models that it is made of.
        ids: (N,) test ids.
        classes: C names.
        task: ``single_label`` or ``multi_label``.
        probs: (N, C) float64; rows sum to one for ``single_label``.
        refits: The same from bootstraps of the out-of-fold rows; empty where there are so many rows that the pool
            is certain.
        log_loss: Of the pool on out-of-fold rows that its fit did not see.
        calibration_error: There, the mean distance between the probability of the decision and how often it is right,
            over 15 bins of equal size (for several labels: of each label's probability and frequency).
        n_rows: Out-of-fold rows that it was fitted to.
    """

    names: tuple[str, ...]
    ids: pl.Series
    classes: tuple[str, ...]
    task: str
    probs: Floats
    refits: tuple[Floats, ...]
    log_loss: float
    calibration_error: float
    n_rows: int

    def in_order(self, ids: pl.Series, classes: tuple[str, ...]) -> tuple[Floats, ...]:
        """Refits (or the pool itself, where there are none) for `ids`, columns as in `classes`.

        Raises:
            UserError: An id that it does not know, or other classes.
        """
        from kaggle_tools.submissions._join import rows_of

        rows = rows_of(ids, self.ids)
        if rows is None or (rows < 0).any():
            raise UserError("the runs have no predictions for these rows")
        if set(classes) != set(self.classes):
            raise UserError("the runs are about other classes", found=", ".join(self.classes))
        columns = [self.classes.index(name) for name in classes]
        return tuple(np.ascontiguousarray(probs[rows][:, columns]) for probs in self.refits or (self.probs,))


def fit_judge(
    oof: Mapping[str, Predictions], test: Mapping[str, Predictions], *, n_refits: int = 20, seed: int = 0
) -> Judge:
    """Fit the pool out of fold and apply it to the test predictions.

    Args:
        oof: Out-of-fold predictions with labels, by model.
        test: The same models' predictions of the rows whose labels are not known.
        n_refits: Bootstraps of the out-of-fold rows; none are drawn where there are millions of values.
        seed: Of bootstraps and, where predictions carry no folds, of those drawn here.

    Raises:
        UserError: No model, models of other rows, classes or tasks, no labels.
    """
    known, unknown = stack(oof), stack(test, list(oof))
    if known.classes != unknown.classes:
        raise UserError("out-of-fold and test predictions are about different classes")
    codes = known.codes
    everything = np.ones(len(codes))
    random = np.random.default_rng(seed)
    unseen = _cross_validated(known, codes, random)
    refits = []
    if max(known.probs.size, unknown.probs.size) <= _REFIT_VALUES:
        for _ in range(n_refits):
            drawn = np.bincount(random.integers(0, len(codes), len(codes)), minlength=len(codes)).astype(np.float64)
            refits.append(_pool(known, codes, drawn, unknown.probs))
    return Judge(
        names=known.names,
        ids=unknown.ids.str.strip_chars(),
        classes=known.classes,
        task=known.task,
        probs=_pool(known, codes, everything, unknown.probs),
        refits=tuple(refits),
        log_loss=evaluate("log_loss", codes, unseen),
        calibration_error=calibration_error(codes, unseen),
        n_rows=len(codes),
    )


def calibration_error(codes: NDArray[np.int64], probs: Floats) -> float:
    """Mean distance between confidence and frequency over 15 bins of equal size (Naeini, Cooper & Hauskrecht 2015).

    Args:
        codes: (N,) true classes: the decision's confidence counts. Or (N, C) of 0 and 1: every label's probability.
        probs: (N, C) probabilities.
    """
    if codes.ndim == 2:
        confidence, right = probs.ravel(), codes.ravel().astype(np.float64)
    else:
        confidence, right = probs.max(axis=1), (probs.argmax(axis=1) == codes).astype(np.float64)
    bins = np.array_split(np.argsort(confidence, kind="stable"), min(_BINS, len(confidence)))
    gaps = [len(rows) * abs(confidence[rows].mean() - right[rows].mean()) for rows in bins]
    return float(sum(gaps) / len(confidence))


def _cross_validated(known: Members, codes: NDArray[np.int64], random: np.random.Generator) -> Floats:
    """(N, C) of pools that were fitted to the other folds."""
    folds = known.folds if known.folds is not None else random.permutation(len(codes)) % _FOLDS
    unseen = np.empty(known.probs.shape[1:])
    for fold in np.unique(folds):
        held_out = folds == fold
        unseen[held_out] = _pool(known, codes, (~held_out).astype(np.float64), known.probs[:, held_out])
    return unseen


def _pool(known: Members, codes: NDArray[np.int64], weights: Floats, probs: Stack) -> Floats:
    """Fit with row weights, apply to (M, N, C) probabilities."""
    used = weights > 0
    if known.task == "single_label":
        return _pool_classes(codes[used], known.probs[:, used], weights[used], probs)
    columns = []
    for k in range(len(known.classes)):
        of_label = np.stack([1 - known.probs[:, used, k], known.probs[:, used, k]], axis=2)
        wanted = np.stack([1 - probs[:, :, k], probs[:, :, k]], axis=2)
        columns.append(_pool_classes(codes[used, k], of_label, weights[used], wanted)[:, 1])
    return np.column_stack(columns)


def _pool_classes(codes: NDArray[np.int64], known: Stack, weights: Floats, probs: Stack) -> Floats:
    """A class that no row has keeps its share by a small bias: its fit is without it."""
    found = logloss.fit_log_pool(codes, known, biases=True, sample_weight=weights, allow_absent=True)
    present = np.bincount(codes, minlength=known.shape[2]) > 0
    biases = np.where(present, found.biases, found.biases[present].min())
    scores = np.tensordot(found.weights, logloss.logs_of(probs).astype(np.float64), axes=1) + biases
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
