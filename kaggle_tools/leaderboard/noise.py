"""Is a move on the public leaderboard more than noise?

The ladder (Blum & Hardt 2015, The Ladder: a reliable leaderboard for machine learning competitions) takes a submission
for better than the best before it only where the public score gains more than one standard error of their paired
difference. Who looks at the board with this rule can send many submissions without being led astray by luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import norm

from kaggle_tools.leaderboard.splits import Splits


@dataclass(frozen=True)
class Move:
    """From one submission's public score to another's.

    Attributes:
        before: The one that was best on the ladder until then.
        after: The new one.
        gain: How much better the new score is; above zero is better whatever the metric's direction.
        standard_error: Of the difference, both scored on the same public rows.
        within_noise: Whether 95 % of moves between equally good submissions would be as large: nothing is shown.
        counts: Whether the ladder takes it for an improvement.
        p_better: How sure the move alone makes it that the new one is better, nothing being known before.
    """

    before: str
    after: str
    gain: float
    standard_error: float
    within_noise: bool
    counts: bool
    p_better: float


def move(splits: Splits, names: Sequence[str], scores: Sequence[float], a: int, b: int, *, greater: bool) -> Move:
    """Judge the move from submission `a` to `b`; `greater` says whether more is better."""
    gain = float(scores[b] - scores[a]) * (1.0 if greater else -1.0)
    error = splits.noise_of_move(a, b)
    p_better = float(norm.cdf(gain / error)) if error > 0 else 0.5 + 0.5 * ((gain > 0) - (gain < 0))
    return Move(
        before=names[a],
        after=names[b],
        gain=gain,
        standard_error=error,
        within_noise=abs(gain) <= 1.96 * error,
        counts=gain > error,
        p_better=p_better,
    )


def climb(splits: Splits, names: Sequence[str], scores: Sequence[float], *, greater: bool) -> list[Move]:
    """Every submission after the first, in the order in which they were made, against the best on the ladder."""
    best, moves = 0, []
    for new in range(1, len(names)):
        moves.append(move(splits, names, scores, best, new, greater=greater))
        if moves[-1].counts:
            best = new
    return moves
