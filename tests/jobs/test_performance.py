"""What `cli score` tells at the end: counted against what is known of the input, and against a measured ceiling."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer

from jobs import ceilings, machine, performance, score
from jobs.ceilings import Ceilings
from jobs.performance import Tally
from jobs.runner import engines
from jobs.show.progress import SilentWatch
from kaggle_tools.errors import UserError
from models.inference.shards import ShardStats


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kaggle-jobs" / "ceilings.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


@pytest.fixture
def clock(monkeypatch):
    """`time.perf_counter` of the tally, moved by hand."""
    now = [100.0]
    monkeypatch.setattr(performance.time, "perf_counter", lambda: now[0])
    return now


def test_figures_are_sums_over_what_was_committed(clock):
    tally = Tally(SilentWatch(), {"start": 0.5})
    with tally.stage("load"):
        clock[0] += 3
    tally.started(100, 0, 0.0)
    for _ in range(2):
        clock[0] += 2
        stats = ShardStats(rows=50, scored=40, tokens=400, computed_tokens=500, padding=100, truncated=8, flop=6e9)
        tally.committed(stats, {"read": 0.25, "prepare": 0.5, "infer": 1.5, "write": 0.125})
    with tally.stage("finish"):
        clock[0] += 0.5
    found = tally.performance(ceiling=8e9, n_tokenizers=2, peak_device_memory=7)
    assert (found.rows, found.seconds, found.rows_per_s, found.tokens_per_s) == (100, 4, 25, 200)
    assert (found.flop_per_s, found.utilisation) == (12e9 / 3, 0.5)
    assert (found.padding_share, found.duplicate_share, found.truncated_share) == pytest.approx((0.2, 0.2, 0.1))
    assert found.stage_seconds == {
        "start": 0.5, "load": 3, "read": 0.5, "prepare": 1, "infer": 3, "write": 0.25, "finish": 0.5
    }  # fmt: skip
    assert (found.bottleneck, found.peak_device_memory) == ("load", 7)


def test_without_a_ceiling_or_a_shard_there_is_no_share(clock):
    found = Tally(SilentWatch()).performance(ceiling=None, n_tokenizers=1, peak_device_memory=0)
    assert (found.utilisation, found.ceiling, found.rows_per_s, found.bottleneck) == (None, None, 0.0, "")


def test_peak_memory_is_what_the_kernel_says(tmp_path):
    (tmp_path / "status").write_text("Name:\tx\nVmPeak:\t 900 kB\nVmHWM:\t  512 kB\n")
    assert machine.peak_memory(tmp_path / "status") == 512 * 1024
    assert machine.peak_memory(tmp_path / "none") > 1 << 20
    assert machine.peak_memory() >= machine.peak_memory(tmp_path / "status")


def test_peak_memory_is_not_that_of_a_large_process_that_started_it():
    start = "import subprocess, sys; mine = bytearray(400 << 20); subprocess.run([sys.executable, '-c', sys.argv[1]])"
    own = "from jobs.machine import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", start, own], capture_output=True, check=True)
    assert 1 << 20 < int(done.stdout) < 200 << 20


def test_ceilings_are_kept_for_a_device_a_torch_and_a_number_of_threads(cache):
    cpu = torch.device("cpu")
    assert ceilings.known(cpu) is None
    name, version, threads = ceilings.identify(cpu)
    mine = Ceilings(name, version, threads, "2026-11-21T00:00:00+00:00", {"fp32": 1e11})
    ceilings.keep(mine)
    ceilings.keep(Ceilings(name, version, threads + 1, "", {"fp32": 9.0}))
    ceilings.keep(Ceilings("another", version, 0, "", {"fp32": 8.0}))
    assert ceilings.known(cpu) == mine
    assert len(json.loads(cache.read_text())) == 3
    cache.write_text("{")
    assert ceilings.known(cpu) is None


def test_a_cache_that_cannot_be_written_is_an_error_with_advice(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be kept"):
        ceilings.keep(Ceilings("x", "y", 0, "", {}))


def test_score_ends_with_what_was_counted(tmp_path, model, call):
    texts = ["w1 w2 w3", "w4", "w1 w2 w3", "w5 " * 60, ""]
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"r{i},{text}\n" for i, text in enumerate(texts)))
    command = ("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "--device", "cpu", "--shard-rows", "3")
    code, out, _ = call(*command, "-o", "a.parquet", "--json")
    found = json.loads(out)["performance"]
    stock = AutoTokenizer.from_pretrained(model)(sorted(set(texts)), truncation=True, max_length=40)["input_ids"]
    tokens = sum(map(len, stock))
    assert code == 0
    assert found["rows"] == 5
    assert found["tokens_per_s"] * found["seconds"] == pytest.approx(tokens)
    assert found["duplicate_share"] == pytest.approx(1 / 5)
    assert found["truncated_share"] == pytest.approx(1 / 4)
    assert (found["ceiling"], found["utilisation"]) == (None, None)
    assert {"start", "load", "plan", "read", "prepare", "infer", "write", "finish"} <= set(found["stage_seconds"])
    assert found["bottleneck"] in found["stage_seconds"]
    assert found["peak_memory"] > 100e6

    name, version, threads = ceilings.identify(torch.device("cpu"))
    ceilings.keep(Ceilings(name, version, threads, "", {"fp32": 1e9}))
    _, out, _ = call(*command, "-o", "b.parquet", "--force", "--limit", "4", "--json")
    found = json.loads(out)["performance"]
    assert found["ceiling"] == 1e9
    assert found["utilisation"] == pytest.approx(found["flop_per_s"] / 1e9)
    _, out, _ = call(*command, "-o", "c.parquet", "--limit", "2")
    words = {line.split()[0]: line for line in out.splitlines()}
    assert "of the ceiling" in words["rate"]
    assert {"seconds", "bottleneck", "peak", "truncated", "tokens"} <= set(words)


@pytest.mark.parametrize(("workers", "expected"), [(1, 7), (2, 0)])
def test_device_memory_of_other_processes_is_not_told(tmp_path, model, call, monkeypatch, workers, expected):
    monkeypatch.setattr(score, "peak_memory", lambda device: 7)
    here = engines.Here("cpu")
    monkeypatch.setattr(engines.Several, "run", lambda _, work, numerics, watch: here.run(work, numerics, watch))
    (tmp_path / "rows.csv").write_text("id,text\na,w1\n")
    words = ("-m", model, "--precision", "fp32", "--device", "cpu", "--workers", workers, "-o", "a.parquet", "--json")
    found = json.loads(call("score", "-i", "rows.csv", *words)[1])
    assert found["performance"]["peak_device_memory"] == expected


def test_a_job_that_was_complete_still_tells_how_it_went(tmp_path, model, call):
    (tmp_path / "rows.csv").write_text("id,text\na,w1\n")
    command = ("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "-o", "a.parquet", "--json")
    first = json.loads(call(*command)[1])
    again = json.loads(call(*command)[1])
    assert again["was_complete"]
    assert again["performance"] == first["performance"]
    again = json.loads(call(*command, "--force")[1])
    assert not again["was_complete"]
    assert again["performance"] == first["performance"]


def test_the_share_of_truncated_texts_is_of_the_whole_job(tmp_path, model, call):
    long, texts = "w1 " * 60, ["w1", "w2", "w3", "w4", "w5"]
    rows = enumerate([long, *(f"{long} {text}" for text in texts), *texts, "w6"])
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in rows))
    command = ("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "--device", "cpu", "--shard-rows", "6")
    code, out, _ = call(*command, "-o", "a.parquet")
    assert code == 0
    assert "6 texts (50.0%) lost" in out
    (part,) = tmp_path.glob(".jobs/*/parts/00001.parquet")
    part.unlink()
    code, out, _ = call(*command, "-o", "a.parquet", "--force")
    assert code == 0
    assert "6 from before" in out
    assert "6 texts (50.0%) lost" in out
