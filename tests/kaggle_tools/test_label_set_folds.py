"""Folds of rows with any number of labels: every label is shared out as evenly as its rows allow."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.folds import FoldSettings, assign
from kaggle_tools.label_set_folds import deal

label_sets = st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4), min_size=6, max_size=60)


@given(label_sets, st.integers(2, 5), st.integers(0, 3))
def test_every_row_has_a_fold_and_folds_are_the_same_again(sets, n_folds, seed):
    folds = deal(sets, n_folds, seed)
    assert folds.dtype == np.int16
    assert ((folds >= 0) & (folds < n_folds)).all()
    np.testing.assert_array_equal(folds, deal(sets, n_folds, seed))


@given(st.lists(st.sampled_from("abc"), min_size=6, max_size=90), st.integers(2, 5))
def test_with_one_label_a_row_folds_differ_by_one_row_a_label(labels, n_folds):
    folds = deal([[label] for label in labels], n_folds, 0)
    for label in set(labels):
        counts = np.bincount(folds[np.array(labels) == label], minlength=n_folds)
        assert counts.max() - counts.min() <= 1


def test_no_division_of_a_small_table_is_clearly_more_even():
    rng = np.random.default_rng(0)
    for _ in range(20):
        sets = [[label for label in "abc" if rng.random() < 0.4] for _ in range(8)]
        has = np.array([[label in labels for label in "abc"] for labels in sets])

        def uneven(folds, has=has):
            return sum(np.abs(has[folds == fold].sum(0) - has.sum(0) / 2).max() for fold in (0, 1))

        halves = (np.isin(np.arange(8), rows).astype(int) for rows in itertools.combinations(range(8), 4))
        best = min(uneven(folds) for folds in halves)
        assert uneven(deal(sets, 2, 0)) <= best + 2


def test_rare_labels_reach_every_fold_where_random_folds_miss_some():
    rng = np.random.default_rng(1)
    shares = 1.2 ** -np.arange(30)
    sets = [[f"c{i}" for i in np.flatnonzero(rng.random(30) < shares * 0.4)] for _ in range(2000)]
    counts = {label: np.zeros(5, int) for labels in sets for label in labels}
    for fold, labels in zip(deal(sets, 5, 0), sets, strict=True):
        for label in labels:
            counts[label][fold] += 1
    assert all(count.max() - count.min() <= 2 for count in counts.values())


def test_rows_without_labels_fill_the_folds_evenly():
    np.testing.assert_array_equal(np.bincount(deal([[]] * 10, 5, 0)), [2] * 5)


def test_a_multi_label_table_with_combinations_of_one_row_gets_stratified_folds():
    labels = pl.Series("label", ["a|b", "a", "b", "a|c", "c", "", "c|b", "a", "b", "c", None, "a"])
    folds = assign(FoldSettings(n=2, kind="stratified"), labels, label_sets=True)
    assert sorted(np.bincount(folds)) == pytest.approx([6, 6], abs=1)
