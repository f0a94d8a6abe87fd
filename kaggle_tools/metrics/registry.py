"""The table of metrics, and how a name finds its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import counts, multilabel, ranking

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Function = Callable[[Bools, Floats, Floats], float]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name in `METRICS`.
        description: One line for people.
        functions: For each task served: (truth (N, C) bool, probs (N, C) float64, weights (N,) float64) → float.
        takes: ``labels``: only which class is most probable matters; ``probs``: the probabilities do.
        greater_is_better: Direction.
        from_confusion: (C, C) confusion matrix to score, where a single-label score needs nothing else.
    """

    name: str
    description: str
    functions: Mapping[str, Function]
    takes: Literal["labels", "probs"]
    greater_is_better: bool = True
    from_confusion: Callable[[counts.Matrix], float] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """``single_label``, ``multi_label`` or both."""
        return tuple(self.functions)

    def better(self, a: float, b: float) -> bool:
        """Whether score `a` is strictly better than score `b`."""
        return a > b if self.greater_is_better else a < b


def find_metric(name: str) -> Metric:
    """The metric called `name`, its usual spellings included: ``f1_macro``, ``Macro-F1``, ``logloss``, ``auc``.

    Raises:
        UserError: No such metric; names the nearest.
    """
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    metric = METRICS.get(ALIASES.get(plain, plain))
    if metric is None:
        known = [*METRICS, *ALIASES]
        raise UserError(f"unknown metric '{name}'", next=did_you_mean(plain, known), known=", ".join(METRICS))
    return metric


def _of_matrix(name: str, function: Callable[[counts.Matrix], float], description: str) -> Metric:
    """A single-label metric that needs the confusion matrix only."""

    def from_probs(truth: Bools, probs: Floats, weights: Floats) -> float:
        codes, predicted = truth.argmax(axis=1), probs.argmax(axis=1)
        return function(counts.confusion(codes, predicted, probs.shape[1], weights))

    return Metric(name, description, {"single_label": from_probs}, "labels", from_confusion=function)


def _of_sets(function: Callable[[Bools, Bools, Floats], float]) -> Function:
    """A multi-label function of label sets as one of probabilities."""
    return lambda truth, probs, weights: function(truth, probs >= 0.5, weights)


def _f1(
    name: str,
    description: str,
    single: Callable[[counts.Matrix], float],
    multi: Callable[[Bools, Bools, Floats], float],
) -> Metric:
    """An average of F1 that both tasks know."""
    of_matrix = _of_matrix(name, single, description)
    functions = {**of_matrix.functions, "multi_label": _of_sets(multi)}
    return Metric(name, description, functions, "labels", from_confusion=single)


def _top_k(k: int) -> Metric:
    description = f"share of rows whose true class is among the {k} most probable"
    return Metric(f"top_{k}_accuracy", description, {"single_label": ranking.top_k(k)}, "probs")


_ALL = (
    _of_matrix("accuracy", counts.accuracy, "share of rows that are right"),
    _of_matrix("balanced_accuracy", counts.balanced_accuracy, "mean recall of the classes (macro recall)"),
    _f1("macro_f1", "mean F1 of the classes, each counting the same", counts.macro_f1, multilabel.macro_f1),
    _f1("micro_f1", "F1 over all decisions; accuracy for single labels", counts.accuracy, multilabel.micro_f1),
    _f1("weighted_f1", "mean F1 of the classes, each by its rows", counts.weighted_f1, multilabel.weighted_f1),
    _of_matrix("binary_f1", counts.binary_f1, "F1 of the second of two classes"),
    _of_matrix("macro_precision", counts.macro_precision, "mean precision of the classes"),
    _of_matrix("mcc", counts.mcc, "Matthews correlation coefficient"),
    _of_matrix("cohen_kappa", counts.cohen_kappa, "agreement beyond chance"),
    _of_matrix("quadratic_kappa", counts.quadratic_kappa, "agreement beyond chance, by squared distance of classes"),
    Metric(
        "log_loss",
        "mean negative log-probability of the truth",
        {"single_label": ranking.log_loss, "multi_label": ranking.binary_log_loss},
        "probs",
        greater_is_better=False,
    ),
    Metric(
        "brier",
        "mean squared error of the probabilities",
        {"single_label": ranking.brier},
        "probs",
        greater_is_better=False,
    ),
    Metric(
        "roc_auc",
        "area under the ROC curve; more than two classes: mean of one against the rest",
        {"single_label": ranking.roc_auc, "multi_label": ranking.label_roc_auc},
        "probs",
    ),
    Metric(
        "average_precision",
        "average precision; more than two classes: mean over classes",
        {"single_label": ranking.average_precision, "multi_label": ranking.label_average_precision},
        "probs",
    ),
    _top_k(2),
    _top_k(3),
    _top_k(5),
    Metric("samples_f1", "mean F1 of the rows' label sets", {"multi_label": _of_sets(multilabel.samples_f1)}, "labels"),
    Metric(
        "exact_match",
        "share of rows whose label set is exactly right",
        {"multi_label": _of_sets(multilabel.exact_match)},
        "labels",
    ),
    Metric(
        "hamming_loss",
        "share of wrong decisions among all rows and labels",
        {"multi_label": _of_sets(multilabel.hamming_loss)},
        "labels",
        greater_is_better=False,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}

ALIASES: dict[str, str] = {
    "acc": "accuracy",
    "ap": "average_precision",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "brier_score": "brier",
    "cross_entropy": "log_loss",
    "f1_binary": "binary_f1",
    "f1_macro": "macro_f1",
    "f1_micro": "micro_f1",
    "f1_samples": "samples_f1",
    "f1_weighted": "weighted_f1",
    "kappa": "cohen_kappa",
    "logloss": "log_loss",
    "macro_recall": "balanced_accuracy",
    "map": "average_precision",
    "matthews_corrcoef": "mcc",
    "mean_f1": "macro_f1",
    "multiclass_loss": "log_loss",
    "precision_macro": "macro_precision",
    "qwk": "quadratic_kappa",
    "recall_macro": "balanced_accuracy",
    "subset_accuracy": "exact_match",
    "uar": "balanced_accuracy",
}
