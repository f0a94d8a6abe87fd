"""Labels that a competition knows, by task: against the encoders, which refuse all others."""

from pathlib import Path

import polars as pl
import pytest

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.label_groups import encode_groups, flat_classes, join_columns
from kaggle_tools.metrics import encode_label_sets
from kaggle_tools.predictions import encode_labels
from kaggle_tools.tag_rows import encode_tags
from kaggle_tools.valid_labels import has_valid_labels

GROUPS = {"mood": ("good", "bad"), "kind": ("x", "y")}


def competition(task, classes=("a", "b"), **more):
    return Competition(Path(), "c", task, "macro_f1", "text", classes, **more)


def encodes(encode, label):
    try:
        encode(label)
    except (UserError, KeyError):
        return False
    return True


@pytest.mark.parametrize(
    ("task", "classes", "labels", "encode"),
    [
        ("single_label", ("a", "b"), ["a", "b", "c", None, "", "a|b"], encode_labels),
        ("multi_label", ("a", "b"), ["a", "a|b", "", "a|c", "c", "a||b"], encode_label_sets),
        ("token", ("B-A", "O"), ["O", "O B-A", "", "O I-A", "O  O"], encode_tags),
    ],
)
def test_a_label_is_valid_where_its_encoder_takes_it(task, classes, labels, encode):
    found = has_valid_labels(pl.DataFrame({"label": labels}), competition(task, classes))
    expected = [encodes(lambda one: encode(one, classes), pl.Series("label", [label])) for label in labels]
    assert found.to_list() == expected
    assert {True, False} == set(expected)


def test_a_row_of_groups_is_valid_where_each_group_has_one_of_its_classes():
    rows = pl.DataFrame({"mood": ["good", "bad", "x", None, "good|bad"], "kind": ["x", "z", "y", "y", "x"]})
    flat = flat_classes(GROUPS)
    found = has_valid_labels(rows, competition("multi_group", flat, label_column=None, label_groups=GROUPS))
    expected = [encodes(lambda one: encode_groups(join_columns(one, list(GROUPS)), flat), rows[i]) for i in range(5)]
    assert found.to_list() == expected == [True, False, False, False, False]
