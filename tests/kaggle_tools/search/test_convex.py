import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_info, threadpool_limits

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate
from kaggle_tools.search import blend, inputs, least_squares, logloss, newton, stack
from kaggle_tools.search.threads import one_blas_thread

from .data import make_label_stack, make_stack


def problem(n_models=4, n_rows=200, n_classes=3, seed=0):
    probs, codes = make_stack(n_models, n_rows, n_classes, seed=seed)
    codes[:n_classes] = np.arange(n_classes)
    return codes, probs


@pytest.mark.parametrize("seed", range(4))
def test_linear_pool_is_the_optimum_that_slsqp_finds_with_a_gap_of_nothing(seed):
    codes, probs = problem(seed=seed)

    def loss(x):
        return evaluate("log_loss", codes, np.clip(np.tensordot(x, probs.astype(np.float64), 1), 0, 1))

    found = logloss.fit_linear_pool(codes, probs)
    simplex = {"type": "eq", "fun": lambda x: x.sum() - 1}
    oracle = minimize(
        loss, np.full(4, 0.25), method="SLSQP", bounds=[(0, 1)] * 4, constraints=[simplex], options={"ftol": 1e-12}
    )
    assert found.gap <= 1e-8
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights.min() >= 0
    assert found.score == pytest.approx(loss(found.weights), abs=1e-9)
    assert found.score <= oracle.fun + 1e-9
    assert found.score >= oracle.fun - 1e-6


def test_linear_pool_ends_where_rounding_hides_what_is_left(monkeypatch):
    codes, probs = problem(5, 2000)
    monkeypatch.setattr(logloss, "_ENOUGH", -1.0)  # out of reach
    found = logloss.fit_linear_pool(codes, probs)
    assert found.n_iterations < 50
    assert found.gap <= 1e-8


@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_gap_bounds_what_any_weights_gain(seed):
    codes, probs = problem(3, 40, 3, seed)
    found = logloss.fit_linear_pool(codes, probs)
    of_truth = probs[:, np.arange(40), codes].astype(np.float64)
    for x in np.random.default_rng(seed).dirichlet(np.ones(3), 20):
        assert -np.log(x @ of_truth).mean() >= found.score - found.gap - 1e-12


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_log_pool_is_the_optimum_that_bfgs_finds(biases, signed):
    codes, probs = problem(5, 300, 3)
    probs[4] = probs[3] ** 2 / (probs[3] ** 2).sum(axis=1, keepdims=True)  # the same but for its sharpness
    logs = np.log(probs.astype(np.float64))

    def loss(theta):
        bias = np.append(0, theta[5:]) if biases else 0.0
        return -log_softmax(np.tensordot(theta[:5], logs, 1) + bias, axis=1)[np.arange(300), codes].mean()

    found = logloss.fit_log_pool(codes, probs, biases=biases, signed=signed)
    start = np.concatenate([np.full(5, 0.2), np.zeros(2 if biases else 0)])
    bounds = [(None if signed else 0, None)] * 5 + [(None, None)] * (len(start) - 5)
    oracle = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9})
    theta = np.concatenate([found.weights, (found.biases - found.biases[0])[1:]])[: len(start)]
    assert found.score == pytest.approx(loss(theta), abs=1e-6)
    assert found.score == pytest.approx(oracle.fun, abs=1e-5)
    assert np.abs(found.weights).max() < 20
    assert found.gap <= 1e-8
    assert signed or found.weights.min() >= 0
    assert found.biases.sum() == pytest.approx(0, abs=1e-9)


def test_bent_log_pool_is_the_optimum_that_bfgs_finds():
    codes, probs = problem(3, 300, 3)
    p = probs.astype(np.float64)
    terms = np.concatenate([np.log(p), np.log(p + logloss.KNEE)])

    def loss(theta):
        scores = np.tensordot(theta[:6], terms, 1) + np.append(0, theta[6:])
        return -log_softmax(scores, axis=1)[np.arange(300), codes].mean()

    def penalised(theta):
        return loss(theta) + np.square(theta[3:6]).sum() / (2 * 300 * logloss.SPREAD**2)

    found = logloss.fit_log_pool(codes, probs, biases=True, knee=logloss.KNEE)
    start = np.concatenate([np.full(3, 1 / 3), np.zeros(5)])
    oracle = minimize(penalised, start, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9})
    theta = np.concatenate([found.weights, found.bends, (found.biases - found.biases[0])[1:]])
    assert found.score == pytest.approx(loss(theta), abs=1e-6)
    assert penalised(theta) == pytest.approx(oracle.fun, abs=1e-7)
    assert logloss.fit_log_pool(codes, probs).bends is None
    assert logloss.fit_log_pool(codes, probs, signed=False, knee=0.1).bends.min() >= 0


def test_few_rows_bend_nothing_for_sure():
    codes, probs = problem(5, 20, 3)
    found = logloss.fit_log_pool(codes, probs, biases=True, knee=logloss.KNEE)
    assert np.abs(found.bends).max() < 2 * logloss.SPREAD


def test_many_rows_are_solved_from_a_sample_to_the_same_end():
    codes, probs = problem(3, 45_000, 3)
    for found in (logloss.fit_linear_pool(codes, probs), logloss.fit_log_pool(codes, probs, biases=True)):
        assert found.gap <= 1e-8
        assert found.n_iterations <= 5


def test_probabilities_of_nought_do_not_break_a_logarithm():
    codes, probs = problem(3, 100, 3)
    probs[0, :5] = np.eye(3)[(codes[:5] + 1) % 3]
    assert np.isfinite(logloss.fit_linear_pool(codes, probs).score)
    found = logloss.fit_log_pool(codes, probs)
    assert np.isfinite(found.score)
    assert found.gap < 1e-6


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_log_pool_of_certain_and_wrong_models_is_the_optimum_that_bfgs_finds(biases, signed):
    random = np.random.default_rng(0)
    codes = np.arange(60) % 3
    probs = random.dirichlet((1, 1, 1), (2, 60)).astype(np.float32)
    probs[:, :, 0] = 0  # a class that no model ever gives
    probs /= probs.sum(axis=2, keepdims=True)
    logs = np.log(np.maximum(probs, 1e-15)).astype(np.float64)

    def loss(theta):
        scores = np.tensordot(theta[:2], logs, axes=1) + (np.append(0, theta[2:]) if biases else 0)
        return -log_softmax(scores, axis=1)[np.arange(60), codes].mean()

    found = logloss.fit_log_pool(codes, probs, biases=biases, signed=signed)
    bounds = [(None if signed else 0, None)] * 2 + [(None, None)] * 2 * biases
    oracle = minimize(loss, np.zeros(2 + 2 * biases), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14})
    assert found.gap <= 1e-8
    assert found.score == pytest.approx(oracle.fun, abs=1e-6)


def test_a_log_pool_of_few_rows_that_it_tells_apart_has_class_weights_that_are_numbers():
    for seed in range(40):
        codes = np.arange(5) % 3
        probs = np.random.default_rng(seed).dirichlet((1, 1, 1), (3, 5)).astype(np.float32)
        probs[:, :, 0] = 0
        probs /= probs.sum(axis=2, keepdims=True)
        found = blend.fit(codes, probs, "log_loss", family="log")
        assert np.isfinite(np.log(found.class_weights)).all()
        assert np.isfinite(found.apply(probs)).all()


def test_linear_pool_of_more_models_than_rows_is_the_optimum():
    for seed in range(40):
        codes = np.arange(3)
        probs = np.random.default_rng(seed).dirichlet(np.ones(3), (6, 3))
        found = logloss.fit_linear_pool(codes, probs)
        assert found.gap <= 1e-8


def test_newton_stops_at_a_bound():
    class Parabola:
        def loss(self, x):
            return float(np.square(x - [1.0, -2.0]).sum())

        def derivatives(self, x):
            return self.loss(x), 2 * (x - [1.0, -2.0]), 2 * np.eye(2)

    free, *_ = newton.minimise(Parabola(), np.ones(2), 1e-9)
    held, _, size, _ = newton.minimise(Parabola(), np.ones(2), 1e-9, np.array([False, True]))
    assert free == pytest.approx([1, -2])
    assert held == pytest.approx([1, 0])
    assert size == pytest.approx(0)


@given(seed=st.integers(0, 1000), weighted=st.booleans())
@settings(max_examples=40, deadline=None)
def test_nonnegative_least_squares_is_scipys(seed, weighted):
    random = np.random.default_rng(seed)
    models, target = random.normal(size=(4, 30)), random.normal(size=30)
    models += target * random.uniform(-1, 2, (4, 1))
    weights = random.uniform(0.5, 2, 30) if weighted else np.ones(30)
    found = least_squares.fit(target, models, sample_weight=weights)
    x, residual = nnls(models.T * np.sqrt(weights)[:, None], target * np.sqrt(weights))
    assert found.weights == pytest.approx(x, abs=1e-7)
    assert found.rmse == pytest.approx(residual / np.sqrt(weights.sum()), abs=1e-7)
    assert found.kkt_gap <= 1e-8
    assert found.apply(models) == pytest.approx(x @ models, abs=1e-6)


@given(seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_direction_on_the_simplex_improves_least_squares(seed):
    random = np.random.default_rng(seed)
    target = np.eye(3)[random.integers(0, 3, 40)]
    models = random.dirichlet(np.ones(3), (4, 40)) + target * random.uniform(0, 1, (4, 1, 1))
    found = least_squares.fit(target, models, constraint="simplex")

    def error(x):
        return np.square(np.tensordot(x, models, 1) - target).mean()

    assert found.weights.sum() == pytest.approx(1)
    assert found.weights.min() >= 0
    assert found.kkt_gap <= 1e-10
    assert found.rmse == pytest.approx(np.sqrt(error(found.weights)), abs=1e-9)
    for corner in np.eye(4):
        assert error(0.99 * found.weights + 0.01 * corner) >= error(found.weights) - 1e-12


def test_unconstrained_least_squares_is_numpys_and_twin_models_share():
    random = np.random.default_rng(0)
    models, target = random.normal(size=(3, 50)), random.normal(size=50)
    found = least_squares.fit(target, models, constraint="none")
    assert found.weights == pytest.approx(np.linalg.lstsq(models.T, target, rcond=None)[0])
    twins = least_squares.fit(target, np.stack([target, target, models[0]]), constraint="simplex")
    assert twins.rmse == pytest.approx(0, abs=1e-6)


def test_multinomial_stack_is_scikit_learns_logistic_regression():
    codes, probs = problem(3, 400, 3)
    folds = np.arange(400) % 4
    found = stack.fit(codes, probs, folds, strengths=(0.05,))
    features = np.log(probs.astype(np.float64)).transpose(1, 0, 2).reshape(400, 9)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    oracle = LogisticRegression(C=0.05, tol=1e-10, max_iter=2000).fit(scaled, codes)
    assert found.apply(probs) == pytest.approx(oracle.predict_proba(scaled), abs=1e-5)
    assert found.score == pytest.approx(evaluate("log_loss", codes, found.apply(probs)), abs=1e-6)
    assert found.gradient_norm <= 1e-7


def test_curvature_of_some_rows_leads_to_the_same_stack(monkeypatch):
    codes, probs = problem(4, 1000, 3)
    folds = np.arange(1000) % 4
    of_all = stack.fit(codes, probs, folds)
    monkeypatch.setattr(stack, "_CURVATURE", 150)
    of_some = stack.fit(codes, probs, folds)
    assert of_some.coefficients == pytest.approx(of_all.coefficients, abs=1e-4)
    assert of_some.gradient_norm <= 1e-7


def test_strength_is_the_one_that_holds_out_best():
    codes, probs = problem(4, 300, 3)
    folds = np.arange(300) % 3
    alone = {
        strength: stack.fit(codes, probs, folds, strengths=(strength,)).held_out for strength in (1e-4, 1e-2, 10.0)
    }
    found = stack.fit(codes, probs, folds, strengths=(10.0, 1e-4, 1e-2))
    assert found.strengths == (min(alone, key=alone.get),)
    assert found.held_out == pytest.approx(min(alone.values()), abs=1e-4)


def test_two_classes_are_stacked_on_all_log_probabilities():
    codes, probs = problem(3, 300, 2)
    found = stack.fit(codes, probs, np.arange(300) % 3)
    applied = found.apply(probs)
    assert found.coefficients.shape == (2, 6)
    assert found.score == pytest.approx(evaluate("log_loss", codes, applied), abs=1e-6)
    best = max(roc_auc_score(codes, one[:, 1]) for one in probs)
    assert roc_auc_score(codes, applied[:, 1]) > best


@pytest.mark.parametrize("never", [0.0, 0.25, 0.3])
def test_a_class_that_a_model_gives_the_same_everywhere_weighs_nothing(never):
    codes, probs = problem(2, 333, 4)
    probs = probs.astype(np.float64)
    probs[0, :, :3] *= (1 - never) / probs[0, :, :3].sum(axis=1, keepdims=True)
    probs[0, :, 3] = never
    found = stack.fit(codes, probs.astype(np.float32), np.arange(333) % 3)
    assert np.abs(found.coefficients[:, 3]).max() < 1e-9


def test_labels_are_stacked_one_by_one_on_log_odds():
    probs, truth = make_label_stack(3, 300, 2)
    found = stack.fit(truth, probs, np.arange(300) % 3, strengths=(0.1,))
    odds = np.log(probs.astype(np.float64)) - np.log1p(-probs.astype(np.float64))
    for label in range(2):
        features = odds[:, :, label].T
        scaled = (features - features.mean(axis=0)) / features.std(axis=0)
        oracle = LogisticRegression(C=0.1, tol=1e-10).fit(scaled, truth[:, label])
        assert found.apply(probs)[:, label] == pytest.approx(oracle.predict_proba(scaled)[:, 1], abs=1e-5)
    assert found.coefficients.shape == (2, 3)
    assert expit(found.intercepts).shape == (2,)


def test_many_parameters_are_fitted_without_a_hessian():
    codes, probs = problem(4, 300, 12)
    found = stack.fit(codes, probs, np.arange(300) % 2, strengths=(1e-3, 1e-1))
    assert found.coefficients.shape == (12, 48)
    assert found.gradient_norm < 1e-4
    assert found.score < min(evaluate("log_loss", codes, one) for one in probs)


def test_unusable_input_is_told():
    codes, probs = problem(2, 30, 3)
    truth = np.eye(3, dtype=np.int64)[codes]
    for call, message in (
        (lambda: stack.fit(codes, probs, np.zeros(30)), "1 distinct values"),
        (lambda: stack.fit(codes, probs, np.arange(29)), r"folds have shape \(29,\)"),
        (lambda: stack.fit(truth[:, :2], probs, np.arange(30) % 2), "truth has shape"),
        (lambda: stack.fit(truth, probs * 2, np.arange(30) % 2), "no probabilities"),
        (lambda: stack.fit(codes, np.full_like(probs, np.nan), np.arange(30) % 2), "not a number"),
        (lambda: logloss.fit_log_pool(codes, -probs), "negative probability"),
        (lambda: least_squares.fit(np.ones(4), np.ones((2, 5))), "predictions have shape"),
        (lambda: least_squares.fit(np.ones(4), np.full((2, 4), np.nan)), "4 of 4 values are not numbers"),
        (lambda: least_squares.fit(np.ones(4), np.ones((2, 4)), constraint="box"), "unknown constraint 'box'"),
        (lambda: least_squares.fit(np.ones(0), np.ones((2, 0))), "predictions have shape"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_derivatives_of_chunks_in_threads_are_those_of_all_rows_at_once(monkeypatch):
    codes, probs = problem(n_rows=333)
    checked = inputs.check_problem(codes, probs)
    theta = np.array([0.4, 0.1, 0.3, 0.2, 0.5, -0.5])
    found = []
    for values in (10**6, 16 * 12):  # one chunk, and twenty-one
        monkeypatch.setattr(logloss, "_CHUNK_VALUES", values)
        pool = logloss._Pool(checked.codes, logloss.logs_of(checked.stack), checked.weights, np.full(6, 0.1), True)
        found.append(pool.derivatives(theta))
    for whole, parts in zip(*found, strict=True):
        np.testing.assert_allclose(parts, whole, rtol=1e-12, atol=1e-14)


def test_products_of_a_search_run_in_one_thread_each_and_others_as_before():
    def threads_of_blas():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads_of_blas()
        inside = one_blas_thread(threads_of_blas)()
        assert set(inside) == {1}
        assert len(inside) == len(before) > 0
        assert threads_of_blas() == before
