"""`[augmentation] table`: other wordings go where their rows go, with their labels, never into a validation fold."""

import numpy as np
import polars as pl
import pytest

import models.training.fold as fold_module
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from tests.jobs.test_train import TINY, Place, table

TABLE = '[augmentation]\ntable = "back.csv"\n'


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.recipe("worded", TINY.replace("epochs = 2", "epochs = 1") + TABLE)
    return place


@pytest.fixture
def taught(monkeypatch):
    """What `train_fold` is given in each fold: ids, texts and labels to train on, and validation texts."""
    found, make = {}, fold_module.train_fold

    def spied(*arguments, **options):
        found[options["fold"]] = (options["train_ids"], *arguments[2:5])
        return make(*arguments, **options)

    monkeypatch.setattr(fold_module, "train_fold", spied)
    return found


def write(place, ids, texts):
    pl.DataFrame({"text": texts, "id": ids}).write_csv(place.root / "back.csv")


def test_a_wording_has_the_label_of_its_row_and_goes_where_it_goes(place, taught):
    rows = table()
    ids = [*rows["id"].reverse(), "r3"]  # one has two wordings
    write(place, ids, [f" Word {row} anew " for row in rows["id"].reverse()] + ["Once more"])
    result = place.train("worded")
    label_of = dict(zip(rows["id"], rows["label"], strict=True))
    fold_of = dict(zip(*(Predictions.load(result.run.oof).__dict__[key] for key in ("ids", "folds")), strict=True))
    worded = 0
    for fold, (train_ids, texts, labels, valid) in taught.items():
        assert all(fold_of[row] != fold for row in train_ids)
        assert not any("anew" in text or "once" in text for text in valid)
        for row, text, code in zip(train_ids, texts, labels, strict=True):
            assert ("cat", "dog", "emu")[code] == label_of[row]
            if "anew" in text:
                assert text == f"word {row} anew"  # cleaned as the recipe says
                worded += 1
    assert worded == 2 * 36
    assert sum("once more" in texts for _, texts, _, _ in taught.values()) == 2
    assert Predictions.load(result.run.oof).ids.to_list() == rows["id"].to_list()


def test_texts_of_the_training_table_and_empty_ones_are_left_out(place, taught):
    rows = table()
    write(
        place, ["r0", "r1", "r2", "r0", "r0"], [rows["text"][5].upper(), " ", None, "Anew\ufdd0", "anew"]
    )  # U+FDD0 makes no pair
    place.train("worded")
    for train_ids, texts, _, _ in taught.values():
        assert list(zip(train_ids, texts, strict=True))[24:] == ([("r0", "anew")] if "r0" in train_ids else [])


def test_wordings_are_taught_what_their_rows_are_taught(place, monkeypatch):
    seen, make = {}, fold_module.train_fold

    def spied(*arguments, **options):
        seen[options["fold"]] = options
        return make(*arguments, **options)

    place.train("linear")
    place.recipe("worded", TINY.replace("epochs = 2", "epochs = 1") + TABLE + '[distill]\nteacher = "linear"\n')
    write(place, ["r4", "r9"], ["One", "Two"])
    monkeypatch.setattr(fold_module, "train_fold", spied)
    place.train("worded")
    oof = Predictions.load(place.file("linear/oof.parquet"))
    for options in seen.values():
        rows = [oof.ids.to_list().index(row) for row in options["train_ids"]]
        np.testing.assert_array_equal(options["teacher_probs"], oof.probs[rows])
        assert options["n_labelled"] == len(rows)


def test_another_table_is_another_run(place):
    write(place, ["r4"], ["One"])
    place.train("worded")
    assert all(fold.reused for fold in place.train("worded").folds)
    write(place, ["r4"], ["Another"])
    with pytest.raises(UserError, match="exists with other settings"):
        place.train("worded")


def test_rows_that_a_limit_leaves_out_are_no_mistake(place, taught):
    write(place, table()["id"], [f"anew {i}" for i in range(36)])
    place.train("worded", limit=12)
    for train_ids, texts, _, _ in taught.values():
        assert len(train_ids) == 2 * len([text for text in texts if "anew" not in text])


def test_rows_that_were_dropped_for_their_labels_are_no_mistake(place, taught):
    place.write(table().with_columns(label=pl.when(pl.col("id") != "r4").then("label")))
    place.recipe("worded", TINY.replace("[data]", '[data]\ninvalid_labels = "drop"') + TABLE)
    write(place, ["r4", "r5"], ["anew 4", "anew 5"])
    place.train("worded")
    assert all(("anew 5" in texts) == ("r5" in ids) and "anew 4" not in texts for ids, texts, _, _ in taught.values())


@pytest.mark.parametrize(
    ("ids", "texts", "message"),
    [
        (["r0", "r99", "r98"], ["a", "b", "c"], "2 ids of this table are not in the training table"),
        (["r0"], [""], "none of 1 texts is another wording"),
    ],
)
def test_a_table_of_other_rows_is_refused(place, ids, texts, message):
    write(place, ids, texts)
    with pytest.raises(UserError, match=message):
        place.train("worded")
    assert not place.file("worded/fold0").exists()


def test_a_competition_without_ids_is_refused(place):
    write(place, ["0"], ["a"])
    place.competition(id_column=None)
    with pytest.raises(UserError, match="tells rows by their ids"):
        place.train("worded")
