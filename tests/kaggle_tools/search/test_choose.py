"""The choice among candidates: the simplest of the best, and what the choice itself adds to the score."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate, find_metric
from kaggle_tools.search import blend
from kaggle_tools.search._selection import optimism_of_choice, simplest, simplest_of_the_best
from kaggle_tools.search.candidates import CANDIDATES, Setting, study_candidate
from kaggle_tools.search.choose import Chosen, candidates_for, choose
from kaggle_tools.search.honest import verdict_of
from kaggle_tools.search.recipe.replay import apply_stack

from .data import make_label_stack, make_stack


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


@pytest.mark.parametrize(("make", "task"), [(make_stack, "single_label"), (make_label_stack, "multi_label")])
def test_the_numbers_of_a_stack_are_those_that_it_fits(make, task):
    stack, codes = make(3, 200)
    classes = tuple("abcd")[: stack.shape[2]]
    setting = Setting(("x", "y", "z"), classes, "log_loss", task)
    recipe = CANDIDATES["stack"].fit(setting, stack, codes, np.arange(len(stack[0])) % 3)
    fitted = np.size(recipe.parameters["coefficients"]) + np.size(recipe.parameters["intercepts"])
    assert CANDIDATES["stack"].n_parameters(setting) == fitted


@pytest.mark.parametrize(("name", "metric"), [("stack", "log_loss"), ("vote", "macro_f1")])
def test_a_blend_of_two_folds_has_what_holds_out_rows_too(name, metric):
    """Nested cross-validation leaves one fold to it, of which it must hold out some rows."""
    stack, codes = make_stack(3, 300)
    setting = Setting(("x", "y", "z"), tuple("abcd")[: stack.shape[2]], metric, "single_label")
    recipe = CANDIDATES[name].fit(setting, stack, codes, np.zeros(300, np.int64))
    blind = np.full(stack.shape[1:], 1 / stack.shape[2])
    scores = [evaluate(metric, codes, one) for one in (apply_stack(recipe, stack), blind)]
    assert find_metric(metric).better(*scores)


def test_a_blend_that_says_the_same_of_every_row_gets_no_class_weights():
    """As of two models that contradict each other, or in a fold that is of one class: others go on being tried."""
    codes = np.arange(40) % 2
    sure = np.eye(2, dtype=np.float32)[codes]
    setting = Setting(("x", "y"), ("a", "b"), "macro_f1")
    recipe = CANDIDATES["mean + class weights"].fit(setting, np.stack([sure, 1 - sure]), codes, codes)
    assert recipe == CANDIDATES["mean"].fit(setting, np.stack([sure, 1 - sure]), codes, codes)


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
    optimism = optimism_of_choice(metric, codes, outputs, simplest([1] * 20), best)
    assert 0.3 < optimism / (scores.max() - scores.mean()) < 1.2


def test_a_clear_winner_is_not_flattered_and_one_candidate_is_no_choice():
    codes = np.arange(300) % 3
    sure = np.eye(3)[codes] * 0.9 + 0.1 / 3
    assert optimism_of_choice("macro_f1", codes, [sure, np.roll(sure, 1, axis=0)], simplest([1, 1]), 0) == 0
    assert optimism_of_choice("macro_f1", codes, [sure], simplest([1]), 0) == 0


@pytest.mark.parametrize("metric", ["weighted_f1", "macro_f1", "log_loss"])
def test_bootstraps_of_few_rows_that_leave_none_out_are_passed_over(metric):
    codes = np.array([0, 1, 0, 1])
    right, wrong = np.eye(2)[codes] * 0.8 + 0.1, np.eye(2)[1 - codes] * 0.8 + 0.1
    assert optimism_of_choice(metric, codes, [right, wrong], simplest([1, 1]), 0) == 0  # the right one wins every time
    assert optimism_of_choice(metric, codes, [right, wrong], simplest([1, 1]), 1) == 0


def test_decisions_and_label_sets_are_chosen_among_too():
    random = np.random.default_rng(0)
    truth = (random.random((200, 4)) < 0.4).astype(np.int64)
    outputs = [np.clip(truth + random.normal(size=truth.shape), 0, 1) for _ in range(4)]
    assert 0 <= optimism_of_choice("samples_f1", truth, outputs, simplest([1] * 4), 0) < 0.1
    codes = random.integers(3, size=200)
    votes = [np.where(random.random(200) < 0.7, codes, 0) for _ in range(3)]
    assert 0 <= optimism_of_choice("accuracy", codes, votes, simplest([1] * 3), 0) < 0.1


def test_the_recipe_carries_the_honest_score_with_the_choice_counted():
    probs, codes = make_stack(3, 300, 3)
    setting = Setting(("a", "b", "c"), ("x", "y", "z"), "log_loss")
    found = choose(probs, codes, setting)
    assert found.choice_optimism >= 0
    assert found.honest == pytest.approx(found.tried.honest.honest + found.choice_optimism)
    assert found.recipe.honest == found.honest
    assert "bent log pool" in [one.name for one in found.table]


def test_a_blend_of_twins_is_not_called_worse_than_either_for_having_been_chosen():
    """Their mean is each of them but for rounding: other candidates, which overfit, are no reason to distrust it."""
    one, codes = make_stack(1, 300, 3)
    setting = Setting(("a", "b"), ("x", "y", "z"), "log_loss")
    few = {name: CANDIDATES[name] for name in ("mean", "stack", "bent log pool", "likeliest log pool")}
    found = choose(np.repeat(one, 2, axis=0), codes, setting, candidates=few)
    taken = Chosen(found.table, next(x for x in found.table if x.name == "mean"), "", 0.01, 0.5)
    assert taken.gain == pytest.approx((0, 0, 0), abs=1e-6)
    assert verdict_of(*taken.gain[1:]).endswith("prefer the simpler recipe")


def test_ranks_gain_nothing_from_what_sets_folds_apart():
    """Folds of other scales cost any model; ranked fold by fold that cost would be gone, and no blend be better."""
    random = np.random.default_rng(4)
    codes, folds = random.integers(2, size=2000), np.arange(2000) % 5
    scale = np.linspace(-1.5, 1.5, 5)[folds]
    logits = np.stack([2.0 * codes - 1 + noise * random.standard_normal(2000) + scale for noise in (1.0, 3.0)])
    positive = 1 / (1 + np.exp(-logits))
    probs = np.stack([1 - positive, positive], axis=2).astype(np.float32)
    setting = Setting(("good", "bad"), ("no", "yes"), "roc_auc")
    found = choose(probs, codes, setting, folds=folds)
    worth = {one.name: one.honest for one in found.table}
    mean_rank = sum(rankdata(model) for model in probs[:, :, 1])
    assert worth["rank mean"].honest == pytest.approx(roc_auc_score(codes, mean_rank))
    assert worth["rank mean"].comparison.high < 0
    assert found.name != "rank mean"


def test_pools_of_all_models_are_not_tried_where_few_were_asked_for():
    setting = Setting(("a", "b", "c"), ("x", "y", "z"), "macro_f1", sparse=2)
    assert "bent log pool" in CANDIDATES
    assert not any("likeliest" in name or "bent" in name for name in candidates_for(setting, "auto"))


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss"])
def test_with_more_classes_than_fits_take_what_needs_no_fit_is_tried(metric):
    setting = Setting(("a", "b", "c"), tuple(map(str, range(1025))), metric)
    found = candidates_for(setting, "auto")
    assert set(found) - {"vote"} == {"best single", "mean", "geometric mean", "greedy"}
    probs = np.random.default_rng(0).dirichlet(np.ones(1025), (3, 50)).astype(np.float32)
    few = {name: found[name] for name in ("best single", "mean")}
    chosen = choose(probs, np.arange(50), setting, folds=np.arange(50) % 2, candidates=few)
    assert chosen.name in few
    with pytest.raises(UserError, match="1,024 classes at most"):
        candidates_for(setting, "weights")


def test_a_study_begins_at_solutions_that_are_fitted_once_for_each_fold(monkeypatch):
    fitted = []

    def counted(codes, probs, metric, *, family, **options):
        fitted.append((family, len(codes), codes.tobytes()))
        return fit(codes, probs, metric, family=family, **options)

    fit = blend.fit
    monkeypatch.setattr(blend, "fit", counted)
    probs, codes = make_stack(3, 240, 3, seed=20261129)
    setting = Setting(("a", "b", "c"), ("x", "y", "z"), "macro_f1", bags=0)
    pools = {name: CANDIDATES[name] for name in ("linear pool", "log pool")}
    found = choose(probs, codes, setting, candidates={"study": study_candidate(2), **pools})
    assert len(found.table) == 3
    assert len(fitted) == len(set(fitted)) == 2 * 6  # two families; all rows, and without each of five folds


def test_a_study_may_leave_a_model_out():
    probs, codes = make_label_stack(3, 150)
    probs[2] = np.random.default_rng(0).random(probs[2].shape)  # it knows nothing
    setting = Setting(("a", "b", "noise"), tuple("wxyz")[: probs.shape[2]], "hamming_loss", "multi_label")
    found = choose(probs, codes, setting, candidates={"study": study_candidate(60)})
    assert found.recipe.models == ("a", "b")
    assert evaluate("hamming_loss", codes, apply_stack(found.recipe, probs[:2])) == found.recipe.fitted


def test_what_is_remembered_of_rows_is_not_given_for_others():
    probs, codes = make_stack(3, 200, 3)
    setting = Setting(("a", "b", "c"), ("x", "y", "z"), "log_loss")
    first, again = (CANDIDATES["log pool"].fit(setting, probs, codes, codes) for _ in range(2))
    assert again is first
    moved = probs.copy()
    moved[0, 0] = np.roll(moved[0, 0], 1)
    others = [(setting, moved, codes, codes), (replace(setting, metric="brier"), probs, codes, codes)]
    assert all(CANDIDATES["log pool"].fit(*other) is not first for other in others)
