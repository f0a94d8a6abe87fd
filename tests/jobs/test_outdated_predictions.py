"""A test file that got other content under the same ids: whoever makes a submission of old scores is told."""

import json
from dataclasses import replace

import pytest

from kaggle_tools.files import sample_digest
from kaggle_tools.predictions import Predictions
from kaggle_tools.seals import sealed

COMMANDS = {
    "blend": ("blend", "--method", "mean"),
    "rescale": ("rescale", "weak"),
    "vote": ("vote", "--plain"),
    "apply": ("apply", "latest"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_scores_of_a_test_file_that_has_changed_since_are_told_by_run(workspace, call, command):
    table = workspace / "test.csv"
    for name in ("strong", "middling", "weak"):
        path = workspace / "runs" / name / "predictions" / "test.parquet"
        scored = Predictions.load(path)
        # As `cli score` writes them; an import knows of no table.
        input_ = {} if name == "middling" else {"input": sample_digest(table)}
        replace(scored, meta={**scored.meta, **input_}).save(path)
    assert call("blend", "--method", "mean")[0] == 0
    assert json.loads(call(*COMMANDS[command], "--json")[1])["notes"] == []
    path = workspace / "runs" / "strong" / "predictions" / "test.parquet"
    table.write_text(table.read_text().replace('""', "other words"))
    scored = Predictions.load(path)
    replace(scored, meta={**scored.meta, "input": sample_digest(table)}).save(path)  # scored again, 'weak' is not
    notes = json.loads(call(*COMMANDS[command], "--json")[1])["notes"]
    assert notes == ["predictions of weak are of other content than test.csv has now: score it again"]


@pytest.mark.parametrize("command", [("blend", "--method", "mean"), ("rescale", "weak"), ("vote", "--plain")])
def test_labels_of_a_training_table_that_has_changed_since_are_told_by_run(workspace, call, command):
    table, settings = workspace / "train.csv", workspace / "competition.toml"
    table.write_text("id,text,label\n")
    settings.write_text(f'train = "train.csv"\n{settings.read_text()}')
    for name in ("strong", "weak"):  # as `cli train` and `cli import` write them
        (workspace / "runs" / name / "run.json").write_text(json.dumps(sealed({"train": sample_digest(table)})))
    assert json.loads(call(*command, "--json")[1])["notes"] == []
    table.write_text("id,text,label\nx,words,ant\n")
    (note,) = json.loads(call(*command, "--json")[1])["notes"]
    assert note.startswith("train.csv changed since ")
    assert "weak was made" in note
