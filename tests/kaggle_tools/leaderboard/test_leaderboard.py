"""The board as a measurement: closed forms against brute force, projections against their own conditions."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import spearmanr

from kaggle_tools.errors import UserError
from kaggle_tools.leaderboard import (
    believe,
    climb,
    draw_splits,
    leave_one_out,
    move,
    pick,
    predict,
    prepare,
    track,
)
from kaggle_tools.leaderboard.costs import costs
from kaggle_tools.leaderboard.predict import draw_labels
from kaggle_tools.leaderboard.project import STRENGTH, project
from kaggle_tools.leaderboard.splits import Splits
from kaggle_tools.metrics import evaluate
from kaggle_tools.predictions import Predictions

CLASSES = ("a", "b", "c")


def problem(k=5, n=600, c=3, seed=0):
    """A belief, labels drawn from it, and K submissions of different quality."""
    random = np.random.default_rng(seed)
    belief = random.dirichlet([0.5] * c, n)
    truth = draw_labels(belief, "single_label", random)
    probs = np.stack(
        [0.9 * (1 - q) * belief + (0.1 + 0.9 * q) * random.dirichlet([1] * c, n) for q in np.linspace(0, 1, k)]
    )
    return belief, truth, (probs / probs.sum(axis=2, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("metric", ["log_loss", "brier", "accuracy", "top_2_accuracy"])
def test_costs_are_what_each_label_would_add_to_the_metric(metric):
    _, truth, probs = problem()
    table = costs(metric, probs[0])
    assert table[np.arange(len(truth)), truth].mean() == pytest.approx(evaluate(metric, truth, probs[0]))


@pytest.mark.parametrize("metric", ["log_loss", "hamming_loss"])
def test_costs_of_several_labels_are_those_of_each_decision(metric):
    random = np.random.default_rng(0)
    probs, truth = random.random((200, 4)), random.integers(0, 2, (200, 4))
    table = costs(metric, probs, "multi_label")
    assert table[np.arange(800), truth.ravel()].mean() == pytest.approx(evaluate(metric, truth, probs))


def test_projection_expects_the_known_scores():
    belief, truth, probs = problem()
    table = np.stack([costs("log_loss", one) for one in probs])
    scores = np.array([evaluate("log_loss", truth, one) for one in probs])
    found = project(belief, table, scores)
    assert np.allclose(np.exp(found.log_probs).sum(axis=1), 1)
    assert found.expected == pytest.approx(scores, abs=0.02)
    uncorrected = np.einsum("nc,knc->k", belief, table) / len(belief)
    assert np.abs(found.expected - scores).sum() < np.abs(uncorrected - scores).sum()


def test_projection_is_the_minimum_that_a_general_optimiser_finds():
    belief, truth, probs = problem(k=3, n=120)
    table = np.stack([costs("brier", one) for one in probs])
    scores = np.array([evaluate("brier", truth, one) for one in probs])
    means = np.einsum("nc,knc->k", belief, table) / len(belief)
    spread = np.sqrt(np.einsum("nc,knc->k", belief, table**2) / len(belief) - means**2)

    def dual(weights):
        tilted = belief * np.exp(-np.einsum("k,knc->nc", weights / spread, table - means[:, None, None]))
        return (
            np.log(tilted.sum(axis=1)).mean() + weights @ ((scores - means) / spread) + STRENGTH / 2 * weights @ weights
        )

    best = minimize(dual, np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    assert project(belief, table, scores).weights == pytest.approx(best.x, abs=1e-4)


def test_known_scores_that_are_as_believed_change_nothing():
    belief, _, probs = problem()
    table = np.stack([costs("log_loss", one) for one in probs])
    expected = np.einsum("nc,knc->k", belief, table) / len(belief)
    assert project(belief, table, expected).weights == pytest.approx(np.zeros(5), abs=1e-9)


@pytest.mark.parametrize(("metric", "method"), [("log_loss", "projection"), ("macro_f1", "regression")])
def test_prediction_does_not_use_the_targets_own_score(metric, method):
    belief, truth, probs = problem()
    scores = np.array([evaluate(metric, truth, one) for one in probs])
    honest = predict(prepare(belief, probs, scores, metric), 2)
    scores[2] = np.nan
    blind = predict(prepare(belief, probs, scores, metric), 2)
    assert honest.score == pytest.approx(blind.score, abs=1e-6)
    assert (honest.method, honest.n_known) == (method, 4)
    assert honest.low < honest.score < honest.high


@pytest.mark.parametrize("seed", range(3))
def test_few_known_scores_of_alike_submissions_do_not_lead_far_beyond_them(seed):
    belief, truth, probs = problem(k=12, n=400, seed=seed)
    scores = np.array([evaluate("macro_f1", truth[:120], one[:120]) for one in probs])
    board, random = prepare(belief, probs, scores, "macro_f1"), np.random.default_rng(seed)
    errors = [board.using(random.permutation(12)[:3]) - scores for _ in range(100)]
    assert np.sqrt(np.mean(np.square(errors))) < 0.08  # .10 to .23 with features scaled by the known ones alone
    assert np.abs(errors).max() < 0.5


def test_wrong_belief_is_corrected_by_known_scores():
    belief, truth, probs = problem(k=8, n=4000)
    overconfident = belief**3 / (belief**3).sum(axis=1, keepdims=True)
    scores = np.array([evaluate("log_loss", truth, one) for one in probs])
    board = prepare(overconfident, probs, scores, "log_loss")
    errors = np.abs(leave_one_out(board) - scores)
    assert errors.mean() < 0.25 * np.abs(board.uncorrected - scores).mean()


def test_without_three_known_scores_there_is_no_interval():
    belief, _, probs = problem()
    found = predict(prepare(belief, probs, np.array([0.5, 0.6, np.nan, np.nan, np.nan]), "log_loss"), 2)
    assert (found.low, found.high, found.n_known, found.method) == (None, None, 0, "belief")
    assert found.score == found.uncorrected
    with pytest.raises(UserError, match="1 known scores"):
        leave_one_out(prepare(belief, probs, np.array([0.5] + [np.nan] * 4), "log_loss"))


def test_noise_in_closed_form_is_that_of_drawn_labels_and_rows():
    belief, _, probs = problem(k=3)
    found = draw_splits(belief, probs, "log_loss", 200)
    random = np.random.default_rng(5)
    public, private = [], []
    for _ in range(3000):
        truth, rows = draw_labels(belief, "single_label", random), random.permutation(600)
        cost = -np.log(probs[:, np.arange(600), truth].astype(float))
        public.append(cost[:, rows[:200]].mean(axis=1))
        private.append(cost[:, rows[200:]].mean(axis=1))
    public, private = np.array(public), np.array(private)
    assert found.noise == pytest.approx(public.std(axis=0), rel=0.06)
    assert found.noise_of_shift == pytest.approx((private - public).std(axis=0), rel=0.06)
    assert found.noise_of_move(0, 2) == pytest.approx((public[:, 0] - public[:, 2]).std(), rel=0.06)
    assert found.public.mean(axis=0) == pytest.approx(public.mean(axis=0), rel=0.01)


def test_noise_by_drawing_is_that_of_the_closed_form():
    belief, _, probs = problem(k=3)
    exact = draw_splits(belief, probs, "accuracy", 200)
    drawn = draw_splits(belief, probs, "macro_f1", 200)
    assert drawn.noise == pytest.approx(exact.noise, rel=0.35)  # nearly the same metric where classes are even
    assert np.corrcoef(drawn.public.mean(axis=0), exact.public.mean(axis=0))[0, 1] > 0.99


def test_public_rows_must_leave_private_ones():
    belief, _, probs = problem()
    for rows in (0, 600):
        with pytest.raises(UserError, match="public rows"):
            draw_splits(belief, probs, "log_loss", rows)


def test_the_ladder_takes_only_moves_above_one_standard_error():
    belief, _, probs = problem()
    splits = draw_splits(belief, probs, "log_loss", 200)
    error = splits.noise_of_move(0, 1)
    scores = [0.5, 0.5 - 0.5 * error, 0.5 - 10 * splits.noise_of_move(0, 2), 0.9, 0.5]
    moves = climb(splits, list("abcde"), scores, greater=False)
    assert [one.counts for one in moves] == [False, True, False, False]
    assert [one.before for one in moves] == ["a", "a", "c", "c"]
    assert moves[0].within_noise
    assert not moves[1].within_noise
    assert move(splits, list("abcde"), scores, 0, 1, greater=True).gain == pytest.approx(-0.5 * error)


def test_tracking_is_spearman_and_the_median_offset():
    ours, board = [0.1, 0.2, 0.3, 0.4, np.nan], [0.15, 0.22, 0.36, 0.41, 0.9]
    found = track(ours, board)
    assert found.n == 4
    assert found.rank_correlation == pytest.approx(spearmanr(ours[:4], board[:4]).statistic)
    assert found.offset == pytest.approx(np.median(np.subtract(board, ours)[:4]))
    assert track([np.nan], [1.0]).n == 0
    assert track([0.1, 0.2], [0.1, 0.3]).rank_correlation is None


def test_of_equally_good_ones_the_less_alike_is_the_insurance():
    random = np.random.default_rng(0)
    shared, own = random.standard_normal((2, 4000)), random.standard_normal((2, 4000))
    # b is nearly a, and a little better than c, which goes its own way.
    draws = [0.02 * np.stack([s, s + 0.01 * o, o], axis=1) for s, o in zip(shared, own, strict=True)]
    correlation = np.array([[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1.0]])
    found = pick(Splits(*draws, correlation, 100), list("abc"), np.array([0.8, 0.7995, 0.799]), 0.0, greater=True)
    assert (found.first, found.second) == ("a", "c")
    assert found.expected_pair > found.expected_first
    assert sum(one.p_best for one in found.chances) == pytest.approx(1)
    assert (
        pick(Splits(*draws, correlation, 100), list("abc"), np.array([0.8, 0.79, 0.79]), 0.0, greater=False).first
        != "a"
    )


@pytest.mark.parametrize("metric", ["log_loss", "macro_f1"])
def test_scores_that_are_shown_are_the_estimates_without_the_luck_of_the_draws(metric):
    belief, _, probs = problem(k=3)
    expected = np.array([0.71, 0.72, 0.74])
    found = pick(draw_splits(belief, probs, metric, 60), list("abc"), expected, 0.02, greater=False)
    assert {one.name: one.expected for one in found.chances} == pytest.approx(dict(zip("abc", expected, strict=True)))
    assert (found.first, found.expected_first) == ("a", pytest.approx(0.71))
    assert found.expected_pair < 0.71


def test_single_submission_is_the_pick():
    belief, _, probs = problem(k=1)
    found = pick(draw_splits(belief, probs, "log_loss", 200), ["only"], np.array([0.7]), 0.01, greater=False)
    assert (found.first, found.second, found.p_shake_up) == ("only", None, 0.0)


def test_belief_is_calibrated_though_the_runs_are_not():
    random = np.random.default_rng(1)
    n = 4000
    probs = random.dirichlet([0.6] * 3, 2 * n)
    truth = draw_labels(probs, "single_label", random)
    sharp = probs**4 / (probs**4).sum(axis=1, keepdims=True)
    ids = pl.Series("id", [f"r{i}" for i in range(2 * n)])
    labels = pl.Series("label", [CLASSES[i] for i in truth])
    oof = Predictions(ids[:n], CLASSES, sharp[:n].astype(np.float32), labels[:n])
    test = Predictions(ids[n:], CLASSES, sharp[n:].astype(np.float32))
    found = believe({"run": oof}, {"run": test})
    assert evaluate("log_loss", truth[n:], found.probs) < evaluate("log_loss", truth[n:], sharp[n:]) - 0.1
    assert found.probs.max(axis=1).mean() == pytest.approx((found.probs.argmax(axis=1) == truth[n:]).mean(), abs=0.03)
    with pytest.raises(UserError, match="no run has both"):
        believe({}, {})


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(5, 60), st.integers(2, 5), st.integers(0, 1000))
def test_projection_gives_probabilities_whatever_the_scores(k, n, c, seed):
    belief, _, probs = problem(k, n, c, seed)
    scores = np.random.default_rng(seed).uniform(0, 3, k)
    found = project(belief, np.stack([costs("log_loss", one) for one in probs]), scores)
    assert np.isfinite(found.weights).all()
    assert np.allclose(np.exp(found.log_probs).sum(axis=1), 1)


@pytest.mark.parametrize(("metric", "method"), [("log_loss", "projection"), ("micro_f1", "regression")])
def test_several_labels_a_row_are_predicted_and_drawn(metric, method):
    random = np.random.default_rng(2)
    belief = random.random((500, 4))
    truth = draw_labels(belief, "multi_label", random)
    noise = random.standard_normal((5, 500, 4)) * np.linspace(0.05, 0.4, 5)[:, None, None]
    probs = np.clip(belief + noise, 0.01, 0.99).astype(np.float32)
    scores = np.array([evaluate(metric, truth, one) for one in probs])
    found = predict(prepare(belief, probs, scores, metric, "multi_label"), 2)
    assert found.method == method
    assert found.score == pytest.approx(scores[2], abs=0.05)
    splits = draw_splits(belief, probs, metric, 150, "multi_label")
    drawn = []
    for _ in range(300):
        truth, rows = draw_labels(belief, "multi_label", random), random.permutation(500)[:150]
        drawn.append(evaluate(metric, truth[rows], probs[0, rows]))
    assert splits.noise[0] == pytest.approx(np.std(drawn), rel=0.25)


@pytest.mark.parametrize("metric", ["log_loss", "hamming_loss"])
def test_labels_of_one_row_are_drawn_together_onto_the_board(metric):
    random = np.random.default_rng(0)
    n, n_public = 400, 100
    belief = np.clip(0.5 * random.random((n, 1)) + 0.02 * random.random((n, 4)), 0, 1)  # hard rows are so in all labels
    probs = np.stack([belief, np.clip(belief + 0.1 * random.normal(size=(n, 1)), 0.01, 0.99)])
    splits = draw_splits(belief, probs, metric, n_public, "multi_label")
    drawn = []
    for _ in range(1500):
        rows = random.permutation(n)[:n_public]
        truth = draw_labels(belief[rows], "multi_label", random)
        drawn.append([evaluate(metric, truth, one[rows]) for one in probs])
    assert splits.noise == pytest.approx(np.std(drawn, axis=0), rel=0.08)
