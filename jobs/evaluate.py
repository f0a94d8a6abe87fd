"""`cli evaluate`: the full classification report of a run, on its out-of-fold predictions or on rows with known labels.

cli evaluate roberta
cli evaluate roberta --truth test_with_labels.csv       # predictions/test_with_labels.parquet, joined by id
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import encode_label_sets, score
from kaggle_tools.metrics.report import ClassificationReport, classification_report
from kaggle_tools.predictions import THRESHOLD, Predictions, encode_labels
from kaggle_tools.tables import read_table, sniff_format


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
        task: ``single_label`` or ``multi_label``.
        metric: The competition's metric.
        score: By it, at the metric's own threshold.
        threshold: That the report was made with; None for single_label.
        report: The figures.
    """

    run: str
    source: Path
    task: str
    metric: str
    score: float
    threshold: float | None
    report: ClassificationReport


def run(options: EvaluateOptions) -> EvaluateResult:
    """Compare a run's predictions with the labels.

    Raises:
        UserError: No competition, run or predictions; a row without prediction; a label that is not a class.
    """
    competition = Competition.find(options.start)
    found = Workspace(competition.root, competition).run(options.run)
    source, predictions = _predictions(found, competition, options.truth)
    several = predictions.task == "multi_label"
    truth, predicted = _label_sets(predictions, options.threshold)
    return EvaluateResult(
        run=found.name,
        source=source,
        task=predictions.task,
        metric=competition.metric,
        score=score(competition.metric, predictions),
        threshold=options.threshold if several else None,
        report=classification_report(truth, predicted, predictions.classes, several=several),
    )


def _predictions(found: Run, competition: Competition, truth: Path | None) -> tuple[Path, Predictions]:
    if truth is None:
        if not found.oof.is_file():
            raise UserError(f"run '{found.name}' has no out-of-fold predictions", next="name a table with --truth")
        return found.oof, Predictions.load(found.oof)
    source = found.predictions(truth.name.split(".")[0])
    if not source.is_file():
        raise UserError(
            f"run '{found.name}' has no predictions for {truth.name}",
            where=source,
            next=f"score it first: `cli score --input {truth} --model {found.folder}`",
        )
    id_column, label_column = competition.test_id, competition.label_column
    if label_column is None:
        raise UserError("competition.toml names no label column", where=competition.root)
    encoding, errors = competition.encoding_of(truth)
    fmt = sniff_format(truth, encoding=encoding, encoding_errors=errors)
    columns = [label_column] if id_column is None else [id_column, label_column]
    table = read_table(truth, columns=columns, fmt=fmt, id_column=id_column)
    predictions = Predictions.load(source)
    aligned = predictions if id_column is None else predictions.align(table[id_column])
    if len(table) != len(aligned):
        raise UserError(f"{len(table):,} rows of labels for {len(aligned):,} predictions", where=truth)
    labels = table[label_column].fill_null("") if aligned.task == "multi_label" else table[label_column]
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
    columns = np.arange(len(classes))
    codes = encode_labels(labels, classes)
    return codes[:, None] == columns, predictions.probs.argmax(1)[:, None] == columns
