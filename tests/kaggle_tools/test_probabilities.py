"""Only probabilities pass; logits and unnormalised rows are recognised and converted only when asked."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, softmax

from kaggle_tools.errors import UserError
from kaggle_tools.probabilities import to_probabilities

matrices = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 6)), elements=st.floats(-800, 800))


def ids(n: int) -> pl.Series:
    return pl.Series("id", [f"r{i}" for i in range(n)])


@given(matrices)
def test_logits_become_the_softmax_of_scipy(values: np.ndarray) -> None:
    values[0, 0] = -5.0  # so that no example happens to be probabilities
    found = to_probabilities(values, ids(len(values)), logits=True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, softmax(values, axis=1), rtol=1e-6, atol=1e-30)


@given(matrices)
def test_logits_of_several_labels_become_the_sigmoid_of_scipy(values: np.ndarray) -> None:
    values[0, 0] = -5.0
    found = to_probabilities(values, ids(len(values)), task="multi_label", logits=True)
    np.testing.assert_allclose(found, expit(values), rtol=1e-6, atol=1e-30)


@given(st.integers(0, 999), st.integers(2, 20), st.floats(-9e-4, 9e-4))
def test_rows_that_nearly_sum_to_one_are_renormalised(seed: int, n: int, off: float) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(4), n)
    found = to_probabilities(probs * (1 + off), ids(n))
    np.testing.assert_allclose(found, probs, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=3e-7)


def test_log_probabilities_pass_as_logits() -> None:
    probs = np.array([[0.2, 0.8], [0.5, 0.5]])
    np.testing.assert_allclose(to_probabilities(np.log(probs), ids(2), logits=True), probs, rtol=1e-6)


def test_negative_values_look_like_logits() -> None:
    with pytest.raises(UserError, match=r"1 of 2 rows.*from -2 to 3\): these look like logits") as caught:
        to_probabilities(np.array([[0.5, 0.5], [-2.0, 3.0]]), ids(2))
    assert caught.value.details["first"] == "r1: -2, 3"
    assert "--logits" in caught.value.details["next"]


def test_rows_far_from_one_name_both_ways_out() -> None:
    values = np.array([[0.5, 0.5], [2.0, 3.0]])
    with pytest.raises(UserError, match=r"1 of 2 rows do not sum to one \(sums from 1 to 5\)") as caught:
        to_probabilities(values, ids(2))
    assert "--normalise" in caught.value.details["next"]
    assert "--logits" in caught.value.details["next"]
    np.testing.assert_allclose(to_probabilities(values, ids(2), normalise=True), [[0.5, 0.5], [0.4, 0.6]])


def test_rows_of_zeros_cannot_be_normalised() -> None:
    with pytest.raises(UserError, match="1 of 1 rows sum to zero"):
        to_probabilities(np.zeros((1, 2)), ids(1), normalise=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("logits", [False, True])
def test_values_that_are_no_numbers_are_refused(bad: float, logits: bool) -> None:
    with pytest.raises(UserError, match="1 of 1 rows have a value that is not a number"):
        to_probabilities(np.array([[0.5, bad]]), ids(1), logits=logits)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_probabilities_are_not_taken_for_logits(task: str) -> None:
    with pytest.raises(UserError, match="probabilities already"):
        to_probabilities(np.array([[0.25, 0.75]]), ids(1), task=task, logits=True)


def test_rows_of_several_labels_need_not_sum_to_one() -> None:
    values = np.array([[0.9, 0.9], [0.0, 0.1]])
    np.testing.assert_allclose(to_probabilities(values, ids(2), task="multi_label"), values, rtol=1e-6)
    with pytest.raises(UserError, match="several labels a row need not sum to one"):
        to_probabilities(values, ids(2), task="multi_label", normalise=True)
    with pytest.raises(UserError, match=r"look like logits"):
        to_probabilities(values * 2, ids(2), task="multi_label")


def test_no_rows_are_no_mistake() -> None:
    assert to_probabilities(np.zeros((0, 3)), ids(0)).shape == (0, 3)
