"""`jobs.evaluate`: the report of a run's OOF predictions, and of a scored table with labels."""

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from sklearn.metrics import f1_score

from jobs.evaluate import EvaluateOptions, run
from jobs.show.evaluate import render_evaluate
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from tests.jobs.test_train import CLASSES, Place, table


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def evaluate(place, name="linear", **options):
    return run(EvaluateOptions(name, start=place.root, **options))


def shown(result):
    console = Console(record=True, width=120)
    render_evaluate(result, console)
    return console.export_text()


def test_oof_predictions_are_reported(place):
    place.train("linear")
    result = evaluate(place)
    oof = Predictions.load(place.file("linear/oof.parquet"))
    predicted = oof.probs.argmax(1)
    expected = f1_score(oof.label_codes, predicted, average="macro")
    assert result.report.averages["macro"].f1 == result.score == pytest.approx(expected)
    assert result.report.exact_match == pytest.approx((predicted == oof.label_codes).mean())
    assert list(result.report.classes) == list(CLASSES)
    text = shown(result)
    assert "macro" in text
    assert "accuracy" in text
    assert "samples" not in text


def test_a_training_table_that_changed_since_is_told(place):
    place.train("linear")
    assert evaluate(place).notes == ()
    place.write(table().with_columns(pl.col("label").shuffle(seed=1)))
    result = evaluate(place)
    assert result.notes == (
        "train.csv changed since linear was made, and its labels are those of then: train or import it again",
    )
    assert "train.csv changed since linear" in shown(result)


def test_several_labels_have_a_threshold_and_an_average_over_samples(place):
    labels = [["cat", "cat|dog", "dog"][i % 3] for i in range(33)] + ["", "", ""]
    place.write(table().with_columns(label=pl.Series(labels)))
    place.competition(task="multi_label", metric="micro_f1")
    place.train()
    oof = Predictions.load(place.file("tiny/oof.parquet"))
    for threshold in (0.3, 0.5):
        result = evaluate(place, "tiny", threshold=threshold)
        truth = np.array([[c in label.split("|") for c in CLASSES] for label in labels])
        expected = f1_score(truth, oof.probs >= threshold, average="samples", zero_division=0)
        assert result.report.averages["samples"].f1 == pytest.approx(expected)
    assert "Hamming loss" in shown(result)
    assert "exact match" in shown(result)
    with pytest.raises(UserError, match="--threshold nan is no probability"):  # else no row would have a label
        evaluate(place, "tiny", threshold=float("nan"))


def test_a_scored_table_with_labels_is_joined_by_id(place):
    place.train("linear")
    truth = pl.DataFrame({"id": ["a", "b", "c"], "label": ["cat", "dog", "emu"]})
    truth.write_csv(place.root / "held_out.csv")
    path = place.file("linear/predictions/held_out.parquet")
    with pytest.raises(UserError, match=r"no predictions for held_out\.csv") as error:
        evaluate(place, truth=place.root / "held_out.csv")
    assert "cli score" in error.value.details["next"]
    with pytest.raises(UserError, match="no such table of labels"):
        evaluate(place, truth=place.root / "elsewhere.csv")
    path.parent.mkdir()
    probs = np.array([[0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]], np.float32)
    Predictions(pl.Series("id", ["c", "b", "a"]), CLASSES, probs).save(path)
    assert evaluate(place, truth=place.root / "held_out.csv").report.exact_match == 1.0


def test_a_run_that_is_not_there_is_told(place):
    with pytest.raises(UserError, match="no complete run 'liner'"):
        evaluate(place, "liner")
