"""`cli evaluate`: the full classification report of a run, on its out-of-fold predictions or on rows with known labels.

cli evaluate roberta
cli evaluate roberta --truth test_with_labels.csv       # predictions/test_with_labels.parquet, joined by id
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from jobs.members import relabelled
from jobs.workspace import Run, Workspace
from kaggle_tools.bio import count_illegal, repair
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import table_stem
from kaggle_tools.label_groups import join_columns
from kaggle_tools.metrics import encode_label_sets, group_scores, score
from kaggle_tools.metrics.report import ClassificationReport, classification_report, entity_report
from kaggle_tools.predictions import THRESHOLD, Predictions, encode_labels
from kaggle_tools.tables import read_table, sniff_format
from kaggle_tools.tag_predictions import TagPredictions
from kaggle_tools.tag_rows import split_words


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate.

    Attributes:
        run: Name of a complete run.
        truth: Table with ids and labels; the run's predictions for it are evaluated. None: the OOF predictions.
        threshold: From which probability on a row has a label (multi_label).
        start: Folder from which the competition is looked for upward; None: the working directory.
    """

    run: str
    truth: Path | None = None
    threshold: float = THRESHOLD
    start: Path | None = None


@dataclass(frozen=True)
class EvaluateResult:
    """The report and what it is of.

    Attributes:
        run: Name.
        source: Predictions file.
        task: ``single_label``, ``multi_label``, ``multi_group`` or ``token``.
        metric: The competition's metric.
        score: By it, at the metric's own threshold.
        threshold: That the report was made with; None but for multi_label.
        report: The figures. For token over entity types, strictly judged; for multi_group over the classes of all
            groups, each row having one of each.
        groups: For multi_group the accuracy of each group, ``exact_match`` and, for two groups, ``top_2_hit``.
        n_illegal: For token tasks predicted ``I-`` tags that go on no entity, and so count for nothing.
        notes: What a reader should know of the labels.
    """

    run: str
    source: Path
    task: str
    metric: str
    score: float
    threshold: float | None
    report: ClassificationReport
    groups: Mapping[str, float] = field(default_factory=dict)
    n_illegal: int = 0
    notes: tuple[str, ...] = ()


def run(options: EvaluateOptions) -> EvaluateResult:
    """Compare a run's predictions with the labels.

    Raises:
        UserError: No competition, run or predictions; a row without prediction; a label that is not a class.
    """
    competition = Competition.find(options.start)
    found = Workspace(competition.root, competition).run(options.run)
    if options.threshold != THRESHOLD and competition.task != "multi_label":
        raise UserError(f"--threshold is for multi_label tasks, not {competition.task}", next="leave it out")
    if not 0 <= options.threshold <= 1:
        raise UserError(f"--threshold {options.threshold:g} is no probability", expected="0 to 1, such as 0.4")
    source, predictions = _predictions(found, competition, options.truth)
    notes = relabelled(competition, [found]) if options.truth is None else ()
    if isinstance(predictions, TagPredictions):
        return _of_tags(found.name, source, competition, predictions, notes)
    several = predictions.task != "single_label"
    truth, predicted = _label_sets(predictions, options.threshold)
    return EvaluateResult(
        run=found.name,
        source=source,
        task=predictions.task,
        metric=competition.metric,
        score=score(competition.metric, predictions),
        threshold=options.threshold if predictions.task == "multi_label" else None,
        groups=group_scores(predictions) if predictions.task == "multi_group" else {},
        report=classification_report(truth, predicted, predictions.classes, several=several),
        notes=notes,
    )


def _of_tags(
    name: str, source: Path, competition: Competition, found: TagPredictions, notes: tuple[str, ...]
) -> EvaluateResult:
    if found.labels is None:
        raise UserError("these predictions carry no tags", next="name a table with --truth")
    tags = found.tags
    return EvaluateResult(
        run=name,
        source=source,
        task=found.task,
        metric=competition.metric,
        score=score(competition.metric, found),
        threshold=None,
        report=entity_report(found.labels.to_list(), tags),
        n_illegal=count_illegal(tags),
        notes=notes,
    )


def _load(path: Path, competition: Competition) -> Predictions | TagPredictions:
    if competition.task == "token":
        return TagPredictions.load(path)
    return Predictions.load(path).in_class_order(competition.classes)


def _predictions(found: Run, competition: Competition, truth: Path | None) -> tuple[Path, Predictions | TagPredictions]:
    if truth is None:
        if not found.oof.is_file():
            raise UserError(f"run '{found.name}' has no out-of-fold predictions", next="name a table with --truth")
        return found.oof, _load(found.oof, competition)
    if not truth.is_file():
        raise UserError("no such table of labels", where=truth)
    source = found.predictions(table_stem(truth.name))
    if not source.is_file():
        raise UserError(
            f"run '{found.name}' has no predictions for {truth.name}",
            where=source,
            next=f"score it first: `cli score --input {truth} --model {found.name}`"
            if found.checkpoints
            else f"the run was imported: import predictions of {truth.name} as a run of their own",
        )
    id_column, label_columns = competition.test_id, competition.label_columns
    if not label_columns:
        raise UserError("competition.toml names no label column", where=competition.root)
    encoding, errors = competition.encoding_of(truth)
    fmt = sniff_format(truth, encoding=encoding, encoding_errors=errors)
    columns = [*label_columns] if id_column is None else [id_column, *label_columns]
    table = read_table(truth, columns=columns, fmt=fmt, id_column=id_column)
    predictions = _load(source, competition)
    aligned = predictions if id_column is None else predictions.align(table[id_column])
    if len(table) != len(aligned):
        raise UserError(f"{len(table):,} rows of labels for {len(aligned):,} predictions", where=truth)
    labels = table[label_columns[0]]
    if isinstance(aligned, TagPredictions):
        tags, _ = repair(split_words(labels))  # as training reads them: else their entities would not count
        return source, replace(aligned, labels=pl.Series(tags, dtype=pl.List(pl.String)))
    if aligned.task == "multi_label":
        labels = labels.fill_null("")
    elif aligned.task == "multi_group":
        labels = join_columns(table, label_columns)
    return source, Predictions(
        aligned.ids, aligned.classes, aligned.probs, labels.cast(pl.String), None, aligned.task, aligned.meta
    )


def _label_sets(predictions: Predictions, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) bool: true and predicted labels."""
    labels, classes = predictions.labels, predictions.classes
    if labels is None:
        raise UserError("these predictions carry no labels", next="name a table with --truth")
    if predictions.task == "multi_label":
        return encode_label_sets(labels, classes), predictions.probs >= threshold
    if predictions.task == "multi_group":
        return encode_label_sets(labels, classes), encode_label_sets(predictions.predicted, classes)
    columns = np.arange(len(classes))
    codes = encode_labels(labels, classes)
    return codes[:, None] == columns, predictions.probs.argmax(1)[:, None] == columns
