import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import Tally, accuracy_by_group, evaluate, evaluate_groups, top_2_hits


@st.composite
def linked(draw: st.DrawFn, n_groups: int | None = None):
    """Codes (N, G), probabilities with ties for each group, weights or None."""
    n, g = draw(st.integers(1, 9)), n_groups or draw(st.integers(1, 3))
    sizes = [draw(st.integers(2, 4)) for _ in range(g)]
    codes = np.stack([draw(hnp.arrays(np.int64, n, elements=st.integers(0, c - 1))) for c in sizes], axis=1)
    raw = [draw(hnp.arrays(np.int64, (n, c), elements=st.integers(0, 3))) + 1 for c in sizes]
    weights = draw(st.none() | hnp.arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 3.5])))
    return codes, [part / part.sum(axis=1, keepdims=True) for part in raw], weights


@given(case=linked())
@settings(max_examples=80, deadline=None)
def test_accuracies_agree_with_scikit_learn(case) -> None:
    codes, probs, weights = case
    decided = [group.argmax(axis=1) for group in probs]
    expected = [sk.accuracy_score(t, p, sample_weight=weights) for t, p in zip(codes.T, decided, strict=True)]
    assert accuracy_by_group(codes, probs, weights=weights) == pytest.approx(expected)
    assert evaluate_groups("group_accuracy", codes, probs, weights=weights) == pytest.approx(np.mean(expected))
    right = (codes == np.stack(decided, axis=1)).all(axis=1)
    assert evaluate_groups("exact_match", codes, probs, weights=weights) == pytest.approx(
        sk.accuracy_score(np.ones(len(codes)), right, sample_weight=weights)
    )
    for name in ("group_accuracy", "exact_match"):
        assert evaluate_groups(name, codes, decided) == evaluate_groups(name, codes, probs)


@given(case=linked(n_groups=2))
@settings(max_examples=80, deadline=None)
def test_top_2_hit_is_that_the_two_best_of_all_classes_are_the_true_ones(case) -> None:
    codes, probs, weights = case
    hits = []
    for row, true in enumerate(codes):
        everything = [(-p, g, c) for g in range(2) for c, p in enumerate(probs[g][row])]
        best = {(g, c) for _, g, c in sorted(everything)[:2]}  # of equals the first group, then the first class
        hits.append(best == set(enumerate(true.tolist())))
    assert evaluate_groups("top_2_hit", codes, probs, weights=weights) == pytest.approx(
        np.average(hits, weights=weights)
    )


@given(case=linked(n_groups=2), cut=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_tally_of_batches_is_the_weighted_mean_of_all_rows(case, cut: int) -> None:
    codes, probs, weights = case
    truth = np.concatenate([codes[:, [g]] == np.arange(probs[g].shape[1]) for g in range(2)], axis=1)
    joined = np.concatenate(probs, axis=1)
    weights = np.ones(len(codes)) if weights is None else weights
    tally = Tally()
    for part in (slice(None, cut), slice(cut, None)):
        tally = tally.add(top_2_hits(truth[part], joined[part]), weights[part])
    assert tally.mean == pytest.approx(evaluate_groups("top_2_hit", codes, probs, weights=weights))
    assert tally.mean == pytest.approx(evaluate("top_2_hit", truth.astype(int), joined, weights=weights))
    assert Tally().mean == 0


def test_top_2_hit_refuses_what_has_not_two_true_labels() -> None:
    with pytest.raises(UserError, match="1 of 2 rows do not have two true labels") as raised:
        evaluate("top_2_hit", [[1, 1, 0], [1, 0, 0]], np.full((2, 3), 0.5))
    assert raised.value.details["first"] == "row 2: 1"
    with pytest.raises(UserError, match="for two label groups, these are 3"):
        evaluate_groups("top_2_hit", [[0, 0, 0]], [[[0.5, 0.5]]] * 3)
    with pytest.raises(UserError, match="needs probabilities"):
        evaluate_groups("top_2_hit", [[0, 0]], [[0], [0]])


@pytest.mark.parametrize(
    ("codes", "predicted", "message"),
    [
        ([[0, 2]], [[[0.5, 0.5]], [[0.5, 0.5]]], r"group 2: true classes lie in \[2, 2\]"),
        ([[0, -1]], [[[0.5, 0.5]], [[0.5, 0.5]]], r"group 2: true classes lie in \[-1, -1\]"),
        ([[0, 0]], [[[0.5, 0.5]]], "predictions of 1 label groups"),
        ([[0, 0]], [[[0.5, 0.5]], [[0.5, np.nan]]], "group 2: 1 of 1 rows have a probability that is not a number"),
        ([[0, 0]], [[[0.5, 0.5]], [[3.0, -1.0]]], r"group 2: 1 of 1 rows have values outside \[0, 1\]"),
        ([[0, 0]], [[[0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]], "group 2 has 2 rows"),
        ([0, 0], [[[0.5, 0.5]]], "true classes are int64 of shape"),
        (np.empty((0, 2), int), [np.empty((0, 2))] * 2, "no rows"),
    ],
)
def test_unusable_groups_are_told(codes, predicted, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_groups("exact_match", codes, predicted)


def test_a_metric_of_one_group_is_refused_and_the_other_way_round() -> None:
    with pytest.raises(UserError, match="'macro_f1' is not for multi_group tasks") as raised:
        evaluate_groups("macro_f1", [[0]], [[[0.5, 0.5]]])
    assert raised.value.details["next"] == "use one of exact_match, group_accuracy, top_2_hit"
    with pytest.raises(UserError, match="'group_accuracy' is not for single_label tasks"):
        evaluate("group_accuracy", [0], [[0.5, 0.5]])
