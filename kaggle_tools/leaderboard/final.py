"""Which two submissions to pick for the private leaderboard: the best, and the one that insures it best.

The second is worth what it adds where the first is unlucky, so it should be good and unlike the first. Both follow from
draws of the private score: the pair whose better one scores best on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.leaderboard.splits import Splits

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chances:
    """What the simulation says of one submission.

    Attributes:
        name: Which.
        expected: Mean private score, on the scale of the estimates.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_best: Share of draws in which it is the best of all in private.
        rank_low: Its private place among ours is this or a later one in 95 % of draws.
        rank_high: It is this or an earlier one in 95 % of draws.
    """

    name: str
    expected: float
    low: float
    high: float
    p_best: float
    rank_low: int
    rank_high: int


@dataclass(frozen=True)
class Pick:
    """The final two.

    Attributes:
        first: Best expected score.
        second: The one that adds most to it; None where there is but one.
        similarity: Correlation of what the rows cost the two.
        expected_first: Mean private score of the first alone.
        expected_pair: Mean private score of the better of the two.
        p_second_wins: Share of draws in which the second is the better one.
        public_best: The best on the public board, where it is known.
        p_shake_up: Share of draws in which the submission with the best public score is not the best in private.
        chances: Of every submission, best first.
    """

    first: str
    second: str | None
    similarity: float | None
    expected_first: float
    expected_pair: float | None
    p_second_wins: float | None
    public_best: str | None
    p_shake_up: float
    chances: tuple[Chances, ...]


def pick(
    splits: Splits,
    names: Sequence[str],
    expected: Floats,
    doubt: float,
    *,
    greater: bool,
    public: Floats | None = None,
    seed: int = 0,
) -> Pick:
    """Choose two.

    Args:
        splits: Drawn public and private scores of K submissions.
        names: K names.
        expected: (K,) the best estimate of each one's score.
        doubt: Standard deviation of these estimates; alike submissions are wrong alike.
        greater: Whether more is better.
        public: (K,) public scores, NaN where unknown.
        seed: Of the doubt's draws.
    """
    sign = 1.0 if greater else -1.0
    drawn_public, drawn_private = _with_doubt(splits, expected, doubt, seed)
    private = sign * drawn_private
    first = int(np.argmax(sign * expected))
    pairs = np.maximum(private, private[:, [first]]).mean(axis=0)
    pairs[first] = -np.inf
    second = int(np.argmax(pairs)) if len(names) > 1 else None
    best_public = np.argmax(sign * drawn_public, axis=1)
    shaken = float(np.mean(best_public != private.argmax(axis=1)))
    leader = None
    if public is not None and np.isfinite(public).any():
        leader = int(np.nanargmax(sign * public))
        leader = first if public[first] == public[leader] else leader
    return Pick(
        first=names[first],
        second=None if second is None else names[second],
        similarity=None if second is None else float(splits.shared[first, second]),
        expected_first=float(drawn_private[:, first].mean()),
        expected_pair=None if second is None else float(sign * pairs[second]),
        p_second_wins=None if second is None else float(np.mean(private[:, second] > private[:, first])),
        public_best=None if leader is None else names[leader],
        p_shake_up=shaken,
        chances=_chances(names, drawn_private, sign),
    )


def _with_doubt(splits: Splits, expected: Floats, doubt: float, seed: int) -> tuple[Floats, Floats]:
    """Draws moved to the estimates, which may be wrong: by the same for both parts, and alike for alike submissions.

    Their means are the estimates themselves: no luck of the draws is left in what is shown as a score.
    """
    s, k = splits.private.shape
    values, vectors = np.linalg.eigh(splits.shared)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    wrong = doubt * (np.random.default_rng(seed).standard_normal((s, k)) @ root.T)
    wrong += expected - wrong.mean(axis=0)
    public, private = splits.public - splits.public.mean(axis=0), splits.private - splits.private.mean(axis=0)
    return public + wrong, private + wrong


def _chances(names: Sequence[str], private: Floats, sign: float) -> tuple[Chances, ...]:
    places = (-sign * private).argsort(axis=1).argsort(axis=1) + 1
    found = [
        Chances(
            name=name,
            expected=float(private[:, k].mean()),
            low=float(np.quantile(private[:, k], 0.025)),
            high=float(np.quantile(private[:, k], 0.975)),
            p_best=float(np.mean(places[:, k] == 1)),
            rank_low=int(np.quantile(places[:, k], 0.05)),
            rank_high=int(np.quantile(places[:, k], 0.95)),
        )
        for k, name in enumerate(names)
    ]
    return tuple(sorted(found, key=lambda one: -sign * one.expected))
