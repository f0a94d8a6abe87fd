"""Newton's method for smooth convex objectives in few parameters, some of them kept at zero or above."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MAX_ITERATIONS = 100
_DAMPINGS = 10.0 ** np.arange(-3, 3)  # times the gradient's norm: steps of that many parts of one
_AT_BOUND = 1e-6
_ROUNDING = 1e-12  # of the loss: what a step promises to gain and can not be seen


class Objective(Protocol):
    """A convex function of P parameters."""

    def loss(self, theta: Floats) -> float:
        """Value at (P,) parameters."""

    def derivatives(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """Value, gradient (P,) and Hessian (P, P)."""


def minimise(
    objective: Objective, theta: Floats, enough: float, bounded: NDArray[np.bool_] | None = None
) -> tuple[Floats, float, float, int]:
    """Projected Newton (Bertsekas 1982): parameters at their bound whose gradient pushes outward stay there.

    Args:
        objective: What to minimise.
        theta: (P,) start, within bounds.
        enough: Norm of the gradient, outward parts left out, at which to stop.
        bounded: (P,) bool: which parameters must not be negative; None for none.

    Returns:
        Parameters, value, norm of the gradient, number of steps.
    """
    bounded = np.zeros(len(theta), np.bool_) if bounded is None else bounded
    n_steps = 0
    while True:
        loss, gradient, hessian = objective.derivatives(theta)
        size = float(np.linalg.norm(gradient[~(bounded & (theta <= 0) & (gradient > 0))]))
        if size <= enough or n_steps == _MAX_ITERATIONS:
            return theta, loss, size, n_steps
        moved = _step(objective, theta, loss, gradient, hessian, bounded)
        if moved is None:
            return theta, loss, size, n_steps
        theta, n_steps = moved, n_steps + 1


def _step(
    objective: Objective,
    theta: Floats,
    loss: float,
    gradient: Floats,
    hessian: Floats,
    bounded: NDArray[np.bool_],
) -> Floats | None:
    """A Newton step; a damped one (Levenberg 1944) where that gains nothing, as where certain and wrong probabilities
    leave no curvature: too long for its direction to be trusted. None where rounding hides every gain.
    """
    # What all but lies at its bound would stop the others there: it goes to the bound by itself.
    held = bounded & (theta <= _AT_BOUND) & (gradient > 0)
    free = ~held
    direction = np.where(held, -theta, 0.0)
    # Models that say the same leave no curvature between them.
    ridge = max(1e-10 * np.trace(hessian) / len(theta), 1e-300)
    for damping in (0.0, *(float(np.linalg.norm(gradient[free])) * _DAMPINGS)):
        inner = hessian[np.ix_(free, free)] + (ridge + damping) * np.eye(int(free.sum()))
        direction[free] = -np.linalg.solve(inner, gradient[free])
        moved = _line_search(objective, theta, loss, gradient, direction, bounded)
        if moved is not None or abs(float(gradient @ direction)) <= _ROUNDING * (1.0 + abs(loss)):
            return moved
    return None


def _line_search(
    objective: Objective, theta: Floats, loss: float, gradient: Floats, direction: Floats, bounded: NDArray[np.bool_]
) -> Floats | None:
    """The longest of the halved steps that gains enough (Armijo); None where rounding hides every gain."""
    step, unseen = 1.0, 1e-16 * (1.0 + abs(loss))
    while step > 1e-4:
        tried = theta + step * direction
        tried[bounded] = np.maximum(tried[bounded], 0.0)
        if objective.loss(tried) <= loss + 1e-4 * float(gradient @ (tried - theta)):
            return np.asarray(tried)
        if step * abs(float(gradient @ direction)) < unseen:
            return None
        step *= 0.5
    return None
