"""The classification report against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, hamming_loss, precision_recall_fscore_support

from kaggle_tools.metrics.report import classification_report


def check(report, truth, predicted, averages):
    for average in averages:
        expected = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        line = report.averages[average]
        assert (line.precision, line.recall, line.f1) == pytest.approx(expected[:3])
    columns = precision_recall_fscore_support(truth, predicted, average=None, zero_division=0)
    for i, line in enumerate(report.classes.values()):
        found = (line.precision, line.recall, line.f1, line.support)
        assert found == pytest.approx(tuple(column[i] for column in columns))
    assert report.exact_match == pytest.approx(accuracy_score(truth, predicted))


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 99))
def test_label_sets_give_the_figures_of_scikit_learn(n, c, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.random((2, n, c)) < 0.4
    report = classification_report(truth, predicted, [f"c{i}" for i in range(c)])
    check(report, truth, predicted, ("micro", "macro", "weighted", "samples"))
    assert report.hamming_loss == pytest.approx(hamming_loss(truth, predicted))
    assert report.labels_a_row == pytest.approx(truth.sum() / n)
    assert report.predicted_a_row == pytest.approx(predicted.sum() / n)


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 99))
def test_single_labels_have_no_average_over_samples(n, c, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = (np.eye(c, dtype=bool)[rng.integers(0, c, n)] for _ in range(2))
    report = classification_report(truth, predicted, [f"c{i}" for i in range(c)], several=False)
    check(report, truth, predicted, ("micro", "macro", "weighted"))
    assert report.hamming_loss == pytest.approx(hamming_loss(truth.argmax(1), predicted.argmax(1)))
    assert set(report.averages) == {"micro", "macro", "weighted"}
    assert report.exact_match == pytest.approx(report.averages["micro"].f1)


def test_rows_without_any_label_give_zeros_and_no_warning():
    report = classification_report(np.zeros((3, 2), bool), np.zeros((3, 2), bool), ["a", "b"])
    assert report.exact_match == 1.0
    assert all(line.f1 == 0 for line in report.averages.values())
