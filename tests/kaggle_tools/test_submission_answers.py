"""Versions, foreign files and Predictions come out in one form; what is no submission is told."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions import ManifestDraft, count_answers, read_answers, write_version
from kaggle_tools.submissions.layout import Layout

LABELS = Competition(Path(), "x", "single_label", "macro_f1", "text", ("-1", "0", "1"), submission_format="labels")
PROBABILITIES = dataclasses.replace(LABELS, classes=("a", "b", "c"), submission_format="probabilities")


def read(folder: Path, content: str | bytes, competition: Competition | None = None, name: str = "x.csv"):
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_answers(str(folder / name), folder / "submissions", competition)


def test_labels_of_a_competition(tmp_path):
    found = read(tmp_path, gzip.compress(b"id,y\r\n r1 ,-1\r\nr2,1\r\n"), LABELS, "x.csv.gz")
    assert (found.title, found.classes, found.task) == ("x.csv.gz", ("-1", "0", "1"), "single_label")
    assert found.ids.to_list() == ["r1", "r2"]
    assert found.decisions().tolist() == [0, 2]
    assert found.decisions(("1", "0", "-1")).tolist() == [2, 0]


def test_probabilities_in_any_order_of_columns(tmp_path):
    found = read(tmp_path, "c,id,a,b\n.1,r1,.2,.7\n.5,r2,.25,.25\n", PROBABILITIES)
    assert found.probs.tolist() == [[0.2, 0.7, 0.1], [0.25, 0.25, 0.5]]
    assert found.decisions().tolist() == [1, 2]
    assert found.labels is None


def test_predictions_come_with_their_own_classes(tmp_path):
    probs = np.array([[0.25, 0.75]], np.float32)
    Predictions(pl.Series("key", ["r1"]), ("no", "yes"), probs).save(tmp_path / "p.parquet")
    found = read_answers(str(tmp_path / "p.parquet"), tmp_path)
    assert (found.ids.name, found.classes, found.probs.dtype) == ("key", ("no", "yes"), np.float32)


def test_versions_are_found_by_name_and_by_path(tmp_path, monkeypatch):
    table = pl.DataFrame({"id": ["r1"], "y": ["0"]})
    version = write_version(tmp_path / "submissions", "mine", table, ManifestDraft())
    monkeypatch.chdir(tmp_path)
    for wanted in ("1", "latest", "mine", "submissions/v0001-mine", "submissions/v0001-mine/submission.csv"):
        found = read_answers(wanted, tmp_path / "submissions", LABELS)
        assert (found.title, found.version) == ("v0001-mine", dataclasses.replace(version, folder=found.version.folder))


def test_without_a_competition_the_file_says_what_it_is(tmp_path):
    assert read(tmp_path, "row,y\n1,b\n2,a\n").classes == ("a", "b")
    two = read(tmp_path, "id,target\n1,.25\n2,.75\n")
    assert (two.classes, two.probs.tolist()) == (("not target", "target"), [[0.75, 0.25], [0.25, 0.75]])
    assert read(tmp_path, "id,a,b\n1,.25,.75\n").task == "single_label"
    assert read(tmp_path, "id,a,b\n1,.9,.75\n").task == "multi_label"


def test_ids_that_pandas_made_floats_of_stay_ids(tmp_path):
    pl.DataFrame({"id": [7.0, 8.0], "y": ["0", "1"]}).write_parquet(tmp_path / "x.parquet")
    found = read_answers(str(tmp_path / "x.parquet"), tmp_path, LABELS)
    assert found.table().to_dict(as_series=False) == {"id": ["7", "8"], "y": ["0", "1"]}
    pl.DataFrame({"id": [float(2**53 + 1), 8.0], "y": ["0", "1"]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"(?s)lost their last digits.*where: .*x.parquet"):
        read_answers(str(tmp_path / "x.parquet"), tmp_path, LABELS)


def test_pandas_index_is_not_a_value(tmp_path):
    assert read(tmp_path, ",id,y\n0,r1,0\n1,r2,1\n", LABELS).decisions().tolist() == [1, 2]


def test_several_labels_are_told_however_they_are_joined(tmp_path):
    several = dataclasses.replace(LABELS, task="multi_label", classes=("a", "b c", "d"))
    for cells in (("a|b c", "d", ""), ("a,b c", "d", ""), ("a; b c", "d", "")):
        found = read(tmp_path, f"id,y\nr1,'{cells[0]}'\nr2,{cells[1]}\nr3,\n".replace("'", '"'), several)
        assert found.decisions().tolist() == [[True, True, False], [False, False, True], [False] * 3]
        assert count_answers(found) == {"a": 1, "b c": 1, "d": 1}
    layout = Layout(("id", "y"), "id", "labels", {}, joined_by=",")
    assert found.table(layout)["y"].to_list() == ["a,b c", "d", ""]


GROUPS = dataclasses.replace(
    LABELS,
    task="multi_group",
    classes=("tone:bad", "tone:good", "kind:a", "kind:b", "kind:c"),
    label_column=None,
    label_groups={"tone": ("bad", "good"), "kind": ("a", "b", "c")},
)


@pytest.mark.parametrize(
    "content",
    [
        "id,kind,tone\nr1,c,bad\nr2,a,good\n",
        "id,tone:bad,tone:good,kind:a,kind:b,kind:c\nr1,.9,.1,.3,.3,.4\nr2,.2,.8,.98,.01,.01\n",
    ],
)
def test_label_groups_are_decided_one_by_one(tmp_path, content):
    found = read(tmp_path, content, GROUPS)
    assert found.decisions().astype(int).tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]
    assert count_answers(found) == {"tone:bad": 1, "tone:good": 1, "kind:a": 1, "kind:b": 0, "kind:c": 1}
    layout = Layout(("id", "kind", "tone"), "id", "labels", {}, {"tone": "tone", "kind": "kind"})
    if found.labels is not None:
        assert found.table(layout).rows() == [("r1", "c", "bad"), ("r2", "a", "good")]


def test_tags_are_counted_by_their_entities(tmp_path):
    tags = dataclasses.replace(LABELS, task="token", metric="entity_f1", classes=("B-x", "B-y", "I-x", "O"))
    found = read(tmp_path, "id,y\nr1,B-x I-x O B-x\nr2,O\nr3,\n", tags)
    assert count_answers(found) == {"x": 2, "y": 0}
    with pytest.raises(UserError, match="no classes of rows"):
        found.decisions()


@pytest.mark.parametrize(
    ("content", "competition", "message"),
    [
        ("id,tone,other\nr1,bad,a\n", GROUPS, "class column missing: kind"),
        ("id,tone,kind\nr1,bad,good\n", GROUPS, "1 of 1 rows; row 1: 'good' in column 'kind'"),
        ("id,y\n", LABELS, "no rows"),
        ("y\n1\n", LABELS, "only one column"),
        ("id,y\nr1,5\n", LABELS, "no classes of the competition"),
        ("id,y\nr1,\n", LABELS, "1 of 1 rows of x.csv have no label"),
        ("id,a,b\nr1,.5,.5\n", PROBABILITIES, "class column missing: c"),
        ("id,a,b,c\nr1,.5,.5,2\n", PROBABILITIES, "no probabilities"),
        ("id,a,b,c\nr1,.5,.5,nan\n", PROBABILITIES, "no probabilities"),
        ("id,name,city\nr1,Ann,Bonn\n", None, "column 'name' holds no probabilities"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), None, ""),
        (b"PK\x03\x04" + bytes(40), None, "zip archive"),
        (b"PAR1" + bytes(40), None, "cannot be read as Parquet"),
        (b"", None, "empty"),
    ],
)
def test_what_is_no_submission_is_told(tmp_path, content, competition, message):
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, competition)
    assert message in str(caught.value)
    assert "x.csv" in str(caught.value)


def test_missing_file_is_no_version(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_answers("nowhere.csv", tmp_path)
    with pytest.raises(UserError, match="no submission versions yet"):
        read_answers("nowhere", tmp_path)


@pytest.mark.parametrize("classes", [("0", "1"), ("1", "0")])
def test_a_probability_column_of_0_and_1_means_the_second_class_however_it_is_written(tmp_path, classes):
    asked = Competition(
        tmp_path, "c", "single_label", "roc_auc", "text", classes, id_column="id",
        submission_format="probabilities", submission_columns=("target",),
    )  # fmt: skip
    for name, values in (("whole", "1 0 1"), ("fraction", "1.0 0.0 1.0")):
        rows = "".join(f"{i},{value}\n" for i, value in enumerate(values.split()))
        (tmp_path / f"{name}.csv").write_text("id,target\n" + rows)
        found = read_answers(str(tmp_path / f"{name}.csv"), tmp_path, asked)
        assert found.probs is not None
        assert found.in_order(classes)[:, 1].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("column", "second"), [("neg", [0.75, 0.0]), ("prob_neg", [0.75, 0.0]), ("target", [0.25, 1.0])]
)
def test_a_lone_column_called_like_the_first_class_is_the_first_ones(tmp_path, column, second):
    two = dataclasses.replace(PROBABILITIES, classes=("neg", "pos"), label_column="y", submission_columns=(column,))
    assert read(tmp_path, f"id,{column}\nr1,.25\nr2,1\n", two).probs[:, 1].tolist() == second


def test_two_labels_or_tags_are_no_probabilities(tmp_path):
    both = dataclasses.replace(LABELS, task="multi_label", metric="micro_f1", classes=("a", "b"))
    assert read(tmp_path, "id,y\nr1,a|b\nr2,\n", both).decisions().tolist() == [[True, True], [False, False]]
    tags = dataclasses.replace(LABELS, task="token", metric="entity_f1", classes=("B-x", "O"))
    assert count_answers(read(tmp_path, "id,y\nr1,O B-x B-x\nr2,O\n", tags)) == {"x": 2}
