"""What every search asks of its arrays before it begins, told with figures; and the forms that its loops take.

arrays = check_arrays(stack, codes, "macro_f1")     # (M, N, C), single or multi-label: what recipes and votes read
problem = check_problem(codes, stack)               # (M, C, N), single-label: what the kernels of fits run along
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Metric, metric_for
from kaggle_tools.search.lines import MAX_CLASSES
from kaggle_tools.search.threads import in_threads

# A probability of zero would veto a class whatever the other models say; this is Kaggle's own bound for log loss.
FLOOR = 1e-15


@dataclass(frozen=True)
class Arrays:
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


@dataclass(frozen=True)
class Problem:
    """Checked input of a fit.

    Attributes:
        codes: (N,) int32 true classes.
        stack: (M, C, N) float32 probabilities, classes before rows: the kernels run along rows.
        weights: (N,) float64 row weights.
    """

    codes: NDArray[np.int32]
    stack: NDArray[np.float32]
    weights: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """M models, C classes, N rows."""
        m, c, n = self.stack.shape
        return m, c, n

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(C,) classes without rows."""
        return np.asarray(np.bincount(self.codes, minlength=self.stack.shape[1]) == 0, np.bool_)

    def without_absent(self) -> Problem:
        """The same with probability nought for absent classes: every row that goes to one is wrong, and a fit would
        learn no more than to avoid them."""
        if not self.absent.any():
            return self
        stack = self.stack.copy()
        stack[:, self.absent] = 0.0
        return Problem(self.codes, stack, self.weights)

    def take(self, rows: NDArray[np.intp], weights: NDArray[np.float64] | None = None) -> Problem:
        """Some of the rows, with other weights if given."""
        stack = np.ascontiguousarray(self.stack[:, :, rows])
        return Problem(self.codes[rows], stack, self.weights[rows] if weights is None else weights)


def check_arrays(stack: Any, codes: Any, metric: str, *, least_models: int = 1) -> Arrays:
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
    truth = _checked_codes(codes, *checked.shape[1:])
    task = "single_label" if truth.ndim == 1 else "multi_label"
    return Arrays(checked, truth, metric_for(metric, task, checked.shape[2]), task)


def check_problem(
    codes: ArrayLike, stack: ArrayLike, sample_weight: ArrayLike | None = None, *, allow_absent: bool = False
) -> Problem:
    """Check and convert what a fit was given.

    Args:
        codes: (N,) true classes.
        stack: (M, N, C) probabilities.
        sample_weight: (N,) row weights; None counts every row the same.
        allow_absent: Accept classes without rows, as a fold of rare classes may have.

    Raises:
        UserError: Shapes that do not fit, no rows, fewer than two classes, NaN or infinity, negative values, a model
            that says the same of every row, codes that are no classes, classes without rows, unusable weights.
    """
    probs = check_stack(stack)
    n, c = probs.shape[1:]
    if not 2 <= c <= MAX_CLASSES:
        raise UserError(
            f"{c:,} classes",
            expected=f"2 to {MAX_CLASSES:,}: no weights of classes, pools, stacks or studies are fitted to more",
        )
    _check_values(probs)
    truth = _checked_codes(codes, n, c)
    if truth.ndim != 1:
        raise UserError(f"true classes have shape {truth.shape}", expected=f"({n},) whole numbers")
    absent = np.flatnonzero(np.bincount(truth, minlength=c) == 0)
    if absent.size and not allow_absent:
        raise UserError(
            f"{absent.size} of {c} classes have no rows among {n:,}",
            first="class " + ", ".join(map(str, absent[:5])),
            next="nothing can be learnt of their weights: leave these classes out, or pass allow_absent=True",
        )
    return Problem(truth.astype(np.int32), _classes_first(probs), check_weights(sample_weight, n))


def check_stack(stack: Any, *, least_models: int = 1) -> NDArray[np.float32]:
    """(M, N, C) float32, C-contiguous. Raises as `check_arrays`."""
    checked: NDArray[np.float32] = np.ascontiguousarray(stack, np.float32)
    if checked.ndim != 3:
        raise UserError(f"probabilities have shape {np.shape(stack)}", expected="(M, N, C): models × rows × classes")
    m, n, c = checked.shape
    if not checked.size:
        missing = "no models to blend" if not m else ("no rows to fit" if not n else "no classes")
        raise UserError(missing, found=f"{m} models × {n} rows × {c} classes")
    if m < least_models:
        raise UserError(
            f"{'one model' if m == 1 else f'{m} models'} only: this search needs {least_models} or more",
            next="train or import another run, or fit class weights alone with `cli blend --method single`",
        )
    for number, model in enumerate(checked, start=1):
        # A sum is finite only if every part is: one pass, no temporary array of flags.
        if not np.isfinite(model.sum(dtype=np.float64)):
            bad = np.flatnonzero(~np.isfinite(model).all(axis=1))
            raise UserError(
                f"{bad.size:,} of {n:,} rows have a probability that is not a number",
                where=f"model {number} of {m}",
                first=f"row {bad[0] + 1:,}: {model[bad[0]]}",
            )
    return checked


def check_weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """(N,) float64 row weights, ones for None. Raises as `check_problem`."""
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (n,):
        raise UserError(f"row weights have shape {weights.shape}", expected=f"({n},)")
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise UserError("row weights must be finite, none negative, and not all zero")
    return weights


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


def _checked_codes(codes: Any, n: int, c: int) -> NDArray[np.int64]:
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


def _classes_first(probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, C, N) copy of (M, N, C), some rows at a time: a transpose in one go misses the cache at every step."""
    m, n, c = probs.shape
    turned = np.empty((m, c, n), np.float32)

    def turn(model: int) -> None:
        for start in range(0, n, 2048):
            turned[model, :, start : start + 2048] = probs[model, start : start + 2048].T

    in_threads(turn, range(m))
    return turned


def _check_values(probs: NDArray[np.float32]) -> None:
    m, n, _ = probs.shape
    for number, model in enumerate(probs, start=1):
        if model.min() < 0:
            bad = np.flatnonzero((model < 0).any(axis=1))
            raise UserError(
                f"{bad.size:,} of {n:,} rows have a negative probability",
                where=f"model {number} of {m}",
                first=f"row {bad[0] + 1:,}: {model[bad[0]]}",
                next="logits become probabilities by a softmax over the classes",
            )
        if n > 1 and (model[0] == model[-1]).all() and (model == model[0]).all():
            raise UserError(
                f"all {n:,} rows have the same probabilities: {model[0]}",
                where=f"model {number} of {m}",
                next="leave this model out",
            )
