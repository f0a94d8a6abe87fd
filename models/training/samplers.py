"""Which rows an epoch draws. A sampler gives each row a weight; adding one is adding a function to `SAMPLERS`.

With n_c rows of class c, drawing a row of class c with a probability in proportion to n_c^q means a weight of
n_c^(q − 1) for each of them: q = 1 is the training table as it is, q = 0 draws every class equally often. Kang et al.
2020, "Decoupling representation and classifier for long-tailed recognition".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from models.schema import Between


def instance(targets: NDArray[Any]) -> None:
    """Every row once an epoch."""


def class_balanced(targets: NDArray[Any]) -> NDArray[np.float64]:
    """Every class equally often, its rows drawn with replacement."""
    return power(targets, q=0.0)


def power(targets: NDArray[Any], *, q: Annotated[float, Between(0.0, 1.0)] = 0.5) -> NDArray[np.float64]:
    """Classes in proportion to n_c^q, their rows drawn with replacement.

    Of a row with several labels its rarest one counts; rows without labels are a class of their own.
    """
    counts, rarest = _class_counts(targets)
    return counts[rarest] ** (q - 1.0)


# (N,) classes or (N, C) of 0 and 1 to (N,) weights; None: each row once.
SAMPLERS: dict[str, Callable[..., NDArray[np.float64] | None]] = {
    "instance": instance,
    "class_balanced": class_balanced,
    "power": power,
}


def draw(weights: NDArray[np.float64] | None, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """(n,) row numbers of an epoch in random order: a permutation, or draws with replacement by weight."""
    if weights is None:
        return generator.permutation(n)
    return generator.choice(n, n, p=weights / weights.sum())


def _class_counts(targets: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows of each class, and for each of the N rows the class that it counts as."""
    if targets.ndim == 1:
        return np.bincount(targets).astype(np.float64), targets
    counts = targets.sum(axis=0).astype(np.float64)
    rarest = np.where(targets > 0, counts, np.inf).argmin(axis=1)
    bare = targets.sum(axis=1) == 0
    return np.append(counts, bare.sum()), np.where(bare, len(counts), rarest)
