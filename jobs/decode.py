"""`cli decode RUN`: decide the label groups of a run jointly, so that no pair comes out that never occurs.

    cli decode bert-mini
    cli decode bert-mini --metric group_accuracy --no-submission
    cli decode bert-mini --decoder blends/bert-mini-joint-1f0c.json     # replay one that was found before

The table of which classes go together is learnt from the training labels, how much it counts from the out-of-fold
predictions (`kaggle_tools.search.joint`); the honest score leaves each row's fold out of both.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.groups import groups_of
from jobs.members import find_runs, flattered, outdated, relabelled, test_stem
from jobs.recipes import FOLDER, check_recipe_name, other_metric
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from kaggle_tools.label_groups import encode_groups, group_slices, split_probs
from kaggle_tools.metrics import accuracy_by_group, evaluate_groups, find_metric
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import joint, joint_file
from kaggle_tools.search.honest import verdict_of
from kaggle_tools.search.members import differing_classes
from kaggle_tools.submissions import ManifestDraft, build_submission, count_classes, write_version
from kaggle_tools.submissions.layout import separator_of


@dataclass(frozen=True)
class DecodeOptions:
    """What to decode.

    Attributes:
        run: Name of the run.
        metric: ``exact_match`` or ``group_accuracy``; None: the competition's where it is one of them, else the first.
        decoder: A decoder's file, to apply instead of fitting one; None: fit.
        submission: Apply it to the test predictions and write a version.
        name: Of decoder and version; None: the run's with ``-joint``.
        seed: Of the bootstraps.
        start: Folder from which the competition is looked for upward; None: the working directory.
    """

    run: str
    metric: str | None = None
    decoder: Path | None = None
    submission: bool = True
    name: str | None = None
    seed: int = 0
    start: Path | None = None


@dataclass(frozen=True)
class DecodeResult:
    """What was found, or replayed.

    Attributes:
        run: Name.
        metric: What the decoder was fitted to.
        n_rows: Out-of-fold rows.
        groups: Group names in order.
        alone: (G,) accuracy of each group decided alone.
        joint: (G,) the same jointly, each row by what was learnt without its fold; of a given decoder as it decides.
        score_alone: The metric of groups decided alone.
        score: The metric of joint decoding, on the rows that it was fitted to.
        honest: The same, tables and strength learnt without the row's fold.
        gain: Of `honest` over `score_alone`.
        low: Lower end of its 95 % interval; None for a decoder of an older version.
        high: Upper end.
        verdict: What the interval advises.
        strength: How much the compatibility table counts; 0 leaves the groups alone.
        n_changed: Rows whose decision differs from that of the groups alone.
        decoder: File.
        submission: Title of the version, or None.
        seconds: Wall time.
        notes: What a reader should know.
    """

    run: str
    metric: str
    n_rows: int
    groups: tuple[str, ...]
    alone: tuple[float, ...]
    joint: tuple[float, ...]
    score_alone: float
    score: float
    honest: float
    gain: float
    low: float | None
    high: float | None
    verdict: str
    strength: float
    n_changed: int
    decoder: Path
    submission: str | None
    seconds: float
    notes: tuple[str, ...] = ()


def run(options: DecodeOptions) -> DecodeResult:
    """Fit or load a decoder, write it and a submission.

    Raises:
        UserError: No competition or run, a task without label groups, a metric that joint decoding is not fitted to, a
            decoder of other groups, predictions that do not fit the sample. Nothing is written then.
    """
    began = time.perf_counter()
    name = check_recipe_name(options.name or f"{options.run}-joint")
    if options.decoder is not None and options.metric is not None:
        raise UserError("--metric is for fitting, and --decoder names one that is fitted", next="leave one of them out")
    competition = Competition.find(options.start)
    if competition.task != "multi_group":
        raise UserError(
            f"`cli decode` is for multi_group tasks, not {competition.task}",
            where=competition.root / "competition.toml",
            next="`cli rescale RUN` moves decisions of one label group",
        )
    workspace = Workspace(competition.root, competition)
    found = find_runs(workspace, (options.run,), need_test=options.submission)[0]
    given = joint_file.load(options.decoder) if options.decoder else None
    oof = _in_order(Predictions.load(found.oof), competition, given)
    codes, probs = _known(oof)
    groups, grouped = (None, ()) if given else groups_of(competition, oof.ids)
    decoder = given or _fit(options, competition, oof, codes, probs, groups)
    # A given decoder may have been made from these very rows, and its file does not hold what was decided without them.
    decided = decoder.decode(probs) if decoder.held_out is None else decoder.held_out
    alone = np.stack([part.argmax(axis=1) for part in probs], axis=1)
    table = None
    notes = (*relabelled(competition, [found]), *flattered([found]), *grouped)
    if options.submission:
        test = Predictions.load(found.predictions(test_stem(workspace))).in_class_order(oof.classes)
        notes += outdated(competition, {found.name: test.meta.get("input")})
        answers = jointly_decided(decoder, test, competition.submission_format)
        sample = competition.path(competition.sample_submission)
        table = build_submission(answers, sample, competition)
    path = (
        options.decoder or workspace.root / FOLDER / f"{name}-{digest(repr(dataclasses.astuple(decoder)[:3]))[:8]}.json"
    )
    if options.decoder is None:
        joint_file.save(decoder, path)
    title = None
    if table is not None:
        draft = _draft(decoder, competition, path, found, test_stem(workspace), count_classes(answers))
        title = write_version(workspace.submissions, name, table, draft, separator=separator_of(sample)).title
    low, high = decoder.gain_interval or (None, None)
    return DecodeResult(
        run=found.name,
        metric=decoder.metric,
        n_rows=len(oof),
        groups=tuple(group_slices(oof.classes)),
        alone=tuple(accuracy_by_group(codes, list(alone.T)).tolist()),
        joint=tuple(accuracy_by_group(codes, list(decided.T)).tolist()),
        score_alone=decoder.score_alone,
        score=decoder.score,
        honest=decoder.honest,
        gain=decoder.honest - decoder.score_alone,
        low=low,
        high=high,
        verdict=_verdict(decoder),
        strength=decoder.strength,
        n_changed=int((decided != alone).any(axis=1).sum()),
        decoder=path,
        submission=title,
        seconds=time.perf_counter() - began,
        notes=(*notes, *losses(decoder, codes, alone, decided), *other_metric(competition, decoder.metric, title)),
    )


def jointly_decided(decoder: joint.JointDecoder, found: Predictions, form: str) -> Predictions:
    """The decisions as predictions: certainties for ``labels``, the combinations' sums for ``probabilities``."""
    probs = split_probs(found.probs, found.classes)
    if form == "probabilities":
        return dataclasses.replace(found, probs=np.concatenate(decoder.apply(probs), axis=1))
    codes = decoder.decode(probs)
    certain = [codes[:, [g]] == np.arange(part.shape[1]) for g, part in enumerate(probs)]
    return dataclasses.replace(found, probs=np.concatenate(certain, axis=1).astype(np.float32))


def _verdict(decoder: joint.JointDecoder) -> str:
    if decoder.gain_interval is not None:
        return verdict_of(*decoder.gain_interval)
    if decoder.honest > decoder.score_alone:
        return "how sure the gain is was not measured when it was fitted"
    return "no gain on unseen rows: the groups decided alone are the better choice"


def losses(
    decoder: joint.JointDecoder, codes: NDArray[np.int64], alone: NDArray[np.int64], decided: NDArray[np.int64]
) -> tuple[str, ...]:
    """A note where the metric that it was not fitted to falls: rows that are right as a whole may cost single ones."""
    scores = {
        name: [evaluate_groups(name, codes, list(one.T)) for one in (alone, decided)]
        for name in joint.METRICS
        if name != decoder.metric
    }
    return tuple(
        f"{name} falls from {before:.5f} to {after:.5f}" for name, (before, after) in scores.items() if after < before
    )


def _in_order(oof: Predictions, competition: Competition, given: joint.JointDecoder | None) -> Predictions:
    """Classes in the order of a given decoder's tables; of an old one, which names none, in the run's own."""
    if given is None:
        return oof.in_class_order(competition.classes)
    ordered = oof.in_class_order(given.classes)
    if given.classes and ordered.classes != given.classes:
        raise UserError(differing_classes("the run", oof.classes, "the decoder", given.classes), next="fit one anew")
    return ordered


def _known(oof: Predictions) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
    if oof.labels is None:
        raise UserError("these predictions carry no labels", next="train the run again")
    return encode_groups(oof.labels, oof.classes), split_probs(oof.probs, oof.classes)


def _fit(
    options: DecodeOptions,
    competition: Competition,
    oof: Predictions,
    codes: NDArray[np.int64],
    probs: list[NDArray[np.float32]],
    row_groups: NDArray[np.int64] | None,
) -> joint.JointDecoder:
    metric = find_metric(options.metric or competition.metric).name
    if options.metric is None and metric not in joint.METRICS:
        metric = joint.METRICS[0]
    found = joint.fit(codes, probs, metric, folds=oof.folds, seed=options.seed, row_groups=row_groups)
    return dataclasses.replace(found, classes=oof.classes)


def _draft(
    decoder: joint.JointDecoder, competition: Competition, path: Path, run: Run, stem: str, counts: dict[str, int]
) -> ManifestDraft:
    resolved = path.resolve()
    shown = resolved.relative_to(competition.root) if resolved.is_relative_to(competition.root) else resolved
    return ManifestDraft(
        recipe={"kind": "joint_decoder", "file": str(shown), "run": run.name},
        inputs=(path, run.predictions(stem)),
        competition=competition.name,
        metric=decoder.metric,
        oof_score=decoder.score,
        honest_score=decoder.honest,
        class_counts=counts,
        note="".join(other_metric(competition, decoder.metric, path.name)),
    )
