"""Pseudo-labels: from the checkpoint of the same fold, for sure texts alone, and never in a validation fold."""

import json

import numpy as np
import polars as pl
import pytest

from jobs import fold_trainers
from jobs.pseudo_labels import decide
from jobs.teachers import SoftTeacher
from jobs.workspace import Run
from kaggle_tools.errors import UserError
from kaggle_tools.files import sample_digest
from kaggle_tools.predictions import Predictions
from kaggle_tools.seals import sealed
from kaggle_tools.search.recipe import Recipe, save
from models.errors import ModelError
from models.inference.scorer import Scorer
from models.saved import load_classifier
from models.training import epochs
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
        def pseudo(fold, device):
            found[fold] = task.pseudo(fold, device)
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


def test_several_seeds_of_a_fold_are_labelled_for_once(place, monkeypatch):
    asked, of_fold = [], SoftTeacher.of_fold

    def spy(self, fold, *rest):
        asked.append(fold)
        return of_fold(self, fold, *rest)

    monkeypatch.setattr(SoftTeacher, "of_fold", spy)
    place.recipe("network", "seeds = [1, 2]\n" + TINY + PSEUDO)
    result = place.train("network")
    assert asked == [0, 1, 2]
    first, second = ([one.n_pseudo for one in result.folds if one.seed == seed] for seed in (1, 2))
    assert first == second
    assert min(first) > 0


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


@pytest.mark.parametrize("source", ["fold", "predictions"])
def test_a_blend_decides_by_the_rescaled_average_of_its_runs(place, seen, source):
    place.recipe("second", LINEAR.replace("C = 5.0", "C = 0.5"))
    place.train("second")
    weights = np.array([0.2, 1.0, 4.0])
    parameters = {"weights": (0.5, 0.5), "class_weights": tuple(weights)}
    (place.root / "blends").mkdir()
    recipe = Recipe("linear_pool", "single_label", CLASSES, ("teacher", "second"), "macro_f1", parameters)
    save(recipe, place.root / "blends" / "both-1.json")
    more = pl.read_csv(place.root / "more.csv")
    draw = np.random.default_rng(0)
    given = {name: draw.dirichlet(np.ones(3), 39).astype(np.float32) for name in ("teacher", "second")}
    for name, probs in given.items():
        place.file(f"{name}/predictions").mkdir()
        Predictions(more["id"], CLASSES, probs).save(place.file(f"{name}/predictions/more.parquet"))
    blended = PSEUDO.replace('"teacher"', '"both"') + f'source = "{source}"\n'
    place.recipe("student", LINEAR + blended)
    place.train("student")
    for fold, rows in seen.items():
        if source == "fold":
            for name in given:
                checkpoint = str(place.file(f"{name}/fold{fold}"))
                given[name] = Scorer({"t": [checkpoint]}, classes=CLASSES, device="cpu").score(more["text"])["t"]
        mixed = weights * (given["teacher"] + given["second"]) / 2
        mixed = mixed[:30] / mixed[:30].sum(1, keepdims=True)
        sure = np.flatnonzero(mixed.max(1) >= 0.6)
        assert 0 < len(sure) < 30
        assert rows.names == tuple(f"pseudo u{i}" for i in sure)
        assert rows.targets.tolist() == mixed[sure].argmax(1).tolist()
    place.recipe("second", LINEAR.replace("C = 5.0", "C = 0.9"))
    place.train("second", force=True)
    if source == "fold":
        with pytest.raises(UserError, match="exists with other settings"):
            place.train("student")


def test_a_stage_before_trains_on_pseudo_labels_alone_and_then_on_none_of_them(place, monkeypatch):
    steps, put = [], epochs.put_gradient

    def spied(source, batch, adversary):
        steps.append((source, [source.rows.ids[row].tolist() for row in batch]))
        return put(source, batch, adversary)

    monkeypatch.setattr(epochs, "put_gradient", spied)
    place.recipe("network", TINY + PSEUDO + 'stage = "before"\nepochs = 3\n')
    result = place.train("network", folds=(0,))
    n_before = 3 * -(-result.folds[0].n_pseudo // 8)
    before, after = steps[:n_before], steps[n_before:]
    assert (len({id(source) for source, _ in before}), len({id(source) for source, _ in after})) == (1, 1)
    drawn = [row for _, rows in before for row in rows]
    assert len(drawn) == 3 * result.folds[0].n_pseudo
    again = load_classifier(place.file("network/fold0")).tokenizer.convert_tokens_to_ids("again")
    assert all(again in row for row in drawn)  # as all texts of the other table and none of the training table have it
    assert not any(again in row for _, rows in after for row in rows)
    assert sum(len(rows) for _, rows in after) == 2 * 24
    assert len(result.folds[0].history) == 2
    place.recipe("plain", TINY)
    plain = place.train("plain", folds=(0,))
    assert plain.folds[0].history[0]["train_loss"] != result.folds[0].history[0]["train_loss"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINEAR + PSEUDO + 'stage = "before"\n', "is for transformers"),
        (TINY + PSEUDO + "epochs = 2\n", "are those of stage = 'before'"),
        (TINY + "[pseudo_labels]\nthreshold = 0.8\n", "names no teacher"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(place, text, message):
    place.recipe("student", text)
    with pytest.raises(ModelError, match=message):
        place.train("student")


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


def test_a_teacher_of_other_folds_is_refused_since_it_saw_the_rows(place):
    place.file("folds.parquet").unlink()  # as is advised where other folds are wanted
    place.recipe("student", (LINEAR + PSEUDO).replace("n = 3", "n = 3\nseed = 7"))
    with pytest.raises(UserError, match="run 'teacher' was trained on other folds"):
        place.train("student")
    assert not place.file("student").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.6", "0.99999"), "sure of none of 30 texts"),
        (('"teacher"', '"student"'), "cannot be its own teacher"),
        (('"teacher"', '"techer"'), "no teacher 'techer'"),
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


def test_a_score_flatters_where_models_of_other_folds_label(place, call):
    texts = pl.read_csv(place.root / "more.csv")
    probs = np.random.default_rng(0).dirichlet(np.full(3, 0.1), len(texts)).astype(np.float32)
    Predictions(texts["id"], CLASSES, probs).save(place.file("teacher/predictions/more.parquet"))
    place.recipe("mean", LINEAR + PSEUDO + 'source = "predictions"\n')
    code, out, _ = call("train", "mean.toml")
    assert code == 0
    assert "it flatters: 'teacher' has seen these rows' labels" in out
    assert Run("mean", place.file("mean")).info["flattered_by"] == "teacher"
    assert place.train("student").flattered_by is None  # taught by the checkpoints of the same fold
    _, out, _ = call("blend", "--no-submission")
    assert "mean learnt from a model that saw these rows' labels" in " ".join(out.split())


def test_what_a_teacher_knows_of_tables_as_they_were_is_told(place):
    more, notes = place.root / "more.csv", []
    texts = pl.read_csv(more)
    probs = np.random.default_rng(0).dirichlet(np.full(3, 0.1), len(texts)).astype(np.float32)
    meta = {"input": sample_digest(more)}
    Predictions(texts["id"], CLASSES, probs, meta=meta).save(place.file("teacher/predictions/more.parquet"))
    place.recipe("mean", LINEAR + PSEUDO + 'source = "predictions"\n')
    place.train("mean", on_note=notes.append)
    assert notes == []
    texts.with_columns(texts["text"].reverse()).write_csv(more)
    place.write(table().with_columns(pl.lit("x").alias("more")))
    place.train("mean", on_note=notes.append, force=True)
    assert notes == [
        "train.csv changed since teacher was made, and its labels are those of then: train or import it again",
        "predictions of teacher are of other content than more.csv has now: score it again",
    ]


def test_the_student_of_a_flattered_teacher_is_flattered(place):
    info = Run("teacher", place.file("teacher")).info
    content = sealed({**info, "flattered_by": "another"})
    place.file("teacher/run.json").write_text(json.dumps(content), encoding="utf-8")
    assert place.train("student").flattered_by == "another"
    assert Run("student", place.file("student")).info["flattered_by"] == "another"
