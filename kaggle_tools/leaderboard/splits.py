"""What luck does on a leaderboard: public and private scores of many submissions, drawn together.

Labels are drawn from what is believed of them, the public rows from all rows. Where the metric is a mean over rows both
kinds of chance have a closed form for all submissions at once (the central limit, with the correction for a finite
number of rows); of other metrics labels and rows are drawn one draw after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.leaderboard.costs import as_rows, costs, is_mean_over_rows
from kaggle_tools.leaderboard.predict import draw_labels
from kaggle_tools.metrics import confusion, evaluate, find_metric

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

_N_DRAWS = 10_000
_WORK = 30_000_000  # values that are scored where every draw is scored anew
_MOST_VALUES = 20_000_000


@dataclass(frozen=True, repr=False)
class Splits:
    """S draws of labels and public rows.

    Attributes:
        public: (S, K) float64 public scores.
        private: (S, K) float64 private scores.
        shared: (K, K) correlation of what the rows cost the submissions: how much of their luck they share.
        n_public: Public rows.
    """

    public: Floats
    private: Floats
    shared: Floats
    n_public: int

    @property
    def noise(self) -> Floats:
        """(K,) standard error of a public score."""
        return np.asarray(self.public.std(axis=0))

    def noise_of_move(self, a: int, b: int) -> float:
        """Standard error of the difference between two public scores: they share rows, so it is less than either's."""
        return float((self.public[:, a] - self.public[:, b]).std())

    @property
    def noise_of_shift(self) -> Floats:
        """(K,) standard deviation of private minus public score."""
        return np.asarray((self.private - self.public).std(axis=0))


def draw_splits(
    belief: NDArray[np.floating],
    probs: NDArray[np.floating],
    metric: str,
    n_public: int,
    task: str = "single_label",
    seed: int = 0,
) -> Splits:
    """Draw public and private scores.

    Args:
        belief: (N, C) probabilities of the test labels, calibrated.
        probs: (K, N, C) submissions.
        metric: What the board computes.
        n_public: Rows of the public part.
        task: ``single_label`` or ``multi_label``.
        seed: Of the draws.

    Raises:
        UserError: Not between one public row and all but one.
    """
    n = len(belief)
    if not 1 <= n_public < n:
        raise UserError(f"{n_public:,} public rows of {n:,}", expected=f"between 1 and {n - 1:,}")
    step = max(1, -(-probs.size // _MOST_VALUES))
    some, own = np.asarray(belief[::step], np.float64), probs[:, ::step]
    if is_mean_over_rows(metric, task):
        rows, per_row = as_rows(some, task), 1 if task == "single_label" else belief.shape[1]
        table = np.stack([costs(metric, one, task) for one in own])
        return _gaussian(rows, table, per_row, n, n_public, seed)
    return _drawn(some, own, metric, n_public / n, n, n_public, task, seed)


def _gaussian(belief: Floats, table: Floats, per_row: int, n: int, n_public: int, seed: int) -> Splits:
    """`per_row` decisions that follow each other in the tables are one of the n rows, and are drawn together."""
    k, m, c = table.shape
    decided = np.einsum("nc,knc->kn", belief, table)
    row_means = decided.reshape(k, -1, per_row).mean(axis=2)
    means = row_means.mean(axis=1)
    # Of the labels, the rows given; and between rows.
    flat = (table - decided[:, :, None]).reshape(k, m * c)
    of_labels = (flat * belief.ravel()) @ flat.T / (m * per_row)
    between = np.cov(row_means, bias=True).reshape(k, k)
    rest = n - n_public
    public = of_labels / n_public + between * (1 / n_public - 1 / n)
    private = of_labels / rest + between * (1 / rest - 1 / n)
    joint = np.block([[public, -between / n], [-between / n, private]])
    values, vectors = np.linalg.eigh(joint)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    noise = np.random.default_rng(seed).standard_normal((_N_DRAWS, 2 * k)) @ root.T
    return Splits(means + noise[:, :k], means + noise[:, k:], _correlation(of_labels + between), n_public)


def _drawn(
    belief: Floats, probs: NDArray[np.floating], metric: str, share: float, n: int, n_public: int, task: str, seed: int
) -> Splits:
    """Of large tables fewer rows are drawn, and the noise is scaled to what all of them would have."""
    random = np.random.default_rng(seed)
    k, m, c = probs.shape
    rows = min(m, 20_000)
    n_draws = int(np.clip(_WORK // (k * rows * c), 200, 1000))
    score = _scorer(metric, probs, task)
    public, private = np.full((n_draws, k), np.nan), np.full((n_draws, k), np.nan)
    for s in range(n_draws):
        taken = random.permutation(m)[:rows]
        cut = min(max(1, round(share * rows)), rows - 1)
        truth = draw_labels(belief[taken], task, random)
        public[s] = score(truth[:cut], taken[:cut])
        private[s] = score(truth[cut:], taken[cut:])
    usable = np.isfinite(public).all(axis=1) & np.isfinite(private).all(axis=1)
    if usable.sum() < 2:
        raise UserError(f"{metric} is undefined on {n_public:,} public rows", next="give more --public-rows")
    public, private = public[usable], private[usable]
    scale = np.sqrt(rows / n)
    centre = np.concatenate([public, private]).mean(axis=0)
    public, private = centre + scale * (public - centre), centre + scale * (private - centre)
    return Splits(public, private, _correlation(np.cov(private, rowvar=False).reshape(k, k)), n_public)


def _scorer(metric: str, probs: NDArray[np.floating], task: str) -> Callable[[Labels, Rows], list[float]]:
    """A function from labels and the rows they belong to, to the K scores; NaN where the metric is undefined there."""
    found = find_metric(metric)
    if found.from_confusion is not None and task == "single_label":
        of_matrix, decisions, c = found.from_confusion, probs.argmax(axis=2), probs.shape[2]
        return lambda truth, rows: [of_matrix(confusion(truth, model[rows], c)) for model in decisions]

    def score(truth: Labels, rows: Rows) -> list[float]:
        try:
            return [evaluate(metric, truth, model[rows]) for model in probs]
        except UserError:  # no row of a class was drawn
            return [float("nan")] * len(probs)

    return score


def _correlation(covariance: Floats) -> Floats:
    spread = np.sqrt(np.clip(np.diag(covariance), 1e-300, None))
    return np.asarray(covariance / np.outer(spread, spread))
