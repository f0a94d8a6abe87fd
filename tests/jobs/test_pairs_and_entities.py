"""Pairs of texts and marked entities through the commands: trained, scored, resumed, refused with the rows' ids."""

import json

import numpy as np
import polars as pl
import pytest

from jobs import score
from jobs.init import InitOptions
from jobs.init import run as init
from jobs.lengths import LengthsOptions
from jobs.lengths import run as measure
from jobs.pairs import PairsOptions
from jobs.pairs import run as pair_up
from jobs.resolve import InputOptions
from jobs.train import TrainOptions, run
from kaggle_tools.errors import UserError
from kaggle_tools.inspect import Overrides
from kaggle_tools.predictions import Predictions
from models.inference.scorer import Scorer
from tests.jobs.test_score import Notes

HEAD = """
seed = 3

[encoder.scratch]
layers = 1
hidden = 16
intermediate = 16
vocab_size = 60
min_frequency = 1

[folds]
n = 2

[training]
epochs = 2
batch_size = 8
learning_rate = 1e-2
"""
CROSS = HEAD + '[data]\nmax_length = 16\ncleaning = ["lowercase", "strip"]\n[head]\nname = "mean"\n'
APART = (
    HEAD + '[data]\nmax_length = 16\ncleaning = ["lowercase"]\nform = "apart"\n[head]\nname = "cosine"\n'
    "[contrast]\nweight = 1.0\n"
)
MARKED = HEAD + '[data]\nmax_length = 16\nform = "marked"\n[head]\nname = "entity_starts"\n'
ANIMALS = ("cat", "dog", "emu", "fox")


def pairs(n=32):
    rows = range(n)
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in rows],
            "sentence1": [f" The {ANIMALS[i % 4]} runs {i % 3}" for i in rows],
            "sentence2": [f"A {ANIMALS[(i if i % 2 else i + 1) % 4]} RAN" for i in rows],
            "label": ["same" if i % 2 else "other" for i in rows],
        }
    )


def relations(n=32):
    rows = range(n)
    verbs = ("eats", "is")
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in rows],
            "text": [f"the <e1>{ANIMALS[i % 4]}</e1> {verbs[i % 2]} a <e2>thing {i % 3}</e2>" for i in rows],
            "label": [verbs[i % 2] for i in rows],
        }
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_up(folder, frame, recipe, **changes):
    frame.write_csv(folder / "train.csv")
    (folder / "recipe.toml").write_text(recipe)
    values = {
        "name": "c", "task": "single_label", "metric": "accuracy", "id_column": "id", "label_column": "label",
        "classes": sorted(set(frame["label"])), "train": "train.csv", **changes,
    }  # fmt: skip
    (folder / "competition.toml").write_text("\n".join(f"{key} = {json.dumps(v)}" for key, v in values.items()))


def train(folder, **options):
    return run(TrainOptions(recipe=folder / "recipe.toml", start=folder, device="cpu", name="m", **options))


def score_file(name, **changes):
    asked = InputOptions((name,), **{key: changes.pop(key) for key in ("pair_column", "text_column") if key in changes})
    return score.run(score.ScoreOptions(input=asked, device="cpu", precision="fp32", **changes), Notes())


@pytest.mark.parametrize("recipe", [CROSS, APART])
def test_pairs_are_trained_scored_once_each_and_resumed(here, recipe):
    set_up(here, pairs(), recipe, text_column="sentence1", pair_column="sentence2")
    trained = train(here)
    assert trained.missing == ()
    test = pairs(12).drop("label")
    test = test.with_columns(pl.Series("sentence2", [None, *test["sentence2"][1:]]))
    test = pl.concat([test, test.with_columns(pl.col("id") + "x")])
    test.write_csv(here / "rows.csv")
    done = score_file("rows.csv")
    assert (done.totals["rows"], done.totals["scored"], done.totals["null_texts"]) == (24, 12, 2)
    found = Predictions.load(here / "runs/m/predictions/rows.parquet")
    scorer = Scorer(str(here / "runs/m"), device="cpu", precision="fp32", classes=("other", "same"))
    expected = scorer.score(list(zip(test["sentence1"], test["sentence2"], strict=True)))["m"]
    np.testing.assert_allclose(found.probs, expected, atol=1e-6)
    assert found.ids.to_list() == test["id"].to_list()
    assert score_file("rows.csv").was_complete


def test_validation_predictions_are_those_that_each_folds_checkpoint_gives(here):
    frame = pairs()
    set_up(here, frame, CROSS, text_column="sentence1", pair_column="sentence2")
    train(here)
    oof = Predictions.load(here / "runs/m/oof.parquet")
    rows = list(zip(frame["sentence1"], frame["sentence2"], strict=True))
    for fold in (0, 1):
        scorer = Scorer(str(here / f"runs/m/fold{fold}"), device="cpu", precision="fp32", classes=("other", "same"))
        inside = oof.folds == fold
        np.testing.assert_allclose(scorer.score(rows)[f"fold{fold}"][inside], oof.probs[inside], atol=1e-5)


def test_the_second_column_is_part_of_what_was_trained_and_scored(here):
    frame = pairs()
    set_up(here, frame, CROSS, text_column="sentence1", pair_column="sentence2")
    train(here)
    changed = frame.with_columns(pl.Series("sentence2", ["other words", *frame["sentence2"][1:]]))
    changed.write_csv(here / "train.csv")
    with pytest.raises(UserError, match="exists with other settings"):
        train(here)
    frame.drop("label").rename({"sentence2": "second"}).write_csv(here / "rows.csv")
    with pytest.raises(UserError, match="no column 'sentence2'"):
        score_file("rows.csv")
    by_flag = score_file("rows.csv", pair_column="second")
    assert by_flag.totals["rows"] == 32
    assert any((s.name, s.value, s.source) == ("second text column", "second", "flag") for s in by_flag.settings)
    other = score_file("rows.csv", pair_column="sentence1", output=here / "other.parquet")
    assert other.job != by_flag.job


def test_a_model_of_single_texts_refuses_pairs(here):
    set_up(here, pairs(), CROSS, text_column="sentence1")
    train(here)
    pairs().drop("label").write_csv(here / "rows.csv")
    with pytest.raises(UserError, match="run 'm' reads one text a row: rows r0, r1"):
        score_file("rows.csv", pair_column="sentence2")


def test_lengths_of_pairs_are_those_of_both_texts_or_of_each(here):
    set_up(here, pairs(), CROSS, text_column="sentence1", pair_column="sentence2")
    both = measure(LengthsOptions(recipe=here / "recipe.toml", start=here))
    (here / "recipe.toml").write_text(APART)
    each = measure(LengthsOptions(recipe=here / "recipe.toml", start=here))
    assert both.n_rows == each.n_rows == 32
    assert both.mean > each.mean


def test_marked_entities_are_trained_and_scored(here):
    frame = relations()
    set_up(here, frame, MARKED, text_column="text")
    assert train(here).missing == ()
    frame.drop("label").write_csv(here / "rows.csv")
    score_file("rows.csv")
    found = Predictions.load(here / "runs/m/predictions/rows.parquet")
    scorer = Scorer(str(here / "runs/m"), device="cpu", precision="fp32", classes=("eats", "is"))
    np.testing.assert_allclose(found.probs, scorer.score(frame["text"])["m"], atol=1e-6)


def test_rows_that_were_cut_around_their_entities_are_counted(here):
    frame = relations()
    set_up(here, frame, MARKED, text_column="text")
    train(here)
    late = pl.DataFrame({"id": ["a", "b"], "text": ["thing " * 30 + frame["text"][0], frame["text"][1]]})
    late.write_csv(here / "rows.csv")
    totals = score_file("rows.csv").totals
    assert (totals["truncated"], totals["rescued"]) == (1, 1)


def test_texts_without_marks_are_refused_with_their_ids(here):
    frame = relations()
    set_up(here, frame, MARKED, text_column="text")
    train(here)
    broken = frame.with_columns(pl.Series("text", ["nothing marked", *frame["text"][1:]])).drop("label")
    broken.write_csv(here / "rows.csv")
    with pytest.raises(UserError, match=r"1 texts do not mark two entities: rows r0") as caught:
        score_file("rows.csv")
    assert "no <e1>" in caught.value.details["found"]
    frame.with_columns(pl.Series("text", ["nothing marked", *frame["text"][1:]])).write_csv(here / "train.csv")
    with pytest.raises(UserError, match="1 of 32 texts do not mark two entities") as caught:
        train(here, force=True)
    assert caught.value.details["first"] == "r0 (no <e1>)"


def test_wordings_without_marks_are_refused_before_the_run_is_touched(here):
    set_up(here, relations(), MARKED, text_column="text")
    train(here)
    pl.DataFrame({"id": ["r1"], "text": ["nothing marked"]}).write_csv(here / "back.csv")
    (here / "recipe.toml").write_text(MARKED + '[augmentation]\ntable = "back.csv"\n')
    with pytest.raises(UserError, match="1 of 1 texts do not mark two entities"):
        train(here, force=True)
    assert (here / "runs/m/run.json").is_file()


def test_groups_become_pairs_that_train_with_no_text_in_two_folds(here):
    groups = [[f"the {animal} {i}", f"a {animal} {i}", f"{i} {animal}s"] for animal in ANIMALS for i in range(12)]
    (here / "groups.jsonl").write_text("\n".join(map(json.dumps, [*groups, groups[0][:2]])))
    made = pair_up(PairsOptions((here / "groups.jsonl",), here / "train.csv", pairs=2))
    assert (made.n_groups, made.n_merged, made.n_texts) == (48, 1, 144)
    assert (made.n_alike, made.n_different, made.n_blocks) == (96, 96, 10)
    with pytest.raises(UserError, match="the output exists"):
        pair_up(PairsOptions((here / "groups.jsonl",), here / "train.csv"))
    init(InitOptions(here / "train.csv", None, None, Overrides(metric="accuracy"), root=here))
    by_block = APART.replace("n = 2", 'n = 2\nkind = "group"\ngroup_column = "block"')
    (here / "recipe.toml").write_text(by_block.replace("weight = 1.0", "weight = 1.0\nalone = true\ngenerate = 0.5"))
    result = run(TrainOptions(recipe=here / "recipe.toml", device="cpu"))
    oof, table = Predictions.load(result.run.oof), pl.read_csv(here / "train.csv")
    assert oof.ids.to_list() == table["id"].to_list()
    texts = [set(table.filter(pl.Series(oof.folds == fold))["text_a", "text_b"].unpivot()["value"]) for fold in (0, 1)]
    assert not texts[0] & texts[1]
