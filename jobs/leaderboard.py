"""`cli leaderboard`: all versions ranked, and how our own scores track the board. `cli record`: what the board said.

    cli record 7 --public 0.738 --rank 46
    cli leaderboard

Reading never changes anything, and no damage hides a version: what cannot be read is told beside the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from jobs.workspace import Workspace
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.leaderboard.tracking import Tracking, track
from kaggle_tools.metrics import find_metric
from kaggle_tools.similarity import join
from kaggle_tools.similarity.measures import agreement_and_kappa
from kaggle_tools.submissions import Version, edited_by_hand, find_version, is_intact, list_versions, record_scores
from kaggle_tools.submissions.answers import read_answer_file

By = Literal["auto", "private", "public", "honest", "oof"]

_ATTRIBUTE = {"private": "private_score", "public": "public_score", "honest": "honest_score", "oof": "oof_score"}


@dataclass(frozen=True)
class LeaderboardOptions:
    """How to rank.

    Attributes:
        by: Score that ranks; ``auto`` takes the one that most versions have, the private one first among equals.
        start: Folder from which the competition is looked for upward.
    """

    by: By = "auto"
    start: Path | None = None


@dataclass(frozen=True)
class Standing:
    """One version on our own board.

    Attributes:
        place: From 1; None where the version lacks the score that ranks.
        title: Such as ``v0007-blend``.
        kind: Of its recipe.
        age_days: Since it was made.
        oof_score: Of the recipe on its out-of-fold predictions.
        honest_score: Nested cross-validated.
        honest_interval: Its 95 % interval.
        public_score: Of the public board.
        private_score: Of the private board.
        rank: Place on the public board.
        metric: What the out-of-fold and honest scores are of; the board's scores are of the competition's metric.
        similarity: Agreement with the version in place 1; None where the files cannot be compared.
        remark: What is odd about it.
    """

    place: int | None
    title: str
    kind: str
    age_days: float
    oof_score: float | None
    honest_score: float | None
    honest_interval: tuple[float, float] | None
    public_score: float | None
    private_score: float | None
    rank: int | None
    metric: str | None
    similarity: float | None
    remark: str


@dataclass(frozen=True)
class LeaderboardResult:
    """All versions, best first, then those without the score that ranks.

    Attributes:
        metric: Name; None where no version and no competition tells it.
        by: Score that ranks.
        standings: One line each.
        tracking: Our scores (honest, else OOF) against the public ones.
        public_to_private: Public scores against the private ones.
        notes: Versions that are damaged or unfinished.
    """

    metric: str | None
    by: str
    standings: tuple[Standing, ...]
    tracking: Tracking
    public_to_private: Tracking
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RecordOptions:
    """What a board said.

    Attributes:
        version: As `find_version` takes it.
        public: Public score.
        private: Private score.
        rank: Place on the public board.
        start: Folder from which the competition is looked for upward.
        clear: What is to be forgotten, of ``public``, ``private`` and ``rank``.
    """

    version: str
    public: float | None = None
    private: float | None = None
    rank: int | None = None
    start: Path | None = None
    clear: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordResult:
    """What the manifest says now."""

    title: str
    public_score: float | None
    private_score: float | None
    rank: int | None


def run(options: LeaderboardOptions) -> LeaderboardResult:
    """Rank all versions.

    Raises:
        UserError: No versions yet.
    """
    workspace = Workspace.find(options.start)
    listing = list_versions(workspace.submissions)
    if not listing.versions and not listing.damaged:
        raise UserError(
            "no submission versions yet",
            where=workspace.submissions,
            next="`cli score --input <test file>`, `cli blend`, or `cli submissions adopt FILE`",
        )
    metric = _metric(workspace, listing.versions)
    classes = workspace.competition.classes if workspace.competition else ()
    by = _fitting(listing.versions, metric, classes) if options.by == "auto" else options.by
    greater = find_metric(metric).greater_is_better if metric else True
    scores = {version.title: score_of(version, by, metric, classes) for version in listing.versions}
    ranked = sorted(listing.versions, key=lambda version: _key(scores[version.title], version, greater))
    likeness = _similarity_to_first(ranked, workspace)
    first = {one.manifest.submission_digest: one.title for one in reversed(listing.versions)}  # the oldest of copies
    ours = [score_of(version, "honest", metric, classes) for version in ranked]
    public = [version.manifest.public_score for version in ranked]
    private = [version.manifest.private_score for version in ranked]
    return LeaderboardResult(
        metric=metric,
        by=by,
        standings=tuple(
            _standing(
                version,
                place if scores[version.title] is not None else None,
                likeness.get(version.title),
                _remarks(version, metric, classes, first[version.manifest.submission_digest]),
            )
            for place, version in enumerate(ranked, start=1)
        ),
        tracking=track(_numbers(ours), _numbers(public)),
        public_to_private=track(_numbers(public), _numbers(private)),
        notes=(
            *(f"{one.folder.name} is damaged: {one.problem.summary}" for one in listing.damaged),
            *(f"{path.name} was begun and not finished" for path in listing.unfinished),
        ),
    )


def record(options: RecordOptions) -> RecordResult:
    """Write scores into a version's manifest, or clear them, whole or not at all.

    Raises:
        UserError: Nothing to record, no such version (names the nearest), a score that is no number or lies outside
            the range of the competition's metric, something both given and cleared.
    """
    given = {"public": options.public, "private": options.private, "rank": options.rank}
    unknown = [name for name in options.clear if name not in given]
    if unknown:
        raise UserError(f"--clear cannot be '{unknown[0]}'", next=did_you_mean(unknown[0], list(given)))
    both = [name for name in options.clear if given[name] is not None]
    if both:
        raise UserError(
            f"--{both[0]} and --clear {both[0]}", next="a new value replaces the old one: leave --clear out"
        )
    if not options.clear and all(value is None for value in given.values()):
        raise UserError(
            "nothing to record", next=f"cli record {options.version} --public SCORE [--private …] [--rank …]"
        )
    workspace = Workspace.find(options.start)
    version = find_version(workspace.submissions, options.version)
    manifest = record_scores(
        version.folder,
        public=options.public,
        private=options.private,
        rank=options.rank,
        metric=workspace.competition.metric if workspace.competition else None,
        clear=options.clear,
    )
    return RecordResult(version.title, manifest.public_score, manifest.private_score, manifest.rank)


def score_of(version: Version, by: str, metric: str | None, classes: Sequence[str]) -> float | None:
    """A version's score of one kind, by the board's metric; the honest one is the OOF score where there is no other.

    A recipe may have been fitted to another metric than the board's, or to another order of the classes where that
    matters: its own scores are then no scores here.
    """
    if by in ("honest", "oof") and not version.manifest.is_scored_by(metric, classes):
        return None
    value = getattr(version.manifest, _ATTRIBUTE[by])
    if value is None and by == "honest":
        value = version.manifest.oof_score
    return None if value is None else float(value)


def _numbers(values: list[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _fitting(versions: tuple[Version, ...], metric: str | None, classes: Sequence[str]) -> str:
    known = {
        by: sum(score_of(version, by, metric, classes) is not None for version in versions)
        for by in ("private", "public", "honest")
    }
    return max(known, key=lambda by: known[by])  # the first of equals


def _metric(workspace: Workspace, versions: tuple[Version, ...]) -> str | None:
    if workspace.competition is not None:
        return workspace.competition.metric
    return next((version.manifest.metric for version in versions if version.manifest.metric), None)


def _key(score: float | None, version: Version, greater: bool) -> tuple[bool, float, int]:
    return score is None, 0.0 if score is None else -score if greater else score, -version.number


def _similarity_to_first(ranked: list[Version], workspace: Workspace) -> dict[str, float]:
    """Agreement with the best, where files can be read and are about the same rows."""
    found: dict[str, float] = {}
    best = None
    for version in ranked:
        try:
            own = read_answer_file(version.submission, workspace.competition, title=version.title)
            best = best or own
            codes = join({"best": best, "own": own}).decisions
        except UserError:
            continue
        found[version.title] = float(agreement_and_kappa(codes.reshape(2, -1))[0][0, 1])
    return found


def _standing(version: Version, place: int | None, similarity: float | None, remarks: list[str]) -> Standing:
    m = version.manifest
    made = datetime.fromisoformat(m.created)
    age = datetime.now(UTC) - (made if made.tzinfo else made.replace(tzinfo=UTC))
    return Standing(
        place=place,
        title=version.title,
        kind=str(m.recipe.get("kind", "–")),
        age_days=age.total_seconds() / 86_400,
        oof_score=m.oof_score,
        honest_score=m.honest_score,
        honest_interval=m.honest_interval,
        public_score=m.public_score,
        private_score=m.private_score,
        rank=m.rank,
        metric=m.metric,
        similarity=similarity,
        remark="; ".join(remarks),
    )


def _remarks(version: Version, metric: str | None, classes: Sequence[str], first: str) -> list[str]:
    """What is odd about it; `first` is the oldest version with the same file."""
    remarks = ["manifest edited by hand"] if edited_by_hand(version.folder) else []
    if first != version.title:
        remarks.append(f"the same file as {first}")
    if not version.manifest.is_scored_by(metric):
        remarks.append(f"fitted to {version.manifest.metric}: its own scores do not rank here")
    elif version.manifest.of_other_order(classes):
        order = ", ".join(version.manifest.class_counts)
        remarks.append(f"made when the classes were {order}, in this order: its own scores do not rank here")
    try:
        return remarks if is_intact(version) else [*remarks, "submission.csv changed since"]
    except OSError as exc:
        return [*remarks, f"submission.csv cannot be read: {exc.strerror}"]
