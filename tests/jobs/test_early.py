"""A job that is complete is found without torch, and only where `jobs.score.run` would find it complete, too."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from jobs import early, score
from jobs.resolve import InputOptions
from jobs.runner.engine_options import EngineOptions
from jobs.runner.store import JobStore
from jobs.score import ScoreOptions
from jobs.show.progress import SilentWatch
from kaggle_tools.errors import UserError
from models.checkpoint import CheckpointSpec
from models.inference.bounds import GateBounds

ROWS = "id,text\n" + "".join(f"r{i},w{i} w{i + 1}\n" for i in range(7))


class Notes(SilentWatch):
    """A watch that remembers."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return Path(save_model(tmp_path_factory.mktemp("models") / "tiny", 0))


@pytest.fixture
def done(tmp_path, model, monkeypatch):
    """What was asked for, and is complete: a run of the workspace over a table, by name."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "runs" / "tiny" / "fold0")
    (tmp_path / "runs" / "tiny" / "run.json").write_text("{}")
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "accuracy"\ntext_column = "text"\nid_column = "id"\n'
        'classes = ["emu", "dog", "cat"]\ntest = "test.csv"\n'
    )
    asked = ScoreOptions(InputOptions(("rows.csv",)), ("tiny",), Path("out.parquet"), precision="fp32", device="cpu")
    score.run(asked, Notes())
    return asked


def found(asked):
    """What `complete_already` gives, and what was noted."""
    watch = Notes()
    return early.complete_already(asked, early.look(asked), watch), watch.notes


def test_the_result_and_what_is_noted_are_those_of_a_rerun(done):
    spec = CheckpointSpec("transformer", ("cat", "dog", "emu"), max_length=40)
    spec.save(Path("runs/tiny/fold0"))
    Path("runs/tiny/run.json").write_text(json.dumps({"checkpoints": {"fold0": "other"}, "text_columns": ["body"]}))
    for limit in (None, 3):
        asked = replace(done, limit=limit, output=Path(f"out-{limit}.parquet"))
        score.run(asked, Notes())
        asked, watch = replace(asked, compile="on"), Notes()
        again = score.run(asked, watch)
        quick, notes = found(asked)
        assert again.was_complete
        assert replace(quick, seconds=again.seconds) == again
        assert notes == watch.notes
        assert len(notes) == 3


def test_a_model_from_elsewhere_is_known_by_its_configuration(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(ROWS)
    asked = ScoreOptions(InputOptions(("rows.csv",)), (str(model),), Path("out.parquet"), precision="fp32")
    assert found(asked)[0] is None
    score.run(asked, Notes())
    assert found(asked)[0].was_complete


def write_anew(path):
    pl.read_parquet(path).write_parquet(path)


def damage(path):
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda: Path("out.parquet").unlink(),
        lambda: damage(Path("out.parquet")),
        lambda: Path("runs/tiny/predictions/rows.parquet").unlink(),
        lambda: damage(Path("runs/tiny/predictions/rows.parquet")),
        lambda: write_anew(Path("runs/tiny/predictions/rows.parquet")),
        lambda: Path("rows.csv").write_text(ROWS.replace("w3", "w5")),
        lambda: damage(Path("runs/tiny/fold0/model.safetensors")),
        lambda: Path("competition.toml").write_text(
            Path("competition.toml").read_text().replace('"emu", "dog"', '"dog", "emu"')
        ),
        lambda: next(Path(".jobs").glob("*-*/result.json")).unlink(),
    ],
)
def test_it_is_not_complete_once_anything_has_changed(done, change):
    change()
    assert found(done)[0] is None


@pytest.mark.parametrize(
    "more",
    [
        {"force": True},
        {"each": True},
        {"output": Path("other.parquet")},
        {"limit": 3},
        {"engine": EngineOptions("ray")},
        {"device": "cuda:all"},
    ],
)
def test_it_is_not_complete_where_something_else_is_asked_for(done, more):
    assert found(replace(done, **more))[0] is None


def test_a_table_that_was_touched_is_compared_with_the_plan(done, monkeypatch):
    os.utime("rows.csv")
    assert found(done)[0].was_complete
    monkeypatch.setattr("jobs.runner.plan.sample_digest", lambda _path: "0" * 16)  # as where no sample is what differs
    asked = replace(done, output=Path("other.parquet"))
    score.run(asked, Notes())
    assert found(asked)[0].was_complete
    Path("rows.csv").write_text(ROWS.replace("w3", "w5"))
    assert found(asked)[0] is None


def test_a_submission_that_is_missing_is_made(done):
    shutil.copy("rows.csv", "test.csv")
    asked = replace(done, input=InputOptions(("test.csv",)), output=None)
    assert early.score(replace(asked, submission=False), Notes()).submission is None
    assert early.score(replace(asked, submission=False), Notes()).was_complete
    assert found(asked)[0] is None
    assert found(replace(asked, submission=False))[0].was_complete


def test_what_is_asked_for_is_checked_all_the_same(done):
    folder = next(Path(".jobs").glob("*-*"))
    gate = {"precision": "bf16", "rows": 9, "flips": 0.02, "difference": 0.1, "passed": True}
    JobStore(folder).write("precision.json", {"precision": "bf16", "device": "cpu", "gate": gate})
    with pytest.raises(UserError, match="strays from float32 by more than is allowed now"):
        found(done)
    assert found(replace(done, bounds=GateBounds(0.02, 0.1)))[0].was_complete
    with pytest.raises(UserError, match="another process is at work"), JobStore(folder).lock():
        found(done)
    with pytest.raises(UserError, match="--output is an input"):
        found(replace(done, output=Path("rows.csv")))


def test_a_rerun_loads_neither_torch_nor_transformers(done, tmp_path, cli):
    for name in ("torch", "transformers", "sklearn"):
        (tmp_path / "without" / name).mkdir(parents=True)
        (tmp_path / "without" / name / "__init__.py").write_text("raise ImportError('this takes seconds')\n")
    path = {"PYTHONPATH": f"{tmp_path / 'without'}:{Path(__file__).parents[2]}"}
    words = ("score", "--input", "rows.csv", "--model", "tiny", "--output", "out.parquet", "--precision", "fp32")
    assert json.loads(cli(*words, "--json", env=path, check=0).stdout)["was_complete"]
