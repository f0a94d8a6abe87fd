"""`cli leaderboard noise`: how far a public score can be off by luck, and which moves are more than that.

cli leaderboard noise --public-rows 2500
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.board import Board
from kaggle_tools.leaderboard import Move, Splits, climb


@dataclass(frozen=True)
class NoiseOptions:
    """Which versions, oldest first (none: all with a public score), and how many public rows (``2500`` or ``30%``)."""

    versions: tuple[str, ...] = ()
    public_rows: str = "30%"
    start: Path | None = None


@dataclass(frozen=True)
class Band:
    """One version's public score with its noise.

    Attributes:
        title: Which version.
        public_score: What the board says; None where unknown.
        standard_error: Of a public score, by the luck of rows and labels.
        low: 95 % band around the public score, within the metric's range; None where the score is unknown.
        high: Its other end.
    """

    title: str
    public_score: float | None
    standard_error: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class NoiseResult:
    """How far public scores can be trusted.

    Attributes:
        metric: Name.
        n_rows: Test rows.
        n_public: Public ones.
        bands: Each version.
        moves: Each version with a public score against the best on the ladder before it.
        notes: What was left out and why.
    """

    metric: str
    n_rows: int
    n_public: int
    bands: tuple[Band, ...]
    moves: tuple[Move, ...]
    notes: tuple[str, ...]


def run(options: NoiseOptions) -> NoiseResult:
    """The noise of public scores, and the ladder over the versions.

    Raises:
        UserError: No competition, no version, no run to believe, public rows that cannot be.
    """
    board = Board.load(options.versions, options.start, command="leaderboard noise")
    public = board.scores("public")
    if not options.versions and np.isfinite(public).any():
        board = board.only(np.flatnonzero(np.isfinite(public)))
        public = board.scores("public")
    n_public = board.public_rows(options.public_rows)
    splits = board.splits(n_public)
    known = np.flatnonzero(np.isfinite(public))
    titles = [board.titles[k] for k in known]
    return NoiseResult(
        metric=board.metric,
        n_rows=board.n_rows,
        n_public=n_public,
        bands=tuple(
            _band(board, title, float(score), float(error))
            for title, score, error in zip(board.titles, public, splits.noise, strict=True)
        ),
        moves=tuple(climb(_only(splits, known), titles, public[known].tolist(), greater=board.greater)),
        notes=board.notes,
    )


def _band(board: Board, title: str, score: float, error: float) -> Band:
    if not np.isfinite(score):
        return Band(title, None, error, None, None)
    return Band(title, score, error, board.clip(score - 1.96 * error), board.clip(score + 1.96 * error))


def _only(splits: Splits, kept: NDArray[np.intp]) -> Splits:
    return Splits(splits.public[:, kept], splits.private[:, kept], splits.shared[np.ix_(kept, kept)], splits.n_public)
