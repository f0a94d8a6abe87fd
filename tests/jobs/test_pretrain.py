"""`cli pretrain`: the workspace's texts in, an encoder that `cli train` names out; everything that is refused."""

import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from jobs.corpus import read_corpus
from jobs.holding import hold
from jobs.pretrain import PretrainOptions, run
from jobs.show.pretrain import render_pretrain
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from models.errors import ModelError
from tests.jobs.test_train import TINY, Place, table

RECIPE = """
kind = "pretraining"
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
[training]
epochs = 2
batch_size = 8
learning_rate = 1e-2
held_out = 0.2
"""


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.recipe("mlm", RECIPE)
    return place


def pretrain(place, recipe="mlm", **options):
    return run(PretrainOptions(recipe=place.root / f"{recipe}.toml", start=place.root, device="cpu", **options))


def test_train_goes_on_from_what_pretraining_made(place, monkeypatch):
    result = pretrain(place)
    assert result.n_texts == table()["text"].n_unique() == result.n_rows + result.n_held_out
    assert result.perplexity_after < result.perplexity_before
    console = Console(record=True, width=160)
    render_pretrain(result, console)
    assert "held-out perplexity" in console.export_text()
    monkeypatch.chdir(place.root)
    encoder = TINY[TINY.index("[encoder.scratch]") : TINY.index("[data]")]
    place.recipe("after", TINY.replace(encoder, '[encoder]\npath = "pretrained/mlm"\n\n'))
    trained = place.train("after")
    assert trained.score is not None


def test_an_encoder_that_went_on_from_a_run_of_the_workspace_flatters(place):
    place.train("tiny", folds=(0,))
    encoder = place.file("tiny/fold0")
    tail = RECIPE[RECIPE.index("[data]") :].replace("epochs = 2", "epochs = 1")
    for name, path in (("once", encoder), ("twice", place.root / "pretrained/once")):
        place.recipe(name, f'kind = "pretraining"\n[encoder]\npath = "{path}"\n{tail}')
        pretrain(place, name)
    path = place.root / "pretrained/twice"
    place.recipe(
        "after", f'[encoder]\npath = "{path}"\n[data]\nmax_length = 12\n[folds]\nn = 3\n[training]\nepochs = 1\n'
    )
    assert place.train("after").flattered_by == str(encoder)


def test_the_same_again_is_told_without_work_and_other_settings_are_refused(place):
    first = pretrain(place)
    files = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = pretrain(place)
    assert again.reused
    assert (again.perplexity_after, again.history) == (first.perplexity_after, first.history)
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == files
    assert not list(first.folder.parent.glob(".*"))
    with pytest.raises(UserError, match="other settings or other texts"):
        pretrain(place, epochs=1)
    assert len(pretrain(place, epochs=1, force=True).history) == 1
    assert pretrain(place, epochs=2, name="another").folder.name == "another"


def test_the_recipe_of_a_run_lends_its_encoder(place):
    assert pretrain(place, "tiny", epochs=1).folder.name == "tiny"


def test_texts_of_train_test_and_extra_files_are_read_once_and_labels_never(place):
    pl.DataFrame({"id": ["a", "b"], "text": ["The cat sat 0", " A new one "]}).write_csv(place.root / "test.csv")
    pl.DataFrame({"body": ["<e1>Ear</e1> of <e2>corn</e2>", None]}).write_csv(place.root / "more.csv")
    (place.root / "lines.txt").write_text("\ufefffirst\u2028line\n\nA new one\n")
    place.competition(test="test.csv")
    extra = [place.root / "more.csv"]
    texts = read_corpus(Competition.find(place.root), ["strip"], extra, "body")
    assert texts[-2:] == ["A new one", "Ear of corn"]
    assert len(texts) == table()["text"].n_unique() + 2
    assert read_corpus(None, [], [place.root / "lines.txt"]) == ["first\u2028line", "A new one"]


def test_both_texts_of_a_pair_are_texts_of_their_own(place):
    place.write(pl.DataFrame({"id": ["1"], "text": ["one"], "second": ["two"], "label": ["cat"]}))
    place.competition(pair_column="second")
    assert read_corpus(Competition.find(place.root), []) == ["one", "two"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00 broken"])
def test_a_text_file_that_cannot_be_read_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read|not UTF-8"):
        read_corpus(None, [], [tmp_path / "x.txt"])


def test_what_cannot_be_done_is_refused_before_anything_is_written(place):
    with pytest.raises(UserError, match="either a recipe file or an --encoder"):
        run(PretrainOptions(start=place.root))
    with pytest.raises(UserError, match="name of a pretrained encoder"):
        pretrain(place, name="../up")
    with pytest.raises(ModelError, match="too little text"):
        pretrain(place, limit=5)
    with pytest.raises(ModelError, match="no device"):
        run(PretrainOptions(recipe=place.root / "mlm.toml", start=place.root, device="cuda:7"))
    assert not (place.root / "pretrained").exists()


def test_a_seed_may_be_as_large_as_a_recipe_may_hold(place):
    assert pretrain(place, seed=2**63 - 1).perplexity_after > 0
    with pytest.raises(ModelError, match="seed is out of range"):
        pretrain(place, seed=2**63)


def test_without_a_competition_texts_must_be_named(tmp_path):
    (tmp_path / "mlm.toml").write_text(RECIPE)
    with pytest.raises(UserError, match="no text to learn from"):
        run(PretrainOptions(recipe=tmp_path / "mlm.toml", start=tmp_path))


def test_a_folder_of_somebody_else_is_left_alone(place):
    (place.root / "pretrained" / "mlm").mkdir(parents=True)
    with pytest.raises(UserError, match="not of ours"):
        pretrain(place)


def test_one_process_pretrains_an_encoder_at_a_time(place):
    held = hold(place.root / ".jobs/pretrained/mlm", "held")
    with held, pytest.raises(UserError, match="another process pretrains 'mlm'"):
        pretrain(place)
    assert not (place.root / "pretrained").exists()
    assert pretrain(place).resumed == 0


def test_as_a_person_calls_it(call, tmp_path):
    place = Place(tmp_path)
    place.recipe("mlm", RECIPE)
    code, out, _ = call("pretrain", "mlm.toml", "--json", "--quiet", "--device", "cpu", "--epochs", "1")
    assert code == 0
    told = json.loads(out)
    assert Path(told["folder"]).name == "mlm"
    code, out, err = call("pretrain", "mlm.toml", "--device", "cpu", "--epochs", "1")
    assert code == 0
    assert 'path = "pretrained/mlm"' in out
    code, _, err = call("pretrain", "mlm.toml", "--text", "nope", "--input", "train.csv", "--name", "b")
    assert code == 2
    assert "nope" in err
