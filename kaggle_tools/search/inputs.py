"""What every fit of the search checks before it begins, told with figures; and the dtypes that the kernels take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.search.lines import MAX_CLASSES
from kaggle_tools.search.threads import in_threads

# A probability of zero would veto a class whatever the other models say; this is Kaggle's own bound for log loss.
FLOOR = 1e-15


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
    probs = np.asarray(stack, np.float32)
    if probs.ndim != 3:
        raise UserError(f"probabilities have shape {probs.shape}", expected="(M, N, C): models × rows × classes")
    m, n, c = probs.shape
    if not (m and n):
        raise UserError("no rows to fit" if m else "no models to blend", found=f"{m} models × {n} rows × {c} classes")
    if not 2 <= c <= MAX_CLASSES:
        raise UserError(f"{c:,} classes", expected=f"2 to {MAX_CLASSES:,}")
    _check_values(probs)
    return Problem(
        codes=check_codes(codes, n, c, allow_absent=allow_absent),
        stack=_classes_first(probs),
        weights=check_weights(sample_weight, n),
    )


def check_codes(codes: ArrayLike, n: int, c: int, *, allow_absent: bool) -> NDArray[np.int32]:
    """(N,) int32 true classes. Raises as `check_problem`."""
    checked = np.asarray(codes)
    if checked.shape != (n,) or checked.dtype.kind not in "iu":
        raise UserError(f"true classes are {checked.dtype} of shape {checked.shape}", expected=f"({n},) whole numbers")
    if checked.min() < 0 or checked.max() >= c:
        raise UserError(f"true classes lie in [{checked.min()}, {checked.max()}]", expected=f"[0, {c - 1}]")
    absent = np.flatnonzero(np.bincount(checked, minlength=c) == 0)
    if absent.size and not allow_absent:
        raise UserError(
            f"{absent.size} of {c} classes have no rows among {n:,}",
            first="class " + ", ".join(map(str, absent[:5])),
            next="nothing can be learnt of their weights: leave these classes out, or pass allow_absent=True",
        )
    return checked.astype(np.int32)


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
        # Sums, smallest and largest are each one fast pass; the row is looked for only where one tells of trouble.
        if not np.isfinite(model.sum(dtype=np.float64)):
            bad = np.flatnonzero(~np.isfinite(model).all(axis=1))
            raise UserError(
                f"{bad.size:,} of {n:,} rows have a probability that is not a number",
                where=f"model {number} of {m}",
                first=f"row {bad[0] + 1:,}: {model[bad[0]]}",
            )
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
