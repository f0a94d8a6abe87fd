"""The board as a measurement: `cli leaderboard noise`, `cli leaderboard predict V` and `cli pick`.

All three begin alike: the versions side by side, and what is believed of the test labels by an ensemble of all runs
that have out-of-fold and test predictions. A version that cannot be read, or is about other rows, is told and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.blend import find_runs, test_stem
from jobs.leaderboard import score_of
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.leaderboard import (
    Move,
    Pick,
    Predicted,
    Splits,
    believe,
    climb,
    draw_splits,
    leave_one_out,
    pick,
    predict,
    prepare,
)
from kaggle_tools.metrics import find_metric
from kaggle_tools.predictions import Predictions
from kaggle_tools.similarity import Table, join
from kaggle_tools.submissions import Answers, Version, find_version, list_versions
from kaggle_tools.submissions.answers import read_answer_file, read_answers

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseOptions:
    """Which versions, oldest first (none: all with a public score), and how many public rows (``2500`` or ``30%``)."""

    versions: tuple[str, ...] = ()
    public_rows: str = "30%"
    start: Path | None = None


@dataclass(frozen=True)
class PredictOptions:
    """Which version or file, and how many public rows."""

    version: str
    public_rows: str = "30%"
    start: Path | None = None


@dataclass(frozen=True)
class PickOptions:
    """Versions to choose from (none: all), and how many public rows."""

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
        low: 95 % band around the public score; None where it is unknown.
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


@dataclass(frozen=True)
class PickResult:
    """The final two.

    Attributes:
        metric: Name.
        basis: What the estimates are: ``honest`` scores, or scores ``predicted`` from the board.
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


def noise(options: NoiseOptions) -> NoiseResult:
    """The noise of public scores, and the ladder over the versions.

    Raises:
        UserError: No competition, no version, no run to believe, public rows that cannot be.
    """
    board = _Board.load(options.versions, options.start)
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
            _band(title, float(score), float(error))
            for title, score, error in zip(board.titles, public, splits.noise, strict=True)
        ),
        moves=tuple(climb(_only(splits, known), titles, public[known].tolist(), greater=board.greater)),
        notes=board.notes,
    )


def foresee(options: PredictOptions) -> PredictResult:
    """The scores that the board should give a version.

    Raises:
        UserError: No competition, no such version, no run to believe, ids or classes that differ.
    """
    board = _Board.load((), options.start, target=options.version)
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


def choose(options: PickOptions) -> PickResult:
    """Propose the final two.

    Raises:
        UserError: No competition, no version, no run to believe, public rows that cannot be.
    """
    board = _Board.load(options.versions, options.start)
    basis, expected, doubt, left_out = _estimates(board)
    if left_out:
        kept = np.flatnonzero(np.isfinite(expected))
        board, expected = board.only(kept), expected[kept]
    n_public = board.public_rows(options.public_rows)
    splits = board.splits(n_public)
    found = pick(splits, board.titles, expected, doubt, greater=board.greater, public=board.scores("public"))
    return PickResult(
        metric=board.metric,
        basis=basis,
        pick=found,
        reasons=_reasons(found, basis),
        n_public=n_public,
        notes=(*board.notes, *left_out),
    )


@dataclass(frozen=True, repr=False)
class _Board:
    """Versions side by side with what is believed of the rows."""

    competition: Competition
    titles: tuple[str, ...]
    versions: tuple[Version | None, ...]
    table: Table
    belief: NDArray[np.float32]
    notes: tuple[str, ...]

    @classmethod
    def load(cls, wanted: tuple[str, ...], start: Path | None, target: str | None = None) -> _Board:
        """All versions, or those `wanted`; `target` comes first and may be a file."""
        competition = Competition.find(start)
        workspace = Workspace(competition.root, competition)
        notes: list[str] = []
        answers: dict[str, Answers] = {}
        if target is not None:
            one = read_answers(target, workspace.submissions, competition)
            answers[one.title] = one
        belief = _belief(workspace, notes)
        if target is not None:
            join({"the runs": belief, one.title: one})  # an error of the target is not left out with a note
        for version in _versions(workspace, wanted, notes):
            try:
                own = read_answer_file(version.submission, competition, title=version.title, version=version)
                join({"the runs": belief, version.title: own})
            except UserError as exc:
                if wanted:
                    raise
                notes.append(f"{version.title} left out: {exc.summary}")
                continue
            answers.setdefault(own.title, own)
        metric = find_metric(competition.metric)
        if metric.takes == "probs":
            for title in [title for title, own in answers.items() if own.probs is None]:
                if title == target or title in wanted or len(answers) == 1:
                    raise UserError(f"'{title}' holds labels, but {metric.name} is of probabilities")
                notes.append(f"{title} left out: it holds labels, and {metric.name} is of probabilities")
                del answers[title]
        if not answers:
            raise UserError(
                "no submission version to look at",
                where=workspace.submissions,
                next="`cli blend`, or `cli submissions adopt FILE`",
                found="; ".join(notes) or "none",
            )
        table = join({"the runs": belief, **answers})
        versions = tuple(own.version for own in answers.values())
        return cls(competition, tuple(answers), versions, _without_first(table), table.probs[0], tuple(notes))

    @property
    def metric(self) -> str:
        return find_metric(self.competition.metric).name

    @property
    def greater(self) -> bool:
        return find_metric(self.metric).greater_is_better

    @property
    def task(self) -> str:
        return self.table.task

    @property
    def n_rows(self) -> int:
        return len(self.table.ids)

    @property
    def probs(self) -> NDArray[np.float32]:
        """(K, N, C); labels as certain probabilities."""
        probs = self.table.probs
        if self.table.with_probs.all():
            return probs
        filled = probs.copy()
        for k in np.flatnonzero(~self.table.with_probs):
            own = self.table.decisions[k]
            filled[k] = own if own.ndim == 2 else np.eye(probs.shape[2], dtype=np.float32)[own]
        return filled

    def scores(self, by: str) -> Floats:
        """(K,) scores of one kind, NaN where unknown."""
        known = [None if version is None else score_of(version, by) for version in self.versions]
        return np.array([np.nan if score is None else score for score in known])

    def only(self, kept: NDArray[np.intp]) -> _Board:
        """Some of the versions."""
        titles = tuple(self.titles[k] for k in kept)
        versions = tuple(self.versions[k] for k in kept)
        return _Board(self.competition, titles, versions, _taken(self.table, kept), self.belief, self.notes)

    def public_rows(self, asked: str) -> int:
        """Rows of the public part, of ``2500`` or ``30%``."""
        text = asked.strip().replace(",", "")
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else None
            rows = round(self.n_rows * share) if share is not None else int(text)
        except ValueError as exc:
            raise UserError(
                f"--public-rows cannot be '{asked}'", expected="a number of rows, or a share like 30%"
            ) from exc
        if not 1 <= rows < self.n_rows:
            raise UserError(
                f"{rows:,} public rows", expected=f"between 1 and {self.n_rows - 1:,}, below the test's rows"
            )
        return rows

    def splits(self, n_public: int) -> Splits:
        """Drawn public and private scores of all."""
        return draw_splits(self.belief, self.probs, self.metric, n_public, self.task)


def _belief(workspace: Workspace, notes: list[str]) -> Predictions:
    stem = test_stem(workspace)
    runs = find_runs(workspace, (), need_test=True)
    oof, test = {}, {}
    for run in runs:
        own = Predictions.load(run.oof)
        if own.labels is None or own.meta.get("hard_labels") == "true":
            notes.append(f"run '{run.name}' is not among those believed: no labels, or no probabilities")
            continue
        oof[run.name], test[run.name] = own, Predictions.load(run.predictions(stem))
    return believe(oof, test)


def _versions(workspace: Workspace, wanted: tuple[str, ...], notes: list[str]) -> tuple[Version, ...]:
    if wanted:
        return tuple(find_version(workspace.submissions, one) for one in wanted)
    listing = list_versions(workspace.submissions)
    notes += [f"{one.folder.name} left out: {one.problem.summary}" for one in listing.damaged]
    return listing.versions


def _estimates(board: _Board) -> tuple[str, Floats, float, tuple[str, ...]]:
    """What ranks them: honest scores where two have one, else what the board's known scores make of each."""
    honest = board.scores("honest")
    known = np.isfinite(honest)
    if known.sum() >= min(2, len(honest)):
        public = board.scores("public")
        both = known & np.isfinite(public)
        spread = float(np.std((public - honest)[both], ddof=1)) if both.sum() >= 3 else _half_width(board) / 1.96
        left = tuple(
            f"{t} left out: it has no honest score" for t, has in zip(board.titles, known, strict=True) if not has
        )
        return "honest", honest, spread, left
    ready = prepare(board.belief, board.probs, board.scores("public"), board.metric, board.task)
    scored = np.flatnonzero(np.isfinite(ready.scores))
    if len(scored) < 3:
        return "believed", ready.uncorrected, 0.0, ()
    errors = leave_one_out(ready) - ready.scores[scored]
    return "predicted", ready.using(scored), float(np.sqrt(np.mean(errors**2))), ()


def _half_width(board: _Board) -> float:
    widths = [
        (version.manifest.honest_interval[1] - version.manifest.honest_interval[0]) / 2
        for version in board.versions
        if version is not None and version.manifest.honest_interval
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
        assert found.expected_pair is not None
        reasons.append(
            f"{found.second} insures it best: it wins in {found.p_second_wins:.0%} of private boards, "
            f"their errors correlate {found.similarity:.2f}, and the better of the two scores {found.expected_pair:.5f}"
        )
    if found.public_best not in (None, found.first):
        reasons.append(f"{found.public_best} leads the public board; it is not picked for that")
    reasons.append(f"in {found.p_shake_up:.0%} of draws the best in public is not the best in private")
    return tuple(reasons)


def _band(title: str, score: float, error: float) -> Band:
    if not np.isfinite(score):
        return Band(title, None, error, None, None)
    return Band(title, score, error, score - 1.96 * error, score + 1.96 * error)


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


def _only(splits: Splits, kept: NDArray[np.intp]) -> Splits:
    return Splits(splits.public[:, kept], splits.private[:, kept], splits.shared[np.ix_(kept, kept)], splits.n_public)


def _taken(table: Table, kept: NDArray[np.intp]) -> Table:
    return Table(
        names=tuple(table.names[k] for k in kept),
        ids=table.ids,
        classes=table.classes,
        task=table.task,
        decisions=table.decisions[kept],
        probs=table.probs[kept],
        with_probs=table.with_probs[kept],
        truth=table.truth,
    )


def _without_first(table: Table) -> Table:
    return _taken(table, np.arange(1, len(table.names)))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
