"""`jobs.train`: k folds, resumed at fold boundaries; everything about the training table that is refused."""

import dataclasses
import importlib
import json
import shutil

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score

from jobs.holding import hold
from jobs.resolve import find_models, quick_looks
from jobs.run_folder import RunFolder
from jobs.train import TrainOptions, run
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from models.checkpoint import CheckpointSpec
from models.errors import ModelError
from models.recipe import load_recipe
from models.saved import load_classifier

CLASSES = ("cat", "dog", "emu")
VERBS = ("sat", "walked", "slept")

TINY = """
seed = 3

[encoder.scratch]
layers = 1
hidden = 16
intermediate = 16
vocab_size = 60
min_frequency = 1

[data]
max_length = 12
cleaning = ["lowercase", "strip"]

[folds]
n = 3

[head]
name = "max"

[training]
epochs = 2
batch_size = 8
learning_rate = 1e-2
"""
RICH = (
    TINY.replace('name = "max"', 'name = "rnn"\nwidth = 4\ndropout_samples = 2')
    + """layer_decay = 0.8
unfreeze = 0.5
ema = 0.9
r_drop = 0.5
micro_batch_size = 3

[sampler]
name = "power"

[adversary]
name = "fgm"

[augmentation]
copies = 1
"""
)
LINEAR = 'kind = "linear"\n[folds]\nn = 3\n[linear]\nmin_df = 1\nC = 5.0\n'


def table(n=36):
    return pl.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "text": [f"The {CLASSES[i % 3]} {VERBS[i % 7 % 3]} {i % 5}" for i in range(n)],
            "label": [CLASSES[i % 3] for i in range(n)],
            "owner": [f"o{i // 4}" for i in range(n)],
        }
    )


class Place:
    """A competition in a folder, its recipes, and a way to train there."""

    def __init__(self, root):
        self.root = root
        self.write(table())
        self.competition()
        self.recipe("tiny", TINY)
        self.recipe("rich", RICH)
        self.recipe("linear", LINEAR)

    def write(self, frame):
        frame.write_csv(self.root / "train.csv")

    def competition(self, **changes):
        values = {
            "name": "animals", "task": "single_label", "metric": "macro_f1", "id_column": "id", "text_column": "text",
            "label_column": "label", "classes": list(CLASSES), "train": "train.csv", **changes,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
        (self.root / "competition.toml").write_text("\n".join(lines))

    def recipe(self, name, text):
        (self.root / f"{name}.toml").write_text(text)

    def train(self, recipe="tiny", **options):
        return run(TrainOptions(recipe=self.root / f"{recipe}.toml", start=self.root, device="cpu", **options))

    def file(self, name):
        return self.root / "runs" / name


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.mark.parametrize("recipe", ["tiny", "linear"])
def test_a_run_has_everything_that_the_contract_names(place, recipe):
    result = place.train(recipe)
    found = Workspace.find(place.root).run(recipe)
    assert [path.name for path in found.checkpoints] == ["fold0", "fold1", "fold2"]
    oof = Predictions.load(found.oof)
    assert oof.ids.name == "id"
    assert oof.ids.to_list() == table()["id"].to_list()
    assert oof.labels.to_list() == table()["label"].to_list()
    assert sorted(np.bincount(oof.folds)) == [12, 12, 12]
    expected = f1_score(oof.label_codes, oof.probs.argmax(1), average="macro")
    assert result.score == found.info["score"] == pytest.approx(expected)
    assert found.info["class_counts"] == dict.fromkeys(CLASSES, 12)
    assert found.info["kind"] == result.kind == ("linear" if recipe == "linear" else "transformer")
    assert [fold["fold"] for fold in found.info["folds"]] == [0, 1, 2]
    assert found.info["environment"]["torch"]
    assert load_recipe(found.folder / "recipe.toml") == load_recipe(place.root / f"{recipe}.toml")
    for fold, path in zip(result.folds, found.checkpoints, strict=True):
        spec = CheckpointSpec.load(path)
        assert (spec.classes, spec.score) == (CLASSES, pytest.approx(fold.score))
        assert spec.cleaning == (("lowercase", "strip") if recipe == "tiny" else ())
        assert (path / "recipe.toml").read_bytes() == (found.folder / "recipe.toml").read_bytes()


def test_each_row_is_predicted_by_the_fold_that_did_not_see_it(place):
    import torch

    place.train()
    oof = Predictions.load(place.file("tiny/oof.parquet"))
    for fold in range(3):
        loaded = load_classifier(place.file(f"tiny/fold{fold}"))
        for row in np.flatnonzero(oof.folds == fold)[:3]:
            ids = torch.tensor([loaded.tokenizer(table()["text"][int(row)].lower())["input_ids"]])
            with torch.inference_mode():
                probs = loaded.network(ids).softmax(-1).numpy()[0]
            np.testing.assert_allclose(probs, oof.probs[row], atol=1e-5)


@pytest.mark.parametrize("recipe", ["tiny", "rich", "linear"])
def test_a_run_resumed_at_a_fold_gives_the_same_bytes(place, recipe):
    def files():
        weights = [*place.file(recipe).rglob("*.safetensors"), *place.file(recipe).rglob("kaggle_jobs.json")]
        return {path: path.read_bytes() for path in [place.file(recipe) / "oof.parquet", *weights]}

    place.train(recipe)
    whole = files()
    shutil.rmtree(place.file(recipe))
    partial = place.train(recipe, folds=(2,))
    assert (partial.score, partial.missing) == (None, (0, 1))
    assert not place.file(f"{recipe}/run.json").exists()
    result = place.train(recipe)
    assert [fold.reused for fold in result.folds] == [False, False, True]
    assert files() == whole


@pytest.mark.parametrize("recipe", ["rich", "linear"])
def test_labels_of_a_fold_s_validation_rows_change_nothing_of_its_model(place, recipe):
    def weights():
        place.train(recipe, folds=(0, 1), force=True)
        return [next(place.file(f"{recipe}/fold{fold}").glob("*.safetensors")).read_bytes() for fold in (0, 1)]

    place.recipe("rich", RICH.replace("epochs = 2", "epochs = 1"))  # the best of several is theirs to choose
    before = weights()
    folds = dict(pl.read_parquet(place.file("folds.parquet")).iter_rows())
    other = {"cat": "dog", "dog": "emu", "emu": "cat"}
    labels = [other[label] if folds[row] == 0 else label for row, label in table().select("id", "label").iter_rows()]
    place.write(table().with_columns(label=pl.Series(labels)))
    after = weights()
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_a_soup_is_told_by_its_epochs(place, call):
    place.recipe("soup", TINY + 'soup = "uniform:2"\nkeep = "last"\n')
    first = place.train("soup")
    assert [fold.soup for fold in first.folds] == [(1, 2)] * 3
    code, out, _ = call("train", "soup.toml", "--device", "cpu")
    assert code == 0
    assert "1+2" in out
    assert [fold["soup"] for fold in Workspace.find(place.root).run("soup").info["folds"]] == [[1, 2]] * 3


def test_an_interrupted_run_keeps_its_finished_folds(place):
    def interrupt_in_fold_1(progress):
        if progress.fold == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.train(on_progress=interrupt_in_fold_1)
    assert sorted(path.name for path in place.file("tiny").iterdir()) == ["fold0", "recipe.toml"]
    assert [fold.reused for fold in place.train().folds] == [True, False, False]


def test_two_processes_do_not_train_one_run(place):
    with hold(place.root / ".jobs/runs/linear", "held"), pytest.raises(UserError, match="another process trains run"):
        place.train("linear")
    assert not place.file("linear").exists()
    assert place.train("linear").score is not None


def test_a_fold_killed_between_checkpoint_and_predictions_is_trained_again(place):
    place.train()
    place.file("tiny/run.json").unlink()
    place.file("tiny/fold1/oof.parquet").unlink()
    assert [fold.reused for fold in place.train().folds] == [True, False, True]


def test_a_complete_run_is_not_trained_again_unless_forced(place):
    first = place.train()
    written = place.file("tiny/run.json").read_bytes()
    again = place.train()
    assert all(fold.reused for fold in again.folds)
    assert again.score == first.score
    assert place.file("tiny/run.json").read_bytes() == written
    (place.file("tiny") / "predictions").mkdir()
    forced = place.train(force=True, folds=(1,))
    assert [fold.reused for fold in forced.folds] == [True, False, True]
    assert forced.score == first.score
    assert not place.file("tiny/predictions").exists()  # made by the checkpoint that was replaced


def test_another_recipe_under_the_same_name_is_refused_and_force_replaces_all(place):
    place.train()
    place.recipe("tiny", TINY.replace("1e-2", "2e-2"))
    with pytest.raises(UserError, match="run 'tiny' exists with other settings") as error:
        place.train()
    assert error.value.details["differ"] == "was learning_rate = 0.01; is now learning_rate = 0.02"
    forced = place.train(force=True, folds=(0,))
    assert ([fold.fold for fold in forced.folds], forced.missing) == ([0], (1, 2))


def test_replace_trains_what_does_not_fit_and_keeps_what_does(place):
    place.train()
    written = place.file("tiny/run.json").read_bytes()
    assert all(fold.reused for fold in place.train(replace=True).folds)
    assert place.file("tiny/run.json").read_bytes() == written
    place.recipe("tiny", TINY.replace("1e-2", "2e-2"))
    assert not any(fold.reused for fold in place.train(replace=True).folds)
    place.file("tiny/run.json").unlink()
    place.file("tiny/fold1/oof.parquet").unlink()
    assert [fold.reused for fold in place.train(replace=True).folds] == [True, False, True]


def test_changed_training_rows_are_refused(place):
    place.train()
    place.write(table().with_columns(text=pl.col("text") + "!"))
    with pytest.raises(UserError) as error:
        place.train()
    assert error.value.details["differ"] == "training rows, pseudo-labels, teacher, folds, classes or metric"


def test_a_changed_encoder_directory_is_refused(place, save_model):
    model = place.root / "model"
    save_model(model, 0)
    options = TrainOptions(encoder=str(model), start=place.root, folds=(0,), device="cpu", limit=24)
    with pytest.raises(ModelError, match="max_length = 128, but the encoder takes 64"):
        run(options)
    place.recipe("tuned", f'[encoder]\npath = "{model}"\n[data]\nmax_length = 40\n[folds]\nn = 3\n')
    place.train("tuned", folds=(0,))
    shutil.rmtree(model)
    save_model(model, 1)
    with pytest.raises(UserError) as error:
        place.train("tuned")
    assert error.value.details["differ"] == "files of the encoder, synonyms or words"


def test_changed_synonyms_are_noticed_and_missing_ones_told_first(place):
    path = place.root / "synonyms.tsv"
    steps = f'[augmentation]\nsteps = ["replace"]\ncopies = 1\nsynonyms = "{path}"\n'
    place.recipe("tiny", TINY + steps)
    with pytest.raises(ModelError, match="no such file of synonyms"):
        place.train()
    path.write_text("sat\tcrouched\n")
    place.train(folds=(0,))
    path.write_text("sat\tperched\n")
    with pytest.raises(UserError) as error:
        place.train()
    assert "synonyms" in error.value.details["differ"]


def test_a_changed_list_of_words_is_noticed(place):
    path = place.root / "words.txt"
    place.recipe("tiny", TINY + f'[words]\nname = "glove"\nsize = 4\nchinese = "list"\nfile = "{path}"\n')
    path.write_text("武汉\n")
    place.train(folds=(0,))
    assert place.train(folds=(0,)).folds[0].reused
    path.write_text("加油\n")
    with pytest.raises(UserError) as error:
        place.train()
    assert "words" in error.value.details["differ"]


def test_rows_that_break_training_are_named_by_their_ids(place, monkeypatch):
    import torch

    monkeypatch.setattr("models.training.step._loss", lambda source, rows: torch.tensor(float("nan")))
    with pytest.raises(ModelError, match="loss is nan") as error:
        place.train(folds=(0,))
    named = error.value.details["rows"].split(", ")
    assert set(named) <= set(table()["id"])
    assert not place.file("tiny/fold0").exists()


def test_a_device_that_is_not_there_is_told_before_anything_is_removed(place):
    place.train()
    with pytest.raises(ModelError, match="unknown device 'cdua'"):
        run(TrainOptions(recipe=place.root / "tiny.toml", start=place.root, device="cdua", force=True))
    assert place.file("tiny/run.json").exists()


MISFITS = [
    ('kind = "linear"\n[folds]\nn = 3\n[linear]\nc = 2.0\n', "[linear] unknown option 'c'"),
    ('kind = "linear"\n[folds]\nn = 3\n[linear]\nmin_df = 0\n', "[linear] 'min_df' and 'max_features' must be"),
    (TINY + '[loss]\nname = "bce"\n', "loss 'bce' is not for single_label"),
    (TINY + "[loss]\nalpha = [1.0, 2.0]\n", "alpha has 2 numbers for 3 classes"),
    (TINY.replace('"max"', '"linked"'), "head 'linked' is not for single_label"),
    (TINY.replace('"max"', '"tags"'), "head 'tags' is not for single_label"),
    (TINY.replace('"max"', '"crf"'), "head 'crf' is not for single_label"),
    (TINY.replace('"max"', '"cosine"').replace("[data]", '[data]\nform = "apart"'), "tells two classes, not 3"),
    (TINY.replace('"max"', '"textcnn"\nwindows = [0]'), "[head] windows = [0]"),
    ('[encoder]\npath = "{encoder}"\n[folds]\nn = 3\n', "tokenizer"),
    (TINY.replace('"max"', '"max"\ndropout = 0.0') + "dropout = 0.0\nr_drop = 1.0\n", "both passes are the same"),
]


@pytest.mark.parametrize(("recipe", "message"), MISFITS, ids=[message for _, message in MISFITS])
@pytest.mark.parametrize("how", ["replace", "force"])
def test_a_recipe_that_does_not_fit_is_refused_before_a_run_is_touched(
    place, save_model, trained_once, recipe, message, how
):
    """With its place; what `--replace` and `--force` would have replaced stays, and nothing is left behind."""
    shutil.copytree(trained_once, place.file("tiny"))
    encoder = place.root / "encoder"
    save_model(encoder, 0)
    for path in (encoder / "vocab.txt", *encoder.glob("*token*")):
        path.unlink()
    place.recipe("misfit", recipe.replace("{encoder}", str(encoder)))
    before = {path: path.read_bytes() for path in place.file("").rglob("*") if path.is_file()}
    for name in ("tiny", "first"):
        with pytest.raises(ModelError) as error:
            place.train("misfit", name=name, **{how: True})
        assert message in error.value.summary
        assert error.value.details["where"]
    assert {path: path.read_bytes() for path in place.file("").rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """Folder of a finished run."""
    place = Place(tmp_path_factory.mktemp("trained"))
    place.train()
    return place.file("tiny")


def test_a_refused_first_recipe_binds_no_other_to_its_folds(place):
    place.recipe("misfit", TINY.replace("n = 3", "n = 4") + "[loss]\nalpha = [1.0, 2.0]\n")
    with pytest.raises(ModelError, match="alpha has 2 numbers"):
        place.train("misfit")
    assert not place.file("folds.parquet").exists()
    assert not place.file("misfit").exists()
    assert place.train("linear").missing == ()
    with pytest.raises(UserError, match="other runs of this workspace use other folds"):
        place.train("misfit")


def test_a_run_that_was_not_trained_is_never_replaced(place):
    place.file("tiny").mkdir(parents=True)
    place.file("tiny/run.json").write_text('{"kind": "imported"}')
    with pytest.raises(UserError, match="was not trained here"):
        place.train(force=True)


def test_all_runs_share_one_division_into_folds(place):
    place.train()
    place.train("linear")
    first, second = (Predictions.load(place.file(f"{name}/oof.parquet")) for name in ("tiny", "linear"))
    assert np.array_equal(first.folds, second.folds)
    place.recipe("other", LINEAR.replace("n = 3", "n = 4"))
    with pytest.raises(UserError, match="other folds"):
        place.train("other")


def test_groups_stay_together(place):
    place.recipe("tiny", TINY.replace("n = 3", 'n = 3\nkind = "group"\ngroup_column = "owner"'))
    place.train("tiny", folds=(0,))
    folds = pl.read_parquet(place.file("folds.parquet")).join(table(), on="id")
    assert folds.group_by("owner").agg(pl.col("fold").n_unique())["fold"].to_list() == [1] * 9


def test_a_quick_look_is_scored_with_only_where_it_is_named_or_alone(place):
    place.train("linear", limit=24, name="small")
    workspace = Workspace.find(place.root)
    assert set(find_models(workspace, ())) == {"small"}
    place.train("linear")
    assert set(find_models(workspace, ())) == {"linear"}
    assert "24 of 36 rows" in quick_looks(workspace)["small"]
    assert set(find_models(workspace, ("small", "linear"))) == {"small", "linear"}


def test_a_limit_draws_rows_but_keeps_their_folds(place):
    result = place.train("linear", limit=24, name="small")
    oof = Predictions.load(result.run.oof)
    assert len(oof) == result.n_rows == 24
    all_folds = dict(pl.read_parquet(place.file("folds.parquet")).iter_rows())
    assert [all_folds[row] for row in oof.ids] == oof.folds.tolist()
    assert len(all_folds) == 36
    assert oof.ids.to_list() == [row for row in table()["id"] if row in set(oof.ids)]


def test_another_seed_gives_another_model(place):
    first, second = place.train(folds=(0,)), place.train(folds=(0,), seed=4, name="other")
    pieces = [Predictions.load(r.run.folder / "fold0" / "oof.parquet").probs for r in (first, second)]
    assert not np.array_equal(*pieces)


def test_rows_without_ids_are_numbered(place):
    place.competition(id_column=None)
    place.train("linear")
    oof = Predictions.load(place.file("linear/oof.parquet"))
    assert oof.ids.to_list() == [str(i) for i in range(36)]


def test_rows_of_invalid_labels_are_dropped_on_request_and_counted(place):
    rows = table().with_columns(label=pl.Series(["cat", None, "10", *table()["label"][3:]]))
    place.write(rows)
    with pytest.raises(UserError, match="2 labels are not among the classes"):
        place.train("linear")
    place.recipe("linear", LINEAR + '[data]\ninvalid_labels = "drop"\n')
    result = place.train("linear")
    assert (result.n_rows, result.n_dropped) == (34, 2)
    assert Predictions.load(result.run.oof).ids.to_list() == [f"r{i}" for i in range(36) if i not in (1, 2)]
    place.write(rows.with_columns(label=pl.lit("?")))
    with pytest.raises(UserError, match="none of 36 rows has a label that is a class"):
        place.train("linear")


def test_rows_without_ids_keep_their_numbers_where_others_are_dropped(place):
    place.write(table().with_columns(label=pl.Series(["?", *table()["label"][1:]])))
    place.competition(id_column=None)
    place.recipe("linear", LINEAR + '[data]\ninvalid_labels = "drop"\n')
    assert Predictions.load(place.train("linear").run.oof).ids.to_list() == [str(i) for i in range(1, 36)]


def test_each_text_is_trained_on_once_and_none_of_a_validation_row(place, monkeypatch):
    rows = table()
    place.write(rows.with_columns(text=pl.Series([f" The {CLASSES[i % 3]} {i // 6}" for i in range(36)])))
    seen = {}
    fold_module = importlib.import_module("models.training.fold")
    make = fold_module.train_fold

    def spied(*arguments, **options):
        seen[options["fold"]] = (options["train_ids"], arguments[2], arguments[4])
        return make(*arguments, **options)

    monkeypatch.setattr(fold_module, "train_fold", spied)
    place.recipe("once", TINY.replace("[folds]", 'duplicates = "once"\n[folds]'))
    result = place.train("once")
    texts = [f"the {CLASSES[i % 3]} {i // 6}" for i in range(36)]  # cleaned
    assert result.n_copies == 36 - len(set(texts)) == 18
    folds = Predictions.load(result.run.oof).folds
    for fold, (train_ids, trained, validated) in seen.items():
        expected = {}
        for i, text in enumerate(texts):
            if folds[i] != fold and text not in validated:
                expected.setdefault(text, f"r{i}")
        assert dict(zip(trained, train_ids, strict=True)) == expected
        assert len(trained) == len(expected)
    assert Predictions.load(result.run.oof).ids.to_list() == rows["id"].to_list()


def test_null_texts_count_as_empty(place):
    place.write(table().with_columns(text=pl.when(pl.col("id").is_in(["r3", "r5"])).then(None).otherwise("text")))
    assert place.train("linear").n_null_texts == 2


def test_multi_label_rows_train_on_joined_labels(place):
    labels = [["cat", "cat|dog", "dog"][i % 3] for i in range(33)] + ["", "", ""]
    place.write(table().with_columns(label=pl.Series(labels)))
    place.competition(task="multi_label", metric="micro_f1")
    place.train()
    oof = Predictions.load(place.file("tiny/oof.parquet"))
    assert oof.task == "multi_label"
    assert oof.labels.to_list() == labels
    assert load_classifier(place.file("tiny/fold0")).spec.task == "multi_label"
    with pytest.raises(UserError, match="linear runs are for single_label"):
        place.train("linear")


@pytest.mark.parametrize(
    ("change", "message", "detail"),
    [
        ({"label": "cow"}, "1 labels are not among the classes", "'cow' in row 8"),
        ({"label": None}, "1 labels are not among the classes", "None in row 8"),
        ({"id": "r1"}, "1 ids occur more than once", "r1"),
        ({"id": ""}, "no id", "r8"),
    ],
)
def test_a_bad_row_is_told_with_row_and_value(place, change, message, detail):
    (column, value) = next(iter(change.items()))
    here = pl.int_range(pl.len()) == 7
    place.write(table().with_columns(pl.when(here).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)))
    with pytest.raises(UserError, match=message) as error:
        place.train("linear")
    if column != "id" or value:
        assert detail in error.value.details["first"]
        assert "train.csv" in error.value.details["where"]
    assert not place.file("linear").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "names no training table"),
        ({"label_column": None}, "names no label column"),
        ({"train": "none.csv"}, "none.csv"),
        ({"text_column": "txt"}, "no column 'txt'"),
        ({"metric": "f2"}, "unknown metric 'f2'"),
        ({"metric": "hamming_loss"}, "not for single_label"),
    ],
)
def test_a_competition_that_does_not_do_is_refused(place, changes, message):
    place.competition(**changes)
    with pytest.raises(UserError, match=message):
        place.train("linear")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folds": (3,)}, UserError, "no fold 3"),
        ({"name": "a/b"}, UserError, "'a/b' cannot be a run name"),
        ({"limit": 1}, UserError, "fold . has"),
        ({"limit": 0}, ModelError, r"\[data\] limit is out of range"),
        ({"seed": -3}, ModelError, "seed is out of range"),
        ({"encoder": "x"}, UserError, "either a recipe file or an --encoder"),
    ],
)
def test_options_that_do_not_fit_are_refused(place, options, error, message):
    with pytest.raises(error, match=message):
        place.train(**options)
    assert not place.file("tiny").exists()


@pytest.mark.parametrize(
    ("task", "labels", "loss"),
    [
        ("single_label", ["cat"] * 12 + ["dog"] * 12 + ["emu"] * 12, "alpha = [0.0, 0.0, 1.0]"),
        ("single_label", ["cat"] * 12 + ["dog"] * 12 + ["emu"] * 12, 'name = "focal"\nalpha = [0.0, 0.0, 1.0]'),
        ("multi_label", [""] * 24 + ["cat|emu"] * 12, 'class_weights = "balanced"'),
    ],
)
def test_a_fold_of_which_no_row_has_weight_is_told_before_any_is_trained(place, task, labels, loss):
    place.write(table().with_columns(label=pl.Series(labels), owner=pl.Series([f"o{i // 12}" for i in range(36)])))
    place.competition(task=task)
    grouped = TINY.replace("n = 3", 'n = 3\nkind = "group"\ngroup_column = "owner"')
    place.recipe("grouped", grouped)
    place.train("grouped", folds=(0,))
    without = pl.read_parquet(place.file("folds.parquet"))["fold"].to_list()[-1]
    place.recipe("tiny", grouped + f"[loss]\n{loss}\n")
    with pytest.raises(UserError, match=f"none of the 24 rows that fold {without} is trained on counts"):
        place.train()
    assert not place.file("tiny").exists()


def test_a_fold_much_larger_than_its_share_is_told(place):
    place.write(table().with_columns(owner=pl.Series(["huge"] * 20 + [f"o{i}" for i in range(16)])))
    place.recipe("linear", LINEAR.replace("n = 3", 'n = 3\nkind = "group"\ngroup_column = "owner"'))
    notes = []
    place.train("linear", on_note=notes.append)
    assert [note for note in notes if "group 'huge' of column 'owner' alone has 20" in note]
    place.write(table())
    place.recipe("even", LINEAR)
    shutil.rmtree(place.file(""))
    notes.clear()
    place.train("even", on_note=notes.append)
    assert not notes


@pytest.mark.parametrize("text", [TINY.replace("[data]", ""), LINEAR])
def test_what_becomes_of_illegal_tags_is_no_matter_of_tasks_without_tags(place, text):
    text = text.replace('max_length = 12\ncleaning = ["lowercase", "strip"]', "")
    place.recipe("tags", text + '[data]\nillegal_tags = "reject"\n')
    with pytest.raises(UserError, match="illegal_tags is for token tasks"):
        place.train("tags")


@pytest.mark.parametrize(("head", "training"), [("dropout = 0.5", "dropout = 0.0"), ("dropout = 0.0", "dropout = 0.1")])
def test_r_drop_needs_one_dropout_of_encoder_and_head(place, head, training):
    place.recipe("drop", TINY.replace('"max"', f'"max"\n{head}') + f"{training}\nr_drop = 1.0\n")
    assert place.train("drop", folds=(0,))


def test_a_negative_seed_is_refused_by_the_command(place, call):
    code, _, err = call("train", "tiny.toml", "--seed", "-3", "--device", "cpu")
    assert code == 2
    assert "--seed" in err
    assert not place.file("").exists()


def test_a_fold_on_which_the_metric_is_undefined_is_named_before_anything_is_trained(place, monkeypatch):
    place.write(table().with_columns(label=pl.Series(["cat"] * 2 + ["dog"] * 34)))
    place.competition(metric="roc_auc", classes=["cat", "dog"])
    place.recipe("tiny", TINY.replace("n = 3", 'n = 3\nkind = "random"'))
    monkeypatch.setattr("jobs.train.fold_trainer", lambda _: pytest.fail("made before the folds were looked at"))
    with pytest.raises(UserError, match=r"roc_auc ranks nothing here.*, in fold \d") as error:
        place.train()
    assert "rows that fold" in error.value.details["where"]
    assert "stratified folds" in error.value.details["next"]
    assert not place.file("").exists()


def test_a_fold_whose_training_rows_are_of_one_class_is_named_before_a_linear_run_begins(place, monkeypatch):
    labels, owners = ["cat"] * 30 + ["dog"] * 6, [*"aaaaaaaaaaaabbbbbbbbbbbbcccccccccccc"]
    place.write(table().with_columns(label=pl.Series(labels), owner=pl.Series(owners)))
    place.competition(classes=["cat", "dog"])
    place.recipe("linear", LINEAR.replace("n = 3", 'n = 3\nkind = "group"\ngroup_column = "owner"'))
    monkeypatch.setattr("jobs.train.train_fold", lambda *_: pytest.fail("a fold was trained before all were looked at"))
    with pytest.raises(UserError, match=r"all 24 rows that fold \d is trained on are of one class, 'cat'") as error:
        place.train("linear")
    assert "stratified" in error.value.details["next"]
    assert not place.file("linear").exists()


def test_without_a_competition_the_way_to_one_is_told(tmp_path):
    (tmp_path / "r.toml").write_text(LINEAR)
    with pytest.raises(UserError, match=r"no competition.toml") as error:
        run(TrainOptions(recipe=tmp_path / "r.toml", start=tmp_path))
    assert "cli init" in error.value.details["next"]


def test_a_run_folder_knows_finished_folds_by_their_fingerprints(place):
    result = place.train("linear")
    folder = RunFolder(result.run, "", {"recipe": "x", "data": "y"}, n_folds=3)
    assert folder.finished(0) is None
    piece = Predictions.load(result.run.folder / "fold0" / "oof.parquet")
    fits = dataclasses.replace(folder, fingerprints={key: piece.meta[key] for key in ("recipe", "data")})
    assert fits.finished(0) is not None
    assert fits.finished(7) is None


@pytest.mark.shared
def test_real_posts_train_a_run_that_beats_the_majority_class(place, shared_data):
    train = str(shared_data / "weibo_ncov" / "labelled_3000.csv")
    place.competition(train=train, text_column="content", classes=["-1", "0", "1"])
    place.recipe("linear", LINEAR.replace("[linear]", '[data]\ncleaning = ["mentions", "urls", "strip"]\n[linear]'))
    result = place.train("linear")
    assert result.n_rows == 3000
    assert result.score > 0.63  # 0.2 for the majority class


def test_lora_without_peft_is_told_before_anything_is_read(place, monkeypatch):
    monkeypatch.setattr("models.lora.find_spec", lambda name: None)
    place.recipe("lora", '[encoder]\npath = "anything"\n[lora]\nrank = 4\n')
    with pytest.raises(ModelError, match="needs the package peft"):
        place.train("lora")
    assert not place.file("lora").exists()


def test_word_vectors_are_learnt_from_train_and_test_and_their_texts_are_part_of_the_run(place):
    pl.DataFrame({"id": ["t1"], "text": ["The zebra sat"]}).write_csv(place.root / "test.csv")
    place.competition(test="test.csv")
    place.recipe("glove", TINY + '\n[encoder.vectors]\nname = "glove"\nepochs = 3\n')
    result = place.train("glove", folds=(0,))
    assert result.folds[0].score > 0
    vocabulary = load_classifier(place.file("glove") / "fold0").tokenizer.get_vocab()
    assert "z" in vocabulary  # of the test table, as the training table has none
    assert place.train("glove", folds=(0,)).folds[0].reused
    pl.DataFrame({"id": ["t1"], "text": ["Other texts"]}).write_csv(place.root / "test.csv")
    with pytest.raises(UserError, match="other settings"):
        place.train("glove", folds=(0,))


def test_an_encoder_that_a_run_of_the_workspace_trained_flatters(place):
    place.recipe("first", TINY)
    assert place.train("first").flattered_by is None
    encoder = place.file("first/fold0")
    place.recipe("second", f'[encoder]\npath = "{encoder}"\n[data]\nmax_length = 12\n[folds]\nn = 3\n')
    assert place.train("second").flattered_by == str(encoder)
    assert json.loads(place.file("second/run.json").read_text())["flattered_by"] == str(encoder)
