"""`cli leaderboard predict`: the score that the board should give a version, before or after it is sent.

cli leaderboard predict latest
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.board import Board
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
        correlation: Of those two, None with fewer than three.
        n_public: Public rows assumed.
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
    notes: tuple[str, ...]


def run(options: PredictOptions) -> PredictResult:
    """The scores that the board should give a version.

    Raises:
        UserError: No competition, no such version, no run to believe, ids or classes that differ.
    """
    board = Board.load((), options.start, target=options.version)
    n_public = board.public_rows(options.public_rows)
    target = 0
    public, private = board.scores("public"), board.scores("private")
    by_public = prepare(board.belief, board.probs, public, board.metric, board.task)
    expected = predict(by_public, target)
    others = np.flatnonzero(np.isfinite(public) & (np.arange(len(public)) != target))
    predicted = leave_one_out(by_public, others) if len(others) >= 3 else np.empty(0)
    of_private = prepare(board.belief, board.probs, private, board.metric, board.task)
    expected_private = predict(of_private, target)
    private_from = "private"
    if expected_private.n_known == 0 and expected.n_known:
        shift = float(board.splits(n_public).noise_of_shift[target])
        expected_private, private_from = _widened(expected, shift), "public"
    return PredictResult(
        title=board.titles[target],
        metric=board.metric,
        public=expected,
        private=expected_private,
        private_from=private_from,
        known_public=_or_none(public[target]),
        known_private=_or_none(private[target]),
        others={board.titles[k]: (float(public[k]), float(value)) for k, value in zip(others, predicted, strict=False)},
        correlation=float(np.corrcoef(public[others], predicted)[0, 1]) if len(predicted) else None,
        n_public=n_public,
        notes=board.notes,
    )


def _widened(expected: Predicted, shift: float) -> Predicted:
    """The private score from public ones: as expected, but other rows are drawn."""
    if expected.low is None or expected.high is None:
        return expected
    half = float(np.hypot((expected.high - expected.low) / 2, 1.96 * shift))
    return Predicted(
        score=expected.score,
        uncorrected=expected.uncorrected,
        low=expected.score - half,
        high=expected.score + half,
        error=expected.error,
        agreement=expected.agreement,
        n_known=expected.n_known,
        method=expected.method,
    )


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
