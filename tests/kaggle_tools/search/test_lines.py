import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, confusion
from kaggle_tools.search.class_lines import EVERYWHERE, ClassLines
from kaggle_tools.search.counts import KINDS, count_form, is_count_metric
from kaggle_tools.search.lines import RESOLUTION, Events, Line, best_step, envelopes, pack, sort_keys

NAMES = [name for name in KINDS if name != "binary_f1"]

ORACLES = {
    "accuracy": sk.accuracy_score,
    "micro_f1": lambda t, p: sk.f1_score(t, p, average="micro"),
    "balanced_accuracy": sk.balanced_accuracy_score,
    "binary_f1": lambda t, p: sk.f1_score(t, p, zero_division=0),
    "weighted_f1": lambda t, p: sk.f1_score(t, p, average="weighted", zero_division=0),
    "macro_f1": lambda t, p: sk.f1_score(t, p, average="macro", zero_division=0),
    "macro_precision": lambda t, p: sk.precision_score(t, p, average="macro", zero_division=0),
    "mcc": sk.matthews_corrcoef,
    "cohen_kappa": sk.cohen_kappa_score,
    "quadratic_kappa": lambda t, p: sk.cohen_kappa_score(t, p, weights="quadratic"),
}


@st.composite
def lines(draw):
    """Scores that are whole numbers, so that rows share crossings, lines coincide and three meet in a point."""
    c, n = draw(st.integers(2, 4)), draw(st.integers(1, 10))
    heights = draw(hnp.arrays(np.int64, (c, n), elements=st.integers(-4, 4))).astype(np.float32)
    slopes = draw(hnp.arrays(np.int64, (c, n), elements=st.integers(-3, 3))).astype(np.float32)
    codes = draw(hnp.arrays(np.int32, n, elements=st.integers(0, c - 1)))
    weights = draw(hnp.arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 2.0, 3.0])))
    parts = [draw(hnp.arrays(np.float64, c, elements=st.sampled_from(values))) for values in _PARTS]
    return heights, slopes, *parts, codes, weights


# Scale, offset, slope and tilt of each class.
_PARTS = ([1.0, 2.0], [0.0, 1.0, -2.0], [1.0, 0.0, 2.0], [0.0, 1.0])


def metric_at(name, case, step):
    heights, slopes, scale, offset, slope, tilt, codes, weights = case
    scores = scale[:, None] * heights + offset[:, None] + step * (slope[:, None] * slopes + tilt[:, None])
    matrix = confusion(codes.astype(np.int64), scores.argmax(axis=0), len(scale), weights)
    return METRICS[name].from_confusion(matrix)


def best_of_all_midpoints(name, case, lo, hi):
    """Every crossing of any two lines of any row, and the metric between each two."""
    heights, slopes, scale, offset, slope, tilt, *_ = case
    y = scale[:, None] * heights + offset[:, None]
    z = slope[:, None] * slopes + tilt[:, None]
    crossings = {lo, hi}
    for i in range(len(scale)):
        for j in range(i):
            differ = z[i] != z[j]
            crossings |= set(((y[j] - y[i])[differ] / (z[i] - z[j])[differ]).tolist())
    inside = sorted(x for x in crossings if lo <= x <= hi)
    middles = [(a + b) / 2 for a, b in itertools.pairwise(inside) if b - a > 1e-6]
    return max(metric_at(name, case, middle) for middle in middles)


@pytest.mark.parametrize("name", NAMES)
@given(case=lines())
@settings(max_examples=60, deadline=None)
def test_best_step_is_the_best_of_all_midpoints_and_scores_what_it_says(name, case):
    *scores, codes, weights = case
    lo, hi = -2.5, 3.25
    form = count_form(name, codes, len(scores[0]), weights)
    events, matrix = envelopes(Line(*scores), lo, hi, codes, weights)
    value, step, width = best_step(events, matrix, form, lo, hi)
    assert lo < step < hi
    assert width > RESOLUTION
    assert value == pytest.approx(metric_at(name, case, step), abs=1e-12)
    assert value == pytest.approx(best_of_all_midpoints(name, case, lo, hi), abs=1e-12)


@pytest.mark.parametrize("name", ORACLES)
def test_value_at_the_best_step_is_scikit_learns(name):
    random = np.random.default_rng(3)
    c = 2 if name == "binary_f1" else 4
    heights, slopes = random.normal(size=(2, c, 300)).astype(np.float32)
    codes, ones, zeros = random.integers(0, c, 300).astype(np.int32), np.ones(c), np.zeros(c)
    heights[codes, np.arange(300)] += 1.0
    form = count_form(name, codes, c, np.ones(300))
    value, step, _ = best_step(
        *envelopes(Line(heights, slopes, ones, zeros, ones, zeros), -2, 2, codes, np.ones(300)), form, -2, 2
    )
    assert value == pytest.approx(ORACLES[name](codes, (heights + step * slopes).argmax(axis=0)), abs=1e-12)
    assert value > ORACLES[name](codes, heights.argmax(axis=0))


def test_many_rows_are_searched_in_two_parts_with_the_same_result():
    random = np.random.default_rng(0)
    heights, slopes = random.normal(size=(2, 3, 350_000)).astype(np.float32)
    codes, weights = random.integers(0, 3, 350_000).astype(np.int32), np.ones(350_000)
    ones, zeros = np.ones(3), np.zeros(3)
    form = count_form("macro_f1", codes, 3, weights)
    value, step, _ = best_step(
        *envelopes(Line(heights, slopes, ones, zeros, ones, zeros), -1, 1, codes, weights), form, -1, 1
    )
    matrix = confusion(codes.astype(np.int64), (heights + np.float32(step) * slopes).argmax(axis=0), 3)
    assert value == pytest.approx(form.value(matrix), abs=1e-5)


def test_of_equal_values_the_widest_interval_wins_then_the_smallest_step():
    codes = np.array([0], np.int32)
    form = count_form("accuracy", codes, 2, np.ones(1))

    def step_of(*at):
        # Rows of weight nought mark intervals without changing the metric.
        events = Events(np.array(at, np.float32), np.full(len(at), pack(0, 0, 1), np.int32), np.zeros(len(at)))
        return best_step(events, np.array([[1.0, 0.0], [0.0, 0.0]]), form, -1.0, 1.0)

    assert step_of(-0.5, 0.25, 0.5) == (1.0, -0.125, 0.75)
    assert step_of(0.0)[1] in (-0.5, 0.5)
    assert step_of(-0.5, 0.5, 0.0)[2] == 0.5
    assert abs(step_of(-0.5, 0.0, 0.5)[1]) == 0.25
    assert step_of(0.5, 0.0, -0.5) == step_of(-0.5, 0.5, 0.0)


def test_no_step_is_found_where_all_intervals_are_too_narrow():
    codes = np.array([0, 1], np.int32)
    form = count_form("accuracy", codes, 2, np.ones(2))
    events = Events(np.array([0.0, 1e-8], np.float32), np.array([pack(0, 0, 1), pack(1, 0, 1)], np.int32), np.ones(2))
    assert best_step(events, np.array([[1.0, 0.0], [1.0, 0.0]]), form, -1e-9, 2e-8)[0] == -np.inf


@given(values=hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=100, deadline=None)
def test_sort_keys_order_as_the_numbers_do(values):
    keys = np.sort(sort_keys(values))
    assert np.array_equal(values[keys & 0xFFFFFFFF], np.sort(values))


@pytest.mark.parametrize("name", NAMES)
@given(
    raw=hnp.arrays(np.int64, st.tuples(st.integers(3, 14), st.integers(2, 4)), elements=st.integers(1, 6)),
    seed=st.integers(0, 5),
)
@settings(max_examples=25, deadline=None)
def test_after_an_ascent_no_step_of_a_single_class_helps(name, raw, seed):
    random = np.random.default_rng(seed)
    n, c = raw.shape
    codes, weights = random.integers(0, c, n).astype(np.int32), random.integers(1, 3, n).astype(np.float64)
    logs = np.log((raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)).T.copy()
    form = count_form(name, codes, c, weights)
    ascent = ClassLines(logs, np.zeros(c), codes, weights, form)
    ascent.climb_everywhere(random, directions=1)

    def value(biases):
        predicted = (logs + biases[:, None].astype(np.float32)).argmax(axis=0)
        return form.value(confusion(codes.astype(np.int64), predicted, c, weights))

    assert ascent.value == pytest.approx(value(ascent.biases), abs=1e-12)
    scores = logs + ascent.biases[:, None]
    for k in range(c):
        flips = np.sort(np.delete(scores, k, axis=0).max(axis=0) - scores[k])
        ends = np.concatenate([[flips[0] - 1], flips, [flips[-1] + 1]])
        for left, right in itertools.pairwise(ends):
            if right - left > 1e-4:
                moved = ascent.biases + (np.arange(c) == k) * (left + right) / 2
                assert value(moved) <= ascent.value + 1e-9


def test_contested_rows_lead_where_all_rows_lead():
    random = np.random.default_rng(1)
    codes = random.choice(3, 4000, p=[0.7, 0.2, 0.1]).astype(np.int32)
    logs = random.normal(size=(3, 4000)).astype(np.float32)
    logs[codes, np.arange(4000)] += 1.5
    form = count_form("macro_f1", codes, 3, np.ones(4000))
    ascents = [ClassLines(logs, np.zeros(3), codes, np.ones(4000), form) for _ in range(2)]
    ascents[0].climb_everywhere(random, directions=0)
    ascents[1].climb_near(random, reach=0.5)
    assert ascents[1].value == pytest.approx(ascents[0].value, abs=2e-3)
    before = ascents[1].value
    ascents[1].sweep(range(3), EVERYWHERE)
    assert ascents[1].value >= before


def test_unfit_metrics_are_told():
    assert is_count_metric("f1_macro")
    assert not is_count_metric("log_loss")
    codes = np.array([0, 1, 2], np.int32)
    with pytest.raises(UserError, match="no metric of confusion counts"):
        count_form("log_loss", codes, 3, np.ones(3))
    with pytest.raises(UserError, match="binary_f1 is for 2 classes, these are 3"):
        count_form("binary_f1", codes, 3, np.ones(3))
