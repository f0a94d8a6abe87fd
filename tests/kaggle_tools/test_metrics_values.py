import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, evaluate, evaluate_values
from kaggle_tools.search import blend
from kaggle_tools.search.compare import compare

Floats = NDArray[np.float64]

VALUES = st.sampled_from([-3.0, -0.5, 0.0, 0.25, 1.0, 1.5, 40.0])


@st.composite
def targets(draw: st.DrawFn) -> tuple[Floats, Floats, Floats | None]:
    """Truth and prediction with ties, one target or several, and whole weights or None; some targets never vary."""
    shape = draw(st.tuples(st.integers(2, 9)) | st.tuples(st.integers(2, 9), st.integers(1, 3)))
    truth, predicted = (draw(hnp.arrays(np.float64, shape, elements=VALUES)) for _ in range(2))
    weights = draw(st.none() | hnp.arrays(np.float64, shape[0], elements=st.sampled_from([1.0, 2.0, 3.0])))
    return truth, predicted, weights


def repeated(case: tuple[Floats, Floats, Floats | None]) -> tuple[Floats, Floats]:
    """What whole weights mean: rows that occur so often. (n, K) both."""
    truth, predicted, weights = case
    times = np.ones(len(truth), int) if weights is None else weights.astype(int)
    return tuple(np.repeat(part.reshape(len(part), -1), times, axis=0) for part in (truth, predicted))  # type: ignore[return-value]


@given(case=targets())
@settings(max_examples=100, deadline=None)
def test_errors_agree_with_scikit_learn(case: tuple[Floats, Floats, Floats | None]) -> None:
    truth, predicted, weights = case
    rmse = sk.root_mean_squared_error(truth, predicted, sample_weight=weights)
    assert evaluate_values("rmse", truth, predicted, weights=weights) == pytest.approx(rmse, abs=1e-12)
    mae = sk.mean_absolute_error(truth, predicted, sample_weight=weights)
    assert evaluate_values("mae", truth, predicted, weights=weights) == pytest.approx(mae, abs=1e-12)


@pytest.mark.parametrize(("name", "oracle"), [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)])
@given(case=targets())
@settings(max_examples=100, deadline=None)
def test_correlations_agree_with_scipy_on_every_target_that_varies(name, oracle, case) -> None:
    truth, predicted, weights = case
    columns = [(t, p) for t, p in zip(*(part.T for part in repeated(case)), strict=True) if np.ptp(t) > 0]
    if not columns:
        with pytest.raises(UserError, match=f"{name} is undefined here"):
            evaluate_values(name, truth, predicted, weights=weights)
        return
    # A constant prediction has no correlation for scipy; as a score it is the 0 of one that says nothing.
    expected = np.mean([oracle(t, p)[0] if np.ptp(p) > 0 else 0.0 for t, p in columns])
    assert evaluate_values(name, truth, predicted, weights=weights) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["rmse", "mae", "pearson", "spearman"])
@given(case=targets())
@settings(max_examples=30, deadline=None)
def test_rows_of_weight_nought_do_not_count(name: str, case: tuple[Floats, Floats, Floats | None]) -> None:
    truth, predicted, _ = case
    truth = truth + 100.0 * np.arange(len(truth)).reshape(-1, *[1] * (truth.ndim - 1))  # so that every target varies
    with_more = [np.concatenate([part, 99.0 * part[:1] - 7.0]) for part in (truth, predicted)]
    weights = np.append(np.ones(len(truth)), 0.0)
    expected = evaluate_values(name, truth, predicted)
    assert evaluate_values(name, *with_more, weights=weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlation_of_tiny_and_of_huge_values_is_exact(name: str) -> None:
    truth = np.array([1.0, 2.0, 4.0])
    for scale in (1e-200, 1e200):
        assert evaluate_values(name, scale * truth, truth) == pytest.approx(1.0)
        assert evaluate_values(name, truth, -scale * truth) == pytest.approx(-1.0)


@pytest.mark.parametrize("name", ["rmse", "mae", "pearson", "spearman"])
def test_of_two_classes_the_second_is_the_number(name: str) -> None:
    rng = np.random.default_rng(0)
    codes, probs, weights = rng.integers(0, 2, 60), rng.dirichlet(np.ones(2), 60), rng.random(60)
    expected = evaluate_values(name, codes, probs[:, 1], weights=weights)
    assert evaluate(name, codes, probs, weights=weights) == pytest.approx(expected)
    with pytest.raises(UserError, match=f"'{name}' is for 2 classes, these are 3") as raised:
        evaluate(name, codes, rng.dirichlet(np.ones(3), 60))
    assert "log_loss" in raised.value.details["next"]
    assert "mae" not in raised.value.details["next"]


@pytest.mark.parametrize("name", ["rmse", "mae", "pearson", "spearman"])
def test_label_sets_are_numbers_column_by_column(name: str) -> None:
    rng = np.random.default_rng(1)
    truth, probs = rng.integers(0, 2, (60, 3)), rng.random((60, 3))
    expected = np.mean([evaluate_values(name, truth[:, j], probs[:, j]) for j in range(3)])
    assert evaluate(name, truth, probs) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rmse", "mae", "pearson", "spearman"])
def test_direction_is_right_and_a_perfect_prediction_is_best(name: str) -> None:
    truth = np.array([0.0, 1.0, 5.0, 2.0])
    best, worse = evaluate_values(name, truth, truth), evaluate_values(name, truth, truth[::-1])
    assert best == pytest.approx(1.0 if METRICS[name].greater_is_better else 0.0)
    assert METRICS[name].better(best, worse)


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([1.0, np.nan], [1.0, 2.0], "1 of 2 true values are not finite"),
        ([1.0, 2.0], [1.0, np.inf], "1 of 2 predicted values are not finite"),
        ([1.0, 2.0], [1.0], r"predicted values have shape \(1,\)"),
        ([1.0, 2.0], ["a", "b"], "predicted values are not numbers"),
        ([], [], "no rows"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2)), "true values have shape"),
    ],
)
def test_unusable_values_are_told(truth, predicted, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_values("rmse", truth, predicted)


def test_a_metric_of_classes_is_refused_for_numbers() -> None:
    with pytest.raises(UserError, match="'macro_f1' is not for regression tasks") as raised:
        evaluate_values("macro_f1", [1.0], [1.0])
    assert raised.value.details["next"] == "use one of rmse, mae, pearson, spearman"


def two_classes(n_rows: int = 300) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 2, n_rows)
    second = 1 / (1 + np.exp(-(2.0 * codes - 1 + rng.normal(size=(3, n_rows)))))
    return codes, np.stack([1 - second, second], axis=2).astype(np.float32)


def test_blend_for_rmse_is_the_least_squares_optimum() -> None:
    codes, stack = two_classes()
    found = blend.fit(codes, stack, "rmse")
    rng = np.random.default_rng(0)
    tried = [evaluate("rmse", codes, np.tensordot(w, stack, 1)) for w in rng.dirichlet(np.ones(3), 300)]
    assert found.score <= min(tried)
    assert found.gap == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["rmse", "mae", "pearson", "spearman"])
def test_interval_of_a_gain_is_that_of_a_naive_bootstrap(name: str) -> None:
    codes, stack = two_classes()
    ours, theirs = np.round(stack[0], 1).astype(np.float64), stack[1].astype(np.float64)  # ours with ties
    ours[:, 0] = 1 - ours[:, 1]
    random = np.random.default_rng(0)
    naive = []
    for _ in range(400):
        rows = random.integers(0, len(codes), len(codes))
        naive.append(evaluate(name, codes[rows], ours[rows]) - evaluate(name, codes[rows], theirs[rows]))
    naive_gains = np.array(naive) * (1 if METRICS[name].greater_is_better else -1)
    found = compare(name, codes, ours, theirs, n_bootstraps=2000)
    assert found.method == "row means"
    spread = naive_gains.std()
    assert found.standard_error == pytest.approx(spread, rel=0.15)
    assert [found.low, found.high] == pytest.approx(np.quantile(naive_gains, [0.025, 0.975]), abs=0.45 * spread)
