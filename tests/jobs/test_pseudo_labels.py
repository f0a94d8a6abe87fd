"""Pseudo-labels: from the checkpoint of the same fold, for sure texts alone, and never in a validation fold."""

import numpy as np
import polars as pl
import pytest

from jobs import fold_trainers
from jobs.pseudo_labels import decide
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from models.inference.scorer import Scorer
from tests.jobs.test_train import CLASSES, LINEAR, TINY, VERBS, Place, table

TEACHER = LINEAR.replace("C = 5.0", "C = 50.0")
PSEUDO = '[pseudo_labels]\nrun = "teacher"\ntable = "more.csv"\nthreshold = 0.6\n'


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    texts = [f"A {CLASSES[i % 3] if i % 5 else 'bird'} {VERBS[i % 3]} again {i}" for i in range(30)]
    texts += table()["text"].to_list()[:6]  # stand in the training table
    texts += texts[:3]  # twice
    pl.DataFrame({"id": [f"u{i}" for i in range(39)], "text": texts}).write_csv(tmp_path / "more.csv")
    place.recipe("teacher", TEACHER)
    place.recipe("student", LINEAR + PSEUDO)
    place.recipe("network", TINY + PSEUDO)
    place.train("teacher")
    return place


@pytest.fixture
def seen(monkeypatch):
    """What each fold of a linear run is trained on: number of rows, texts and targets of the pseudo-labels."""
    found = {}
    make = fold_trainers.fold_trainer

    def spied(task):
        def pseudo(fold):
            found[fold] = task.pseudo(fold)
            return found[fold]

        import dataclasses

        return make(dataclasses.replace(task, pseudo=pseudo))

    monkeypatch.setattr("jobs.train.fold_trainer", spied)
    return found


@pytest.mark.parametrize("recipe", ["student", "network"])
def test_each_fold_is_taught_by_the_teachers_checkpoint_of_the_same_fold(place, seen, recipe):
    result = place.train(recipe)
    texts = pl.read_csv(place.root / "more.csv")["text"].to_list()
    for fold, rows in seen.items():
        probs = Scorer({"t": [str(place.file(f"teacher/fold{fold}"))]}, classes=CLASSES, device="cpu").score(texts)["t"]
        sure = [i for i in range(30) if probs[i].max() >= 0.6]
        assert 0 < len(sure) < 30
        assert rows.names == tuple(f"pseudo u{i}" for i in sure)
        assert rows.targets.tolist() == probs[sure].argmax(1).tolist()
        assert result.folds[fold].n_pseudo == len(sure)


@pytest.mark.parametrize("recipe", ["student", "network"])
def test_validation_folds_hold_the_training_table_alone(place, seen, recipe):
    place.train(recipe)
    oof, teacher = (Predictions.load(place.file(f"{name}/oof.parquet")) for name in (recipe, "teacher"))
    assert oof.ids.to_list() == teacher.ids.to_list() == table()["id"].to_list()
    assert np.array_equal(oof.folds, teacher.folds)
    trained = set(table()["text"].str.to_lowercase())
    for rows in seen.values():
        lowered = [text.lower() for text in rows.texts]
        assert not trained & set(lowered), "a text of the training table would bring a validation row's answer"
        assert len(set(lowered)) == len(lowered)


def test_the_mean_predictions_of_a_run_can_teach_as_well(place, seen):
    place.recipe("student", LINEAR + PSEUDO + 'source = "predictions"\n')
    with pytest.raises(UserError, match="no predictions of run 'teacher' for more"):
        place.train("student")
    more = pl.read_csv(place.root / "more.csv")
    probs = np.full((39, 3), 0.05, np.float32)
    probs[np.arange(39), np.arange(39) % 3] = 0.9
    probs[:20] = 1 / 3
    predictions = Predictions(more["id"].reverse(), CLASSES, probs[::-1].copy())
    path = place.file("teacher/predictions/more.parquet")
    path.parent.mkdir()
    predictions.save(path)
    place.train("student")
    for rows in seen.values():
        assert rows.names == tuple(f"pseudo u{i}" for i in range(20, 30))
        assert rows.targets.tolist() == [i % 3 for i in range(20, 30)]


def test_a_resumed_run_gives_the_same_and_another_teacher_is_noticed(place):
    place.train("student")
    whole = place.file("student/oof.parquet").read_bytes()
    import shutil

    shutil.rmtree(place.file("student"))
    place.train("student", folds=(2,))
    place.train("student")
    assert place.file("student/oof.parquet").read_bytes() == whole
    place.recipe("teacher", TEACHER.replace("50.0", "1.0"))
    place.train("teacher", force=True)
    with pytest.raises(UserError, match="exists with other settings") as error:
        place.train("student")
    assert "pseudo-labels" in error.value.details["differ"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.6", "0.99999"), "sure of none of 30 texts"),
        (('"teacher"', '"student"'), "cannot be its own teacher"),
        (('"teacher"', '"techer"'), "no complete run 'techer'"),
        (('table = "more.csv"\n', ""), "no table of texts"),
        (("more.csv", "train.csv"), "stands in the training table"),
    ],
)
def test_what_cannot_teach_is_told(place, change, message):
    place.recipe("student", LINEAR + PSEUDO.replace(*change))
    with pytest.raises(UserError, match=message):
        place.train("student")


def test_confidence_of_several_labels_is_that_of_the_least_sure_one():
    probs = np.array([[0.9, 0.2], [0.99, 0.03]], np.float32)
    targets, confidence = decide(probs, "multi_label")
    assert targets.tolist() == [[1, 0], [1, 0]]
    np.testing.assert_allclose(confidence, [0.8, 0.97], rtol=1e-6)
    targets, confidence = decide(np.array([[0.2, 0.8]], np.float32), "single_label")
    assert (targets.tolist(), confidence.tolist()) == ([1], pytest.approx([0.8]))
