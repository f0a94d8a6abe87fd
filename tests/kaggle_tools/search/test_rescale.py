import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import f1_score

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, confusion, evaluate
from kaggle_tools.search import rescale
from kaggle_tools.search.counts import KINDS
from kaggle_tools.search.recipe import Recipe, apply_stack

from .data import make_stack


def one_model(n_rows, n_classes, seed=0):
    stack, codes = make_stack(1, n_rows, n_classes, seed=seed)
    codes[:n_classes] = np.arange(n_classes)
    return stack[0], codes


@given(seed=st.integers(0, 10_000), name=st.sampled_from([*KINDS]), ties=st.booleans())
@settings(max_examples=80, deadline=None)
def test_two_classes_are_solved_exactly(seed, name, ties):
    random = np.random.default_rng(seed)
    n = int(random.integers(3, 30))
    codes = random.permutation(np.arange(n) % 2)
    odds = random.integers(-3, 4, n) if ties else random.normal(size=n)
    odds[0] += 10.0  # two rows at least differ
    second = 1 / (1 + np.exp(-(odds + 0.8 * (2 * codes - 1))))
    probs = np.column_stack([1 - second, second]).astype(np.float32)
    cuts = np.unique((probs[:, 1].astype(np.float64)) / probs[:, 0])
    between = np.concatenate([[cuts[0] / 2], np.sqrt(cuts[:-1] * cuts[1:]), [cuts[-1] * 2]])

    def value(cut):
        predicted = (probs[:, 1].astype(np.float64) / probs[:, 0] > cut).astype(np.int64)
        return METRICS[name].from_confusion(confusion(codes, predicted, 2))

    apart = np.concatenate([[True], np.diff(np.log(cuts)) > 1e-5, [True]])
    found = rescale.fit(codes, probs, name, bags=0)
    assert found.score >= max(value(cut) for cut in between[apart]) - 1e-12


@given(seed=st.integers(0, 10_000), name=st.sampled_from([*KINDS]))
@settings(max_examples=80, deadline=None)
def test_a_class_of_probability_nought_is_never_counted_on(seed, name):
    random = np.random.default_rng(seed)
    n = int(random.integers(4, 40))
    codes = random.permutation(np.arange(n) % 2)
    second = random.integers(0, 11, n) / 10  # no weight takes 0 to the second class, nor 1 to the first
    second[:2] = 0.4, 0.6  # two rows at least differ
    probs = np.column_stack([1 - second, second]).astype(np.float32)
    cuts = [-1, *np.arange(0.05, 1, 0.1), 2]

    def value(cut):
        predicted = np.where(second == 0, 0, np.where(second == 1, 1, second > cut)).astype(np.int64)
        return METRICS[name].from_confusion(confusion(codes, predicted, 2))

    found = rescale.fit(codes, probs, name, bags=0)
    assert found.score == pytest.approx(max(map(value, cuts)), abs=1e-12)


@pytest.mark.parametrize("name", ["macro_f1", "macro_precision"])
def test_rows_of_weight_nought_are_as_if_they_were_not_there(name):
    for seed in range(20):
        random = np.random.default_rng(seed)
        probs, codes = one_model(30, 3, seed)
        weights = np.where(codes == 2, 0, random.integers(0, 2, 30)).astype(
            np.float64
        )  # of a class that counts nowhere
        weights[:2] = 1
        kept = weights > 0
        found = rescale.fit(codes, probs, name, bags=0, sample_weight=weights)
        alone = rescale.fit(codes[kept], probs[kept], name, bags=0, allow_absent=True)
        assert found.score >= alone.score - 1e-12


def test_a_class_that_weights_leave_by_rounding_alone_has_no_precision():
    codes = np.array([1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0])
    weights = np.array([0, 1, 0, 2.7, 2.7, 1, 0.5, 0.5, 2.7, 0, 1, 0.5, 0, 0.5, 1])
    second = np.array([508, 622, 587, 439, 587, 622, 439, 507, 508, 507, 508, 622, 508, 663, 587]) / 1000
    probs = np.column_stack([1 - second, second])
    found = rescale.fit(codes, probs, "macro_precision", bags=0, sample_weight=weights)
    assert found.score >= found.score_at_argmax


@pytest.mark.parametrize("name", [name for name in KINDS if name != "binary_f1"])
@pytest.mark.parametrize("bags", [0, 5])
def test_reported_scores_are_those_of_what_is_applied(name, bags):
    probs, codes = one_model(400, 4)
    found = rescale.fit(codes, probs, name, bags=bags)
    assert found.score == pytest.approx(evaluate(name, codes, found.apply(probs)), abs=1e-12)
    assert found.score_at_argmax == pytest.approx(evaluate(name, codes, probs), abs=1e-12)
    assert found.weights.sum() == pytest.approx(1.0)
    if not bags:
        assert found.score >= found.score_at_argmax


def test_a_recipe_replays_the_same_bits():
    probs, codes = one_model(300, 5)
    found = rescale.fit(codes, probs, "macro_f1", bags=3)
    parameters = {"class_weights": found.weights}
    recipe = Recipe("mean", "single_label", tuple("abcde"), ("model",), "macro_f1", parameters)
    assert np.array_equal(apply_stack(recipe, probs[None]), found.apply(probs))


@pytest.mark.parametrize("seed", range(6))
def test_never_below_nelder_mead_and_powell(seed):
    probs, codes = one_model(120, 2 + seed % 4, seed)
    logs = np.log(probs)

    def loss(biases):
        return -f1_score(codes, (logs + np.append(0, biases)).argmax(axis=1), average="macro", zero_division=0)

    found = rescale.fit(codes, probs, "macro_f1", bags=0)
    for method in ("Nelder-Mead", "Powell"):
        start = np.zeros(probs.shape[1] - 1)
        assert found.score >= -minimize(loss, start, method=method, options={"maxfev": 200}).fun - 1e-12


def test_same_seed_same_weights_and_row_order_does_not_matter_to_an_exact_fit():
    probs, codes = one_model(500, 3)
    first, again = (rescale.fit(codes, probs, "macro_f1", seed=7) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)
    turned = rescale.fit(codes[::-1], probs[::-1], "macro_f1", bags=0)
    assert turned.score == pytest.approx(rescale.fit(codes, probs, "macro_f1", bags=0).score, abs=1e-12)


def test_whole_row_weights_are_repeated_rows():
    probs, codes = one_model(200, 3)
    weights = np.random.default_rng(0).integers(1, 4, 200)
    weighted = rescale.fit(codes, probs, "macro_f1", bags=0, sample_weight=weights)
    repeated = rescale.fit(np.repeat(codes, weights), np.repeat(probs, weights, axis=0), "macro_f1", bags=0)
    assert weighted.score == pytest.approx(repeated.score, abs=1e-9)


def test_many_rows_are_fitted_through_a_sample_to_the_same_height():
    probs, codes = one_model(60_000, 3)
    found = rescale.fit(codes, probs, "macro_f1", bags=0)
    grid = (np.exp([0, a, b]) for a, b in itertools.product(np.linspace(-1, 1, 9), repeat=2))
    for weights in grid:
        predicted = (probs * weights).argmax(axis=1)
        assert found.score >= f1_score(codes, predicted, average="macro") - 1e-12


def test_bagged_weights_hold_out_better_than_exact_ones():
    gains = []
    for seed in range(4):
        probs, codes = one_model(6000, 8, seed)
        exact, bagged = (rescale.fit(codes[:600], probs[:600], "macro_f1", bags=bags) for bags in (0, 20))
        scores = [evaluate("macro_f1", codes[600:], one.apply(probs[600:])) for one in (exact, bagged)]
        assert bagged.score <= exact.score
        gains.append(scores[1] - scores[0])
    assert np.mean(gains) > 0


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "balanced_accuracy", "macro_precision", "weighted_f1"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_certificate_bounds_what_any_weights_give_and_is_tight(name, n_classes):
    probs, codes = one_model(60, n_classes)
    found = rescale.fit(codes, probs, name, bags=0, certify_s=20)
    certificate = found.certificate
    assert certificate.gap <= 1e-4
    assert certificate.value == pytest.approx(found.score, abs=1e-9)
    assert certificate.bound >= found.score - 1e-9
    biases = np.random.default_rng(0).normal(scale=2, size=(500, n_classes))
    for b in biases:
        predicted = (np.log(probs) + b).argmax(axis=1)
        assert METRICS[name].from_confusion(confusion(codes, predicted, n_classes)) <= certificate.bound + 1e-9


def test_certificate_stops_at_its_time_limit_with_a_bound_that_holds():
    probs, codes = one_model(3000, 4)
    found = rescale.fit(codes, probs, "macro_f1", bags=0, certify_s=0.05)
    assert found.certificate.bound >= found.score
    assert found.certificate.gap >= 0


def test_certificates_that_cannot_be_had_are_refused():
    probs, codes = one_model(100, 5)
    with pytest.raises(UserError, match="up to 4 classes, these are 5"):
        rescale.fit(codes, probs, "macro_f1", bags=0, certify_s=1)
    with pytest.raises(UserError, match="no certificate for mcc"):
        rescale.fit(*reversed(one_model(100, 3)), "mcc", bags=0, certify_s=1)


def test_unusable_input_is_told_with_figures():
    probs, codes = one_model(50, 3)
    broken = probs.copy()
    broken[[4, 7], 1] = np.nan
    for arguments, message in (
        ((codes, broken), "2 of 50 rows"),
        ((codes, np.where(np.isnan(broken), np.inf, broken)), "2 of 50 rows"),
        ((codes, probs - 0.5), "negative probability"),
        ((codes, np.tile(probs[:1], (50, 1))), "all 50 rows have the same probabilities"),
        ((np.minimum(codes, 1), probs), "1 of 3 classes have no rows among 50"),
        ((codes + 1, probs), r"rows have labels outside \[0, 2\]"),
        ((codes[:-1], probs), r"labels have shape \(49,\)"),
        ((codes + 0.5, probs), "50 of 50 rows have labels outside"),
        ((np.eye(3, dtype=int)[codes], probs), r"true classes have shape \(50, 3\)"),
        ((codes[:0], probs[:0]), "no rows to fit"),
        ((codes, probs[:, :1]), "1 classes"),
        ((codes, probs[0]), "probabilities have shape"),
    ):
        with pytest.raises(UserError, match=message):
            rescale.fit(*arguments, "macro_f1")
    for weights in (np.ones(3), -np.ones(50), np.zeros(50)):
        with pytest.raises(UserError, match="row weights"):
            rescale.fit(codes, probs, "macro_f1", sample_weight=weights)


def test_an_absent_class_is_accepted_where_it_is_allowed():
    probs, codes = one_model(80, 3)
    for bags in (0, 2):
        found = rescale.fit(np.minimum(codes, 1), probs, "macro_f1", allow_absent=True, bags=bags)
        assert np.isfinite(found.weights).all()
        # Of the weight of the third nothing is known: it is the mean of the others.
        assert found.weights[2] == pytest.approx(np.sqrt(found.weights[0] * found.weights[1]))
        assert found.score == pytest.approx(evaluate("macro_f1", np.minimum(codes, 1), found.apply(probs)))
