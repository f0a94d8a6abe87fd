"""Which models add most to which: what the mean of two scores beyond either, and what an oracle of both could.

Knows the truth, so it is for out-of-fold predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate, find_metric
from kaggle_tools.search.threads import in_threads
from kaggle_tools.similarity.table import Table

Floats = NDArray[np.float64]

# Values that pairs, rows and classes make together; beyond, fewer rows are scored.
_MOST_VALUES, _LEAST_ROWS = 100_000_000, 5_000


@dataclass(frozen=True, repr=False)
class Complement:
    """What pairs of models are worth, in units of the metric; above zero is better whatever its direction.

    Attributes:
        names: K models, those with probabilities.
        metric: Name.
        scores: (K,) each alone.
        oracle: (K, K) share of rows that at least one of the two gets right; alone on the diagonal.
        adds: (K, K) by how much the equal mean of a and b beats a alone: what b adds to a.
        gains: (K, K) by how much it beats the better of the two.
        n_rows: Rows scored.
    """

    names: tuple[str, ...]
    metric: str
    scores: Floats
    oracle: Floats
    adds: Floats
    gains: Floats
    n_rows: int


def complement(table: Table, metric: str) -> Complement:
    """Score every pair's equal mean.

    Raises:
        UserError: No truth in the table, or a metric that is not for its task.
    """
    if table.truth is None:
        raise UserError("the truth of these rows is not known", next="out-of-fold predictions have it: --on oof")
    found = find_metric(metric)
    names = tuple(name for name, has in zip(table.names, table.with_probs, strict=True) if has)
    k, n, c = len(names), len(table.ids), len(table.classes)
    pairs = [(a, b) for a in range(k) for b in range(a, k)]
    most = max(_LEAST_ROWS, _MOST_VALUES // max(1, len(pairs) * c))
    rows = slice(None) if n <= most else np.sort(np.random.default_rng(0).choice(n, most, replace=False))
    probs, truth = table.probs[table.with_probs][:, rows], table.truth[rows]

    def score(pair: tuple[int, int]) -> float:
        mean = 0.5 * (probs[pair[0]].astype(np.float64) + probs[pair[1]])
        return evaluate(found.name, truth, mean)

    scored = np.zeros((k, k))
    for (a, b), value in zip(pairs, in_threads(score, pairs), strict=True):
        scored[a, b] = scored[b, a] = value if found.greater_is_better else -value
    alone = np.diag(scored)
    return Complement(
        names=names,
        metric=found.name,
        scores=alone if found.greater_is_better else -alone,
        oracle=_oracle(table.decisions[table.with_probs], table.truth),
        adds=scored - alone[:, None],
        gains=scored - np.maximum(alone[:, None], alone[None, :]),
        n_rows=len(truth),
    )


def _oracle(decisions: NDArray[np.generic], truth: NDArray[np.generic]) -> Floats:
    from kaggle_tools.similarity.measures import of_errors

    right = (decisions == truth).reshape(len(decisions), -1)
    return 1.0 - of_errors(right)["double_fault"]
