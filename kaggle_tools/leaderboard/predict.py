"""What a board will say of a submission, before it is sent: from out-of-fold labels, agreement and known scores.

    found = predict(belief, probs, scores, target=4, metric="log_loss")
    found.score, found.low, found.high

Means over rows are corrected as `project` says. Of any other metric, what the belief misses of the known scores is
regressed on the scores that it expects and on how often a submission agrees with it (ridge). Either way the interval
comes from predicting each known score by the others. The target's own score is never used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from kaggle_tools.errors import UserError
from kaggle_tools.leaderboard.costs import as_rows, costs, is_mean_over_rows
from kaggle_tools.leaderboard.project import project
from kaggle_tools.metrics import evaluate

Floats = NDArray[np.float64]

LEAST_KNOWN = 3  # fewer known scores correct nothing and give no interval
_MOST_VALUES = 20_000_000  # submissions × rows × classes that are looked at; beyond, of rows at even distances
_DRAWS = 24  # of the labels, where a metric is no mean over rows
_RIDGE = 0.3


@dataclass(frozen=True)
class Predicted:
    """A score to be expected.

    Attributes:
        score: What the board should say.
        uncorrected: What the belief alone expects, without any known score.
        low: Lower end of the 95 % interval; None with fewer than `LEAST_KNOWN` known scores.
        high: Upper end.
        error: Root mean square error of predicting each known score by the others, None likewise.
        agreement: Share of decisions (one a row; of several labels one a row and label) that are the belief's.
        n_known: Known scores of other submissions that were used.
        method: ``projection``, ``regression``, ``belief`` (nothing was corrected), or ``copy`` (its score is known).
    """

    score: float
    uncorrected: float
    low: float | None
    high: float | None
    error: float | None
    agreement: float
    n_known: int
    method: str


@dataclass(frozen=True, repr=False)
class Board:
    """Submissions ready to be predicted.

    Attributes:
        scores: (K,) known scores, NaN where unknown.
        uncorrected: (K,) what the belief expects.
        agreement: (K,) with the belief's decisions.
        using: Rows of known submissions → (K,) predictions of all by these.
        method: As in `Predicted`.
    """

    scores: Floats
    uncorrected: Floats
    agreement: Floats
    using: Callable[[NDArray[np.intp]], Floats]
    method: str


def prepare(
    belief: NDArray[np.floating],
    probs: NDArray[np.floating],
    scores: Floats,
    metric: str,
    task: str = "single_label",
    seed: int = 0,
) -> Board:
    """Put together what predictions need.

    Args:
        belief: (N, C) probabilities of the test labels, calibrated.
        probs: (K, N, C) submissions; of labels one-hot, where the metric needs no more.
        scores: (K,) scores on the board, NaN where unknown.
        metric: What the board computes.
        task: ``single_label`` or ``multi_label``.
        seed: Of drawn labels.
    """
    k, n, c = probs.shape
    step = max(1, -(-(k * n * c) // _MOST_VALUES))
    some, probs = np.asarray(belief[::step], np.float64), probs[:, ::step]
    agreement = _agreement(some, probs, task)
    if is_mean_over_rows(metric, task):
        table = np.stack([costs(metric, one, task) for one in probs])
        rows = as_rows(some, task)
        uncorrected = np.einsum("nc,knc->k", rows, table) / len(rows)
        return Board(scores, uncorrected, agreement, _by_projection(rows, table, scores), "projection")
    uncorrected = _drawn(some, probs, metric, task, seed)
    features = np.stack([uncorrected, agreement], axis=1)
    return Board(scores, uncorrected, agreement, _by_regression(features, scores), "regression")


def predict(board: Board, target: int) -> Predicted:
    """The score of one submission by the known scores of all others."""
    known = np.flatnonzero(~np.isnan(board.scores) & (np.arange(len(board.scores)) != target))
    uncorrected, agreement = float(board.uncorrected[target]), float(board.agreement[target])
    if len(known) < LEAST_KNOWN:
        return Predicted(uncorrected, uncorrected, None, None, None, agreement, 0, "belief")
    score = float(board.using(known)[target])
    errors = leave_one_out(board, known) - board.scores[known]
    error = float(np.sqrt(np.mean(errors**2)))
    reach = float(student.ppf(0.975, len(known) - 1) * error * np.sqrt(1 + 1 / len(known)))
    return Predicted(score, uncorrected, score - reach, score + reach, error, agreement, len(known), board.method)


def leave_one_out(board: Board, known: NDArray[np.intp] | None = None) -> Floats:
    """Each known submission's score as the others predict it, in the order of `known` (default: all known ones).

    Raises:
        UserError: Fewer than three known scores.
    """
    if known is None:
        known = np.flatnonzero(~np.isnan(board.scores))
    if len(known) < 2:
        raise UserError(
            f"{len(known)} known scores", expected="three or more", next="record some: `cli record V --public …`"
        )
    return np.array([board.using(np.delete(known, place))[k] for place, k in enumerate(known)])


def _by_projection(belief: Floats, table: Floats, scores: Floats) -> Callable[[NDArray[np.intp]], Floats]:
    weights: Floats = np.zeros(len(scores))

    def using(known: NDArray[np.intp]) -> Floats:
        found = project(belief, table[known], scores[known], weights[known])
        weights[known] = found.weights  # the next one begins here: leaving one out moves the others little
        return np.asarray(np.einsum("nc,knc->k", np.exp(found.log_probs), table) / len(belief))

    return using


def _by_regression(features: Floats, scores: Floats) -> Callable[[NDArray[np.intp]], Floats]:
    """By (K, 2) features, the first what the belief expects; that and an offset are what few known scores leave."""
    spread = features.std(axis=0)  # of all: of a few known ones that are alike it would make any other one far away

    def using(known: NDArray[np.intp]) -> Floats:
        scaled = (features - features[known].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        missed = scores[known] - features[known, 0]
        own, offset = scaled[known], missed.mean()
        inner = own.T @ own + _RIDGE * np.eye(features.shape[1])
        return np.asarray(features[:, 0] + offset + scaled @ np.linalg.solve(inner, own.T @ (missed - offset)))

    return using


def _agreement(belief: Floats, probs: NDArray[np.floating], task: str) -> Floats:
    if task == "multi_label":
        return np.asarray(((probs >= 0.5) == (belief >= 0.5)).mean(axis=(1, 2)))
    return np.asarray((probs.argmax(axis=2) == belief.argmax(axis=1)).mean(axis=1))


def _drawn(belief: Floats, probs: NDArray[np.floating], metric: str, task: str, seed: int) -> Floats:
    """(K,) mean score over labels drawn from the belief."""
    random = np.random.default_rng(seed)
    total = np.zeros(len(probs))
    for _ in range(_DRAWS):
        truth = draw_labels(belief, task, random)
        total += [evaluate(metric, truth, one) for one in probs]
    return total / _DRAWS


def draw_labels(belief: Floats, task: str, random: np.random.Generator) -> NDArray[np.int64]:
    """(N,) classes drawn from (N, C) probabilities, or (N, C) of 0 and 1 for ``multi_label``."""
    if task == "multi_label":
        return (random.random(belief.shape) < belief).astype(np.int64)
    bounds = belief.cumsum(axis=1)
    point = random.random((len(belief), 1)) * bounds[:, -1:]
    return np.asarray((point >= bounds[:, :-1]).sum(axis=1), np.int64)
