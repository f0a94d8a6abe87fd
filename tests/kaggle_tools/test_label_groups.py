"""`kaggle_tools.label_groups`: classes of several groups in one table, and labels in one column."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.label_groups import (
    decode_groups,
    encode_groups,
    flat_classes,
    group_slices,
    join_columns,
    likeliest_of_each,
    split_probs,
)
from kaggle_tools.metrics import evaluate_groups, group_scores, score
from kaggle_tools.predictions import Predictions

GROUPS = {"mood": ("bad", "good"), "feeling": ("fear", "joy", "mood:bad")}
CLASSES = flat_classes(GROUPS)


def test_classes_are_called_by_group_and_class():
    assert CLASSES == ("mood:bad", "mood:good", "feeling:fear", "feeling:joy", "feeling:mood:bad")
    assert group_slices(CLASSES) == {"mood": slice(0, 2), "feeling": slice(2, 5)}


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=20))
def test_codes_come_back_from_labels(codes):
    codes = np.array(codes, np.int64)
    assert (encode_groups(decode_groups(codes, CLASSES), CLASSES) == codes).all()


def test_labels_may_be_written_in_any_order_of_groups():
    assert encode_groups(pl.Series(["feeling:joy|mood:good"]), CLASSES).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("mood:bad", "do not have 2 labels"),
        ("mood:bad|mood:good", "do not have one label of group 'mood'|do not have one label of group 'feeling'"),
        ("mood:bad|feeling:anger", "not among the classes of group 'feeling'"),
        (None, "do not have one label of group 'mood'"),
        ("mood:bad|feeling:joy|owner:me", "do not have 2 labels"),
    ],
)
def test_labels_that_are_not_one_of_each_group_are_refused(label, words):
    with pytest.raises(UserError, match=words):
        encode_groups(pl.Series(["mood:bad|feeling:joy", label]), CLASSES)


def test_each_group_decides_for_itself_and_the_first_of_equals_wins():
    probs = np.array([[0.5, 0.5, 0.2, 0.7, 0.1], [0.1, 0.9, 0.4, 0.2, 0.4]], np.float32)
    assert likeliest_of_each(probs, CLASSES).to_list() == ["mood:bad|feeling:joy", "mood:good|feeling:fear"]


@pytest.mark.parametrize(
    "groups",
    [{"a": ("x", "y")}, {"a": ("x", "y"), "b": ("z",)}, {"a": ("x", "x"), "b": ("y", "z")},
     {"a:b": ("x", "y"), "c": ("y", "z")}, {"a": ("x|y", "z"), "b": ("y", "z")}],
)  # fmt: skip
def test_groups_that_cannot_be_told_apart_are_refused(groups):
    with pytest.raises(UserError):
        flat_classes(groups)


def test_classes_of_a_group_that_are_scattered_are_refused():
    with pytest.raises(UserError, match="side by side"):
        group_slices(("a:x", "b:y", "a:z"))
    with pytest.raises(UserError, match="<group>:<class>"):
        group_slices(("a:x", "y"))


def test_label_columns_become_one_and_several_labels_in_a_cell_are_refused():
    table = pl.DataFrame({"mood": ["bad", "good", None], "feeling": ["fear", "joy", "joy"]})
    assert join_columns(table, ("mood", "feeling")).to_list() == [
        "mood:bad|feeling:fear",
        "mood:good|feeling:joy",
        None,
    ]
    with pytest.raises(UserError, match="1 of 2 rows have several labels in a group"):
        join_columns(pl.DataFrame({"mood": ["bad", "bad|good"], "feeling": ["joy", "joy"]}), ("mood", "feeling"))


def make_predictions(n=200, seed=0):
    draw = np.random.default_rng(seed)
    codes = np.stack([draw.integers(0, 2, n), draw.integers(0, 3, n)], axis=1)
    probs = np.concatenate([draw.dirichlet(np.ones(c), n) for c in (2, 3)], axis=1).astype(np.float32)
    labels = decode_groups(codes, CLASSES)
    return codes, Predictions(pl.Series("id", [f"r{i}" for i in range(n)]), CLASSES, probs, labels, task="multi_group")


def test_predictions_of_groups_come_back_from_disk_and_are_scored(tmp_path):
    codes, made = make_predictions()
    made.save(tmp_path / "p.parquet")
    found = Predictions.load(tmp_path / "p.parquet")
    assert found.task == "multi_group"
    assert "prob_mood:good" in found.frame().columns
    parts = split_probs(made.probs, CLASSES)
    right = np.stack([part.argmax(1) for part in parts], axis=1) == codes
    assert score("exact_match", found) == pytest.approx(right.all(axis=1).mean())
    figures = group_scores(found)
    assert figures["mood"] == pytest.approx(right[:, 0].mean())
    assert figures["group_accuracy"] == pytest.approx(right.mean())
    assert figures["top_2_hit"] == evaluate_groups("top_2_hit", codes, parts)


def write_competition(folder, **changes):
    keys = {"name": '"c"', "task": '"multi_group"', "metric": '"exact_match"', "text_column": '"text"', **changes}
    groups = keys.pop("groups", '[label_groups]\nmood = ["bad", "good"]\nfeeling = ["fear", "joy", "mood:bad"]\n')
    path = folder / "competition.toml"
    path.write_text("".join(f"{k} = {v}\n" for k, v in keys.items()) + groups)
    return path


def test_a_competition_with_label_groups_comes_back_from_its_file(tmp_path):
    found = Competition.load(write_competition(tmp_path))
    assert found.classes == CLASSES
    assert found.label_columns == ("mood", "feeling")
    found.save(tmp_path / "again.toml")
    assert Competition.load(tmp_path / "again.toml") == found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"groups": ""}, "needs label_groups"),
        ({"task": '"single_label"', "metric": '"accuracy"'}, "has no use for label_groups"),
        ({"classes": '["a", "b"]'}, "follow from"),
        ({"label_column": '"mood"'}, "beside"),
        ({"groups": '[label_groups]\nmood = ["bad"]\nfeeling = ["fear", "joy"]\n'}, "two different classes"),
        ({"groups": "label_groups = 3\n"}, "must be a section"),
        ({"metric": '"macro_f1"'}, "not for multi_group"),
    ],
)
def test_label_groups_that_do_not_fit_are_refused(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        Competition.load(write_competition(tmp_path, **changes))
