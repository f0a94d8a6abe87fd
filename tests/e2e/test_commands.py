"""The commands as a user types them, on the demo's data: the whole way, and mistakes on it."""

import csv
import json
import shutil

import polars as pl
import pytest

from kaggle_tools.competition import Competition
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions import find_version, validate
from tests.conftest import ROOT

DEMO = ROOT / "data" / "demo"

TINY = """
kind = "transformer"
seed = 1
[encoder.scratch]
layers = 1
hidden = 32
heads = 2
intermediate = 64
vocab_size = 800
[data]
max_length = 32
[folds]
n = 3
[training]
epochs = 1
batch_size = 32
learning_rate = 1e-3
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A competition with 600 training rows, 150 test rows and the demo's columns."""
    root = tmp_path_factory.mktemp("workspace")
    for name, rows in (("train", 600), ("test", 150), ("sample_submission", 150)):
        frame = pl.read_csv(DEMO / f"{name}.csv", infer_schema=False)
        frame.head(rows).write_csv(root / f"{name}.csv")
    (root / "tiny.toml").write_text(TINY)
    (root / "linear.toml").write_text('kind = "linear"\n[folds]\nn = 3\n')
    return root


@pytest.fixture
def here(workspace, tmp_path):
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_from_raw_files_to_a_valid_submission(here, cli):
    cli("init", "--train", "train.csv", "--test", "test.csv", "--sample", "sample_submission.csv", check=0)
    trained = json.loads(cli("train", "tiny.toml", "--json", check=0).stdout)
    assert (trained["run"]["name"], trained["missing"], trained["n_rows"]) == ("tiny", [], 600)
    cli("train", "linear.toml", "--quiet", check=0)

    # Half of the class "neutral" for everybody, from somewhere else: it becomes a run that blends later.
    classes = Competition.load(here / "competition.toml").classes
    for name in ("train", "test"):
        ids = pl.read_csv(here / f"{name}.csv", infer_schema=False)["id"]
        pl.DataFrame({"id": ids.reverse(), **{c: [1 / len(classes)] * len(ids) for c in classes}}).write_csv(
            here / f"flat_{name}.csv"
        )
    cli("import", "flat", "--oof", "flat_train.csv", "--test", "flat_test.csv", check=0)

    scored = json.loads(cli("score", "--input", "test.csv", "--json", check=0).stdout)
    assert sorted(scored["predictions"]) == ["linear", "tiny"]
    version = find_version(here / "submissions", "latest")
    assert version.title == scored["submission"] == "v0001-mean"
    assert validate(version.submission, here / "sample_submission.csv").ok
    with version.submission.open(newline="") as handle, (here / "test.csv").open(newline="") as test:
        assert [r["id"] for r in csv.DictReader(handle)] == [r["id"] for r in csv.DictReader(test)]
    mean = [Predictions.load(here / "runs" / run / "predictions" / "test.parquet") for run in ("tiny", "linear")]
    table = pl.read_csv(version.submission, infer_schema=False)
    expected = ((mean[0].probs + mean[1].align(mean[0].ids).probs) / 2).argmax(1)
    assert table["group"].to_list() == [mean[0].classes[i] for i in expected]

    again = json.loads(cli("score", "--input", "test.csv", "--json", check=0).stdout)
    assert (again["was_complete"], again["submission"]) == (True, "v0001-mean")
    listed = json.loads(cli("jobs", "--json", check=0).stdout)
    assert [(job["state"], job["rows_done"]) for job in listed] == [("complete", 150)]
    assert listed[0]["id"] in cli("jobs", "show", "test", check=0).stdout


def test_training_again_after_a_fold_is_lost_gives_the_same_oof(here, cli):
    cli("init", "--train", "train.csv", "--test", "test.csv", check=0)
    cli("train", "tiny.toml", "--quiet", check=0)
    whole = (here / "runs" / "tiny" / "oof.parquet").read_bytes()
    shutil.rmtree(here / "runs" / "tiny" / "fold1")
    (here / "runs" / "tiny" / "run.json").unlink()
    resumed = json.loads(cli("train", "tiny.toml", "--json", check=0).stdout)
    assert [fold["reused"] for fold in resumed["folds"]] == [True, False, True]
    assert (here / "runs" / "tiny" / "oof.parquet").read_bytes() == whole


def test_verbose_says_where_each_setting_came_from(here, cli):
    cli("init", "--train", "train.csv", "--test", "test.csv", "--quiet", check=0)
    cli("train", "linear.toml", "--quiet", check=0)
    told = cli(
        *("score", "--input", "test.csv", "--limit", "20", "--verbose"),
        check=0,
        env={"KAGGLE_JOBS_SCORE_DEVICE": "cpu"},
    ).stderr
    assert "limit = 20 (from flag)" in told
    assert "device = 'cpu' (from environment)" in told
    assert "text column = text (from competition.toml)" in told
    assert "precision = 'auto' (from default)" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "--input", "test.csv"), "no runs to score with"),
        (("score", "--input", "tset.csv"), "did you mean 'test.csv'?"),
        (("train", "tiny.toml"), "no competition.toml here or in any folder above"),
        (("train", "tyni.toml"), "tyni.toml"),
        (("init",), "--train"),
        (("import", "x", "--oof", "nowhere.csv"), "no competition.toml"),
        (("jobs", "show", "x"), "no job's id begins with 'x'"),
        (("score",), "Missing option '--input'"),
        (("scroe",), "No such command 'scroe'"),
    ],
)
def test_a_mistake_gives_one_error_and_exit_code_2(here, cli, arguments, message):
    done = cli(*arguments, check=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_label_outside_the_classes_names_row_and_value(here, cli):
    cli("init", "--train", "train.csv", "--test", "test.csv", "--quiet", check=0)
    text = (here / "train.csv").read_text().replace(",positive\n", ",postive\n", 1)
    (here / "train.csv").write_text(text)
    done = cli("train", "linear.toml", check=2)
    assert "postive" in done.stderr
    assert not (here / "runs" / "linear" / "run.json").exists()


def test_doctor_finds_this_machine(here, cli):
    report = json.loads(cli("doctor", "--json").stdout)
    assert {finding["group"] for finding in report["findings"]} >= {"machine", "devices", "libraries", "workspace"}


def test_the_competition_file_is_not_overwritten_without_force(here, cli):
    cli("init", "--train", "train.csv", "--quiet", check=0)
    (here / "competition.toml").write_text("mine")
    assert "exists" in cli("init", "--train", "train.csv", check=2).stderr
    assert (here / "competition.toml").read_text() == "mine"
    cli("init", "--train", "train.csv", "--force", "--quiet", check=0)
    assert Competition.load(here / "competition.toml").label_column == "group"
