"""Which runs a search takes, and what their predictions must be before it begins.

Everything that can be wrong with them is told here, with the run's name, so that a search fails in its first second and
nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.groups import groups_of
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import sample_digest, table_stem
from kaggle_tools.label_groups import split_probs
from kaggle_tools.predictions import Predictions
from kaggle_tools.probabilities import TOLERANCE, to_probabilities
from kaggle_tools.search import members as joined
from kaggle_tools.search.threads import in_threads
from kaggle_tools.submissions import build_submission


def find_runs(workspace: Workspace, names: Sequence[str], *, need_test: bool) -> list[Run]:
    """The runs that are named, or all that have what is needed.

    Raises:
        UserError: A run that is not there or lacks OOF (or test) predictions, or is named twice; none at all.
    """
    stem = test_stem(workspace) if need_test else None
    if names:
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise UserError(f"run '{twice[0]}' is named twice", next="name each run once")
        runs = [workspace.run(name) for name in names]
        for run in runs:
            _require(run, stem)
        return runs
    complete = workspace.runs()
    runs = [run for run in complete if run.oof.is_file() and (stem is None or run.predictions(stem).is_file())]
    if not runs:
        raise UserError(
            f"none of {len(complete)} runs has out-of-fold{' and test' if need_test else ''} predictions",
            where=workspace.runs_folder,
            next="train some, then `cli score --input` the test file; or `cli import` them",
        )
    return runs


def test_stem(workspace: Workspace) -> str:
    """What the competition's test file is called in `runs/<run>/predictions/`.

    Raises:
        UserError: The competition names no test file.
    """
    test = workspace.competition.test if workspace.competition else None
    if test is None:
        raise UserError("the competition names no test file", next="--no-submission, or `cli init --test … --force`")
    return table_stem(Path(test).name)


@dataclass(frozen=True)
class LoadedRuns:
    """Runs that a search takes.

    Attributes:
        runs: In order.
        oof: Their out-of-fold predictions as one array.
        groups: (N,) groups of its rows, where the folds keep some together.
        notes: Runs that were left out and why, those whose labels may be old, those whose scores flatter, and groups.
    """

    runs: tuple[Run, ...]
    oof: joined.Members
    groups: NDArray[np.int64] | None
    notes: tuple[str, ...]


def load_oof(
    runs: Sequence[Run], competition: Competition, *, named: bool, normalise: bool = False, allow_absent: bool = False
) -> LoadedRuns:
    """The runs' out-of-fold predictions as one array, fit to be searched.

    Args:
        runs: In the order of the result.
        competition: The order of its classes is the result's, whatever it was when a run was made.
        named: Whether a person named them: one that holds but some of the rows is then an error, else left out.
        normalise: Divide each row by its sum.
        allow_absent: Accept classes without a row.

    Raises:
        UserError: As `load_checked` and `refuse_partial`; a run that says the same of every row; ids, classes, labels
            or folds that differ between runs; labels missing; classes without a row.
    """
    loaded = in_threads(
        lambda run: load_checked(run.oof, normalise=normalise).in_class_order(competition.classes), runs
    )
    oof, partial = without_partial({run.name: one for run, one in zip(runs, loaded, strict=True)})
    if named:
        refuse_partial(partial)
    for name, one in oof.items():
        if len(one) > 1 and (one.probs == one.probs[0]).all():
            raise UserError(
                f"run '{name}' has the same probabilities in all {len(one):,} rows", next="leave this run out"
            )
        if one.labels is not None and one.labels.null_count():
            unknown = one.ids.filter(one.labels.is_null())
            raise UserError(
                f"labels are missing: {len(unknown):,} of {len(one):,} rows of run '{name}' have none",
                first=", ".join(unknown.head(5)),
                next="a search needs every row's label: mend the file and import it again with --force",
            )
    found = joined.stack(oof)
    if found.labels is None:
        raise UserError(
            f"labels are missing: the out-of-fold predictions of {', '.join(oof)} carry none",
            next="name the column of true labels: `cli import NAME --oof FILE --label COLUMN --force`",
        )
    if not allow_absent:
        _refuse_absent(found)
    kept = tuple(run for run in runs if run.name in oof)
    groups, note = groups_of(competition, found.ids)
    notes = (*left_out(partial), *relabelled(competition, kept), *flattered(kept), *note)
    return LoadedRuns(kept, found, groups, notes)


def relabelled(competition: Competition, runs: Sequence[Run]) -> tuple[str, ...]:
    """A note where the training table has other content than when runs were made: their labels are those of then."""
    path = competition.path(competition.train)
    if path is None or not path.is_file():
        return ()
    now = sample_digest(path)
    old = [run.name for run in runs if (run.info or {}).get("train", now) != now]
    if not old:
        return ()
    return (
        f"{path.name} changed since {', '.join(old)} was made, and its labels are those of then: "
        "train or import it again",
    )


def flattered(runs: Sequence[Run]) -> tuple[str, ...]:
    """A note where runs learnt from models that saw the labels of the rows that they are judged on."""
    names = [run.name for run in runs if (run.info or {}).get("flattered_by") is not None]
    if not names:
        return ()
    return (
        f"{', '.join(names)} learnt from a model that saw these rows' labels (flattered_by in run.json): "
        "the out-of-fold score flatters, and so does what is fitted on it",
    )


def without_partial(oof: Mapping[str, Predictions]) -> tuple[dict[str, Predictions], dict[str, str]]:
    """The runs apart from those that hold but some of the rows of the largest, and what to say of each of these.

    A quick look at some of the rows (`cli train --limit`) cannot be put together with runs over all of them.
    """
    if not oof:
        return {}, {}
    ids = max(oof.values(), key=len).ids
    partial = {
        name: f"it holds {len(one):,} of {len(ids):,} rows (trained with --limit?)"
        for name, one in oof.items()
        if len(one) < len(ids) and one.ids.is_in(ids.implode()).all()
    }
    return {name: one for name, one in oof.items() if name not in partial}, partial


def left_out(partial: Mapping[str, str]) -> tuple[str, ...]:
    """Notes on runs that `without_partial` tells."""
    return tuple(f"run '{name}' left out: {why}" for name, why in partial.items())


def refuse_partial(partial: Mapping[str, str]) -> None:
    """Refuse runs that `without_partial` tells, for runs that a person named. Raises `UserError`."""
    for name, why in partial.items():
        raise UserError(
            f"run '{name}' does not hold the rows of the others: {why}",
            next="leave it out: name others, or none; or train it on all rows",
        )


def check_test(
    workspace: Workspace, runs: Sequence[Run], oof: joined.Members, *, normalise: bool = False
) -> tuple[str, ...]:
    """Look at the runs' test predictions, one at a time, before a search begins that could not be applied to them.

    Returns:
        As `outdated`.

    Raises:
        UserError: As `load_checked` and `build_submission`; other classes than the OOF predictions, or other rows than
            the first run's.
    """
    competition = workspace.competition
    assert competition is not None
    first: Predictions | None = None
    inputs = {}
    for run in runs:
        test = load_checked(run.predictions(test_stem(workspace)), normalise=normalise).in_class_order(oof.classes)
        if test.classes != oof.classes:
            ours = f"the test predictions of '{run.name}'"
            raise UserError(joined.differing_classes(ours, test.classes, "its out-of-fold predictions", oof.classes))
        inputs[run.name] = test.meta.get("input")
        if first is None:
            first = test
            build_submission(first, competition.path(competition.sample_submission), competition)
        elif not test.ids.equals(first.ids):
            try:
                test.align(first.ids)
            except UserError as exc:
                summary = f"test predictions of '{run.name}' and '{runs[0].name}' are not of the same rows: "
                raise UserError(summary + exc.summary, **exc.details) from exc  # type: ignore[arg-type]
    return outdated(competition, inputs)


def outdated(competition: Competition | None, inputs: Mapping[str, str | None]) -> tuple[str, ...]:
    """As `changed_since`, of the competition's test file."""
    return changed_since(competition.path(competition.test) if competition else None, inputs)


def changed_since(path: Path | None, inputs: Mapping[str, str | None]) -> tuple[str, ...]:
    """A note where a table has other content than when it was scored: that ids are the same does not tell.

    Args:
        path: Of the table; None: there is none.
        inputs: Run → digest of the content that was scored; None where nobody knows.
    """
    if path is None or not path.is_file():
        return ()
    now = sample_digest(path)
    old = [name for name, scored in inputs.items() if scored not in (None, now)]
    if not old:
        return ()
    return (f"predictions of {', '.join(old)} are of other content than {path.name} has now: score it again",)


def load_checked(path: Path, *, normalise: bool = False) -> Predictions:
    """A predictions file whose numbers are probabilities.

    Raises:
        UserError: As `Predictions.load`; NaN, infinity, logits, rows that do not sum to one and no `normalise`.
    """
    try:
        found = Predictions.load(path)
    except UserError as exc:
        exc.details = {"where": str(path)} | exc.details
        raise
    return checked(found, path, normalise=normalise)


def checked(found: Predictions, path: Path, *, normalise: bool = False) -> Predictions:
    """The same predictions, rows divided by their sums where that is asked for. Raises as `load_checked`."""
    import dataclasses

    if not normalise and _are_probabilities(found):
        return found
    if found.task == "multi_group":
        raise UserError(
            "rows of label groups are no probabilities",
            where=path,
            expected="numbers from 0 on that sum to one in each group",
            next="leave --normalise out" if normalise else "score or train the run again",
        )
    try:
        probs = to_probabilities(found.probs.astype(np.float64), found.ids, task=found.task, normalise=normalise)
    except UserError as exc:
        hint = "--normalise divides rows by their sum; logits become probabilities by `cli import … --logits --force`"
        given = exc.details if "--normalise" in exc.summary else exc.details | {"next": hint}
        raise UserError(exc.summary, where=path, **given) from exc  # type: ignore[arg-type]
    return dataclasses.replace(found, probs=probs)


def _are_probabilities(found: Predictions) -> bool:
    """A fast answer to what `to_probabilities` would say."""
    if not found.probs.size:
        return True
    if found.task == "multi_label":
        return bool(found.probs.min() >= 0 and found.probs.max() <= 1)
    parts = split_probs(found.probs, found.classes) if found.task == "multi_group" else [found.probs]
    sums = np.stack([part.sum(axis=1, dtype=np.float64) for part in parts])
    return bool(found.probs.min() >= 0 and np.abs(sums - 1).max() <= TOLERANCE)


def _refuse_absent(found: joined.Members) -> None:
    codes = found.codes
    counts = codes.sum(axis=0) if codes.ndim == 2 else np.bincount(codes, minlength=len(found.classes))
    absent = [name for name, count in zip(found.classes, counts, strict=True) if not count]
    if absent:
        raise UserError(
            f"{len(absent)} of {len(found.classes)} classes have no row among {len(found.ids):,}: "
            f"{', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}",
            next="nothing can be learnt of their weights: mend the classes in competition.toml, or --allow-absent",
        )


def _require(run: Run, stem: str | None) -> None:
    if not run.oof.is_file():
        raise UserError(f"run '{run.name}' has no out-of-fold predictions", where=run.folder)
    if stem is not None and not run.predictions(stem).is_file():
        raise UserError(
            f"run '{run.name}' has no predictions for the test file",
            where=run.predictions(stem),
            next=f"`cli score --input <test file> --model {run.name}`, or --no-submission",
        )
