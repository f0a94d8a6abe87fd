"""What is measured of a run, against scikit-learn and brute force."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.report.sections.measure import measure


def predictions(seed, n=300, c=4, *, folds=True):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(c), n).astype(np.float32)
    classes = tuple(f"c{i}" for i in range(c))
    labels = pl.Series("label", [classes[i] for i in rng.integers(0, c, n)])
    return Predictions(
        ids=pl.Series("id", [str(i) for i in range(n)]),
        classes=classes,
        probs=probs,
        labels=labels,
        folds=rng.integers(0, 3, n).astype(np.int16) if folds else None,
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 300), st.integers(2, 6))
def test_confusions_and_f1_are_those_of_scikit_learn(seed, n, c):
    oof = predictions(seed, n, c)
    found = measure("m", "k", oof, "macro_f1")
    truth, predicted = oof.label_codes, oof.probs.argmax(axis=1)
    assert (found.matrix == confusion_matrix(truth, predicted, labels=range(c))).all()
    expected = f1_score(truth, predicted, labels=range(c), average=None, zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(found.class_f1), expected)
    assert found.score == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_fold_scores_are_scores_of_the_folds_rows():
    oof = predictions(1)
    found = measure("m", "k", oof, "accuracy")
    right = oof.probs.argmax(axis=1) == oof.label_codes
    assert found.fold_scores == pytest.approx([right[oof.folds == f].mean() for f in range(3)])
    assert measure("m", "k", predictions(1, folds=False), "accuracy").fold_scores == ()


def test_calibration_counts_every_row_once():
    oof = predictions(2, 1000)
    found = measure("m", "k", oof, "accuracy").calibration
    confidence, right = oof.probs.max(axis=1), oof.probs.argmax(axis=1) == oof.label_codes
    inside = (confidence >= 0.5) & (confidence < 0.6)
    place = int(np.flatnonzero((found.confidence >= 0.5) & (found.confidence < 0.6))[0])
    assert found.rows.sum() == 1000
    assert found.rows[place] == inside.sum()
    assert found.accuracy[place] == pytest.approx(right[inside].mean())
    assert found.confidence[place] == pytest.approx(confidence[inside].mean(), rel=1e-5)
    assert (found.low <= found.accuracy).all()
    assert (found.accuracy <= found.high).all()
    assert found.bias == pytest.approx(confidence.mean() - right.mean(), abs=1e-6)


def test_several_labels_a_row():
    rng = np.random.default_rng(3)
    probs = rng.random((200, 3)).astype(np.float32)
    truth = rng.random((200, 3)) < probs
    labels = pl.Series("label", ["|".join("abc"[j] for j in np.flatnonzero(row)) for row in truth])
    oof = Predictions(pl.Series("id", [str(i) for i in range(200)]), ("a", "b", "c"), probs, labels, task="multi_label")
    found = measure("m", "k", oof, "macro_f1")
    assert found.matrix is None
    np.testing.assert_allclose(found.class_f1, f1_score(truth, probs >= 0.5, average=None))
    assert found.calibration.rows.sum() == 600


def test_an_undefined_metric_is_a_note():
    found = measure("m", "k", predictions(4), "hamming_loss")
    assert found.score is None
    assert "not for single_label" in found.notes[0]


def test_predictions_without_labels_cannot_be_measured():
    oof = predictions(5)
    with pytest.raises(UserError, match="no labels"):
        measure("m", "k", Predictions(oof.ids, oof.classes, oof.probs), "accuracy")
