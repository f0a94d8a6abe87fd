"""How well out-of-fold scores track the board: the question before every choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Tracking:
    """Our scores against the board's, of the same submissions.

    Attributes:
        n: Submissions that have both.
        rank_correlation: Spearman's; None with fewer than three, or where one side does not vary.
        offset: Median of board minus ours.
        spread: Standard deviation of board minus ours; None with one.
        in_words: The figures as a sentence.
        advice: How far to trust our scores; empty where it cannot be told.
    """

    n: int
    rank_correlation: float | None
    offset: float | None
    spread: float | None
    in_words: str
    advice: str = ""


def track(ours: ArrayLike, board: ArrayLike) -> Tracking:
    """Compare; NaN where a score is not known."""
    a, b = np.asarray(ours, np.float64), np.asarray(board, np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    n = len(a)
    if not n:
        return Tracking(0, None, None, None, "no version has both a score of ours and one of the board")
    offset = float(np.median(b - a))
    spread = float(np.std(b - a, ddof=1)) if n > 1 else None
    if n < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Tracking(n, None, offset, spread, f"{n} with both scores: too few to tell, or all the same")
    correlation = float(spearmanr(a, b).statistic)
    words = f"rank correlation {correlation:.3f} of {n}, offset {offset:+.5f} (median)"
    return Tracking(n, correlation, offset, spread, words, _advice(correlation))


def _advice(correlation: float) -> str:
    if correlation >= 0.8:
        return "trust your own scores"
    if correlation >= 0.4:
        return "your own scores point the right way, roughly"
    return "your own scores do not tell the board's order: look for a leak, a drift, or too little data"
