"""The table of metrics, and how a name finds its row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import counts, entities, groups, multilabel, ranking, values

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Function = Callable[..., float]
ByOrder = Literal["second", "distance"] | None


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name in `METRICS`.
        description: One line for people.
        functions: For each task served, (truth, predicted, weights (N,) float64) → float. Truth and prediction are
            (N, C) bool and (N, C) float64 probabilities for ``single_label`` and ``multi_label``; (N, K) float64 both
            for ``regression``; (N, G) int64 and a list of G arrays for ``multi_group``; lists of tags for ``token``.
        takes: ``labels``: only which class is most probable matters; ``probs``: the probabilities do.
        greater_is_better: Direction.
        from_confusion: (C, C) confusion matrix to score, where a single-label score needs nothing else.
        n_classes: The only number of classes that it is for in a single-label task; None for any.
        bounds: The least and the greatest value that it can have.
        by_order: What of the order of the classes a single-label score depends on: which is the ``second`` of two,
            how far they are from each other (``distance``, of three or more), or None.
    """

    name: str
    description: str
    functions: Mapping[str, Function]
    takes: Literal["labels", "probs"]
    greater_is_better: bool = True
    from_confusion: Callable[[counts.Matrix], float] | None = None
    n_classes: int | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    by_order: ByOrder = None

    def __reduce__(self) -> tuple[object, ...]:
        # Its functions are closures, which do not travel: another process has the metric of this name.
        return find_metric, (self.name,)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those of ``single_label``, ``multi_label``, ``regression``, ``multi_group`` and ``token`` that it serves."""
        return tuple(self.functions)

    def better(self, a: float, b: float) -> bool:
        """Whether score `a` is strictly better than score `b`."""
        return a > b if self.greater_is_better else a < b

    def depends_on_order(self, n_classes: int) -> bool:
        """Whether a single-label score of so many classes is another one where their order is."""
        return self.by_order == ("second" if n_classes == 2 else "distance")

    def clip(self, value: float) -> float:
        """The value that the metric can have and that is nearest to `value`: for estimates and ends of intervals."""
        low, high = self.bounds
        return min(max(value, low), high)


def find_metric(name: str) -> Metric:
    """The metric called `name`, its usual spellings included: ``f1_macro``, ``Macro-F1``, ``logloss``, ``auc``.

    Raises:
        UserError: No such metric; names the nearest.
    """
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    metric = METRICS.get(ALIASES.get(plain, plain))
    if metric is None:
        hint = did_you_mean(plain, [*METRICS, *ALIASES])
        near = {"next": hint} if hint.startswith("did") else {}
        raise UserError(f"unknown metric '{name}'", exit_code=2, **near, known=", ".join(METRICS))
    return metric


def same_metric(a: str, b: str) -> bool:
    """Whether two names mean the same metric; a name that is not known here means itself alone."""
    try:
        return a == b or find_metric(a) is find_metric(b)
    except UserError:
        return False


def metric_for(name: str, task: str, n_classes: int | None = None) -> Metric:
    """The metric called `name`, which must serve a task.

    Args:
        name: As for `find_metric`.
        task: What it is to score.
        n_classes: Number of classes, where it is known.

    Raises:
        UserError: No such metric, one of another task, or one for another number of classes; names those that serve.
    """
    metric = find_metric(name)
    if task not in metric.tasks:
        raise UserError(f"metric '{metric.name}' is not for {task} tasks", next=_others(task, n_classes))
    if not _serves(metric, task, n_classes):
        raise UserError(
            f"metric '{metric.name}' is for {metric.n_classes} classes, these are {n_classes}",
            next=_others(task, n_classes),
        )
    return metric


def _serves(metric: Metric, task: str, n_classes: int | None) -> bool:
    bound = metric.n_classes if task == "single_label" else None
    return task in metric.tasks and (bound is None or n_classes is None or n_classes == bound)


def _others(task: str, n_classes: int | None) -> str:
    return "use one of " + ", ".join(metric.name for metric in METRICS.values() if _serves(metric, task, n_classes))


def _of_matrix(
    name: str,
    function: Callable[[counts.Matrix], float],
    description: str,
    n_classes: int | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    by_order: ByOrder = None,
) -> Metric:
    """A single-label metric that needs the confusion matrix only."""

    def from_probs(truth: Bools, probs: Floats, weights: Floats) -> float:
        codes, predicted = truth.argmax(axis=1), probs.argmax(axis=1)
        return function(counts.confusion(codes, predicted, probs.shape[1], weights))

    functions = {"single_label": from_probs}
    return Metric(
        name,
        description,
        functions,
        "labels",
        from_confusion=function,
        n_classes=n_classes,
        bounds=bounds,
        by_order=by_order,
    )


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


def _of_values(name: str, function: values.ValueMetric, description: str, *, greater_is_better: bool) -> Metric:
    """A metric of numbers: of targets, of labels that are 1 or 0, and of the second of two classes."""
    functions: dict[str, Function] = {
        "regression": function,
        "multi_label": function,
        "single_label": values.of_second_class(function),
    }
    bounds = _CORRELATION if greater_is_better else _LOSS
    return Metric(name, description, functions, "probs", greater_is_better, n_classes=2, bounds=bounds)


_CORRELATION = (-1.0, 1.0)
_LOSS = (0.0, math.inf)
_ALL = (
    _of_matrix("accuracy", counts.accuracy, "share of rows that are right"),
    _of_matrix("balanced_accuracy", counts.balanced_accuracy, "mean recall of the classes (macro recall)"),
    _f1("macro_f1", "mean F1 of the classes, each counting the same", counts.macro_f1, multilabel.macro_f1),
    _f1("micro_f1", "F1 over all decisions; accuracy for single labels", counts.accuracy, multilabel.micro_f1),
    _f1("weighted_f1", "mean F1 of the classes, each by its rows", counts.weighted_f1, multilabel.weighted_f1),
    _of_matrix("binary_f1", counts.binary_f1, "F1 of the second of two classes", n_classes=2, by_order="second"),
    _of_matrix("macro_precision", counts.macro_precision, "mean precision of the classes"),
    _of_matrix("mcc", counts.mcc, "Matthews correlation coefficient", bounds=_CORRELATION),
    _of_matrix("cohen_kappa", counts.cohen_kappa, "agreement beyond chance", bounds=_CORRELATION),
    _of_matrix(
        "quadratic_kappa",
        counts.quadratic_kappa,
        "agreement beyond chance, by squared distance of classes",
        bounds=_CORRELATION,
        by_order="distance",
    ),
    Metric(
        "log_loss",
        "mean negative log-probability of the truth",
        {"single_label": ranking.log_loss, "multi_label": ranking.binary_log_loss},
        "probs",
        greater_is_better=False,
        bounds=_LOSS,
    ),
    Metric(
        "brier",
        "mean squared error of the probabilities",
        {"single_label": ranking.brier},
        "probs",
        greater_is_better=False,
        bounds=(0.0, 2.0),  # the squares of all classes are added
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
        by_order="second",
    ),
    _top_k(2),
    _top_k(3),
    _top_k(5),
    Metric("samples_f1", "mean F1 of the rows' label sets", {"multi_label": _of_sets(multilabel.samples_f1)}, "labels"),
    Metric(
        "exact_match",
        "share of rows whose label set is exactly right, or whose label in every group is",
        {"multi_label": _of_sets(multilabel.exact_match), "multi_group": groups.exact_match},
        "labels",
    ),
    Metric(
        "hamming_loss",
        "share of wrong decisions among all rows and labels",
        {"multi_label": _of_sets(multilabel.hamming_loss)},
        "labels",
        greater_is_better=False,
    ),
    _of_values("rmse", values.rmse, "root of the mean squared error", greater_is_better=False),
    _of_values("mae", values.mae, "mean absolute error", greater_is_better=False),
    _of_values("pearson", values.pearson, "linear correlation", greater_is_better=True),
    _of_values("spearman", values.spearman, "correlation of the ranks", greater_is_better=True),
    Metric(
        "group_accuracy",
        "mean over label groups of the share of rows that are right",
        {"multi_group": groups.group_accuracy},
        "labels",
    ),
    Metric(
        "top_2_hit",
        "share of rows whose two most probable labels are the two true ones",
        {"multi_label": groups.label_top_2_hit, "multi_group": groups.top_2_hit},
        "probs",
    ),
    Metric(
        "entity_f1", "strict F1 of entities in BIO tags, all types together", {"token": entities.entity_f1}, "labels"
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
    "mcrmse": "rmse",
    "mean_absolute_error": "mae",
    "mean_f1": "macro_f1",
    "multiclass_loss": "log_loss",
    "ner_f1": "entity_f1",
    "pearsonr": "pearson",
    "precision_macro": "macro_precision",
    "qwk": "quadratic_kappa",
    "recall_macro": "balanced_accuracy",
    "root_mean_squared_error": "rmse",
    "seqeval": "entity_f1",
    "spearmanr": "spearman",
    "strict_entity_f1": "entity_f1",
    "subset_accuracy": "exact_match",
    "uar": "balanced_accuracy",
}
