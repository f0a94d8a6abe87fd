"""Whether a job's networks are compiled: who decides, what is remembered, that a job goes on as it began."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from jobs import compiling, score
from jobs.resolve import InputOptions
from jobs.score import ScoreOptions
from jobs.show.progress import SilentWatch
from models.inference import compiled
from models.inference.gain import CompileTrial


class Notes(SilentWatch):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


class FakeScorer:
    """On a GPU, as far as anybody asks."""

    device = SimpleNamespace(type="cuda")
    flop_per_token = 1e8
    task = "single_label"
    precision = "bf16"
    compiled = False

    def set_compiled(self, wanted):
        self.compiled = wanted


@pytest.fixture
def world(monkeypatch, tmp_path):
    """A job of `seconds`, on a device where compiled layers would be found to gain what `trial` says."""
    found = SimpleNamespace(seconds=10_000.0, trial=CompileTrial(1.2, 15.0, 0.001, 4096), n_trials=0)

    def try_compiled(scorer, sample):
        found.n_trials += 1
        scorer.set_compiled(found.trial.pays)
        return found.trial

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "try_compiled", try_compiled)
    monkeypatch.setattr(compiling, "_expected_seconds", lambda work, sample: found.seconds)
    monkeypatch.setattr(compiling, "texts_of", lambda plan, task: pl.Series(["text"]))
    monkeypatch.setattr(compiling, "_key", lambda work: "these models here")
    return found


def decide(asked="auto", scorer=None, n_devices=1):
    watch, scorer = Notes(), scorer or FakeScorer()
    work = SimpleNamespace(scorer=scorer, job=SimpleNamespace(plan=SimpleNamespace(tasks=["first"])))
    taken = compiling.decide(work, asked, watch, n_devices)
    assert taken == scorer.compiled
    return taken, watch.notes


def test_a_long_job_on_a_gpu_tries_it_once_and_remembers(world):
    taken, notes = decide()
    assert taken
    assert notes == [
        "compiled layers are 1.20 times as fast as eager ones on 4,096 rows, probabilities at most 0.0010 apart: taken "
        "(15 s to compile)"
    ]
    assert decide() == (True, [])
    assert world.n_trials == 1


def test_a_job_that_ends_before_compiling_would_pay_is_not_held_up(world):
    world.seconds = 60.0
    assert decide() == (False, [])
    assert world.n_trials == 0
    world.seconds = 10_000.0
    decide()
    world.seconds = 80.0  # saves 13 seconds, costs 15
    assert decide() == (False, [])
    world.seconds = 100.0
    assert decide() == (True, [])


def test_devices_that_share_the_rows_have_less_time_to_win_back(world):
    world.seconds = 400.0  # saves 67 seconds, costs 15
    assert decide(n_devices=8) == (False, [])
    assert decide()[0]
    assert decide(n_devices=2) == (True, [])
    assert decide(n_devices=8) == (False, [])


def test_what_does_not_pay_is_not_taken_and_not_tried_again(world):
    world.trial = CompileTrial(1.01, 15.0, 0.0, 4096)
    taken, notes = decide()
    assert not taken
    assert "not taken" in notes[0]
    assert decide() == (False, [])
    assert world.n_trials == 1


def test_what_cannot_be_compiled_is_told_once(world):
    world.trial = CompileTrial(0.0, 3.0, 0.0, 4096)
    assert decide() == (
        False,
        ["the networks cannot be compiled here (3 s to find out); --compile off skips the trial"],
    )
    assert decide() == (False, [])


def test_a_cache_that_cannot_be_read_or_written_does_no_harm(world, tmp_path, monkeypatch):
    (tmp_path / "cache" / "kaggle-jobs").mkdir(parents=True)
    (tmp_path / "cache" / "kaggle-jobs" / "compiled.json").write_text('{"these models here": {"gain": 1}}')
    assert decide()[0]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert decide()[0]
    assert world.n_trials == 2


def test_a_cpu_a_linear_model_and_off_are_left_alone(world):
    class OnCpu(FakeScorer):
        device = SimpleNamespace(type="cpu")

    class Linear(FakeScorer):
        flop_per_token = 0

    assert decide(scorer=OnCpu()) == (False, [])
    assert decide("on", Linear()) == (False, [])
    assert decide("off") == (False, [])
    assert decide("on", OnCpu()) == (True, [])
    assert world.n_trials == 0


def test_a_job_goes_on_as_it_began(tmp_path, monkeypatch, save_model):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    monkeypatch.setattr(compiled, "regions", lambda network: compiled.layers(network)[:1])  # for time
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"r{i},w{i} w{i + 1}\n" for i in range(20)))
    model = save_model(tmp_path / "models" / "tiny", 0)

    def options(**changes):
        return ScoreOptions(
            InputOptions(("rows.csv",)), (model,), Path("out.parquet"), precision="fp32", device="cpu", shard_rows=5,
            **changes,
        )  # fmt: skip

    score.run(options(compile="on"), Notes())
    expected = pl.read_parquet("out.parquet")
    (folder,) = tmp_path.glob(".jobs/*-*")
    assert json.loads((folder / "precision.json").read_text())["compiled"] is True

    def without_last_part():
        (folder / "result.json").unlink()
        (folder / "parts" / "00003.parquet").unlink()

    enabled = []
    real = compiled.enable
    monkeypatch.setattr(compiled, "enable", lambda *a, **k: enabled.append(1) or real(*a, **k))
    without_last_part()
    assert score.run(options(), Notes()).resumed_rows == 15
    assert enabled
    assert pl.read_parquet("out.parquet").equals(expected)

    without_last_part()
    watch = Notes()
    score.run(options(compile="off"), watch)
    assert watch.notes == ["begun with compiled layers, resumed with eager ones: last digits may differ"]
    probs = pl.col("^prob_.*$")
    found = pl.read_parquet("out.parquet").select(probs).to_numpy()
    np.testing.assert_allclose(found, expected.select(probs).to_numpy(), atol=1e-6)

    watch = Notes()
    assert score.run(options(compile="off"), watch).was_complete
    assert watch.notes == ["the scores were computed before, with compiled layers: --compile off changes nothing"]


def test_layers_asked_for_too_late_are_told(tmp_path, monkeypatch, save_model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("id,text\na,w1\nb,w2\n")
    asked = ScoreOptions(
        InputOptions(("rows.csv",)), (save_model(tmp_path / "tiny", 0),), Path("out.csv"), precision="fp32"
    )
    score.run(asked, SilentWatch())
    for force, note in (
        (False, "the scores were computed before, with eager layers: --compile on changes nothing"),
        (True, "begun with eager layers: going on so, --compile on changes nothing"),
    ):
        watch = Notes()
        score.run(replace(asked, compile="on", force=force), watch)
        assert watch.notes == [note]
