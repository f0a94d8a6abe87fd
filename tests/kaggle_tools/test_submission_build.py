"""A built submission has the sample's shape and our values, and passes its own validation."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions import build_submission, count_classes, validate

CLASSES = ("EAP", "HPL", "MWS")
LABELS = Competition(Path(), "x", "single_label", "macro_f1", "text", CLASSES, submission_format="labels")
PROBABILITIES = dataclasses.replace(LABELS, submission_format="probabilities")


def make(
    ids: list[str], *, seed: int = 0, classes: tuple[str, ...] = CLASSES, task: str = "single_label"
) -> Predictions:
    probs = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), len(ids)).astype(np.float32)
    return Predictions(pl.Series("id", ids, dtype=pl.String), classes, probs, task=task)


def write(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\r\n").writerows(rows)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    ids=st.lists(st.text("ab1ü", min_size=1, max_size=5), min_size=1, max_size=15, unique=True),
    columns=st.permutations(["ID", "p_EAP", "p_HPL", "p_MWS"]),
    blank=st.sampled_from(["", " ", "\t"]),
    seed=st.integers(0, 999),
)
def test_probabilities_stand_where_the_sample_has_them(
    tmp_path: Path, ids: list[str], columns: list[str], blank: str, seed: int
) -> None:
    predictions = make(ids, seed=seed)
    wanted = np.random.default_rng(seed).permutation(ids).tolist()
    rows = [[name + blank if column == "ID" else "0.3" for column in columns] for name in wanted]
    sample = write(tmp_path / "sample.csv", columns, *rows)
    competition = dataclasses.replace(PROBABILITIES, submission_id="ID")
    table = build_submission(predictions, sample, competition)
    assert table.columns == columns
    assert table["ID"].to_list() == [name + blank for name in wanted]
    for i, name in enumerate(CLASSES):
        expected = [predictions.probs[ids.index(row), i] for row in wanted]
        assert table[f"p_{name}"].to_list() == expected
    table.write_csv(tmp_path / "submission.csv")
    assert validate(tmp_path / "submission.csv", sample, competition).problems == ()


def test_labels_are_those_with_the_highest_probability(tmp_path: Path) -> None:
    sample = write(tmp_path / "sample.csv", ["id", "y"], ["r2", "-1"], ["r0 ", "-1"], ["r1", "-1"])
    competition = dataclasses.replace(LABELS, classes=("-1", "0", "1"))
    probs = np.array([[0.2, 0.2, 0.6], [0.9, 0.1, 0], [0.4, 0.4, 0.2]], np.float32)
    predictions = Predictions(pl.Series("id", ["r0", "r1", "r2"]), competition.classes, probs)
    table = build_submission(predictions, sample, competition)
    assert table.rows() == [("r2", "-1"), ("r0 ", "1"), ("r1", "-1")]
    assert table.write_csv() == "id,y\nr2,-1\nr0 ,1\nr1,-1\n"


def test_classes_in_another_order_are_matched_by_name() -> None:
    predictions = make(["a"], classes=("MWS", "EAP", "HPL"))
    table = build_submission(predictions, None, PROBABILITIES)
    assert table.columns == ["id", "EAP", "HPL", "MWS"]
    assert table.row(0)[1:] == tuple(predictions.probs[0, [1, 2, 0]])


@pytest.mark.parametrize(
    ("competition", "columns"),
    [
        (LABELS, ["id", "label"]),
        (dataclasses.replace(LABELS, label_column="author"), ["id", "author"]),
        (dataclasses.replace(LABELS, submission_id="ID", submission_columns=("y",)), ["ID", "y"]),
        (PROBABILITIES, ["id", *CLASSES]),
        (dataclasses.replace(PROBABILITIES, submission_columns=("e", "h", "m")), ["id", "e", "h", "m"]),
    ],
)
def test_without_a_sample_the_predictions_give_the_rows(competition: Competition, columns: list[str]) -> None:
    table = build_submission(make(["b", "a"]), None, competition)
    assert table.columns == columns
    assert table.to_series(0).to_list() == ["b", "a"]


def test_two_classes_and_one_column_mean_the_second_class(tmp_path: Path) -> None:
    competition = dataclasses.replace(PROBABILITIES, classes=("0", "1"))
    predictions = make(["a", "b"], classes=("0", "1"))
    sample = write(tmp_path / "sample.csv", ["id", "target"], ["b", "0.5"], ["a", "0.5"])
    assert build_submission(predictions, sample, competition)["target"].to_list() == predictions.probs[::-1, 1].tolist()
    alone = dataclasses.replace(competition, submission_columns=("target",))
    assert build_submission(predictions, None, alone)["target"].to_list() == predictions.probs[:, 1].tolist()


def test_one_column_called_like_the_first_of_two_classes_is_refused(tmp_path: Path) -> None:
    competition = dataclasses.replace(PROBABILITIES, classes=("fake", "real"), submission_columns=("prob_fake",))
    sample = write(tmp_path / "sample.csv", ["id", "prob_fake"], ["a", "0.5"])
    for path in (sample, None):
        with pytest.raises(UserError, match="one column, of the first class"):
            build_submission(make(["a"], classes=("fake", "real")), path, competition)


def test_several_labels_are_those_of_at_least_one_half() -> None:
    competition = dataclasses.replace(LABELS, task="multi_label")
    probs = np.array([[0.5, 0.1, 0.9], [0.4, 0.1, 0.2]], np.float32)
    predictions = Predictions(pl.Series("id", ["a", "b"]), CLASSES, probs, task="multi_label")
    assert build_submission(predictions, None, competition)["label"].to_list() == ["EAP|MWS", ""]
    assert count_classes(predictions) == {"EAP": 1, "HPL": 0, "MWS": 1}


@pytest.mark.parametrize("separator", ["|", " ", ",", ";"])
def test_several_labels_are_joined_as_in_the_sample(tmp_path: Path, separator: str) -> None:
    several = dataclasses.replace(LABELS, task="multi_label", metric="micro_f1")
    sample = write(tmp_path / "sample.csv", ["id", "y"], ["r0", f"EAP{separator}MWS"], ["r1", "HPL"])
    probs = np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.3]], np.float32)
    predictions = Predictions(pl.Series("id", ["r0", "r1"]), CLASSES, probs, task="multi_label")
    table = build_submission(predictions, sample, several)
    assert table.rows() == [("r0", f"EAP{separator}HPL"), ("r1", "")]
    table.write_csv(tmp_path / "submission.csv")
    assert validate(tmp_path / "submission.csv", sample, several).ok


def test_float32_probabilities_survive_the_file(tmp_path: Path) -> None:
    predictions = make([f"r{i}" for i in range(500)])
    build_submission(predictions, None, PROBABILITIES).write_csv(tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as handle:
        found = np.array([[float(row[name]) for name in CLASSES] for row in csv.DictReader(handle)], np.float32)
    assert np.array_equal(found, predictions.probs)


def test_different_ids_are_counted_and_named(tmp_path: Path) -> None:
    sample = write(tmp_path / "sample.csv", ["id", "y"], ["r0", "EAP"], ["r9", "EAP"])
    with pytest.raises(UserError, match="3 ids, the sample submission has 2: 1 missing, 2 unexpected") as caught:
        build_submission(make(["r0", "r1", "r2"]), sample, LABELS)
    assert caught.value.details["missing"] == "r9"
    assert caught.value.details["unexpected"] == "r1, r2"
    assert "cli score" in caught.value.details["next"]


@pytest.mark.parametrize(
    ("header", "competition", "message"),
    [
        (["id", "EAP", "HPL"], PROBABILITIES, "class column missing: MWS"),
        (["id", "EAP", "HPL", "MWS", "note"], PROBABILITIES, "belong to no class: note"),
        (["id", "EAP", "HPL"], LABELS, "2 columns beside the id, but labels need one"),
        (["id"], LABELS, "only one column, 'id'"),
        (["key", "y"], dataclasses.replace(LABELS, submission_id="ID"), "no id column 'ID'"),
    ],
)
def test_samples_that_cannot_be_filled_are_refused(
    tmp_path: Path, header: list[str], competition: Competition, message: str
) -> None:
    sample = write(tmp_path / "sample.csv", header, ["r0", *["0.1"] * (len(header) - 1)])
    with pytest.raises(UserError, match=message):
        build_submission(make(["r0"]), sample, competition)


@pytest.mark.parametrize("rows", [[["a", "EAP"], ["a ", "EAP"]], [["", "EAP"], ["a", "EAP"]], []])
def test_samples_without_proper_ids_are_refused(tmp_path: Path, rows: list[list[str]]) -> None:
    with pytest.raises(UserError, match=r"the sample submission has|sample\.csv"):
        build_submission(make(["a"]), write(tmp_path / "sample.csv", ["id", "y"], *rows), LABELS)


def test_predictions_of_other_classes_are_refused() -> None:
    with pytest.raises(UserError, match="other classes than the competition"):
        build_submission(make(["a"], classes=("x", "y")), None, LABELS)
