"""`cli leaderboard predict`: the score that the board should give a version, before or after it is sent.

cli leaderboard predict latest
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jobs.board import Board, Floats
from kaggle_tools.leaderboard import Predicted, leave_one_out, predict, prepare


@dataclass(frozen=True)
class PredictOptions:
    """Which version or file, and how many public rows."""

    version: str
    public_rows: str = "30%"
    start: Path | None = None


@dataclass(frozen=True)
class PredictResult:
    """What the board should say of a version.

    Attributes:
        title: Which.
        metric: Name.
        public: Expected public score; known scores of other versions correct it.
        private: Expected private score: from known private scores, else the public expectation with a wider interval.
        private_from: ``private`` or ``public`` scores.
        known_public: What the board said, if it has; not used.
        known_private: The same of the private board.
        others: Known version → (its public score, what the others predict).
        correlation: Of those two, None with fewer than three, or where one side does not vary.
        n_public: Public rows assumed.
        copy_of: A version that says the same of every row and has a score, which is then what is expected.
        notes: What was left out and why.
    """

    title: str
    metric: str
    public: Predicted
    private: Predicted
    private_from: str
    known_public: float | None
    known_private: float | None
    others: dict[str, tuple[float, float]]
    correlation: float | None
    n_public: int
    copy_of: str | None
    notes: tuple[str, ...]


def run(options: PredictOptions) -> PredictResult:
    """The scores that the board should give a version.

    Raises:
        UserError: No competition, no such version, no run to believe, ids or classes that differ.
    """
    board = Board.load((), options.start, target=options.version, command="leaderboard predict")
    n_public = board.public_rows(options.public_rows)
    target = 0
    public, private = board.distinct_scores("public"), board.distinct_scores("private")
    by_public = prepare(board.belief, board.probs, public, board.metric, board.task)
    twin, expected = _of_copy(board, "public", predict(by_public, target))
    others = np.flatnonzero(np.isfinite(public) & (np.arange(len(public)) != target))
    predicted = leave_one_out(by_public, others) if len(others) >= 3 else np.empty(0)
    of_private = prepare(board.belief, board.probs, private, board.metric, board.task)
    private_twin, expected_private = _of_copy(board, "private", predict(of_private, target))
    private_from = "private"
    if expected_private.n_known == 0 and expected.n_known:
        shift = float(board.splits(n_public).noise_of_shift[target])
        expected_private, private_from = _widened(expected, shift), "public"
    return PredictResult(
        title=board.titles[target],
        metric=board.metric,
        public=_clipped(expected, board),
        private=_clipped(expected_private, board),
        private_from=private_from,
        known_public=_or_none(board.scores("public")[target]),
        known_private=_or_none(board.scores("private")[target]),
        others={board.titles[k]: (float(public[k]), float(value)) for k, value in zip(others, predicted, strict=False)},
        correlation=_correlation(public[others], predicted) if len(predicted) else None,
        n_public=n_public,
        copy_of=twin or private_twin,
        notes=board.notes,
    )


def _of_copy(board: Board, by: str, expected: Predicted) -> tuple[str | None, Predicted]:
    """What is expected of the first version; where a copy of it has a score on the board, that one, for certain."""
    scores = board.scores(by)
    copies = np.flatnonzero((board.originals == 0) & np.isfinite(scores) & (np.arange(len(scores)) != 0))
    if not len(copies):
        return None, expected
    score = float(scores[copies[0]])
    found = replace(expected, score=score, low=score, high=score, error=0.0, n_known=1, method="copy")
    return board.titles[copies[0]], found


def _correlation(a: Floats, b: Floats) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else None


def _widened(expected: Predicted, shift: float) -> Predicted:
    """The private score from public ones: as expected, but other rows are drawn."""
    if expected.low is None or expected.high is None:
        return expected
    half = float(np.hypot((expected.high - expected.low) / 2, 1.96 * shift))
    return replace(expected, low=expected.score - half, high=expected.score + half)


def _clipped(expected: Predicted, board: Board) -> Predicted:
    """Neither the score nor its interval lie where the metric cannot."""
    low, high = (None if end is None else board.clip(end) for end in (expected.low, expected.high))
    return replace(expected, score=board.clip(expected.score), low=low, high=high)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
