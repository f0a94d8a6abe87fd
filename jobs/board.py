"""Versions side by side, with what is believed of the rows: what noise, predictions and choices begin with.

A version that cannot be read, or is about other rows, is told and left out; one that was asked for by name is an error.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.leaderboard import score_of
from jobs.members import find_runs, left_out, test_stem, without_partial
from jobs.tasks import require_plain
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.leaderboard import Splits, believe, draw_splits
from kaggle_tools.metrics import Metric, find_metric
from kaggle_tools.predictions import Predictions
from kaggle_tools.similarity import Table, join
from kaggle_tools.submissions import Answers, Version, find_version, is_intact, list_versions
from kaggle_tools.submissions.answers import read_answer_file, read_answers

Floats = NDArray[np.float64]

_OF_BOARD = {"public_score": "public", "private_score": "private"}
_SCORES = ("oof_score", "honest_score", "honest_interval", *_OF_BOARD)


@dataclass(frozen=True, repr=False)
class Board:
    """Versions side by side with what is believed of the rows.

    Attributes:
        competition: Whose board it is.
        titles: K titles, those that were named first.
        versions: (K,) None for a file that is no version.
        table: What they answer, joined by id.
        belief: (N, C) probabilities of the labels.
        notes: What was left out and why.
        n_named: How many were named; 0: none, so all are meant.
    """

    competition: Competition
    titles: tuple[str, ...]
    versions: tuple[Version | None, ...]
    table: Table
    belief: NDArray[np.float32]
    notes: tuple[str, ...]
    n_named: int = 0

    @classmethod
    def load(
        cls,
        wanted: tuple[str, ...],
        start: Path | None,
        target: str | None = None,
        *,
        command: str,
        with_others: bool = False,
    ) -> Board:
        """All versions, or those `wanted` (`with_others`: and the others after them); `target`, which may be a file,
        comes before all."""
        competition = Competition.find(start)
        require_plain(competition, command)
        workspace = Workspace(competition.root, competition)
        notes: list[str] = []
        answers: dict[str, Answers] = {}
        asked = tuple(find_version(workspace.submissions, one) for one in wanted)
        named = {version.title for version in asked}
        if target is not None:
            one = read_answers(target, workspace.submissions, competition)
            answers[one.title] = one
            named.add(one.title)
        belief = _belief(workspace, competition, notes)
        if target is not None:
            join({"the runs": belief, one.title: one})  # an error of the target is not left out with a note
        others = () if wanted and not with_others else _all_versions(workspace, notes)
        for version in (*asked, *others):
            if version.title in answers:
                continue
            try:
                own = read_answer_file(version.submission, competition, title=version.title, version=version)
                join({"the runs": belief, version.title: own})
            except UserError as exc:
                if version.title in named:
                    raise
                notes.append(f"{version.title} left out: {exc.summary}")
                continue
            answers[own.title] = own
        metric = find_metric(competition.metric)
        if metric.takes == "probs":
            for title in [title for title, own in answers.items() if own.probs is None]:
                if title in named:
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
        versions = tuple(own.version and _with_usable_scores(own.version, metric, notes) for own in answers.values())
        return cls(
            competition=competition,
            titles=tuple(answers),
            versions=versions,
            table=_without_first(table),
            belief=table.probs[0],
            notes=tuple(notes),
            n_named=len(named),
        )

    @property
    def metric(self) -> str:
        """Name of the competition's metric."""
        return find_metric(self.competition.metric).name

    @property
    def greater(self) -> bool:
        """Whether more of it is better."""
        return find_metric(self.metric).greater_is_better

    def clip(self, value: float) -> float:
        """The nearest value that the metric can have."""
        return find_metric(self.metric).clip(value)

    @property
    def task(self) -> str:
        """``single_label`` or ``multi_label``."""
        return self.table.task

    @property
    def n_rows(self) -> int:
        """Test rows."""
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
        classes = self.competition.classes
        known = [None if one is None else score_of(one, by, self.metric, classes) for one in self.versions]
        return np.array([np.nan if score is None else score for score in known])

    @cached_property
    def originals(self) -> NDArray[np.intp]:
        """(K,) place of the first version that says the same of every row: a version's own, unless it is a copy."""
        first: dict[bytes, int] = {}
        said = [hashlib.blake2b(one.tobytes()).digest() for one in self.probs]
        return np.array([first.setdefault(digest, k) for k, digest in enumerate(said)])

    def distinct_scores(self, by: str) -> Floats:
        """(K,) scores of originals, a copy's where the original has none; NaN for copies, which tell nothing new."""
        scores = self.scores(by)
        for k in np.flatnonzero(np.isfinite(scores)):
            if not np.isfinite(scores[self.originals[k]]):
                scores[self.originals[k]] = scores[k]
        return np.where(self.originals == np.arange(len(scores)), scores, np.nan)

    def only(self, kept: NDArray[np.intp]) -> Board:
        """Some of the versions."""
        titles = tuple(self.titles[k] for k in kept)
        versions = tuple(self.versions[k] for k in kept)
        return Board(self.competition, titles, versions, _taken(self.table, kept), self.belief, self.notes)

    def public_rows(self, asked: str) -> int:
        """Rows of the public part, of ``2500`` or ``30%``."""
        text = asked.strip().replace(",", "")
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else None
            rows = round(self.n_rows * share) if share is not None else int(text)
        except (ValueError, OverflowError) as exc:
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


def _belief(workspace: Workspace, competition: Competition, notes: list[str]) -> Predictions:
    stem = test_stem(workspace)
    runs = find_runs(workspace, (), need_test=True)
    oof, test = {}, {}
    for run in runs:
        own = Predictions.load(run.oof).in_class_order(competition.classes)
        if own.labels is None or own.meta.get("hard_labels") == "true":
            notes.append(f"run '{run.name}' is not among those believed: no labels, or no probabilities")
            continue
        oof[run.name] = own
        test[run.name] = Predictions.load(run.predictions(stem)).in_class_order(competition.classes)
    oof, partial = without_partial(oof)
    notes += left_out(partial)
    return believe(oof, {name: test[name] for name in oof})


def _all_versions(workspace: Workspace, notes: list[str]) -> tuple[Version, ...]:
    listing = list_versions(workspace.submissions)
    notes += [f"{one.folder.name} left out: {one.problem.summary}" for one in listing.damaged]
    return listing.versions


def _with_usable_scores(version: Version, metric: Metric, notes: list[str]) -> Version:
    """Without scores that are not those of the file as it is now, or none of the metric."""
    known = {key: getattr(version.manifest, key) for key in _SCORES}
    odd = [key for key in known if known[key] is not None]
    if not is_intact(version):
        notes += [f"{version.title}: submission.csv changed since, so its scores are not used"] if odd else []
    else:
        odd = [key for key in odd if key in _OF_BOARD and metric.clip(known[key]) != known[key]]
        for key in odd:
            what = f"its {_OF_BOARD[key]} score {known[key]:g}"
            notes.append(f"{version.title}: {what} is no {metric.name}, and is not used")
    without: dict[str, Any] = dict.fromkeys(odd)
    return replace(version, manifest=replace(version.manifest, **without))


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
