import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate
from kaggle_tools.search import thresholds
from kaggle_tools.search.recipe import Recipe, apply_stack

from .data import make_label_stack


def small_case(seed):
    """Few rows and labels, with ties, zeros and ones."""
    random = np.random.default_rng(seed)
    n, labels = int(random.integers(3, 9)), int(random.integers(1, 4))
    truth = random.integers(0, 2, (n, labels))
    truth[0] = 1
    probs = random.choice([0.0, 0.1, 0.3, 0.5, 0.75, 0.9, 1.0], (n, labels)).astype(np.float32)
    probs[1] = 0.2
    probs[0] = 0.6
    return truth, probs, random.integers(1, 4, n).astype(np.float64)


def cuts_of(column):
    """One threshold for every set of rows that a threshold in (0, 1] can take."""
    values = np.unique(np.concatenate([[0.0, 1.0], column.astype(np.float64)]))
    return (values[:-1] + values[1:]) / 2


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1", "weighted_f1", "hamming_loss"])
@given(seed=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_best_of_all_thresholds_together(name, seed):
    truth, probs, weights = small_case(seed)
    found = thresholds.fit(truth, probs, name, sample_weight=weights)
    scores = [
        evaluate(name, truth, probs >= np.array(cuts), weights=weights)
        for cuts in itertools.product(*(cuts_of(column) for column in probs.T))
    ]
    best = min(scores) if name == "hamming_loss" else max(scores)
    assert found.score == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("name", ["samples_f1", "exact_match"])
@given(seed=st.integers(0, 100_000))
@settings(max_examples=40, deadline=None)
def test_no_threshold_alone_is_better(name, seed):
    truth, probs, weights = small_case(seed)
    found = thresholds.fit(truth, probs, name, sample_weight=weights)
    for label, column in enumerate(probs.T):
        for cut in cuts_of(column):
            moved = found.thresholds.copy()
            moved[label] = cut
            assert evaluate(name, truth, probs >= moved, weights=weights) <= found.score + 2e-6


@pytest.mark.parametrize("name", thresholds.METRICS)
def test_reported_scores_are_those_of_what_is_applied_and_a_recipe_replays_it(name):
    stack, truth = make_label_stack(1, 300, 4)
    found = thresholds.fit(truth, stack[0], name)
    applied = found.apply(stack[0])
    assert found.score == pytest.approx(evaluate(name, truth, applied), abs=1e-12)
    assert found.score_at_half == pytest.approx(evaluate(name, truth, stack[0]), abs=1e-12)
    assert np.array_equal(found.labels(stack[0]), applied >= 0.5)
    recipe = Recipe("mean", "multi_label", tuple("abcd"), ("m",), name, {"thresholds": found.thresholds})
    assert np.array_equal(apply_stack(recipe, stack), applied)
    better = -1 if name == "hamming_loss" else 1
    assert better * found.score >= better * found.score_at_half


@pytest.mark.parametrize(("name", "of_two"), [("binary_f1", "binary_f1"), ("accuracy", "accuracy")])
def test_a_binary_task_is_one_column(name, of_two):
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 60)
    probs = (0.3 * truth + 0.7 * random.random(60)).astype(np.float32)
    found = thresholds.fit(truth, probs, name)

    def value(cut):
        second = probs >= cut
        return evaluate(of_two, truth, np.column_stack([~second, second]))

    assert found.score == pytest.approx(max(value(cut) for cut in cuts_of(probs)), abs=1e-12)
    assert found.labels(probs).shape == (60,)
    assert np.array_equal(found.apply(probs) >= 0.5, found.labels(probs))


def test_the_widest_gap_wins_then_the_nearest_to_one_half():
    truth = np.array([1, 1, 0, 0])
    assert thresholds.fit(truth, np.array([0.9, 0.8, 0.2, 0.1]), "binary_f1").thresholds[0] == pytest.approx(0.5)
    # One hit and one miss are equally good with or without the second row.
    found = thresholds.fit(np.array([0, 1]), np.array([0.625, 0.25]), "accuracy")
    assert found.thresholds[0] == pytest.approx(0.8125)


def test_unusable_input_is_told_with_figures():
    stack, truth = make_label_stack(1, 50, 3)
    probs = stack[0]
    flat, outside, missing = probs.copy(), probs.copy(), truth.copy()
    flat[:, 1], outside[3, 0], missing[:, 2] = 0.5, np.nan, 0
    for arguments, message in (
        ((truth, flat, "macro_f1"), "1 of 3 labels have the same probability in every row"),
        ((truth, outside, "macro_f1"), "1 of 50 rows have a value that is no probability"),
        ((missing, probs, "macro_f1"), "1 of 3 labels have no true row among 50"),
        ((truth * 2, probs, "macro_f1"), "truth must be 0 or 1"),
        ((truth[1:], probs, "macro_f1"), "truth has shape"),
        ((truth[:0], probs[:0], "macro_f1"), "no rows to fit"),
        ((truth, probs, "roc_auc"), "no thresholds for roc_auc"),
        ((truth[:, 0], probs[:, 0], "mcc"), "no thresholds for mcc"),
    ):
        with pytest.raises(UserError, match=message):
            thresholds.fit(*arguments)


def test_labels_of_which_nothing_is_known_keep_one_half_where_that_is_allowed():
    stack, truth = make_label_stack(1, 50, 3)
    truth[:, 2] = 0
    found = thresholds.fit(truth, stack[0], "macro_f1", allow_absent=True)
    assert found.thresholds[2] == 0.5
