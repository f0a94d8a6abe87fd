"""What every search asks of its arrays before it starts, and the fixed types that its compiled loops take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Metric, metric_for


@dataclass(frozen=True)
class Problem:
    """Checked input of a search.

    Attributes:
        stack: (M, N, C) float32, C-contiguous, finite: probabilities of M models.
        codes: (N,) int64 in [0, C), or (N, C) int64 of 0 and 1 (multi-label).
        metric: What is to be improved; it serves the task.
        task: ``single_label`` or ``multi_label``.
    """

    stack: NDArray[np.float32]
    codes: NDArray[np.int64]
    metric: Metric
    task: str


def check_problem(stack: Any, codes: Any, metric: str, *, least_models: int = 1) -> Problem:
    """Check the arrays of a search and give them their types.

    Args:
        stack: (M, N, C) probabilities of M models.
        codes: (N,) true classes, or (N, C) of 0 and 1.
        metric: Name or alias of a metric.
        least_models: How many models the search needs.

    Raises:
        UserError: Shapes that do not fit, no rows, too few models, values that are not numbers, labels that are
            missing or no class, an unknown metric or one of the other task.
    """
    checked = check_stack(stack, least_models=least_models)
    truth = _checked_codes(codes, checked.shape)
    task = "single_label" if truth.ndim == 1 else "multi_label"
    return Problem(checked, truth, metric_for(metric, task, checked.shape[2]), task)


def check_stack(stack: Any, *, least_models: int = 1) -> NDArray[np.float32]:
    """(M, N, C) float32, C-contiguous. Raises as `check_problem`."""
    checked: NDArray[np.float32] = np.ascontiguousarray(stack, np.float32)
    if checked.ndim != 3:
        raise UserError(f"the stack has shape {np.shape(stack)}", expected="(M, N, C): models × rows × classes")
    if 0 in checked.shape:
        raise UserError(f"the stack of shape {checked.shape} is empty", expected="models × rows × classes")
    if len(checked) < least_models:
        have = "one model only" if len(checked) == 1 else f"{len(checked)} models only"
        raise UserError(
            f"{have}: this search needs {least_models} or more",
            next="train or import another run, or fit class weights alone with `cli blend --method single`",
        )
    for model, probs in enumerate(checked):
        # A sum is finite only if every part is: one pass, no temporary array of flags.
        if not np.isfinite(probs.sum(dtype=np.float64)):
            bad = np.flatnonzero(~np.isfinite(probs).all(axis=1))
            raise UserError(
                f"{bad.size:,} of {len(probs):,} rows of model {model + 1} have a probability that is not a number",
                first=f"row {bad[0] + 1:,}: {probs[bad[0]]}",
            )
    return checked


def check_folds(folds: Any, n_rows: int) -> NDArray[np.int64]:
    """(N,) int64 folds.

    Raises:
        UserError: Another length, a fold that is no whole number or negative, or fewer than two folds.
    """
    found = np.asarray(folds)
    if found.shape != (n_rows,):
        raise UserError(f"folds have shape {found.shape}", expected=f"({n_rows},): one fold a row")
    with np.errstate(invalid="ignore"):
        checked: NDArray[np.int64] = found.astype(np.int64)
    bad = np.flatnonzero((checked != found) | (checked < 0))
    if bad.size:
        raise UserError(
            f"{bad.size:,} of {n_rows:,} rows have no valid fold", first=f"row {bad[0] + 1:,}: {found[bad[0]]}"
        )
    if np.unique(checked).size < 2:
        raise UserError(f"all {n_rows:,} rows are in fold {checked[0]}", expected="two folds or more")
    return checked


def _checked_codes(codes: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    _, n, c = shape
    if codes is None:
        raise UserError("labels are missing", next="search on out-of-fold predictions: they carry the true labels")
    found = np.asarray(codes)
    if found.shape not in ((n,), (n, c)):
        raise UserError(f"labels have shape {found.shape}", expected=f"({n},) codes, or ({n}, {c}) of 0 and 1")
    with np.errstate(invalid="ignore"):
        checked: NDArray[np.int64] = np.ascontiguousarray(found, np.int64)
    bound = c - 1 if found.ndim == 1 else 1
    wrong = (checked != found) | (checked < 0) | (checked > bound)
    rows = np.flatnonzero(wrong if found.ndim == 1 else wrong.any(axis=1))
    if rows.size:
        raise UserError(
            f"{rows.size:,} of {n:,} rows have labels outside [0, {bound}]",
            first=f"row {rows[0] + 1:,}: {found[rows[0]]}",
        )
    return checked
