"""The choice among candidates: the simplest of the best, and what the choice itself adds to the score."""

import numpy as np
import pytest

from kaggle_tools.metrics import evaluate, find_metric
from kaggle_tools.search._selection import optimism_of_choice, simplest_of_the_best
from kaggle_tools.search.candidates import CANDIDATES, Setting
from kaggle_tools.search.choose import candidates_for, choose

from .data import make_stack


@pytest.mark.parametrize(
    ("errors", "n_parameters", "taken"),
    [
        ((0, 0, 0), (5, 1, 0), 0),
        ((0, 0.2, 0.1), (5, 1, 0), 1),
        ((0, 0.2, 0.5), (5, 1, 0), 2),
        ((0, 0.2, 0.5), (1, 1, 1), 0),
    ],
)
def test_the_simplest_within_one_standard_error_is_taken(errors, n_parameters, taken):
    assert simplest_of_the_best(np.array([0.9, 0.8, 0.6]), np.array(errors), n_parameters) == taken


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss", "roc_auc"])
def test_the_luckiest_of_many_equals_is_worth_what_the_others_are(metric):
    random = np.random.default_rng(0)
    codes = random.integers(2, size=400)
    outputs = []
    for _ in range(20):  # all are equally good, the best of them by luck alone
        logits = codes - 0.5 + random.normal(size=400)
        outputs.append(np.stack([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1))
    sign = 1 if find_metric(metric).greater_is_better else -1
    scores = np.array([sign * evaluate(metric, codes, output) for output in outputs])
    best = int(np.argmax(scores))
    optimism = optimism_of_choice(metric, codes, outputs, [1] * 20, best)
    assert 0.3 < optimism / (scores.max() - scores.mean()) < 1.2


def test_a_clear_winner_is_not_flattered_and_one_candidate_is_no_choice():
    codes = np.arange(300) % 3
    sure = np.eye(3)[codes] * 0.9 + 0.1 / 3
    assert optimism_of_choice("macro_f1", codes, [sure, np.roll(sure, 1, axis=0)], [1, 1], 0) == 0
    assert optimism_of_choice("macro_f1", codes, [sure], [1], 0) == 0


def test_decisions_and_label_sets_are_chosen_among_too():
    random = np.random.default_rng(0)
    truth = (random.random((200, 4)) < 0.4).astype(np.int64)
    outputs = [np.clip(truth + random.normal(size=truth.shape), 0, 1) for _ in range(4)]
    assert 0 <= optimism_of_choice("samples_f1", truth, outputs, [1] * 4, 0) < 0.1
    codes = random.integers(3, size=200)
    votes = [np.where(random.random(200) < 0.7, codes, 0) for _ in range(3)]
    assert 0 <= optimism_of_choice("accuracy", codes, votes, [1] * 3, 0) < 0.1


def test_the_recipe_carries_the_honest_score_with_the_choice_counted():
    probs, codes = make_stack(3, 300, 3)
    setting = Setting(("a", "b", "c"), ("x", "y", "z"), "log_loss")
    found = choose(probs, codes, setting)
    assert found.choice_optimism >= 0
    assert found.honest == pytest.approx(found.tried.honest.honest + found.choice_optimism)
    assert found.recipe.honest == found.honest
    assert "bent log pool" in [one.name for one in found.table]


def test_pools_of_all_models_are_not_tried_where_few_were_asked_for():
    setting = Setting(("a", "b", "c"), ("x", "y", "z"), "macro_f1", sparse=2)
    assert "bent log pool" in CANDIDATES
    assert not any("likeliest" in name or "bent" in name for name in candidates_for(setting, "auto"))
