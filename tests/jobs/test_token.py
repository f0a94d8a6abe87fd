"""BIO tags from CoNLL files to the submission: train, resume, score in shards, evaluate, and what is refused."""

import json

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from jobs.conll import ConllOptions
from jobs.conll import run as conll
from jobs.evaluate import EvaluateOptions
from jobs.evaluate import run as evaluate
from jobs.init import InitOptions
from jobs.init import run as init
from jobs.train import TrainOptions
from jobs.train import run as train
from kaggle_tools.bio import legal_tags
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.inspect import Overrides
from kaggle_tools.metrics import score
from kaggle_tools.tag_predictions import TagPredictions
from models.errors import ModelError
from models.inference.scorer import Scorer

NAMES = ["Ada", "Bo", "Cy"]
PLACES = ["Rome", "Oslo"]
RECIPE = """
seed = 3
[encoder.scratch]
layers = 0
hidden = 16
intermediate = 16
vocab_size = 120
min_frequency = 1
[data]
max_length = 12
[folds]
n = 3
[head]
name = "{head}"
rnn = "lstm"
width = 8
[training]
epochs = 8
batch_size = 8
learning_rate = 3e-2
"""


def write_conll(path, seed, n, *, illegal=False):
    """Sentences such as "Ada Bo went to Rome": names are people, towns are places."""
    draw = np.random.default_rng(seed)
    lines = []
    for i in range(n):
        people = list(draw.choice(NAMES, draw.integers(1, 3)))
        tags = ["B-PER", *(["I-PER"] * (len(people) - 1))]
        if illegal and i < 4:
            tags[0] = "I-PER"
        words = [*people, "went", "to", str(draw.choice(PLACES)), *([str(i)] * draw.integers(0, 2))]
        tags += ["O", "O", "B-LOC", *(["O"] * (len(words) - len(people) - 3))]
        lines += [f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)] + [""]
    path.write_text("\n".join(lines))


@pytest.fixture
def cli(cli_here):
    """Nothing here needs a process of its own."""
    return cli_here


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A competition with a softmax run and a CRF run."""
    root = tmp_path_factory.mktemp("tags")
    (root / "truth").mkdir()
    write_conll(root / "train.conll", 0, 60, illegal=True)
    write_conll(root / "test.conll", 1, 30)
    made = conll(ConllOptions((root / "train.conll",), root / "train.csv"))
    assert (made.n_rows, made.n_illegal) == (60, 4)
    conll(ConllOptions((root / "test.conll",), root / "truth" / "test.csv"))
    table = pl.read_csv(root / "truth" / "test.csv")
    # A text that comes again and one without words.
    extra = pl.DataFrame({"id": ["again", "empty"], "text": [table["text"][0], ""], "tags": [table["tags"][0], ""]})
    table = pl.concat([table, extra])
    table.write_csv(root / "truth" / "test.csv")
    table.drop("tags").write_csv(root / "test.csv")
    table.select("id", tags=pl.lit("O")).write_csv(root / "sample.csv")
    overrides = Overrides(task="token", label_column="tags")
    init(InitOptions(root / "train.csv", root / "test.csv", root / "sample.csv", overrides, root=root))
    for head in ("tags", "crf"):
        (root / f"{head}.toml").write_text(RECIPE.format(head=head))
        train(TrainOptions(root / f"{head}.toml", device="cpu", start=root))
    return root


def test_init_concludes_the_tags(place):
    found = Competition.find(place)
    assert found.classes == ("B-LOC", "B-PER", "I-PER", "O")
    assert (found.task, found.metric, found.submission_format) == ("token", "entity_f1", "labels")


@pytest.mark.parametrize("head", ["tags", "crf"])
def test_training_leaves_tags_of_every_word(place, head):
    oof = TagPredictions.load(place / "runs" / head / "oof.parquet")
    table = pl.read_csv(place / "train.csv")
    assert oof.ids.to_list() == table["id"].to_list()
    assert np.diff(oof.offsets).tolist() == [len(text.split(" ")) for text in table["text"]]
    assert np.allclose(oof.probs.sum(1), 1, atol=1e-4)
    info = json.loads((place / "runs" / head / "run.json").read_text())
    assert info["score"] == score("entity_f1", oof) > 0.6
    assert info["n_repaired_tags"] == 4
    assert len(info["fold_scores"]) == 3
    again = train(TrainOptions(place / f"{head}.toml", device="cpu", start=place))
    assert all(fold.reused for fold in again.folds)


def test_training_a_fold_again_gives_the_same_tags(place):
    before = TagPredictions.load(place / "runs" / "crf" / "oof.parquet")
    train(TrainOptions(place / "crf.toml", folds=(1,), device="cpu", start=place, force=True))
    after = TagPredictions.load(place / "runs" / "crf" / "oof.parquet")
    assert np.array_equal(before.probs, after.probs)
    assert np.array_equal(before.codes, after.codes)


@pytest.mark.parametrize("head", ["tags", "crf"])
def test_tags_out_of_fold_are_those_that_scoring_takes(place, head):
    oof = TagPredictions.load(place / "runs" / head / "oof.parquet")
    assert np.array_equal(oof.codes, legal_tags(oof.probs, oof.offsets, oof.classes))
    assert evaluate(EvaluateOptions(head, start=place)).n_illegal == 0


def test_a_notebook_gets_the_lists_of_the_file(place, cli):
    cli("score", "-i", "test.csv", "-o", "file.parquet", "--no-submission", "--device", "cpu", "--precision", "fp32",
        cwd=place, check=0)  # fmt: skip
    file = pl.read_parquet(place / "file.parquet")
    scores = Scorer([place / "runs" / "crf", place / "runs" / "tags"], device="cpu", precision="fp32").score(
        file["text"]
    )
    found = scores.to_polars(file["id"])
    assert_frame_equal(found.drop("label"), file.select(found.drop("label").columns), check_exact=True)
    assert found["label"].str.count_matches(" ").equals(file["label"].str.count_matches(" "))
    assert len(repr(scores).splitlines()) == 7
    dry = cli("score", "-i", "test.csv", "--dry-run", "--json", "--device", "cpu", cwd=place, check=0)
    assert json.loads(dry.stdout)["n_rows"] == 32


@pytest.mark.parametrize("name", ["text", "entities"])
def test_an_id_column_called_as_one_of_the_output_is_refused_before_anything_is_scored(place, tmp_path, cli, name):
    pl.read_csv(place / "test.csv").rename({"text": "words"}).rename({"id": name}).write_csv(tmp_path / "rows.csv")
    words = (
        "-i",
        tmp_path / "rows.csv",
        "-o",
        tmp_path / "out.csv",
        "--id",
        name,
        "--text",
        "words",
        "--device",
        "cpu",
    )
    told = cli("score", *words, cwd=place, check=2).stderr
    assert f"error: the id column is called '{name}', as a column of the scores is" in told
    assert not (tmp_path / "out.csv").exists()


def test_scoring_in_shards_gives_the_same_as_at_once(place, cli):
    whole = json.loads(cli("score", "--input", "test.csv", "--json", "--device", "cpu", cwd=place, check=0).stdout)
    cut = cli("score", "-i", "test.csv", "--shard-rows", "7", "-o", "cut.parquet", "--no-submission", "--max-length",
              "12", "--json", "--device", "cpu", cwd=place, check=0)  # fmt: skip
    assert json.loads(cut.stdout)["totals"]["rows"] == 32
    one, other = pl.read_parquet(whole["output"]), pl.read_parquet(place / "cut.parquet")
    assert one["label"].equals(other["label"])
    assert np.allclose(one["prob_O"].explode().drop_nulls(), other["prob_O"].explode().drop_nulls(), atol=1e-6)
    assert one["label"][0] == one["label"][30]  # the same text
    assert one["label"][31] == ""
    words = one["text"][0].split(" ")
    found = json.loads(one["entities"][0])
    assert all(" ".join(words[e["start"] : e["end"]]) == e["text"] for e in found)
    sent = pl.read_csv(place / "submissions" / whole["submission"] / "submission.csv")
    assert sent.columns == ["id", "tags"]
    assert sent["tags"].fill_null("").equals(one["label"].alias("tags"))
    cli("validate", f"submissions/{whole['submission']}/submission.csv", cwd=place, check=0)
    report = evaluate(EvaluateOptions("crf", truth=place / "truth" / "test.csv", start=place))
    assert report.score == pytest.approx(report.report.averages["micro"].f1)
    assert report.score > 0.6
    assert set(report.report.classes) == {"LOC", "PER"}
    page = json.loads(cli("report", "--output", "tags.html", "--json", cwd=place, check=0).stdout)
    assert page["problems"] == []
    told = evaluate(EvaluateOptions("crf", start=place)).score
    assert f">{told:.5f}<" in (place / "tags.html").read_text()
    shown = cli("evaluate", "tags", cwd=place, check=0).stdout
    assert "entity_f1" in shown
    lines = cli("score", "-i", "test.csv", "-m", "crf", "-o", "-", "--device", "cpu", cwd=place, check=0).stdout
    assert lines.splitlines()[0] == "id,text,label,entities"
    table = pl.read_csv(place / "truth" / "test.csv")  # illegal tags, which training reads as B-, count as B-
    begun = table.with_columns(pl.col("tags").str.replace("^B-", "I-"))
    assert begun["tags"].to_list() != table["tags"].to_list()
    (place / "illegal").mkdir()
    begun.write_csv(place / "illegal" / "test.csv")
    assert evaluate(EvaluateOptions("crf", truth=place / "illegal" / "test.csv", start=place)).report == report.report


@pytest.mark.parametrize("command", [("blend",), ("rescale", "crf"), ("vote",), ("similarity", "tags", "crf")])
def test_commands_for_classes_of_rows_say_so(place, cli, command):
    assert "is not for token tasks" in cli(*command, cwd=place, check=2).stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('name = "tags"\nrnn = "lstm"\nwidth = 8', 'name = "mean"'), "head 'mean' is not for token tasks"),
        (("max_length = 12", 'max_length = 12\nillegal_tags = "reject"'), "4 illegal tags"),
        (("max_length = 12", 'max_length = 12\ncleaning = ["strip"]'), "cleaning is not for token tasks"),
        (("[training]", "[augmentation]\ncopies = 1\n[training]"), "copies is not for token tasks"),
    ],
)
def test_recipes_that_do_not_suit_tags_are_refused(place, change, words):
    (place / "bad.toml").write_text(RECIPE.format(head="tags").replace(*change))
    with pytest.raises((UserError, ModelError), match=words):
        train(TrainOptions(place / "bad.toml", device="cpu", start=place))


def test_tables_whose_tags_and_words_differ_are_refused(place, tmp_path):
    (tmp_path / "competition.toml").write_text((place / "competition.toml").read_text())
    table = pl.read_csv(place / "train.csv")
    table.with_columns(tags=pl.col("tags") + " O").write_csv(tmp_path / "train.csv")
    (tmp_path / "tags.toml").write_text(RECIPE.format(head="tags"))
    with pytest.raises(UserError, match="60 of 60 rows have another number of tags than of words"):
        train(TrainOptions(tmp_path / "tags.toml", device="cpu", start=tmp_path))


def test_a_crf_is_refused_where_rows_have_one_class(tmp_path):
    pl.DataFrame({"id": [f"r{i}" for i in range(12)], "text": ["a b"] * 12, "y": ["u", "v"] * 6}).write_csv(
        tmp_path / "train.csv"
    )
    init(InitOptions(tmp_path / "train.csv", overrides=Overrides(label_column="y"), root=tmp_path))
    (tmp_path / "crf.toml").write_text(RECIPE.format(head="crf"))
    with pytest.raises(ModelError, match="head 'crf' is not for single_label tasks"):
        train(TrainOptions(tmp_path / "crf.toml", device="cpu", start=tmp_path))


def test_words_are_segmented_by_their_bmes_tags(tmp_path):
    draw = np.random.default_rng(5)
    words = ("天气", "很", "好", "图书馆", "我")
    lines = []
    for _ in range(40):
        for word in draw.choice(words, 5):
            tags = "S" if len(word) == 1 else "B" + "M" * (len(word) - 2) + "E"
            lines += [f"{character} {tag}" for character, tag in zip(str(word), tags, strict=True)]
        lines.append("")
    (tmp_path / "train.conll").write_text("\n".join(lines), encoding="utf-8")
    made = conll(ConllOptions((tmp_path / "train.conll",), tmp_path / "train.csv"))
    assert made.entities == {"word": 200}
    assert made.n_rewritten == made.n_words > 200
    overrides = Overrides(task="token", label_column="tags")
    init(InitOptions(tmp_path / "train.csv", None, None, overrides, root=tmp_path))
    assert Competition.find(tmp_path).classes == ("B-word", "I-word", "O")
    (tmp_path / "crf.toml").write_text(RECIPE.format(head="crf"))
    assert (train(TrainOptions(tmp_path / "crf.toml", device="cpu", start=tmp_path)).score or 0) > 0.9


def test_a_tag_that_is_none_is_told_with_its_line(tmp_path):
    (tmp_path / "a.conll").write_text("a O\nb O\n\nc O\nd FOO\n")
    with pytest.raises(UserError, match="'FOO' is no tag") as caught:
        conll(ConllOptions((tmp_path / "a.conll",), tmp_path / "out.csv"))
    assert caught.value.details["where"].endswith("a.conll, line 5")
    assert caught.value.details["found"] == "d FOO"
