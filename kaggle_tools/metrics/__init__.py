"""Metrics of competitions: what each is called, which direction is better, what it reads, and how it is computed.

    score("macro_f1", predictions)                       # Predictions with labels
    evaluate("log_loss", codes, probs)                   # arrays
    find_metric("logloss").greater_is_better             # aliases resolve, typos get a suggestion
    metric_for("rmse", "single_label", 3)                # an error: rmse is for two classes

Figures are those of scikit-learn in float64. Where a metric reads labels, a row's label is its most probable class, the
first of them on a tie (`single_label`), or every label with a probability of at least one half (`multi_label`).

What is no table of classes has a function of its own, and metrics that `evaluate` refuses by name of the task:

    evaluate_values("rmse", truth, predicted)            # (N,) or (N, K) numbers
    evaluate_groups("top_2_hit", codes, [coarse, fine])  # (N, G) classes of linked label groups
    evaluate_tags("entity_f1", truth, predicted)         # BIO tags of N sentences

Knows nothing of how weights, thresholds or blends are searched; that search works on `confusion` and `from_confusion`.
"""

from kaggle_tools.metrics.counts import confusion
from kaggle_tools.metrics.entities import EntityCounts, count_entities
from kaggle_tools.metrics.groups import Tally, top_2_hits
from kaggle_tools.metrics.other_tasks import accuracy_by_group, evaluate_groups, evaluate_tags, evaluate_values
from kaggle_tools.metrics.registry import ALIASES, METRICS, Metric, find_metric, metric_for, same_metric
from kaggle_tools.metrics.scoring import encode_label_sets, evaluate, group_scores, score

__all__ = [
    "ALIASES",
    "METRICS",
    "EntityCounts",
    "Metric",
    "Tally",
    "accuracy_by_group",
    "confusion",
    "count_entities",
    "encode_label_sets",
    "evaluate",
    "evaluate_groups",
    "evaluate_tags",
    "evaluate_values",
    "find_metric",
    "group_scores",
    "metric_for",
    "same_metric",
    "score",
    "top_2_hits",
]
