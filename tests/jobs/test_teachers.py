"""`[distill]`: who may teach, that only out-of-fold probabilities of the same folds are taught, test rows, refusals."""

import dataclasses
import json
import pickle
import shutil

import numpy as np
import polars as pl
import pytest

from jobs.teachers import find_soft_teacher
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.seals import sealed
from kaggle_tools.search.recipe import Recipe, save
from models.errors import ModelError
from models.inference.scorer import Scorer
from tests.jobs.test_train import CLASSES, LINEAR, TINY, VERBS, Place, table

STUDENT = TINY.replace("epochs = 2", "epochs = 1") + "[distill]\n"
TEST_TEXTS = [f"A {CLASSES[i % 3]} {VERBS[i % 3]} there {i}" for i in range(9)]


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    seen = table()["text"].to_list()[:2]  # stand in the training table
    texts = [*TEST_TEXTS, *seen, TEST_TEXTS[0]]
    pl.DataFrame({"id": [f"t{i}" for i in range(12)], "text": texts}).write_csv(tmp_path / "test.csv")
    place.competition(test="test.csv")
    place.recipe("one", LINEAR)
    place.recipe("two", LINEAR.replace("C = 5.0", "C = 0.1"))
    for name in ("one", "two"):
        place.train(name)
        add_test_predictions(place, name)
    return place


def add_test_predictions(place, name):
    probs = np.random.default_rng(len(name)).dirichlet(np.ones(3), 12).astype(np.float32)
    Predictions(pl.Series("id", [f"t{i}" for i in range(12)]), CLASSES, probs).save(
        place.file(f"{name}/predictions/test.parquet")
    )


def add_blend(place, name="blend-1234", **parameters):
    weights = {"weights": (0.75, 0.25), **parameters}
    recipe = Recipe("linear_pool", "single_label", CLASSES, ("one", "two"), "macro_f1", weights)
    (place.root / "blends").mkdir(exist_ok=True)
    save(recipe, place.root / "blends" / f"{name}.json")


def student(place, text, **options):
    place.recipe("student", STUDENT + text)
    return place.train("student", **options)


def note_in(path, **changes):
    content = json.loads(path.read_text())
    del content["seal"]
    path.write_text(json.dumps(sealed(content | changes)))


@pytest.fixture
def taught(monkeypatch):
    """What `train_fold` is given: for each fold ids, teacher's probabilities, number of labelled rows, texts."""
    import models.training.fold as fold_module

    found, make = {}, fold_module.train_fold

    def spied(*arguments, **options):
        shown = {"texts": arguments[2], "labels": arguments[3]}
        found[options["fold"]] = shown | {k: options[k] for k in ("train_ids", "teacher_probs", "n_labelled")}
        return make(*arguments, **options)

    monkeypatch.setattr(fold_module, "train_fold", spied)
    return found


def oof_of(place, name):
    found = Predictions.load(place.file(f"{name}/oof.parquet"))
    return dict(zip(found.ids, zip(found.probs, found.folds, strict=True), strict=True))


def test_training_rows_are_taught_by_the_model_that_did_not_see_them(place, taught):
    student(place, 'teacher = "one"')
    oof = oof_of(place, "one")
    for fold, shown in taught.items():
        assert shown["n_labelled"] == len(shown["train_ids"]) == len(shown["teacher_probs"])
        assert not [row for row in shown["train_ids"] if oof[row][1] == fold]
        np.testing.assert_array_equal(shown["teacher_probs"], [oof[row][0] for row in shown["train_ids"]])


def test_a_blend_teaches_its_mix_without_class_weights(place, taught):
    add_blend(place, class_weights=(1.0, 5.0, 0.2))
    student(place, 'teacher = "blend-12"', folds=(0,))
    one, two = oof_of(place, "one"), oof_of(place, "two")
    expected = [0.75 * one[row][0] + 0.25 * two[row][0] for row in taught[0]["train_ids"]]
    np.testing.assert_allclose(taught[0]["teacher_probs"], expected, atol=1e-6)


def test_a_predictions_file_teaches(place, taught):
    Predictions.load(place.file("one/oof.parquet")).align(table()["id"].reverse()).save(place.root / "other.parquet")
    student(place, 'teacher = "other.parquet"', folds=(1,))
    oof = oof_of(place, "one")
    np.testing.assert_array_equal(taught[1]["teacher_probs"], [oof[row][0] for row in taught[1]["train_ids"]])


def test_test_rows_join_without_labels_and_without_texts_of_the_training_table(place, taught):
    result = student(place, 'teacher = "one"\ntest = true')
    test = Predictions.load(place.file("one/predictions/test.parquet"))
    for shown in taught.values():
        n = shown["n_labelled"]
        assert [text.lower() for text in TEST_TEXTS] == shown["texts"][n:]
        assert shown["train_ids"][n:] == [f"test t{i}" for i in range(9)]
        np.testing.assert_array_equal(shown["teacher_probs"][n:], test.probs[:9])
        assert shown["labels"][n:].tolist() == test.probs[:9].argmax(1).tolist()
    assert [fold.n_pseudo for fold in result.folds] == [9, 9, 9]
    assert Predictions.load(result.run.oof).ids.to_list() == table()["id"].to_list()


@pytest.mark.parametrize("name", ["one", "blend", "runs/one/oof.parquet"])
def test_a_teacher_can_be_sent_to_another_process(place, name):
    add_blend(place, class_weights=(1.0, 5.0, 0.2))
    workspace = Workspace.find(place.root)
    teacher = find_soft_teacher(workspace, workspace.competition, name, "student", deciding=True)
    sent = pickle.loads(pickle.dumps(teacher))
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (2, 5)).astype(np.float32)
    np.testing.assert_array_equal(sent.mix(probs), teacher.mix(probs))
    np.testing.assert_array_equal(sent.load("oof").probs, teacher.load("oof").probs)
    assert (sent.name, sent.runs, sent.mixed_by) == (teacher.name, teacher.runs, teacher.mixed_by)


@pytest.mark.parametrize("teacher", ["one", "blend"])
def test_source_fold_teaches_test_rows_alone_by_checkpoints_that_saw_no_validation_row(place, taught, teacher):
    add_blend(place)
    result = student(place, f'teacher = "{teacher}"\ntest = true\nsource = "fold"')
    names = ("one", "two") if teacher == "blend" else ("one",)
    weights = (0.75, 0.25) if teacher == "blend" else (1.0,)
    for fold, shown in taught.items():
        n = shown["n_labelled"]
        assert np.isnan(shown["teacher_probs"][:n]).all()
        found = [
            Scorer({"t": [str(place.file(f"{name}/fold{fold}"))]}, classes=CLASSES, device="cpu").score(TEST_TEXTS)["t"]
            for name in names
        ]
        expected = np.average(found, axis=0, weights=weights)
        np.testing.assert_allclose(shown["teacher_probs"][n:], expected, atol=1e-6)
    assert result.flattered_by is None


def test_source_fold_notices_another_teacher_by_its_checkpoints(place):
    text = 'teacher = "one"\ntest = true\nsource = "fold"'
    student(place, text)
    assert all(fold.reused for fold in place.train("student").folds)
    place.recipe("one", LINEAR.replace("C = 5.0", "C = 9.0"))
    place.train("one", force=True)
    with pytest.raises(UserError, match="other settings"):
        place.train("student")


def test_several_seeds_ask_the_checkpoints_of_a_fold_once(place, monkeypatch):
    from jobs.teachers import SoftTeacher

    asked, ask = [], SoftTeacher.of_fold
    monkeypatch.setattr(SoftTeacher, "of_fold", lambda self, fold, *rest: asked.append(fold) or ask(self, fold, *rest))
    place.recipe("student", "seeds = [1, 2]\n" + STUDENT + 'teacher = "one"\ntest = true\nsource = "fold"')
    place.train("student")
    assert asked == [0, 1, 2]


def test_that_a_score_flatters_is_told(place, call):
    place.recipe("student", STUDENT + 'teacher = "one"')
    code, out, _ = call("train", "student.toml", "--device", "cpu")
    assert code == 0
    assert "it flatters: 'one' has seen these rows' labels" in out
    assert json.loads(place.file("student/run.json").read_text())["flattered_by"] == "one"


def test_a_student_of_a_flattered_run_is_flattered_as_well(place):
    student(place, 'teacher = "one"')
    place.recipe("second", STUDENT + 'teacher = "student"\ntest = true\nsource = "fold"')
    assert place.train("second").flattered_by == "one"
    assert json.loads(place.file("second/run.json").read_text())["flattered_by"] == "one"
    pseudo = LINEAR + "[pseudo_labels]\nthreshold = 0.5\nrun = "
    place.recipe("sure", LINEAR.replace("C = 5.0", "C = 50.0"))
    place.train("sure")
    place.recipe("third", pseudo + '"sure"')
    assert place.train("third").flattered_by is None
    note_in(place.file("sure/run.json"), flattered_by="one")
    assert place.train("third", force=True).flattered_by == "one"


def test_another_teacher_is_noticed_and_the_same_is_resumed(place):
    whole = student(place, 'teacher = "one"').run.oof.read_bytes()
    place.file("student/run.json").unlink()
    place.file("student/fold1/oof.parquet").unlink()
    assert [fold.reused for fold in place.train("student").folds] == [True, False, True]
    assert place.file("student/oof.parquet").read_bytes() == whole
    place.train("one", force=True)
    assert all(fold.reused for fold in place.train("student").folds)  # the same teacher, trained again
    place.recipe("one", LINEAR.replace("C = 5.0", "C = 9.0"))
    place.train("one", force=True)
    with pytest.raises(UserError, match="other settings") as error:
        place.train("student")
    assert "teacher" in error.value.details["differ"]


def test_several_labels_and_several_seeds_are_taught(place, taught):
    labels = [["cat", "cat|dog", "dog"][i % 3] for i in range(36)]
    place.write(table().with_columns(label=pl.Series(labels)))
    place.competition(task="multi_label", metric="micro_f1", test="test.csv")
    shutil.rmtree(place.root / "runs")
    place.recipe("sets", TINY.replace("epochs = 2", "epochs = 1"))
    place.train("sets")
    add_test_predictions(place, "sets")
    found = Predictions.load(place.file("sets/predictions/test.parquet"))
    dataclasses.replace(found, task="multi_label").save(place.file("sets/predictions/test.parquet"))
    place.recipe("student", "seeds = [1, 2]\n" + STUDENT + 'teacher = "sets"\ntest = true')
    result = place.train("student")
    assert len(result.folds) == 6
    assert taught[0]["teacher_probs"].shape == (taught[0]["n_labelled"] + 9, 3)


def test_a_teacher_of_other_folds_is_refused_since_it_saw_the_rows(place):
    found = Predictions.load(place.file("one/oof.parquet"))
    dataclasses.replace(found, folds=(found.folds + 1) % 3).save(place.root / "other.parquet")
    with pytest.raises(UserError, match="trained on other folds: 36 of 36"):
        student(place, 'teacher = "other.parquet"')
    dataclasses.replace(found, folds=None).save(place.root / "other.parquet")
    with pytest.raises(UserError, match="do not say their folds"):
        student(place, 'teacher = "other.parquet"')
    assert not place.file("student").exists()


def test_a_teacher_that_lacks_rows_is_refused(place):
    place.train("one", name="small", limit=24)
    with pytest.raises(UserError, match="no out-of-fold prediction of 12 of 36") as error:
        student(place, 'teacher = "small"')
    assert error.value.details["first"]


def test_columns_are_taken_by_name(place, taught):
    found = Predictions.load(place.file("one/oof.parquet"))
    turned = dataclasses.replace(found, classes=CLASSES[::-1], probs=found.probs[:, ::-1].copy())
    turned.save(place.root / "other.parquet")
    student(place, 'teacher = "other.parquet"', folds=(0,))
    oof = oof_of(place, "one")
    np.testing.assert_array_equal(taught[0]["teacher_probs"], [oof[row][0] for row in taught[0]["train_ids"]])
    dataclasses.replace(found, classes=("cat", "dog", "yak")).save(place.root / "other.parquet")
    with pytest.raises(UserError, match="other classes"):
        student(place, 'teacher = "other.parquet"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('teacher = "student"', "cannot be its own teacher"),
        ('teacher = "onne"', "no teacher 'onne'"),
        ('teacher = "other.parquet"', "no teacher 'other.parquet'"),
        ('teacher = "bare"\ntest = true', "no predictions for test of run 'bare'"),
        ('teacher = "imported"\ntest = true\nsource = "fold"', "'imported' has no checkpoint of fold 0"),
    ],
)
def test_a_teacher_that_is_not_there_is_told(place, text, message):
    place.train("one", name="bare")
    for fold in place.train("one", name="imported").run.checkpoints:
        shutil.rmtree(fold)
    with pytest.raises(UserError, match=message) as error:
        student(place, text)
    if "onne" in text:
        assert "one" in error.value.details["found"]
        assert "one" in error.value.details["next"]


def test_a_file_has_no_test_rows_to_teach(place):
    Predictions.load(place.file("one/oof.parquet")).save(place.root / "other.parquet")
    with pytest.raises(UserError, match="out-of-fold predictions alone") as error:
        student(place, 'teacher = "other.parquet"\ntest = true')
    assert "cli import" in error.value.details["next"]
    with pytest.raises(UserError, match="a file, without checkpoints"):
        student(place, 'teacher = "other.parquet"\ntest = true\nsource = "fold"')


def test_a_blend_that_holds_the_student_is_refused(place):
    place.recipe("two", TINY + '[distill]\nteacher = "blend"\n')
    add_blend(place)
    with pytest.raises(UserError, match="holds run 'two' itself"):
        place.train("two", force=True)
    assert json.loads(place.file("two/run.json").read_text())["kind"] == "linear"


def test_linear_runs_and_tags_have_no_teacher(place):
    place.recipe("student", LINEAR + '[distill]\nteacher = "one"\n')
    with pytest.raises(ModelError, match="no meaning in a linear recipe"):
        place.train("student")
    place.competition(task="token", metric="entity_f1", classes=["B-X", "I-X", "O"])
    with pytest.raises(UserError, match="not for token tasks"):
        student(place, 'teacher = "one"')
