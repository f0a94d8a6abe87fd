"""Linked label groups from the table to the submission: init, train, evaluate, score, decode, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jobs.decode import DecodeOptions, losses
from jobs.decode import run as decode
from jobs.evaluate import EvaluateOptions
from jobs.evaluate import run as evaluate
from jobs.init import InitOptions
from jobs.init import run as init
from jobs.members import load_checked
from jobs.train import TrainOptions
from jobs.train import run as train
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.inspect import Overrides
from kaggle_tools.predictions import Predictions
from kaggle_tools.search.joint import JointDecoder
from models.checkpoint import CheckpointSpec

WORDS = {("bad", "fear"): "spider dark", ("bad", "anger"): "unfair shout", ("good", "joy"): "sun song"}
RECIPE = """
seed = 3
[encoder.scratch]
layers = 0
hidden = 16
intermediate = 16
vocab_size = 80
min_frequency = 1
[data]
max_length = 10
[folds]
n = 3
[head]
name = "{head}"
[training]
epochs = 6
batch_size = 8
learning_rate = 3e-2
"""


@pytest.fixture
def cli(cli_here):
    """Nothing here needs a process of its own."""
    return cli_here


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A competition of two groups with two runs trained on it: linked and not."""
    root = tmp_path_factory.mktemp("groups")
    draw = np.random.default_rng(0)
    pairs = [list(WORDS)[i] for i in draw.integers(0, 3, 90)]
    texts = [f"{WORDS[pair].split()[draw.integers(0, 2)]} {draw.integers(0, 9)}" for pair in pairs]
    table = pl.DataFrame(
        {"id": [f"r{i}" for i in range(90)], "text": texts, "mood": [a for a, _ in pairs], "why": [b for _, b in pairs]}
    )
    table.head(60).write_csv(root / "train.csv")
    (root / "truth").mkdir()
    table.tail(30).write_csv(root / "truth" / "test.csv")
    table.tail(30).drop("mood", "why").write_csv(root / "test.csv")
    pl.DataFrame({"id": table["id"].tail(30), "mood": "bad", "why": "joy"}).write_csv(root / "sample.csv")
    init(
        InitOptions(
            root / "train.csv", root / "test.csv", root / "sample.csv",
            Overrides(label_columns=("mood", "why")), root=root,
        )
    )  # fmt: skip
    for head in ("mean", "linked"):
        (root / f"{head}.toml").write_text(RECIPE.format(head=head))
        train(TrainOptions(root / f"{head}.toml", device="cpu", start=root))
    return root


def test_init_concludes_the_groups(place):
    found = Competition.find(place)
    assert found.task == "multi_group"
    assert found.label_groups == {"mood": ("bad", "good"), "why": ("anger", "fear", "joy")}
    assert (found.submission_format, found.metric) == ("labels", "exact_match")


@pytest.mark.parametrize("head", ["mean", "linked"])
def test_training_leaves_predictions_of_both_groups(place, head):
    oof = Predictions.load(place / "runs" / head / "oof.parquet")
    assert oof.classes == ("mood:bad", "mood:good", "why:anger", "why:fear", "why:joy")
    assert np.allclose(oof.probs[:, :2].sum(1), 1, atol=1e-5)
    assert np.allclose(oof.probs[:, 2:].sum(1), 1, atol=1e-5)
    info = json.loads((place / "runs" / head / "run.json").read_text())
    assert set(info["groups"]) == {"mood", "why", "group_accuracy", "exact_match", "top_2_hit"}
    assert info["score"] == info["groups"]["exact_match"] > 0.5
    assert sum(info["class_counts"].values()) == 120
    assert CheckpointSpec.load(place / "runs" / head / "fold0").task == "multi_group"


def test_a_run_of_groups_teaches_another(place):
    recipe = RECIPE.format(head="mean").replace("epochs = 6", "epochs = 1")
    (place / "pupil.toml").write_text(recipe + '[distill]\nteacher = "mean"\n')
    try:
        assert train(TrainOptions(place / "pupil.toml", device="cpu", start=place)).score > 0
    finally:
        shutil.rmtree(place / "runs" / "pupil")


def test_probabilities_of_groups_sum_to_one_in_each(place, tmp_path):
    oof = load_checked(place / "runs" / "mean" / "oof.parquet")
    replace(oof, probs=oof.probs * np.float32(0.9)).save(tmp_path / "bad.parquet")
    with pytest.raises(UserError, match="no probabilities") as caught:
        load_checked(tmp_path / "bad.parquet")
    assert "in each group" in caught.value.details["expected"]


def test_training_again_reuses_every_fold(place):
    again = train(TrainOptions(place / "linked.toml", device="cpu", start=place))
    assert all(fold.reused for fold in again.folds)
    assert again.groups["exact_match"] == again.score


def test_scoring_evaluating_and_submitting(place, cli):
    done = cli("score", "--input", "test.csv", "--device", "cpu", "--json", cwd=place, check=0)
    made = json.loads(done.stdout)
    table = pl.read_csv(place / "submissions" / made["submission"] / "submission.csv")
    assert table.columns == ["id", "mood", "why"]
    assert set(table["why"]) <= {"anger", "fear", "joy"}
    output = pl.read_parquet(made["output"])
    assert output["label"][0].startswith("mood:")
    report = evaluate(EvaluateOptions("linked", truth=place / "truth" / "test.csv", start=place))
    assert report.groups["exact_match"] == pytest.approx(report.report.exact_match)
    assert report.groups["exact_match"] > 0.5
    cli("evaluate", "linked", cwd=place, check=0)
    found = decode(DecodeOptions("linked", start=place))
    version = place / "submissions" / found.submission
    joint = pl.read_csv(version / "submission.csv")
    assert set(zip(joint["mood"], joint["why"], strict=True)) <= set(WORDS)
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["honest_score"] == found.honest
    again = decode(DecodeOptions("linked", decoder=found.decoder, name="again", start=place))
    assert (place / "submissions" / again.submission / "submission.csv").read_bytes() == (
        version / "submission.csv"
    ).read_bytes()
    with pytest.raises(UserError, match="--decoder names one that is fitted"):
        decode(DecodeOptions("linked", decoder=found.decoder, metric="exact_match", start=place))
    cli("validate", str(version / "submission.csv"), cwd=place, check=0)
    page = json.loads(cli("report", "--output", "groups.html", "--json", cwd=place, check=0).stdout)
    assert page["problems"] == []  # nothing is damaged here: decoders, sets of labels, a column a group
    assert (place / "groups.html").read_text().count("is not for multi_group tasks") == 2
    told = cli("decode", "mean", "--no-submission", cwd=place, check=0).stdout
    assert "95 % within [" in told
    answer = json.loads(cli("decode", "mean", "--no-submission", "--json", cwd=place, check=0).stdout)
    assert answer["low"] <= answer["gain"] <= answer["high"]
    assert answer["gain"] == pytest.approx(answer["honest"] - answer["score_alone"])
    assert answer["verdict"] in told
    each = decode(DecodeOptions("mean", metric="group_accuracy", submission=False, start=place))
    assert np.mean(each.joint) == pytest.approx(each.honest)


def test_decode_tells_where_the_other_metric_falls():
    codes = np.array([[0, 0], [0, 0], [0, 0]])
    alone, decided = np.array([[0, 1], [1, 0], [0, 1]]), np.array([[0, 0], [1, 1], [1, 1]])
    decoder = JointDecoder((2, 2), (((0.0, 0.0), (0.0, 0.0)),), 1.0, "exact_match", 0.0, 1 / 3, 1 / 3, 0.0)
    assert losses(decoder, codes, alone, decided) == ("group_accuracy falls from 0.50000 to 0.33333",)
    assert losses(decoder, codes, alone, codes) == ()


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        ("blend", "`cli score` averages runs"),
        ("vote", "`cli score` averages runs"),
        ("rescale mean", "`cli decode RUN`"),
        ("similarity mean linked", "`cli evaluate RUN`"),
        ("diff a.csv b.csv", "`cli evaluate RUN`"),
        ("leaderboard noise", "`cli leaderboard` ranks"),
        ("leaderboard predict 1", "`cli leaderboard` ranks"),
        ("pick", "`cli leaderboard` ranks"),
        ("import x --oof train.csv", "`cli train RECIPE`"),
    ],
)
def test_commands_for_one_label_column_say_so_and_what_serves_instead(place, cli, command, instead):
    told = cli(*command.split(), cwd=place, check=2).stderr
    assert "is not for multi_group tasks" in told
    assert told.split("`")[1] in f"cli {command}"
    assert f"next:     {instead}" in told


def test_decode_is_refused_where_there_are_no_groups(make_workspace):
    root = make_workspace({"one": 1.0})
    with pytest.raises(UserError, match="is for multi_group tasks"):
        decode(DecodeOptions("one", start=root))


def test_rows_with_several_labels_of_a_group_are_refused(place, tmp_path):
    text = (place / "competition.toml").read_text()
    (tmp_path / "competition.toml").write_text(text)
    pl.read_csv(place / "train.csv").with_columns(why=pl.lit("fear|joy")).write_csv(tmp_path / "train.csv")
    (tmp_path / "mean.toml").write_text(RECIPE.format(head="mean"))
    with pytest.raises(UserError, match="60 of 60 rows have several labels in a group"):
        train(TrainOptions(tmp_path / "mean.toml", device="cpu", start=tmp_path))


def test_a_linked_head_is_refused_for_one_label_column(place, tmp_path):
    pl.read_csv(place / "train.csv").write_csv(tmp_path / "train.csv")
    (tmp_path / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "accuracy"\ntext_column = "text"\nid_column = "id"\n'
        'label_column = "mood"\nclasses = ["bad", "good"]\ntrain = "train.csv"\n'
    )
    (tmp_path / "linked.toml").write_text(RECIPE.format(head="linked"))
    with pytest.raises(Exception, match="is not for single_label tasks"):
        train(TrainOptions(tmp_path / "linked.toml", device="cpu", start=tmp_path))


def test_a_decoder_decides_by_names_where_the_classes_were_reordered_since(place, tmp_path, cli):
    root = tmp_path / "moved"
    shutil.copytree(place, root)
    cli("score", "--input", "test.csv", "--device", "cpu", cwd=root, check=0)
    first = decode(DecodeOptions("mean", start=root))
    replayed = decode(DecodeOptions("mean", decoder=first.decoder, submission=False, start=root))
    toml = root / "competition.toml"
    turned = toml.read_text().replace('["anger", "fear", "joy"]', '["joy", "anger", "fear"]')
    assert turned != toml.read_text()
    toml.write_text(turned)
    cli("score", "--input", "test.csv", "--device", "cpu", cwd=root, check=0)
    again = decode(DecodeOptions("mean", decoder=first.decoder, name="again", start=root))
    files = [root / "submissions" / found.submission / "submission.csv" for found in (first, again)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert again.joint == replayed.joint
    anew = decode(DecodeOptions("mean", name="anew", start=root))
    assert anew.score == pytest.approx(first.score)
