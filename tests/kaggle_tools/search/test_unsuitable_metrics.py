"""Whatever takes a metric of single labels refuses one that it cannot compute, by name and with those that serve."""

import numpy as np
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, evaluate
from kaggle_tools.search import blend, choose, greedy, honest, rescale, study, thresholds, vote
from kaggle_tools.search.candidates import Setting
from kaggle_tools.search.compare import compare
from tests.kaggle_tools.search.data import make_label_stack, make_stack

STACK, CODES = make_stack(n_models=4, n_rows=60, n_classes=3)
NAMES, CLASSES = ("a", "b", "c", "d"), ("x", "y", "z")

TAKES_METRICS = {
    "evaluate": lambda metric: evaluate(metric, CODES, STACK[0]),
    "blend": lambda metric: blend.fit(CODES, STACK, metric),
    "rescale": lambda metric: rescale.fit(CODES, STACK[0], metric),
    "thresholds": lambda metric: thresholds.fit(CODES > 0, STACK[0][:, 0], metric),
    "greedy": lambda metric: greedy.select(STACK, CODES, metric),
    "vote": lambda metric: vote.search(STACK, CODES, metric),
    "study": lambda metric: study.search(CODES, STACK, metric, names=NAMES, classes=CLASSES, trials=2),
    "honest": lambda metric: honest.evaluate(lambda *_: lambda probs: probs[0], STACK, CODES, metric),
    "compare": lambda metric: compare(metric, CODES, STACK[0], STACK[1]),
    "choose": lambda metric: choose.choose(STACK, CODES, Setting(NAMES, CLASSES, metric)),
}
OTHERS = [metric.name for metric in METRICS.values() if "single_label" not in metric.tasks]
OF_TWO = [metric.name for metric in METRICS.values() if "single_label" in metric.tasks and metric.n_classes == 2]


@pytest.mark.parametrize("name", [*OTHERS, *OF_TWO])
@pytest.mark.parametrize("entry", TAKES_METRICS)
def test_metric_that_cannot_be_computed_is_refused_by_name(entry: str, name: str) -> None:
    if (entry, name) == ("thresholds", "binary_f1"):
        return  # it is given one column: a binary task
    with pytest.raises(UserError) as raised:
        TAKES_METRICS[entry](name)
    assert name in raised.value.summary


@pytest.mark.parametrize("name", ["rmse", "mae", "pearson", "spearman"])
def test_metrics_of_numbers_are_searched_for_two_classes_and_for_label_sets(name: str) -> None:
    second = STACK[:, :, 1:2] / STACK[:, :, :2].sum(axis=2, keepdims=True)
    two = np.concatenate([1 - second, second], axis=2)
    labels, truth = make_label_stack(n_models=4, n_rows=60, n_labels=2)
    for stack, codes, task in ((two, (CODES == 1).astype(np.int64), "single_label"), (labels, truth, "multi_label")):
        found = choose.choose(stack, codes, Setting(NAMES, ("x", "y"), name, task, bags=2))
        assert np.isfinite(found.tried.honest.honest)
        assert METRICS[name].better(found.tried.honest.fitted, evaluate(name, codes, stack[-1]))
