"""The full classification report: precision, recall and F1 of each class and their averages, as scikit-learn has them.

    report = classification_report(truth, predicted, ["a", "b", "c"])
    report.averages["macro"].f1
    report.exact_match, report.hamming_loss

``truth`` and ``predicted`` are (N, C) bool, one column a class; a single-label row has one True. What is undefined (no
row of a class, or none predicted) is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.metrics.entities import Tags, count_entities

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Precision, recall and F1 in [0, 1], and how many rows are of the class (of all classes, for an average)."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationReport:
    """What predictions are worth.

    Attributes:
        classes: For each class its line, in order.
        averages: ``micro`` (all decisions together), ``macro`` (classes count the same), ``weighted`` (by support) and,
            where rows may have several labels, ``samples`` (mean over rows).
        exact_match: Share of rows whose labels are exactly right; the accuracy, for one label a row.
        hamming_loss: Share of wrong decisions among all rows and classes; for one label a row, among the rows.
        n_rows: N.
        labels_a_row: Mean number of true labels.
        predicted_a_row: Mean number of predicted labels.
    """

    classes: dict[str, Line]
    averages: dict[str, Line]
    exact_match: float
    hamming_loss: float
    n_rows: int
    labels_a_row: float
    predicted_a_row: float


def classification_report(
    truth: Bools, predicted: Bools, classes: Sequence[str], *, several: bool = True
) -> ClassificationReport:
    """Compare label sets.

    Args:
        truth: (N, C).
        predicted: (N, C).
        classes: C names.
        several: Whether a row may have several labels; if not there is no average over samples.
    """
    lines, averages = _summary(
        classes, *(part.sum(0).astype(np.float64) for part in (truth & predicted, predicted, truth))
    )
    if several:
        rows = ((part.sum(1).astype(np.float64)) for part in (truth & predicted, predicted, truth))
        averages["samples"] = _line(*_rates(*rows), int(truth.sum()))
    exact_match = float((truth == predicted).all(1).mean())
    return ClassificationReport(
        classes=lines,
        averages=averages,
        exact_match=exact_match,
        hamming_loss=float((truth != predicted).mean()) if several else 1.0 - exact_match,
        n_rows=len(truth),
        labels_a_row=float(truth.sum(1).mean()),
        predicted_a_row=float(predicted.sum(1).mean()),
    )


def entity_report(truth: Tags, predicted: Tags) -> ClassificationReport:
    """The same of BIO tags: a line an entity type, strictly judged; ``exact_match`` is the share of rows with all tags
    right, ``hamming_loss`` that of words with a wrong one, and a row's labels are its entities.

    Raises:
        UserError: As `metrics.entities.count_entities`.
    """
    counts = count_entities(truth, predicted)
    columns = ([getattr(one, name) for one in counts.values()] for name in ("hits", "predicted", "true"))
    lines, averages = _summary(list(counts), *(np.array(column, np.float64) for column in columns))
    wrong = [sum(a != b for a, b in zip(*rows, strict=True)) for rows in zip(truth, predicted, strict=True)]
    return ClassificationReport(
        classes=lines,
        averages=averages,
        exact_match=float(np.mean([not n for n in wrong])),
        hamming_loss=float(sum(wrong) / max(1, sum(map(len, truth)))),
        n_rows=len(truth),
        labels_a_row=sum(one.true for one in counts.values()) / len(truth),
        predicted_a_row=sum(one.predicted for one in counts.values()) / len(truth),
    )


def _summary(
    classes: Sequence[str], hits: Floats, guessed: Floats, actual: Floats
) -> tuple[dict[str, Line], dict[str, Line]]:
    """A line a class, and the micro, macro and weighted averages."""
    precision, recall, f1 = _rates(hits, guessed, actual)
    support = int(actual.sum())
    shares = actual / actual.sum() if support else np.zeros(len(classes))
    averages = {
        "micro": _line(
            *_rates(hits.sum(keepdims=True), guessed.sum(keepdims=True), actual.sum(keepdims=True)), support
        ),
        "macro": _line(precision, recall, f1, support),
        "weighted": Line(float(precision @ shares), float(recall @ shares), float(f1 @ shares), support),
    }
    lines = {
        name: Line(float(precision[i]), float(recall[i]), float(f1[i]), int(actual[i]))
        for i, name in enumerate(classes)
    }
    return lines, averages


def _rates(hits: Floats, guessed: Floats, actual: Floats) -> tuple[Floats, Floats, Floats]:
    return _share(hits, guessed), _share(hits, actual), _share(2 * hits, guessed + actual)


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _line(precision: Floats, recall: Floats, f1: Floats, support: int) -> Line:
    if not len(f1):
        return Line(0.0, 0.0, 0.0, support)
    return Line(float(precision.mean()), float(recall.mean()), float(f1.mean()), support)
