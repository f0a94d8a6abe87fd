from functools import partial

import numpy as np
import pytest
from cmaes import CMA
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, confusion, evaluate
from kaggle_tools.search import blend
from kaggle_tools.search.blend_lines import BlendLines, Rows
from kaggle_tools.search.counts import KINDS, count_form
from kaggle_tools.search.inputs import check_problem
from kaggle_tools.search.pools import confusions, mix, terms
from kaggle_tools.search.recipe import Recipe, apply_stack

from .data import make_stack

FAMILIES = ["linear", "log"]


def problem(n_models, n_rows, n_classes, seed=0):
    stack, codes = make_stack(n_models, n_rows, n_classes, seed=seed)
    codes[:n_classes] = np.arange(n_classes)
    return codes, stack


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("macro_f1", {}),
        ("mcc", {"bags": 3}),
        ("quadratic_kappa", {"per_class": True}),
        ("accuracy", {"class_weights": False}),
        ("balanced_accuracy", {"sparse": 2}),
        ("weighted_f1", {"signed": True}),
        ("log_loss", {}),
        ("brier", {}),
        ("roc_auc", {"sparse": 2}),
    ],
)
def test_reported_score_is_that_of_what_a_recipe_replays(family, metric, options):
    codes, stack = problem(3, 240, 3)
    found = blend.fit(codes, stack, metric, family=family, **{"bags": 0, "time_limit": 0.1, **options})
    applied = found.apply(stack)
    assert found.score == pytest.approx(evaluate(metric, codes, applied), abs=1e-6)
    recipe = Recipe(found.kind, "single_label", tuple("xyz"), tuple("abc"), metric, found.parameters)
    assert np.array_equal(apply_stack(recipe, stack), applied)
    assert found.single_scores == pytest.approx([evaluate(metric, codes, one) for one in stack], abs=1e-9)
    best_single = min(found.single_scores) if metric in ("log_loss", "brier") else max(found.single_scores)
    better = METRICS[metric].better
    if not options.get("bags"):
        assert better(found.score, best_single)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_of_the_kind_that_was_asked_for(family):
    codes, stack = problem(4, 200, 3)
    linear, fit = family == "linear", partial(blend.fit, codes, stack, family=family, bags=0, time_limit=0.1)
    plain = fit("macro_f1")
    assert plain.weights.shape == (4,)
    assert np.log(plain.class_weights).mean() == pytest.approx(0, abs=1e-9)
    if linear:
        assert plain.weights.min() >= 0
        assert plain.weights.sum() == pytest.approx(1)
    assert fit("macro_f1", per_class=True).weights.shape == (4, 3)
    assert np.count_nonzero(fit("macro_f1", sparse=2).weights) <= 2
    assert fit("macro_f1", signed=False).weights.min() >= 0
    assert np.ptp(fit("accuracy", class_weights=False).class_weights) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_blend(family):
    codes, stack = problem(2, 60, 2)
    first, again = (blend.fit(codes, stack, "macro_f1", family=family, seed=5, bags=3) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)
    assert np.array_equal(first.class_weights, again.class_weights)


def test_one_model_alone_gets_class_weights():
    codes, stack = problem(1, 300, 3)
    for family in FAMILIES:
        found = blend.fit(codes, stack, "macro_f1", family=family, bags=0)
        assert found.score > evaluate("macro_f1", codes, stack[0])


@pytest.mark.parametrize("case", range(8))
def test_never_below_nelder_mead_powell_cma_or_random_search_alone(case):
    n, c, m = (40, 80, 120)[case % 3], 2 + case % 3, 1 + case % 3
    metric = ("macro_f1", "mcc", "quadratic_kappa", "balanced_accuracy")[case % 4]
    family = FAMILIES[case // 2 % 2]
    codes, stack = problem(m, n, c, seed=case)
    given_terms = stack.astype(np.float64) if family == "linear" else np.log(stack.astype(np.float64))

    def loss(point):
        weights, biases = point[:m], np.append(0.0, point[m:])
        if family == "linear":
            scores = np.tensordot(np.abs(weights), given_terms, 1) * np.exp(biases)
        else:
            scores = np.tensordot(weights, given_terms, 1) + biases
        return -METRICS[metric].from_confusion(confusion(codes, scores.argmax(axis=1), c))

    start = np.append(np.full(m, 1 / m), np.zeros(c - 1))
    peers = {
        method: minimize(loss, start, method=method, options={"maxfev": 400}).fun
        for method in ("Nelder-Mead", "Powell")
    }
    search = CMA(mean=start, sigma=0.3, seed=case)
    seen = []
    for _ in range(40):
        points = [search.ask() for _ in range(search.population_size)]
        search.tell([(point, loss(point)) for point in points])
        seen += [loss(point) for point in points]
    peers["CMA-ES"] = min(seen)
    random = np.random.default_rng(case)
    peers["random"] = min(loss(start + random.normal(size=len(start))) for _ in range(300))
    found = blend.fit(codes, stack, metric, family=family, bags=0)
    assert found.score >= -min(peers.values()) - 1e-12, peers


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("signed", [False, True])
def test_an_ascent_ends_where_no_line_helps_and_knows_its_value(family, signed):
    codes, stack = problem(3, 120, 3)
    given_problem = check_problem(codes, stack)
    form = count_form("macro_f1", given_problem.codes, 3, given_problem.weights)
    rows = Rows(
        terms(given_problem, family), given_problem.codes, given_problem.weights, form, family, signed, False, True
    )
    lines = BlendLines(rows, np.full((3, 3), 1 / 3), np.zeros(3))
    before = lines.value
    assert before == pytest.approx(evaluate("macro_f1", codes, _pooled(stack, family)), abs=1e-12)
    lines.climb(np.random.default_rng(0), window=0.5, directions=3)
    counts = confusions(rows.stack, lines.weights[None], lines.biases[None], family, rows.codes, rows.weights)
    assert lines.value == pytest.approx(form.value(counts[0]), abs=1e-12)
    assert lines.value > before
    assert signed or lines.weights.min() >= 0
    for m in range(3):  # steps to try instead of the exact ones
        for step in np.linspace(-0.3, 0.3, 13):
            moved = lines.weights.copy()
            moved[m] += step
            if signed or moved.min() >= 0:
                counts = confusions(rows.stack, moved[None], lines.biases[None], family, rows.codes, rows.weights)
                assert form.value(counts[0]) <= lines.value + 1e-9


def _pooled(stack, family):
    pooled = stack.mean(axis=0) if family == "linear" else np.exp(np.log(stack).mean(axis=0))
    return pooled / pooled.sum(axis=1, keepdims=True)


@given(seed=st.integers(0, 1000), family=st.sampled_from(FAMILIES))
@settings(max_examples=25, deadline=None)
def test_candidates_are_counted_as_they_would_be_one_by_one(seed, family):
    random = np.random.default_rng(seed)
    m, c, n, k = random.integers(1, 4), random.integers(2, 5), random.integers(1, 700), random.integers(1, 4)
    stack = random.random((m, c, n)).astype(np.float32)
    weights, biases = random.normal(size=(k, m, c)), random.normal(size=(k, c))
    codes, row_weights = random.integers(0, c, n).astype(np.int32), random.integers(0, 3, n).astype(np.float64)
    counts = confusions(stack, weights, biases, family, codes, row_weights)
    for one, own, bias in zip(counts, weights, biases, strict=True):
        scores = np.einsum("mc,mcn->cn", own, stack)
        scores = scores * np.exp(bias)[:, None] if family == "linear" else scores + bias[:, None]
        assert np.array_equal(one, confusion(codes.astype(np.int64), scores.argmax(axis=0), c, row_weights))
        assert np.allclose(mix(stack, own), np.einsum("mc,mcn->cn", own, stack), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_many_rows_are_searched_through_a_sample(family):
    codes, stack = problem(3, 45_000, 3)
    found = blend.fit(codes, stack, "macro_f1", family=family, bags=2, time_limit=2)
    assert found.score > max(found.single_scores) + 0.02
    assert found.score == pytest.approx(evaluate("macro_f1", codes, found.apply(stack)), abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("per_class", [False, True])
def test_an_absent_class_gets_the_mean_of_the_others_where_it_is_allowed(family, per_class):
    codes, stack = problem(2, 100, 3)
    found = blend.fit(
        np.minimum(codes, 1), stack, "macro_f1", family=family, per_class=per_class, allow_absent=True, time_limit=0.1
    )
    assert np.log(found.class_weights[2]) == pytest.approx(0, abs=1e-9)
    assert found.score == pytest.approx(evaluate("macro_f1", np.minimum(codes, 1), found.apply(stack)))


def test_a_time_limit_still_gives_a_blend():
    codes, stack = problem(4, 3000, 4)
    found = blend.fit(codes, stack, "macro_f1", time_limit=1e-6, bags=0)
    assert found.score > max(found.single_scores)


def test_row_weights_are_repeated_rows_to_a_convex_blend():
    codes, stack = problem(3, 150, 3)
    weights = np.random.default_rng(0).integers(1, 4, 150)
    again = np.repeat(codes, weights), np.repeat(stack, weights, axis=1)
    for family in FAMILIES:
        weighted = blend.fit(codes, stack, "log_loss", family=family, sample_weight=weights)
        assert weighted.weights == pytest.approx(blend.fit(*again, "log_loss", family=family).weights, abs=1e-6)


def test_unusable_options_and_input_are_told():
    codes, stack = problem(3, 60, 3)
    broken, flat = stack.copy(), stack.copy()
    broken[1, 5], flat[2] = np.nan, stack[2, :1]
    for arguments, options, message in (
        ((codes, stack, "macro_f1"), {"family": "rank"}, "unknown family 'rank'"),
        ((codes, stack, "macro_f2"), {}, "unknown metric"),
        ((codes, stack, "samples_f1"), {}, "not for single_label tasks"),
        ((codes, stack, "macro_f1"), {"sparse": 0}, "sparse must be 1 or more, but got 0"),
        ((codes, stack, "log_loss"), {"per_class": True}, "weights per class are not for log_loss"),
        ((codes, stack, "log_loss"), {"signed": True}, "signed weights of the linear family"),
        ((codes, broken, "macro_f1"), {}, "1 of 60 rows"),
        ((codes, flat, "macro_f1"), {}, "all 60 rows have the same"),
        ((np.minimum(codes, 1), stack, "macro_f1"), {}, "1 of 3 classes have no rows"),
        ((codes[:0], stack[:, :0], "macro_f1"), {}, "no rows"),
        ((codes, stack[:0], "macro_f1"), {}, "no models"),
        ((codes, stack[0], "macro_f1"), {}, "probabilities have shape"),
    ):
        with pytest.raises(UserError, match=message):
            blend.fit(*arguments, **options)


def test_every_count_metric_has_a_solver():
    codes, stack = problem(2, 60, 2)
    for name in KINDS:
        found = blend.fit(codes, stack, name, bags=0, time_limit=1e-6)
        assert found.score >= max(found.single_scores)
