"""Lengths, a run with tricks, its report: as a person calls them."""

import json

import polars as pl

from tests.conftest import ROOT
from tests.jobs.test_train import RICH

DEMO = ROOT / "data" / "demo"


def test_lengths_training_and_report_on_the_demo(cli, tmp_path):
    pl.read_csv(DEMO / "train.csv").head(300).write_csv(tmp_path / "train.csv")
    cli("init", "--train", "train.csv", check=0)
    (tmp_path / "rich.toml").write_text(RICH.replace("epochs = 2", "epochs = 1"))
    told = cli("lengths", check=0).stdout
    assert "suggested" in told
    lengths = json.loads(cli("lengths", "--recipe", "rich.toml", "--json", check=0).stdout)
    assert lengths["unit"] == "tokens"
    trained = cli("train", "rich.toml", check=0)
    assert "out-of-fold" in trained.stdout
    report = json.loads(cli("evaluate", "rich", "--json", check=0).stdout)
    run = json.loads((tmp_path / "runs" / "rich" / "run.json").read_text())
    assert report["score"] == run["score"]
    assert report["report"]["n_rows"] == 300
    assert "weighted" in cli("evaluate", "rich", check=0).stdout
    refused = cli("evaluate", "rihc", check=2)
    assert "did you mean 'rich'?" in refused.stderr
