"""Jobs computed by OpenVINO: chosen once, kept, gone on with. With a stand-in; the last tests with the real one."""

import gzip
import json
import pickle
import queue
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs import score
from jobs.errors import Interrupted
from jobs.resolve import InputOptions
from jobs.runner.local import Part
from jobs.runner.numerics import Numerics, calibration_of
from jobs.runner.planner import load_plan
from jobs.runner.reports import Failed
from jobs.runner.store import JobStore
from jobs.runner.worker import Duty, ShardWorker
from jobs.score import ScoreOptions
from kaggle_tools.errors import UserError
from models.errors import ModelError
from models.inference import choice
from models.inference import openvino_runtime as runtime
from models.inference.gate import GateBounds
from models.inference.scorer import Scorer
from tests.jobs.test_score import Notes

TEXTS = [f"w{i} w{i // 7} {'w3 ' * (i % 9)}" for i in range(300)]
WIDE = GateBounds(1.0, 1.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0, num_hidden_layers=1)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = "".join(f"r{i},{text}\n" for i, text in enumerate(TEXTS))
    (tmp_path / "rows.csv").write_text(f"id,text\n{rows}")
    return tmp_path


@pytest.fixture
def race(monkeypatch):
    """Large tables begin here, and the race ends as it is told to."""
    monkeypatch.setattr(choice, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(choice, "LEAST_SECONDS_TO_MEASURE", 0.0)
    said = {"ratio": 2.0, "turn": 0}

    def timed(work):
        work()
        said["turn"] += 1
        return said["ratio"] if said["turn"] % 2 else 1.0

    monkeypatch.setattr(choice, "_timed", timed)
    return said


class CutAfter(Notes):
    """Interrupts the job behind so many parts."""

    def __init__(self, parts):
        super().__init__()
        self.parts = parts

    def committed(self, stats, seconds):
        super().committed(stats, seconds)
        if self.commits == self.parts:
            raise Interrupted(2)


def options(model, **changes):
    asked = ScoreOptions(
        input=InputOptions(("rows.csv",)), models=(model,), output=Path("out.csv"), precision="fp32", shard_rows=100
    )
    return replace(asked, **changes)


def decided(folder):
    (path,) = folder.glob(".jobs/rows-*/precision.json")
    return JobStore(path.parent).read("precision.json")


def expected(model, texts=TEXTS, **how):
    """As the job cuts them: a hundred rows at a time."""
    scorer = Scorer(model, **how)
    return np.concatenate([scorer.score(texts[i : i + 100]).probabilities for i in range(0, len(texts), 100)])


def scores():
    return pl.read_csv("out.csv").select(pl.col("^prob_.*$")).to_numpy()


def test_the_faster_backend_is_told_and_kept_and_a_cut_job_goes_on_with_it(here, model, fake_openvino, race):
    whole = score.run(options(model, output=Path("whole.csv")), Notes())
    watch = CutAfter(1)
    (here / "rows2.csv").write_bytes((here / "rows.csv").read_bytes())
    again = options(model, input=InputOptions(("rows2.csv",)))
    with pytest.raises(Interrupted):
        score.run(again, watch)
    race["ratio"] = 0.1  # if it were asked again, torch would win
    for file in (here / "cache").rglob("*.json"):
        file.unlink()
    resumed = score.run(again, Notes())
    assert resumed.resumed_rows >= 100
    assert (here / "out.csv").read_bytes() == (here / "whole.csv").read_bytes()
    assert (whole.backend, resumed.backend, decided(here)["backend"]) == ("openvino", "openvino", "openvino")
    np.testing.assert_allclose(scores(), expected(model, precision="fp32", backend="openvino"), atol=1e-7)
    assert not np.allclose(scores(), expected(model, precision="fp32", backend="torch"), atol=1e-7, rtol=0)


def test_who_computes_is_said_once_it_was_measured(model, fake_openvino, race, call):
    watch = Notes()
    score.run(options(model), watch)
    assert watch.notes == ["OpenVINO is 2.00 times as fast as torch in fp32 on rows of this input: it computes"]
    code, out, err = call("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "-o", "b.csv")
    assert code == 0, err
    assert "fp32 with OpenVINO" in out
    code, out, _ = call("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "-o", "b.csv", "--json")
    assert json.loads(out)["backend"] == "openvino"


def test_the_gate_compares_with_float32_by_torch_whoever_was_raced_before(model, fake_openvino, race, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda _: True)  # in emulation, where there is none
    asked = options(model, precision="bf16", bounds=WIDE)
    raced = score.run(asked, Notes())
    named = score.run(replace(asked, backend="openvino", output=Path("named.csv")), Notes())
    assert (raced.backend, named.backend) == ("openvino", "openvino")
    assert raced.gate == named.gate
    exact, fast = (expected(model, precision="fp32", backend=name) for name in ("torch", "openvino"))
    assert raced.gate.difference > 100 * np.abs(exact - fast).max()


def test_a_job_whose_network_cannot_be_exported_says_that_torch_computed(model, fake_openvino):
    fake_openvino.fails = "no"
    watch = Notes()
    assert score.run(options(model, backend="openvino"), watch).backend == "torch"
    assert [note for note in watch.notes if "computed by torch, not by OpenVINO" in note]


def test_a_small_table_is_scored_with_torch_and_nothing_is_exported(model, fake_openvino):
    assert score.run(options(model), Notes()).backend == "torch"
    assert fake_openvino.converted == 0


def test_another_backend_is_another_job(here, model, fake_openvino):
    by_torch = score.run(options(model, backend="torch"), Notes())
    by_openvino = score.run(options(model, backend="openvino", output=Path("other.csv")), Notes())
    assert by_torch.job != by_openvino.job
    assert (by_torch.backend, by_openvino.backend) == ("torch", "openvino")


def test_a_job_begun_before_there_were_backends_goes_on_with_torch(here, model, fake_openvino, race):
    with pytest.raises(Interrupted):
        score.run(options(model, backend="torch"), CutAfter(1))
    (path,) = here.glob(".jobs/rows-*/precision.json")
    store = JobStore(path.parent)
    store.write("precision.json", {k: v for k, v in store.read("precision.json").items() if k != "backend"})
    watch = Notes()
    assert score.run(options(model, backend="torch"), watch).backend == "torch"
    assert watch.notes == []


@pytest.mark.parametrize(
    ("asked", "begun"),
    [({"backend": "openvino"}, "cpu in fp32 with OpenVINO"), ({"precision": "int8"}, "cpu in int8 with OpenVINO")],
)
def test_a_job_whose_backend_is_gone_goes_on_with_torch_and_says_so(model, fake_openvino, asked, begun):
    with pytest.raises(Interrupted):
        score.run(options(model, bounds=WIDE, **asked), CutAfter(1))
    fake_openvino.installed = False
    watch = Notes()
    result = score.run(options(model, bounds=WIDE, **asked), watch)
    assert (result.precision, result.backend) == ("fp32", "torch")
    assert watch.notes == [f"begun on {begun}, resumed on cpu in fp32: last digits may differ"]


@pytest.mark.parametrize("asked", [{"backend": "openvino"}, {"precision": "int8"}])
def test_what_is_not_installed_is_an_error_that_says_how(here, model, fake_openvino, asked):
    fake_openvino.installed = False
    with pytest.raises(ModelError, match="installed") as caught:
        score.run(options(model, **asked), Notes())
    assert caught.value.details["next"] == "pip install 'kaggle-jobs[openvino]'"


def test_int8_that_strays_too_far_is_refused_with_what_was_measured(here, model, fake_openvino, monkeypatch):
    monkeypatch.setattr(runtime, "quantise", lambda graph, rows: (graph[0], -1.0))
    with pytest.raises(UserError, match="int8 strays too far from float32 on this input") as caught:
        score.run(options(model, precision="int8"), Notes())
    assert "labels flipped" in caught.value.details["found"]
    assert not list(here.glob(".jobs/rows-*/parts/*"))


@pytest.mark.parametrize(("name", "parts"), [("rows.csv", {"x1", "x2", "x3"}), ("rows.csv.gz", {"x0"})])
def test_int8_is_calibrated_on_rows_from_all_over_a_table_but_of_a_compressed_one_on_its_head(here, model, name, parts):
    rows = "id,text\n" + "".join(f"r{i},w{i} x{i // 40}\n" for i in range(160))
    (here / name).write_bytes(gzip.compress(rows.encode()) if name.endswith(".gz") else rows.encode())
    score.run(options(model, input=InputOptions((name,)), shard_rows=40), Notes())
    (folder,) = here.glob(".jobs/rows-*")
    texts = calibration_of(load_plan(JobStore(folder)), "cpu")
    assert {text.split()[1] for text in texts} == parts
    assert len(set(texts)) == len(texts) >= 32
    if name == "rows.csv":  # the gate judges all of the first shard, so none of it is left
        assert not {f"w{i} x0" for i in range(40)} & set(texts)


@pytest.mark.parametrize("asked", [{"backend": "openvino"}, {"precision": "int8"}])
def test_a_worker_computes_as_was_agreed_and_gives_the_same_scores(here, model, fake_openvino, asked):
    score.run(options(model, bounds=WIDE, **asked), Notes())
    (folder,) = here.glob(".jobs/rows-*")
    parts = {path: pl.read_parquet(path) for path in folder.glob("parts/*.parquet")}
    for path in parts:
        path.unlink()
    said: queue.SimpleQueue = queue.SimpleQueue()
    found = Numerics(**{**JobStore(folder).read("precision.json"), "gate": None})
    agreed = {"precision": found.precision, "threads": found.threads, "backend": found.backend}
    worker = ShardWorker(Duty(folder, {"tiny": (model,)}, **agreed), "cpu", said.put)
    for index in range(3):
        worker.take(index)
    done = 0
    while done < 3:
        report = said.get(timeout=300)
        assert not isinstance(report, Failed), report
        done += isinstance(report, Part)
    worker.stop(300)
    assert len(parts) == 3
    assert all(pl.read_parquet(path).equals(part) for path, part in parts.items())
    assert len(fake_openvino.quantised) == (asked != {"backend": "openvino"})


def test_a_failure_that_cannot_be_sent_is_told_all_the_same(here, model, monkeypatch):
    score.run(options(model), Notes())
    (folder,) = here.glob(".jobs/rows-*")
    said: queue.SimpleQueue = queue.SimpleQueue()

    def through_a_pipe(report):
        said.put(pickle.loads(pickle.dumps(report)))

    class Stubborn(Exception):
        def __init__(self):
            super().__init__("device is gone")
            self.lock = threading.Lock()

    def fail(*_):
        raise Stubborn

    monkeypatch.setattr("models.inference.scorer.Scorer.launch", fail)
    worker = ShardWorker(Duty(folder, {"tiny": (model,)}), "cpu", through_a_pipe)
    worker.take(0)
    report = said.get(timeout=60)
    worker.stop(60)
    assert isinstance(report, Failed)
    assert str(report.error) == "Stubborn: device is gone"
    assert "in a worker" in report.error.__notes__[0]


def test_an_int8_job_cut_in_the_middle_gives_the_same_bytes_without_its_cache_too(here, model, monkeypatch):
    needs_openvino()
    monkeypatch.setattr("models.inference.device.has_fast_int8", lambda device: True)
    asked = options(model, precision="int8", bounds=WIDE)
    whole = score.run(asked, Notes())
    assert (whole.precision, whole.backend, whole.gate.precision) == ("int8", "openvino", "int8")
    assert 0 < whole.gate.difference < 0.5
    kept = (here / "out.csv").read_bytes()
    for path in (*here.glob(".jobs/rows-*/result.json"), *sorted(here.glob(".jobs/rows-*/parts/*"))[1:]):
        path.unlink()  # as if it had been killed
    for path in here.rglob("model.bin"):
        path.write_bytes(b"damaged")
    assert score.run(asked, Notes()).resumed_rows == 100
    assert (here / "out.csv").read_bytes() == kept
    assert not np.allclose(scores(), expected(model, precision="fp32", backend="torch"), atol=1e-6, rtol=0)


def needs_openvino():
    if not runtime.is_installed(quantiser=True):
        pytest.skip("the extra 'openvino' is not installed")
