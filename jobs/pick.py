"""`cli pick`: the final two submissions, with reasons.

cli pick --public-rows 2500
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.board import Board
from kaggle_tools.leaderboard import Pick, leave_one_out, pick, prepare
from kaggle_tools.leaderboard.predict import LEAST_KNOWN

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PickOptions:
    """Versions to choose from (none: all), whatever is known of the others, and how many public rows."""

    versions: tuple[str, ...] = ()
    public_rows: str = "30%"
    start: Path | None = None


@dataclass(frozen=True)
class PickResult:
    """The final two.

    Attributes:
        metric: Name.
        basis: What the estimates are, and so the scale of all scores here: ``honest`` scores, scores ``predicted``
            from public ones, or those that the runs alone make expect (``believed``).
        pick: The choice and the simulation behind it.
        reasons: In words.
        n_public: Public rows assumed.
        notes: What was left out and why.
    """

    metric: str
    basis: str
    pick: Pick
    reasons: tuple[str, ...]
    n_public: int
    notes: tuple[str, ...]


def run(options: PickOptions) -> PickResult:
    """Propose the final two.

    Raises:
        UserError: No competition, no version, no run to believe, public rows that cannot be.
    """
    known = Board.load(options.versions, options.start, command="pick", with_others=True)
    choice, copies = _without_copies(known)
    basis, expected, doubt, left_out = _estimates(known, choice)
    kept = np.flatnonzero(np.isfinite(expected))
    board, expected = known.only(choice[kept]), expected[kept]
    n_public = board.public_rows(options.public_rows)
    splits = board.splits(n_public)
    public = known.distinct_scores("public")[choice[kept]]
    found = _clipped(pick(splits, board.titles, expected, doubt, greater=board.greater, public=public), board)
    return PickResult(
        metric=board.metric,
        basis=basis,
        pick=found,
        reasons=_reasons(found, basis),
        n_public=n_public,
        notes=(*board.notes, *copies, *left_out),
    )


def _without_copies(board: Board) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Places of the versions to choose from, and a note for each copy of one: two of the same would be one chance."""
    asked = range(board.n_named or len(board.titles))
    choice = [k for k in asked if board.originals[k] == k]
    copies = [k for k in asked if k not in choice]
    notes = tuple(f"{board.titles[k]} left out: a copy of {board.titles[board.originals[k]]}" for k in copies)
    return np.array(choice), notes


def _estimates(board: Board, choice: NDArray[np.intp]) -> tuple[str, Floats, float, tuple[str, ...]]:
    """What ranks the choice, in its order: honest scores where two have one, else what the board's known scores make
    of each. Every known score counts, of versions that are no choice too."""
    honest, public = board.distinct_scores("honest"), board.distinct_scores("public")
    has = np.isfinite(honest[choice])
    if has.sum() >= min(2, len(choice)):
        both = np.isfinite(honest) & np.isfinite(public)
        spread = float(np.std((public - honest)[both], ddof=1)) if both.sum() >= 3 else _half_width(board) / 1.96
        left = tuple(f"{board.titles[k]} left out: it has no honest {board.metric}" for k in choice[~has])
        return "honest", honest[choice], spread, left
    ready = prepare(board.belief, board.probs, public, board.metric, board.task)
    scored = np.flatnonzero(np.isfinite(ready.scores))
    if len(scored) < LEAST_KNOWN:
        return "believed", ready.uncorrected[choice], 0.0, ()
    errors = leave_one_out(ready) - ready.scores[scored]
    return "predicted", ready.using(scored)[choice], float(np.sqrt(np.mean(errors**2))), ()


def _clipped(found: Pick, board: Board) -> Pick:
    """Neither expected scores nor their intervals lie where the metric cannot."""
    chances = tuple(
        replace(one, expected=board.clip(one.expected), low=board.clip(one.low), high=board.clip(one.high))
        for one in found.chances
    )
    pair = None if found.expected_pair is None else board.clip(found.expected_pair)
    return replace(found, expected_first=board.clip(found.expected_first), expected_pair=pair, chances=chances)


def _half_width(board: Board) -> float:
    widths = [
        (version.manifest.honest_interval[1] - version.manifest.honest_interval[0]) / 2
        for version in board.versions
        if version is not None
        and version.manifest.honest_interval
        and version.manifest.is_scored_by(board.metric, board.competition.classes)
    ]
    return float(np.median(widths)) if widths else 0.0


def _reasons(found: Pick, basis: str) -> tuple[str, ...]:
    words = {
        "honest": "honest (cross-validated) score",
        "predicted": "expected score, by the runs' labels and the known public scores",
        "believed": "expected score, by the runs' labels alone",
    }
    reasons = [f"{found.first} has the best {words[basis]}: {found.expected_first:.5f}"]
    if found.second is not None:
        assert found.p_second_wins is not None
        alike = f"their errors correlate {found.similarity:.2f}"
        if found.p_second_wins < 0.005:
            reasons.append(f"nothing insures it: {found.second} comes nearest, but wins on hardly any board ({alike})")
        else:
            reasons.append(
                f"{found.second} insures it best: it wins on {found.p_second_wins:.0%} of private boards, {alike}, "
                f"and the better of the two scores {found.expected_pair:.5f}"
            )
    else:
        reasons.append("no second one: there is no other that may be picked")
    if found.public_best not in (None, found.first):
        reasons.append(f"{found.public_best} leads the public board; it is not picked for that")
    reasons.append(f"in {found.p_shake_up:.0%} of draws the best in public is not the best in private")
    return tuple(reasons)
