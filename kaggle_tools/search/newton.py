"""Newton's method for smooth convex objectives in few parameters, some of them kept at zero or above."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MAX_ITERATIONS = 100


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
        free = ~(bounded & (theta <= 0) & (gradient > 0))
        size = float(np.linalg.norm(gradient[free]))
        if size <= enough or n_steps == _MAX_ITERATIONS:
            return theta, loss, size, n_steps
        direction = np.zeros_like(theta)
        # Models that say the same leave no curvature between them.
        ridge = 1e-10 * np.trace(hessian) / len(theta)
        inner = hessian[np.ix_(free, free)] + max(ridge, 1e-300) * np.eye(int(free.sum()))
        direction[free] = -np.linalg.solve(inner, gradient[free])
        moved = _line_search(objective, theta, loss, gradient, direction, bounded)
        if moved is None:
            return theta, loss, size, n_steps
        theta, n_steps = moved, n_steps + 1


def _line_search(
    objective: Objective, theta: Floats, loss: float, gradient: Floats, direction: Floats, bounded: NDArray[np.bool_]
) -> Floats | None:
    """The longest of the halved steps that gains enough (Armijo); None where rounding hides every gain."""
    step = 1.0
    while step > 1e-8:
        tried = theta + step * direction
        tried[bounded] = np.maximum(tried[bounded], 0.0)
        if objective.loss(tried) <= loss + 1e-4 * float(gradient @ (tried - theta)):
            return np.asarray(tried)
        step *= 0.5
    return None
