import itertools
import pickle
import warnings
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn import metrics as sk

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import ALIASES, METRICS, confusion, encode_label_sets, evaluate, find_metric, score
from kaggle_tools.predictions import Predictions

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@st.composite
def single_label(draw: st.DrawFn, min_classes: int = 2) -> tuple[Ints, Floats, Floats | None]:
    """Codes, probabilities with many ties and certainties, weights or None; often some classes are absent."""
    n, c = draw(st.integers(1, 12)), draw(st.integers(min_classes, 4))
    codes = draw(hnp.arrays(np.int64, n, elements=st.integers(0, draw(st.integers(0, c - 1)))))
    raw = draw(hnp.arrays(np.int64, (n, c), elements=st.integers(0, 3)))
    raw[raw.sum(axis=1) == 0] = 1
    weights = draw(st.none() | hnp.arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 2.0, 3.5])))
    return codes, raw / raw.sum(axis=1, keepdims=True), weights


@st.composite
def multi_label(draw: st.DrawFn) -> tuple[Ints, Floats, Floats | None]:
    n, c = draw(st.integers(1, 8)), draw(st.integers(2, 4))
    truth = draw(hnp.arrays(np.int64, (n, c), elements=st.integers(0, 1)))
    probs = draw(hnp.arrays(np.float64, (n, c), elements=st.sampled_from([0.0, 0.1, 0.49, 0.5, 0.7, 1.0])))
    weights = draw(st.none() | hnp.arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 2.0, 3.5])))
    return truth, probs, weights


def quiet(function: Callable[..., float], *args: object, **options: object) -> float:
    """scikit-learn warns where a metric is undefined; what it returns then is what we compare with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*args, **options))


LABEL_ORACLES: dict[str, Callable[..., float]] = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "macro_f1": lambda t, p, **o: sk.f1_score(t, p, average="macro", zero_division=0, **o),
    "micro_f1": lambda t, p, **o: sk.f1_score(t, p, average="micro", zero_division=0, **o),
    "weighted_f1": lambda t, p, **o: sk.f1_score(t, p, average="weighted", zero_division=0, **o),
    "macro_precision": lambda t, p, **o: sk.precision_score(t, p, average="macro", zero_division=0, **o),
    "mcc": sk.matthews_corrcoef,
    "cohen_kappa": sk.cohen_kappa_score,
}


@pytest.mark.parametrize("name", LABEL_ORACLES)
@given(case=single_label())
@settings(max_examples=80, deadline=None)
def test_label_metrics_agree_with_scikit_learn(name: str, case: tuple[Ints, Floats, Floats | None]) -> None:
    codes, probs, weights = case
    expected = quiet(LABEL_ORACLES[name], codes, probs.argmax(axis=1), sample_weight=weights)
    if np.isnan(expected):  # kappa of one class only: 0/0, which is 0 here
        expected = 0.0
    assert evaluate(name, codes, probs, weights=weights) == pytest.approx(expected, abs=1e-12)


@given(case=single_label())
@settings(max_examples=80, deadline=None)
def test_quadratic_kappa_agrees_with_scikit_learn(case: tuple[Ints, Floats, Floats | None]) -> None:
    codes, probs, weights = case
    places = list(range(probs.shape[1]))
    options = {"weights": "quadratic", "labels": places, "sample_weight": weights}
    expected = quiet(sk.cohen_kappa_score, codes, probs.argmax(axis=1), **options)
    expected = 0.0 if np.isnan(expected) else expected
    assert evaluate("quadratic_kappa", codes, probs, weights=weights) == pytest.approx(expected, abs=1e-12)


@given(case=single_label())
@settings(max_examples=80, deadline=None)
def test_log_loss_and_brier_agree_with_scikit_learn(case: tuple[Ints, Floats, Floats | None]) -> None:
    codes, probs, weights = case
    places = list(range(probs.shape[1]))
    expected = quiet(sk.log_loss, codes, probs, labels=places, sample_weight=weights)
    assert evaluate("log_loss", codes, probs, weights=weights) == pytest.approx(expected, abs=1e-9)
    of_brier = probs[:, 1] if len(places) == 2 else probs
    expected = quiet(sk.brier_score_loss, codes, of_brier, labels=places, sample_weight=weights)
    assert evaluate("brier", codes, probs, weights=weights) == pytest.approx(expected, abs=1e-12)


@given(case=single_label())
@settings(max_examples=80, deadline=None)
def test_ranking_metrics_agree_with_scikit_learn_on_every_class_that_ranks(
    case: tuple[Ints, Floats, Floats | None],
) -> None:
    codes, probs, weights = case
    columns = [1] if probs.shape[1] == 2 else range(probs.shape[1])
    usable = [j for j in columns if 0 < (codes == j).sum() < len(codes)]
    for name, oracle in (("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        if not usable:
            with pytest.raises(UserError, match=f"{name} ranks nothing"):
                evaluate(name, codes, probs, weights=weights)
            continue
        expected = np.mean([oracle(codes == j, probs[:, j], sample_weight=weights) for j in usable])
        assert evaluate(name, codes, probs, weights=weights) == pytest.approx(expected, abs=1e-9)


def test_roc_auc_and_average_precision_are_scikit_learns_means_where_all_classes_occur() -> None:
    rng = np.random.default_rng(0)
    codes, probs = rng.integers(0, 4, 300), rng.dirichlet(np.ones(4), 300)
    assert evaluate("roc_auc", codes, probs) == pytest.approx(sk.roc_auc_score(codes, probs, multi_class="ovr"))
    assert evaluate("average_precision", codes, probs) == pytest.approx(sk.average_precision_score(codes, probs))


@pytest.mark.parametrize("k", [2, 3, 5])
@given(case=single_label(min_classes=3))
@settings(max_examples=80, deadline=None)
def test_top_k_is_scikit_learns_with_ties_to_the_first_class(k: int, case: tuple[Ints, Floats, Floats | None]) -> None:
    codes, probs, weights = case
    c = probs.shape[1]
    # scikit-learn takes the last classes of a tie, against its own argmax: with the classes turned round, the first.
    turned = c - 1 - codes, probs[:, ::-1]
    expected = quiet(sk.top_k_accuracy_score, *turned, k=k, labels=range(c), sample_weight=weights)
    assert evaluate(f"top_{k}_accuracy", codes, probs, weights=weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_top_k_agrees_with_scikit_learn_without_ties(k: int) -> None:
    rng = np.random.default_rng(k)
    codes, probs = rng.integers(0, 7, 200), rng.dirichlet(np.ones(7), 200)
    weights = rng.random(200)
    expected = sk.top_k_accuracy_score(codes, probs, k=k, labels=range(7), sample_weight=weights)
    assert evaluate(f"top_{k}_accuracy", codes, probs, weights=weights) == pytest.approx(expected)


def test_ties_go_to_the_first_class() -> None:
    tied = [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.2, 0.4, 0.4]]
    assert evaluate("accuracy", [0, 1, 1], tied) == 1
    assert evaluate("accuracy", [1, 2, 2], tied) == 0
    assert evaluate("top_2_accuracy", [2, 2, 0], [[0.4, 0.3, 0.3], [0.2, 0.4, 0.4], [0.2, 0.4, 0.4]]) == 1 / 3


@given(case=single_label())
@settings(max_examples=60, deadline=None)
def test_binary_f1_is_that_of_the_second_class(case: tuple[Ints, Floats, Floats | None]) -> None:
    codes, probs, weights = case
    assume(probs.shape[1] == 2)
    expected = sk.f1_score(codes, probs.argmax(axis=1), zero_division=0, sample_weight=weights)
    assert evaluate("binary_f1", codes, probs, weights=weights) == pytest.approx(expected, abs=1e-12)


def test_binary_f1_refuses_three_classes() -> None:
    with pytest.raises(UserError, match="these are 3"):
        evaluate("binary_f1", [0, 1], np.full((2, 3), 1 / 3))


SET_ORACLES: dict[str, Callable[..., float]] = {
    **{
        f"{average}_f1": lambda t, p, average=average, **o: sk.f1_score(t, p, average=average, zero_division=0, **o)
        for average in ("micro", "macro", "weighted", "samples")
    },
    "exact_match": sk.accuracy_score,
    "hamming_loss": sk.hamming_loss,
}


@pytest.mark.parametrize("name", SET_ORACLES)
@given(case=multi_label())
@settings(max_examples=80, deadline=None)
def test_multi_label_metrics_agree_with_scikit_learn(name: str, case: tuple[Ints, Floats, Floats | None]) -> None:
    truth, probs, weights = case
    expected = quiet(SET_ORACLES[name], truth, (probs >= 0.5).astype(int), sample_weight=weights)
    assert evaluate(name, truth, probs, weights=weights) == pytest.approx(expected, abs=1e-12)


@given(case=multi_label())
@settings(max_examples=60, deadline=None)
def test_multi_label_log_loss_and_ranking_are_means_over_labels(case: tuple[Ints, Floats, Floats | None]) -> None:
    truth, probs, weights = case
    columns = range(truth.shape[1])
    of_label = [quiet(sk.log_loss, truth[:, j], probs[:, j], labels=[0, 1], sample_weight=weights) for j in columns]
    assert evaluate("log_loss", truth, probs, weights=weights) == pytest.approx(np.mean(of_label), abs=1e-9)
    usable = [j for j in columns if 0 < truth[:, j].sum() < len(truth)]
    assume(usable)
    aucs = [sk.roc_auc_score(truth[:, j], probs[:, j], sample_weight=weights) for j in usable]
    assert evaluate("roc_auc", truth, probs, weights=weights) == pytest.approx(np.mean(aucs), abs=1e-9)


@given(case=single_label())
@settings(max_examples=80, deadline=None)
def test_confusion_counts_pairs(case: tuple[Ints, Floats, Floats | None]) -> None:
    codes, probs, weights = case
    predicted, c = probs.argmax(axis=1), probs.shape[1]
    matrix = confusion(codes, predicted, c)
    assert matrix.dtype == np.int64
    for i, j in itertools.product(range(c), range(c)):
        assert matrix[i, j] == ((codes == i) & (predicted == j)).sum()
    weighted = confusion(codes, predicted, c, weights)
    assert np.allclose(weighted, sk.confusion_matrix(codes, predicted, labels=range(c), sample_weight=weights))


@pytest.mark.parametrize("name", [m.name for m in METRICS.values() if m.from_confusion and m.name != "binary_f1"])
@given(case=single_label())
@settings(max_examples=30, deadline=None)
def test_confusion_form_is_the_metric(name: str, case: tuple[Ints, Floats, Floats | None]) -> None:
    codes, probs, _ = case
    form = METRICS[name].from_confusion
    assert form is not None
    matrix = confusion(codes, probs.argmax(axis=1), probs.shape[1])
    assert form(matrix) == pytest.approx(evaluate(name, codes, probs), abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_direction_is_right_and_a_perfect_prediction_is_best(name: str) -> None:
    metric = METRICS[name]
    if not {"single_label", "multi_label"} & set(metric.tasks) or name == "top_2_hit":
        pytest.skip("a perfect answer is not one label a row: see the tests of its own task")
    multi = "single_label" not in metric.tasks
    codes = np.array([0, 1, 1, 0, 1, 0])
    truth = np.eye(2, dtype=np.int64)[codes]
    perfect, poor = truth.astype(float), np.full((6, 2), 0.5) * [0.9, 1.1]
    labels = truth if multi else codes
    best, worse = evaluate(name, labels, perfect), evaluate(name, labels, poor)
    assert best == pytest.approx(1.0 if metric.greater_is_better else 0.0, abs=1e-12)
    assert metric.better(best, worse) or "top" in name


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Macro-F1", "macro_f1"),
        ("f1_macro", "macro_f1"),
        ("logloss", "log_loss"),
        ("AUC", "roc_auc"),
        (" QWK", "quadratic_kappa"),
    ],
)
def test_usual_spellings_find_the_metric(spelling: str, name: str) -> None:
    assert find_metric(spelling).name == name


def test_aliases_lead_to_metrics_and_hide_none() -> None:
    assert set(ALIASES.values()) <= set(METRICS)
    assert not set(ALIASES) & set(METRICS)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown metric 'macro_f2'") as raised:
        find_metric("macro_f2")
    assert raised.value.details["next"] == "did you mean 'macro_f1'?"
    with pytest.raises(UserError, match="unknown metric 'zzz'") as raised:
        find_metric("zzz")
    assert list(raised.value.details) == ["known"]


@pytest.mark.parametrize(
    ("codes", "probs", "message"),
    [
        ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "1 of 2 rows have a probability that is not a number"),
        ([0, 1], [[2.0, -1.0], [0.5, 0.5]], r"1 of 2 rows have values outside \[0, 1\]"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], r"true labels lie in \[0, 2\]"),
        ([0, -1], [[0.5, 0.5], [0.5, 0.5]], r"true labels lie in \[-1, 0\]"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], "true labels have shape"),
        ([0, 1], [0.5, 0.5], "probabilities have shape"),
        ([], np.empty((0, 2)), "no rows"),
    ],
)
def test_unusable_input_is_told(codes: object, probs: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate("accuracy", codes, probs)  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan]])
def test_unusable_weights_are_told(weights: list[float]) -> None:
    with pytest.raises(UserError, match="weights"):
        evaluate("accuracy", [0, 1], [[0.5, 0.5], [0.5, 0.5]], weights=weights)


def test_metric_of_the_other_task_is_refused_with_those_that_serve() -> None:
    with pytest.raises(UserError, match="not for single_label") as raised:
        evaluate("hamming_loss", [0, 1], [[0.5, 0.5], [0.5, 0.5]])
    assert "macro_f1" in raised.value.details["next"]


def test_score_reads_labels_of_predictions_of_both_tasks() -> None:
    ids, probs = pl.Series("id", ["a", "b"]), np.array([[0.9, 0.1], [0.6, 0.7]], np.float32)
    single = Predictions(ids, ("x", "y"), probs, labels=pl.Series(["x", "x"]))
    assert score("accuracy", single) == 0.5
    multi = Predictions(ids, ("x", "y"), probs, labels=pl.Series(["x", "y|x"]), task="multi_label")
    assert score("exact_match", multi) == 1
    with pytest.raises(UserError, match="no labels"):
        score("exact_match", Predictions(ids, ("x", "y"), probs, task="multi_label"))


def test_label_sets_become_indicators() -> None:
    sets = encode_label_sets(pl.Series(["b|a", "", "c"]), ["a", "b", "c"])
    assert sets.tolist() == [[True, True, False], [False, False, False], [False, False, True]]
    with pytest.raises(UserError, match="'d' is not among the classes"):
        encode_label_sets(pl.Series(["a|d"]), ["a", "b", "c"])
    with pytest.raises(UserError, match="1 of 2 rows have no label"):
        encode_label_sets(pl.Series(["a", None]), ["a"])


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if "single_label" in metric.functions])
def test_scores_lie_within_the_bounds_of_their_metric(name):
    low, high = METRICS[name].bounds
    truth = np.array([0, 1, 1, 0])
    for certain in (truth, 1 - truth):  # all right, all wrong
        assert low <= evaluate(name, truth, np.eye(2, dtype=np.float32)[certain]) <= high


def test_a_metric_in_another_process_is_the_one_of_its_name():
    assert all(pickle.loads(pickle.dumps(metric)) is metric for metric in METRICS.values())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if "single_label" in metric.tasks])
def test_whether_the_order_of_the_classes_matters_is_known(name, n_classes):
    metric, draw = METRICS[name], np.random.default_rng(0)
    if metric.n_classes not in (None, n_classes):
        return
    probs, truth = draw.dirichlet(np.ones(n_classes), 90), draw.integers(0, n_classes, 90)
    order = np.roll(np.arange(n_classes), 1)
    reordered = evaluate(name, np.argsort(order)[truth], probs[:, order])
    assert (evaluate(name, truth, probs) != pytest.approx(reordered)) == metric.depends_on_order(n_classes)
