import numpy as np
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, evaluate
from kaggle_tools.search import greedy
from kaggle_tools.search.recipe import apply_stack

from .data import make_label_stack, make_stack


def naive(stack, codes, metric, n_steps, n_start=1):
    """As the paper tells it, one model and one score at a time."""
    sign = 1 if METRICS[metric].greater_is_better else -1
    alone = [sign * evaluate(metric, codes, model.astype(np.float64)) for model in stack]
    chosen, path = [], []
    total = np.zeros(stack.shape[1:])
    for m in sorted(range(len(stack)), key=lambda m: -alone[m])[:n_start]:
        total = total + stack[m]
        chosen.append(m)
        path.append(sign * evaluate(metric, codes, total / len(chosen)))
    while len(chosen) < n_steps:
        scores = [sign * evaluate(metric, codes, (total + model) / (len(chosen) + 1)) for model in stack]
        best = scores.index(max(scores))
        total = total + stack[best]
        chosen.append(best)
        path.append(scores[best])
    best_size = n_start + path[n_start - 1 :].index(max(path[n_start - 1 :]))
    return chosen[:best_size], [sign * value for value in path]


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "mcc", "quadratic_kappa", "log_loss", "brier", "roc_auc"])
@pytest.mark.parametrize("n_start", [1, 3])
def test_selection_is_exactly_the_naive_one(metric, n_start):
    stack, codes = make_stack(6, 250, 4, noise=2.0)
    found = greedy.select(stack, codes, metric, n_steps=12, n_start=n_start)
    chosen, path = naive(stack, codes, metric, 12, n_start)
    assert found.order == tuple(chosen)
    assert found.path == tuple(path)
    assert found.weights == tuple(np.bincount(chosen, minlength=6) / len(chosen))


def test_multi_label_selection_is_exactly_the_naive_one():
    stack, codes = make_label_stack(4)
    found = greedy.select(stack, codes, "macro_f1", n_steps=6)
    assert found.order == tuple(naive(stack, codes, "macro_f1", 6)[0])


def test_selection_becomes_a_recipe_with_its_score():
    stack, codes = make_stack(5)
    found = greedy.select(stack, codes, "macro_f1", n_steps=20)
    blend = apply_stack(found.recipe(tuple("abcde"), ("x", "y", "z")), stack)
    assert evaluate("macro_f1", codes, blend) == found.score
    assert found.score == pytest.approx(max(found.path), abs=0.003)  # one sum divided, or weights that sum to one
    assert found.score >= max(evaluate("macro_f1", codes, probs) for probs in stack)


def test_bagged_selection_averages_bags_of_some_models():
    stack, codes = make_stack(8, 300)
    found = greedy.select(stack, codes, "log_loss", n_steps=5, n_bags=6, seed=3)
    assert sum(found.weights) == pytest.approx(1)
    assert len(found.path) == 30
    assert np.count_nonzero(found.weights) > 3
    assert found == greedy.select(stack, codes, "log_loss", n_steps=5, n_bags=6, seed=3)
    assert "greedy selection" in repr(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_start": 9}, "start from 9"),
        ({"n_steps": 0}, "start from 1"),
        ({"n_bags": 2, "bag_share": 0}, "2 bags of 0"),
    ],
)
def test_bad_options_are_told(changes, message):
    stack, codes = make_stack(5)
    with pytest.raises(UserError, match=message):
        greedy.select(stack, codes, "macro_f1", **changes)


def test_one_model_is_not_enough():
    stack, codes = make_stack(1)
    with pytest.raises(UserError, match="one model only"):
        greedy.select(stack, codes, "macro_f1")
