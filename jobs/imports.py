"""`cli import`: anybody's out-of-fold and test predictions become a run, which then blends and submits like ours.

    cli import lgbm --oof oof.csv --test test_pred.csv
    cli import nb42 --oof oof.npy --test test.npy --logits

Everything is read and checked first; the run's folder appears in one rename, so a refused file leaves nothing behind.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jobs.tasks import require_plain
from jobs.workspace import FOLD_FILE, RUN_FILE, Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import check_name, file_digest, sample_digest, sync_folder, table_stem, write_atomically
from kaggle_tools.importing import LABEL_NAMES, read_foreign
from kaggle_tools.metrics import find_metric, score
from kaggle_tools.predictions import Predictions
from kaggle_tools.seals import check_parquet, sealed
from kaggle_tools.search.members import sorted_labels
from kaggle_tools.tables import TableFormat, read_table, sniff_format

KIND = "imported"


@dataclass(frozen=True)
class ImportOptions:
    """What to import.

    Attributes:
        name: Of the run.
        oof: Out-of-fold predictions of the training rows, or None.
        test: Predictions of the competition's test rows, or None; at least one of the two is needed.
        id_column: Id column of both files; None tries the names that train, test and sample submission use.
        label_column: True labels in the OOF file; None finds them, or takes them from the training file.
        column: See `read_foreign`: which column, or which prefix, where several could be meant.
        oof_ids: Table with the rows of an `.npy` of OOF predictions; None is the training file.
        test_ids: Table with the rows of an `.npy` of test predictions; None is the test file.
        logits: The files hold logits.
        normalise: Rows are to be divided by their sum.
        force: Replace an imported run of the same name.
        start: Folder from which the competition is looked for upward; None is the working directory.
    """

    name: str
    oof: Path | None = None
    test: Path | None = None
    id_column: str | None = None
    label_column: str | None = None
    column: str | None = None
    oof_ids: Path | None = None
    test_ids: Path | None = None
    logits: bool = False
    normalise: bool = False
    force: bool = False
    start: Path | None = None


@dataclass(frozen=True)
class ImportResult:
    """The run that was made.

    Attributes:
        run: Its name and folder.
        n_oof: Rows of `oof.parquet`; None where there is none.
        n_test: Rows of the test predictions; None where there are none.
        metric: The competition's metric.
        score: The metric on the OOF predictions, where labels are known.
        fold_scores: The same for each fold, where folds are known.
        hard_labels: Whether either file held labels instead of probabilities.
        notes: What was concluded and is worth knowing.
    """

    run: Run
    n_oof: int | None
    n_test: int | None
    metric: str
    score: float | None
    fold_scores: tuple[float, ...]
    hard_labels: bool
    notes: tuple[str, ...]


def run(options: ImportOptions) -> ImportResult:
    """Make `runs/<name>/` from foreign files.

    Raises:
        UserError: No competition, neither file, a run of that name; or anything that `read_foreign` refuses; ids or
            labels that disagree with the competition's files.
    """
    check_name(options.name, "run name")
    if options.oof is None and options.test is None:
        raise UserError("nothing to import", next="give --oof FILE, --test FILE, or both")
    _refuse_idle(options)
    competition = Competition.find(options.start)
    require_plain(competition, "import")
    workspace = Workspace(competition.root, competition)
    target = Run(options.name, workspace.runs_folder / options.name)
    _refuse_existing(target, options.force)
    notes: list[str] = []
    oof = test = None
    if options.oof is not None:
        oof = _read_oof(options.oof, options, competition, notes)
        oof = _with_folds(oof, workspace.runs_folder / FOLD_FILE, notes)
    if options.test is not None:
        test = _read_test(options.test, options, competition, notes)
    hard = {part: "hard_labels" in one.meta for part, one in (("oof", oof), ("test", test)) if one is not None}
    notes += _odd_kinds(hard, competition.metric)
    total, by_fold = _scores(oof, competition.metric, notes)
    result = ImportResult(
        run=target,
        n_oof=None if oof is None else len(oof),
        n_test=None if test is None else len(test),
        metric=competition.metric,
        score=total,
        fold_scores=by_fold,
        hard_labels=any(hard.values()),
        notes=tuple(notes),
    )
    _write(result, options, competition, oof, test)
    return result


def _odd_kinds(hard: dict[str, bool], metric: str) -> list[str]:
    """Notes on hard labels where probabilities are needed: of the other file, or of the metric."""
    notes = []
    if len(set(hard.values())) == 2:
        labels, others = ("--oof", "--test") if hard["oof"] else ("--test", "--oof")
        notes.append(
            f"{labels} holds hard labels, {others} probabilities: a blend fitted to the one does not suit the other; "
            "better import both of one kind"
        )
    if any(hard.values()) and find_metric(metric).takes == "probs":
        notes.append(f"hard labels, but {metric} is of probabilities: each label that is wrong counts as certain")
    return notes


def _refuse_idle(options: ImportOptions) -> None:
    """Refuse options that nothing would heed."""
    for part, file, ids in (("oof", options.oof, options.oof_ids), ("test", options.test, options.test_ids)):
        if ids is not None and (file is None or file.suffix != ".npy"):
            raise UserError(
                f"--{part}-ids is for an .npy as --{part}, which is {'a table' if file else 'missing'}",
                next="leave it out: tables have ids of their own, see --id",
            )
    if options.label_column is not None and options.oof is None:
        raise UserError("--label is of the --oof file, which is missing", next="leave it out")


def _refuse_existing(target: Run, force: bool) -> None:
    if not target.folder.exists():
        return
    if target.checkpoints:
        raise UserError(
            f"'{target.name}' is a trained run with {len(target.checkpoints)} checkpoints: an import never replaces it",
            where=target.folder,
            next="import under another name",
        )
    if not force:
        raise UserError(
            f"run '{target.name}' exists", where=target.folder, next="choose another name, or replace it with --force"
        )


def _read_oof(path: Path, options: ImportOptions, competition: Competition, notes: list[str]) -> Predictions:
    train = competition.path(competition.train)
    oof = _read(path, options, competition, options.label_column, options.oof_ids, train, notes)
    if train is not None:
        wanted = [competition.id_column, competition.label_column]
        table = _read_columns(train, competition, [name for name in wanted if name is not None], competition.id_column)
        oof = _in_order_of(oof, _ids(table, competition.id_column), path, train)
        oof = _with_labels(oof, table, competition, path, train, notes)
    if oof.labels is None:
        notes.append("no true labels in the file or in train: no OOF score")
    return oof


def _read_test(path: Path, options: ImportOptions, competition: Competition, notes: list[str]) -> Predictions:
    test = competition.path(competition.test)
    predictions = _read(path, options, competition, None, options.test_ids, test, notes)
    predictions = dataclasses.replace(predictions, labels=None, folds=None)
    if test is not None:
        name = competition.test_id
        table = _read_columns(test, competition, None if name is None else [name], name)
        return _in_order_of(predictions, _ids(table, name), path, test)
    notes.append("competition.toml names no test file: ids of the test predictions were not checked")
    return predictions


def _read(
    path: Path,
    options: ImportOptions,
    competition: Competition,
    label_column: str | None,
    ids: Path | None,
    own_ids: Path | None,
    notes: list[str],
) -> Predictions:
    """One file; an `.npy` gets its ids from `ids`, else from the competition's own file, which has a known encoding."""
    npy = path.suffix == ".npy"
    predictions = read_foreign(
        path,
        classes=competition.classes,
        id_column=options.id_column or _id_names(competition),
        label_column=label_column,
        label_names=tuple(name for name in (competition.label_column, *LABEL_NAMES) if name is not None),
        id_source=(ids or own_ids) if npy else None,
        id_format=_format(own_ids, competition) if npy and ids is None and own_ids is not None else None,
        column=options.column,
        task=competition.task,
        logits=options.logits,
        normalise=options.normalise,
    )
    notes.append(f"{path}: {predictions.meta['read_as']}")
    return dataclasses.replace(predictions, meta={**predictions.meta, "run": options.name})


def _id_names(competition: Competition) -> tuple[str, ...] | None:
    names = (competition.id_column, competition.test_id, competition.submission_id)
    return tuple(name for name in names if name is not None) or None


def _read_columns(
    path: Path, competition: Competition, columns: list[str] | None, id_column: str | None
) -> pl.DataFrame:
    return read_table(path, columns=columns, fmt=_format(path, competition), id_column=id_column)


def _format(path: Path, competition: Competition) -> TableFormat:
    encoding, errors = competition.encoding_of(path)
    return sniff_format(path, encoding=encoding, encoding_errors=errors)


def _ids(table: pl.DataFrame, id_column: str | None) -> pl.Series:
    """Of train or test, as scoring names their rows."""
    if id_column is not None:
        return table[id_column]
    return pl.Series("row", range(len(table)), dtype=pl.Int64).cast(pl.String)


def _in_order_of(predictions: Predictions, ids: pl.Series, path: Path, source: Path) -> Predictions:
    """The predictions of exactly these rows, under the name that the competition's file has for its ids."""
    try:
        return dataclasses.replace(predictions.align(ids), ids=ids)
    except UserError as exc:
        details: dict[str, Any] = {"file": path, "against": source, **exc.details}
        hint = "every row of the competition's file needs one prediction: are these the predictions of another file?"
        raise UserError(exc.summary, **details, next=hint) from exc


def _with_labels(
    oof: Predictions, train: pl.DataFrame, competition: Competition, path: Path, source: Path, notes: list[str]
) -> Predictions:
    """Labels of the training file; where the OOF file has its own they must be the same."""
    if competition.label_column is None:
        return oof
    labels = train[competition.label_column]
    several = competition.task == "multi_label"
    if several:  # a row may have none
        labels = labels.fill_null("")
    if oof.labels is None:
        notes.append(f"true labels from {source.name}")
        return dataclasses.replace(oof, labels=labels)
    ours, theirs = (sorted_labels(oof.labels), sorted_labels(labels)) if several else (oof.labels, labels)
    differ = (ours != theirs).fill_null(True)
    if differ.any():
        row = differ.arg_max() or 0
        raise UserError(
            f"{differ.sum():,} of {len(labels):,} true labels differ from those of {source.name}",
            file=path,
            column=f"'{oof.labels.name}'",
            first=f"{oof.ids[row]}: {oof.labels[row]!r}, in {source.name} {labels[row]!r}",
            next="are ids and rows shuffled apart? If these are no true labels, name their column with --label",
        )
    return oof


def _with_folds(oof: Predictions, path: Path, notes: list[str]) -> Predictions:
    """Folds of the file itself, else those that the workspace's runs share."""
    if oof.folds is not None:
        notes.append(f"{len(np.unique(oof.folds))} folds from the file")
        return oof
    if not path.is_file():
        return oof
    check_parquet(path, next="delete it and train every run again")
    shared = pl.read_parquet(path)
    position = pl.DataFrame({"id": shared.to_series(0), "fold": shared["fold"]})
    folds = pl.DataFrame({"id": oof.ids}).join(position, on="id", how="left", maintain_order="left")["fold"]
    if folds.null_count():
        notes.append(f"{folds.null_count():,} rows have no fold in {path.name}: no folds taken")
        return oof
    notes.append(f"folds from {path.name}: right only if the model was trained on these")
    return dataclasses.replace(oof, folds=folds.to_numpy().astype(np.int16))


def _scores(oof: Predictions | None, metric: str, notes: list[str]) -> tuple[float | None, tuple[float, ...]]:
    """The metric over all rows, and for each fold; of no fold where it is undefined on one."""
    if oof is None or oof.labels is None:
        return None, ()
    total = score(metric, oof)
    by_fold: list[float] = []
    for fold in [] if oof.folds is None else np.unique(oof.folds):
        try:
            by_fold.append(score(metric, _rows(oof, oof.folds == fold)))
        except UserError as exc:
            notes.append(f"no scores of the folds: {exc.summary}, in fold {fold}")
            return total, ()
    return total, tuple(by_fold)


def _rows(predictions: Predictions, keep: np.ndarray[Any, np.dtype[np.bool_]]) -> Predictions:
    assert predictions.labels is not None
    mask = pl.Series(keep)
    return dataclasses.replace(
        predictions,
        ids=predictions.ids.filter(mask),
        probs=predictions.probs[keep],
        labels=predictions.labels.filter(mask),
        folds=None,
    )


def _write(
    result: ImportResult,
    options: ImportOptions,
    competition: Competition,
    oof: Predictions | None,
    test: Predictions | None,
) -> None:
    """Put the run together beside its place and rename it there."""
    target = result.run.folder
    building = Run(target.name, target.with_name(f".{target.name}.{os.getpid()}.tmp"))
    try:
        if oof is not None:
            oof.save(building.oof)
        if test is not None:
            test.save(building.predictions(_stem(competition)))
        with write_atomically(building.folder / RUN_FILE) as temporary:
            content = json.dumps(sealed(_about(result, options, competition)), ensure_ascii=False, indent=2)
            temporary.write_text(content + "\n", encoding="utf-8")
        _refuse_existing(result.run, options.force)  # another import may have made it while this one read
        _swap(building.folder, target)
    finally:
        shutil.rmtree(building.folder, ignore_errors=True)


def _swap(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`; what was there is deleted last, so that a kill loses neither."""
    replaced = target.with_name(f"{folder.name}.old")
    if target.exists():
        target.rename(replaced)
    folder.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _stem(competition: Competition) -> str:
    """What scoring calls the predictions of the competition's test file."""
    return table_stem(Path(competition.test).name) if competition.test else "test"


def _about(result: ImportResult, options: ImportOptions, competition: Competition) -> dict[str, Any]:
    sources = {"oof": options.oof, "test": options.test}
    train = competition.path(competition.train) if options.oof is not None else None
    return {
        "kind": KIND,
        "name": options.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": competition.task,
        "classes": list(competition.classes),
        "metric": result.metric,
        **({} if train is None else {"train": sample_digest(train)}),
        "score": result.score,
        "fold_scores": list(result.fold_scores),
        "hard_labels": result.hard_labels,
        "n_oof": result.n_oof,
        "n_test": result.n_test,
        "sources": {
            key: {"path": str(path.resolve()), "digest": file_digest(path)}
            for key, path in sources.items()
            if path is not None
        },
        "notes": list(result.notes),
    }
