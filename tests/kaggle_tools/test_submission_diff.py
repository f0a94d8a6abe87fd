"""Differences are found by id whatever the order, exactly, against slow and obvious oracles."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.submissions import Answers, _join, diff


def labels(ids, values, classes=None, task="single_label", title="x"):
    classes = tuple(classes or sorted(set(values)))
    return Answers(title, Path(title), pl.Series("id", ids, dtype=pl.String), classes, task, pl.Series("y", values))


def probabilities(ids, probs, classes=("a", "b", "c"), task="single_label", title="x"):
    return Answers(title, Path(title), pl.Series("id", ids, dtype=pl.String), classes, task, probs=np.array(probs))


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(max_size=20), unique=True, max_size=40), st.lists(st.text(max_size=20), max_size=40))
def test_rows_are_those_of_a_dictionary(ids, wanted):
    wanted = wanted + ids[::2]
    found = _join.rows_of(pl.Series(wanted, dtype=pl.String), pl.Series(ids, dtype=pl.String))
    place = {name: i for i, name in enumerate(ids)}
    assert found.tolist() == [place.get(name, -1) for name in wanted]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(max_size=3), min_size=1, max_size=30))
def test_repeated_ids_are_never_joined(ids):
    repeated = pl.Series([*ids, ids[0]], dtype=pl.String)
    assert _join.rows_of(repeated, repeated) is None
    assert _join.rows_of(pl.Series(["other"]), repeated) is None


def test_colliding_hashes_change_nothing(monkeypatch):
    ids = pl.Series([f"r{i}" for i in range(500)])
    monkeypatch.setattr(_join, "_hashes", lambda s: s.str.slice(1).cast(pl.UInt64).to_numpy() // np.uint64(3))
    wanted = ids.sample(fraction=1, shuffle=True, seed=1)
    assert ids.gather(_join.rows_of(wanted, ids)).to_list() == wanted.to_list()
    # Different ids with one hash, each once a side: only looking at the ids themselves tells them apart.
    monkeypatch.setattr(_join, "_hashes", lambda s: np.zeros(len(s), np.uint64))
    assert _join.rows_of(pl.Series(["a"]), pl.Series(["b"])).tolist() == [-1]


def first_of_the_highest(row):
    return max(range(len(row)), key=lambda k: (row[k], -k))


@st.composite
def pair(draw):
    n = draw(st.integers(1, 30))
    ids = [f"id{i}" for i in range(n)]
    shares = st.integers(0, 4).map(float)
    rows = st.lists(st.tuples(shares, shares, shares).map(lambda r: [x + 0.5 for x in r]), min_size=n, max_size=n)
    return ids, draw(rows), draw(rows), draw(st.permutations(range(n)))


@settings(deadline=None)  # the first call compiles
@given(pair())
def test_comparison_of_probabilities_agrees_with_plain_python(case):
    ids, a, b, order = case
    a, b = ([[x / sum(row) for x in row] for row in rows] for rows in (a, b))
    found = diff.compare(probabilities(ids, a), probabilities([ids[i] for i in order], [b[i] for i in order]))
    best = [(first_of_the_highest(p), first_of_the_highest(q)) for p, q in zip(a, b, strict=True)]
    moved = [max(abs(x - y) for x, y in zip(p, q, strict=True)) for p, q in zip(a, b, strict=True)]
    assert found.moved.tolist() == moved
    assert found.changed.tolist() == [m > 0 for m in moved]
    assert found.flipped.tolist() == [x != y for x, y in best]
    assert found.transitions.tolist() == [[best.count((i, j)) for j in range(3)] for i in range(3)]
    assert found.shift.unmoved + sum(n for _, n in found.shift.histogram) == len(ids)
    assert found.shift.largest == max(moved)
    assert found.same == (a == b)
    biggest = found.biggest().tolist()
    assert sorted(biggest) == [i for i, m in enumerate(moved) if m > 0]
    keys = [(not found.flipped[i], -moved[i], i) for i in biggest]
    assert keys == sorted(keys)


def test_labels_are_compared_by_id():
    found = diff.compare(labels(["1", "2", "3"], ["a", "b", "a"]), labels(["3", "1", "2"], ["a", "c", "b"]))
    assert found.classes == ("a", "b", "c")
    assert found.transitions.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert (found.churn, found.moved, found.same) == (pytest.approx(1 / 3), None, False)
    assert [(found.ids[int(i)], found.label("a", i), found.label("b", i)) for i in found.biggest()] == [("1", "a", "c")]


def test_several_labels_a_row_are_compared_as_sets():
    a = labels(["1", "2"], ["a|b", ""], ("a", "b"), "multi_label")
    b = labels(["2", "1"], ["", "b|a"], ("a", "b"), "multi_label")
    assert diff.compare(a, b).same
    c = probabilities(["1", "2"], [[0.5, 0.2], [0.9, 0.9]], ("a", "b"), "multi_label")
    found = diff.compare(a, c)
    assert found.flipped.tolist() == [True, True]
    assert found.transitions.tolist() == [[[0, 1], [0, 1]], [[0, 1], [1, 0]]]
    assert [found.label("b", i) for i in (0, 1)] == ["a", "a|b"]


def test_labels_and_probabilities_are_compared_by_what_they_decide():
    found = diff.compare(
        labels(["1", "2"], ["a", "b"]), probabilities(["2", "1"], [[0.6, 0.4], [0.7, 0.3]], ("a", "b"))
    )
    assert (found.compared, found.churn) == ("labels", 0.5)
    assert found.notes == ("A holds labels, B probabilities: the labels that they amount to are compared",)


def test_classes_in_another_order_are_no_difference():
    a = probabilities(["1"], [[0.2, 0.3, 0.5]])
    assert diff.compare(a, probabilities(["1"], [[0.5, 0.2, 0.3]], ("c", "a", "b"))).same


def test_single_and_double_precision_are_compared_as_single():
    exact = np.array([[1 / 3, 1 / 3, 1 / 3]])
    a, b = probabilities(["1"], exact), probabilities(["1"], exact.astype(np.float32))
    assert diff.compare(a, b).same
    assert diff.compare(b, a).same
    assert not diff.compare(a, probabilities(["1"], exact + np.array([1e-12, 0, 0]))).same
    assert diff.compare(a, probabilities(["1"], exact + np.array([1e-12, 0, 0])), tolerance=1e-9).same


def test_another_label_counts_as_changed_however_little_moved():
    a = probabilities(["1", "2"], np.array([[0.41, 0.39, 0.2], [0.6, 0.3, 0.1]]))
    b = probabilities(["1", "2"], np.array([[0.39, 0.41, 0.2], [0.62, 0.28, 0.1]]))
    found = diff.compare(a, b, tolerance=0.05)
    assert (found.changed.tolist(), found.flipped.tolist(), found.same) == ([True, False], [True, False], False)
    assert found.biggest().tolist() == [0]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (["1", "2"], ["1", "3"], "the ids differ: 1 only in A, 1 only in B"),
        (["1", "2"], ["1"], "the ids differ: 1 only in A, 0 only in B"),
        (["1"], ["1", "2"], "the ids differ: 0 only in A, 1 only in B"),
        (["1", "1"], ["1", "2"], "1 ids occur more than once in A"),
        (["1", "2"], ["1", "1"], "1 ids occur more than once in B"),
        (["1", "1"], ["1", "1"], "1 ids occur more than once in B"),
        (["1", "2", "2"], ["1", "2", "3"], "1 ids occur more than once in A"),
    ],
)
def test_ids_that_do_not_match_are_counted(a, b, message):
    with pytest.raises(UserError, match=message):
        diff.compare(labels(a, ["x"] * len(a), title="A"), labels(b, ["x"] * len(b), title="B"))


def test_common_rows_can_be_compared_alone():
    a = labels(["1", "2", "3"], ["x", "y", "x"], title="A")
    found = diff.compare(a, labels(["4", "3", "2"], ["x", "y", "y"]), common=True)
    assert (found.only_a.to_list(), found.only_b.to_list()) == (["1"], ["4"])
    assert (found.ids.to_list(), found.flipped.tolist(), found.same) == (["2", "3"], [False, True], False)
    with pytest.raises(UserError, match="no id in common"):
        diff.compare(a, labels(["9"], ["x"]), common=True)


def test_other_classes_and_tasks_are_refused():
    a = probabilities(["1"], [[0.2, 0.8]], ("a", "b"))
    for other in (
        probabilities(["1"], [[0.2, 0.8]], ("a", "z")),
        probabilities(["1"], [[0.2, 0.3, 0.5]]),
        labels(["1"], ["z"]),
    ):
        with pytest.raises(UserError, match="different classes"):
            diff.compare(a, other)
    with pytest.raises(UserError, match="one label a row, y several"):
        diff.compare(a, probabilities(["1"], [[0.9, 0.8]], ("a", "b"), "multi_label", "y"))
