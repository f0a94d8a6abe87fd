"""Several seeds as one run: each fold trained with each, probabilities averaged, resumed at each fold and seed."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from jobs.seed_members import mean_of_seeds
from jobs.train import TrainOptions, run
from jobs.workspace import Workspace
from kaggle_tools.bio import legal_tags
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import score
from kaggle_tools.predictions import Predictions
from kaggle_tools.tag_predictions import TagPredictions
from models.errors import ModelError
from models.fold_folders import fold_and_seed, fold_folders, folder_name
from models.inference.scorer import Scorer
from tests.jobs.test_train import LINEAR, TINY, Place, table


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    found.recipe("seeds", "seeds = [5, 12]\n" + TINY.replace("epochs = 2", "epochs = 1"))
    found.recipe("one", TINY.replace("epochs = 2", "epochs = 1"))
    return found


def piece(place, name):
    return Predictions.load(place.file(f"{name}/oof.parquet"))


def test_oof_predictions_are_the_mean_of_single_runs_with_these_seeds(place):
    result = place.train("seeds")
    alone = [place.train("one", seed=seed, name=f"one{seed}") for seed in (5, 12)]
    members = [piece(place, f"one{seed}") for seed in (5, 12)]
    assert all(one.ids.equals(members[0].ids) for one in members)
    oof = Predictions.load(result.run.oof)
    np.testing.assert_allclose(oof.probs, (members[0].probs.astype(float) + members[1].probs) / 2, atol=1e-7)
    assert np.array_equal(oof.folds, members[0].folds)
    assert [(one.seed, one.score) for one in result.seeds.scores] == [(5, alone[0].score), (12, alone[1].score)]
    assert result.seeds.mean == pytest.approx(np.mean([one.score for one in alone]))
    assert result.seeds.deviation == pytest.approx(np.std([one.score for one in alone], ddof=1))
    assert result.score == score("macro_f1", oof)


def test_a_list_of_one_seed_gives_what_that_seed_gives_alone(place):
    place.recipe("listed", "seeds = [5]\n" + TINY)
    result = place.train("listed")
    place.train("tiny", seed=5)
    assert result.seeds is None
    assert np.array_equal(piece(place, "listed").probs, piece(place, "tiny").probs)
    weights = [place.file(name) / "model.safetensors" for name in ("listed/fold1-seed5", "tiny/fold1")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_one_seed_asked_for_on_the_command_line_is_a_run_without_a_list(place):
    plain = place.train("one")
    again = place.train("one", seeds=1)
    assert all(fold.reused for fold in again.folds)
    assert again.score == plain.score


def test_scoring_averages_all_folds_and_seeds(place):
    result = place.train("seeds")
    names = [f"fold{fold}-seed{seed}" for fold in range(3) for seed in (5, 12)]
    assert [path.name for path in result.run.checkpoints] == names
    texts = table()["text"].head(7).to_list()
    mean = Scorer(str(result.run.folder), device="cpu", precision="fp32").score(texts)["seeds"]
    alone = [
        Scorer(str(path), device="cpu", precision="fp32").score(texts)[path.name] for path in result.run.checkpoints
    ]
    np.testing.assert_allclose(mean, np.mean(alone, axis=0), atol=1e-6)


def test_a_run_resumed_at_a_fold_and_seed_gives_the_same_bytes(place):
    whole = place.train("seeds").run.oof.read_bytes()
    shutil.rmtree(place.file("seeds"))

    def interrupt(progress):
        if (progress.fold, progress.seed) == (1, 12):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.train("seeds", on_progress=interrupt)
    done = [path.name for path in fold_folders(place.file("seeds"))]
    assert done == ["fold0-seed5", "fold0-seed12", "fold1-seed5"]
    partial = place.train("seeds", folds=(1,))
    assert (partial.missing, partial.seeds, partial.score) == ((2,), None, None)
    result = place.train("seeds")
    assert [fold.reused for fold in result.folds] == [True] * 4 + [False] * 2
    assert result.run.oof.read_bytes() == whole


def test_a_seed_that_is_added_keeps_what_the_others_trained(place):
    first = place.train("seeds")
    (first.run.folder / "predictions").mkdir()
    place.recipe("seeds", "seeds = [12, 5, 3]\n" + TINY.replace("epochs = 2", "epochs = 1"))
    result = place.train("seeds")
    assert [(fold.seed, fold.reused) for fold in result.folds[:3]] == [(12, True), (5, True), (3, False)]
    assert not (first.run.folder / "predictions").exists()  # those were the mean of fewer
    assert result.run.info["seeds"]["scores"][2]["seed"] == 3


@pytest.mark.parametrize("seeds", ["", "seeds = [5]\n"])
def test_a_seed_that_is_left_out_is_told_since_its_checkpoints_would_count(place, seeds):
    place.train("seeds")
    place.recipe("seeds", seeds + TINY.replace("epochs = 2", "epochs = 1"))
    with pytest.raises(UserError, match="other settings") as error:
        place.train("seeds")
    assert "was seeds = [5, 12]" in error.value.details["differ"]
    forced = place.train("seeds", force=True)
    assert len(forced.run.checkpoints) == 3


@pytest.mark.parametrize("name", ["fold0-seed99", "fold3-seed5"])
def test_an_unfinished_checkpoint_of_another_seed_or_fold_does_not_count(place, name):
    stranger = place.file(f"seeds/{name}")
    stranger.mkdir(parents=True)
    result = place.train("seeds")
    assert not stranger.exists()
    assert len(result.run.checkpoints) == 6


def test_the_summary_tells_each_seed_and_the_spread(place, call):
    shutil.copy(place.root / "seeds.toml", place.root / "again.toml")
    code, out, _ = call("train", "again.toml", "--seeds", "2", "--device", "cpu")
    assert code == 0
    assert "fold  seed" in out
    assert "a seed scores" in out
    code, out, _ = call("train", "again.toml", "--seeds", "2", "--device", "cpu", "--json")
    told = json.loads(out)
    assert [one["seed"] for one in told["seeds"]["scores"]] == [3, 4]  # from the recipe's seed on
    assert len(told["folds"]) == 6
    assert len(Workspace.find(place.root).run("again").info["fold_scores"]) == 3


def test_all_seeds_train_on_the_rows_that_one_seed_draws(place):
    result = place.train("seeds", limit=24)
    other = place.train("one", limit=24)
    assert Predictions.load(result.run.oof).ids.equals(Predictions.load(other.run.oof).ids)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = [1, 1]\n" + TINY, "a seed stands twice"),
        ("seeds = [-1]\n" + TINY, "seeds is out of range"),
        ("seeds = 3\n" + TINY, "seeds must be a list"),
        ("seeds = [1, 2]\n" + LINEAR, "no difference to a linear run"),
    ],
)
def test_seeds_that_make_no_sense_are_refused(place, text, message):
    place.recipe("bad", text)
    with pytest.raises(ModelError, match=message):
        place.train("bad")


def test_seeds_of_a_linear_run_are_refused_on_the_command_line_too(place):
    with pytest.raises(ModelError, match="no difference to a linear run"):
        run(TrainOptions(recipe=place.root / "linear.toml", start=place.root, seeds=2))


def test_tags_of_several_seeds_are_the_best_legal_ones_of_the_mean():
    tags = ("B-X", "I-X", "O")
    probs = np.array([[[0.6, 0.1, 0.3], [0.0, 0.3, 0.7]], [[0.2, 0.1, 0.7], [0.0, 0.9, 0.1]]], np.float32)
    offsets = np.array([0, 2])
    pieces = [TagPredictions(pl.Series("id", ["a"]), tags, offsets, p, legal_tags(p, offsets, tags)) for p in probs]
    mean = mean_of_seeds(pieces)
    np.testing.assert_allclose(mean.probs, probs.mean(0), atol=1e-7)
    # O (.5) then I-X (.6) is illegal; B-X I-X (.4 × .6) beats O O (.5 × .4).
    assert mean.tags == [["B-X", "I-X"]]
    assert mean_of_seeds(pieces[:1]) is pieces[0]


def test_folders_are_named_and_ordered_by_fold_and_seed(tmp_path):
    for name in ("fold10", "fold2-seed10", "fold2-seed9", "fold2", "fold2-seed", "foldx", ".fold1.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "fold3").write_text("a file")
    assert [path.name for path in fold_folders(tmp_path)] == ["fold2", "fold2-seed9", "fold2-seed10", "fold10"]
    assert fold_and_seed(tmp_path / folder_name(2, 9)) == (2, 9)
    assert fold_and_seed(tmp_path / folder_name(2)) == (2, None)
