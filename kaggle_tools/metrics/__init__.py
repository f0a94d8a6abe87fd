"""Metrics of competitions: what each is called, which direction is better, what it reads, and how it is computed.

    score("macro_f1", predictions)                       # Predictions with labels
    evaluate("log_loss", codes, probs)                   # arrays
    find_metric("logloss").greater_is_better             # aliases resolve, typos get a suggestion

Figures are those of scikit-learn in float64. Where a metric reads labels, a row's label is its most probable class, the
first of them on a tie (`single_label`), or every label with a probability of at least one half (`multi_label`).
Knows nothing of how weights, thresholds or blends are searched; that search works on `confusion` and `from_confusion`.
"""

from kaggle_tools.metrics.counts import confusion
from kaggle_tools.metrics.registry import ALIASES, METRICS, Metric, find_metric
from kaggle_tools.metrics.scoring import encode_label_sets, evaluate, score

__all__ = ["ALIASES", "METRICS", "Metric", "confusion", "encode_label_sets", "evaluate", "find_metric", "score"]
