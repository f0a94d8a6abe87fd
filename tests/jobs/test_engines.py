"""One job by one process, by several, by actors on a Ray cluster of two nodes: the same bytes, the same errors."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import score
from jobs.resolve import InputOptions
from jobs.runner import engines
from jobs.runner.engines import EngineOptions, choose_engine
from jobs.runner.places import devices_of_workers, idle_gpus
from jobs.score import ScoreOptions
from jobs.show.progress import SilentWatch
from kaggle_tools.errors import UserError
from kaggle_tools.remote import place
from tests import object_storage
from tests.conftest import VOCABULARY, process_environment

ROWS, SHARD_ROWS = 24_000, 1_000
SECRET = "planted-secret-6620"
PATIENCE_S = 400  # of a machine that is busy with other things


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0, num_hidden_layers=1)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "rows.csv"
    rows = (f"r{i},w{i % 190} w{i % 13}{' w7' * (i % 12)} w{i // 7 % 200}" for i in range(ROWS))
    path.write_text("id,text\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def whole(table, model, tmp_path_factory):
    """The output of one process that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    in_one_process(folder, table, model)
    return output(folder)


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of two node processes on this machine."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        handler = signal.getsignal(signal.SIGTERM)
        options = {"object_store_memory": 80 * 1024**2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, **options})
        cluster.add_node(num_cpus=1, **options)
        signal.signal(signal.SIGTERM, handler)  # Ray has one of its own
        yield cluster
        cluster.shutdown()


@contextmanager
def start(folder, table, model, *words, under=()):
    """`cli score` as a process of its own, perhaps under another program, which does not outlive the block."""
    words = [
        "--input",
        str(table),
        "--model",
        model,
        "--shard-rows",
        str(SHARD_ROWS),
        "--output",
        "out.parquet",
        *words,
    ]
    process = subprocess.Popen(
        [*under, sys.executable, "-m", "jobs.cli", "score", *words, "--precision", "fp32", "--json"],
        cwd=folder,
        env=process_environment(
            {"OMP_NUM_THREADS": "1", "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", SECRET)}
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield process
    finally:
        process.kill()


def in_one_process(folder, table, model, watch=None, **changes):
    """The same in this process."""
    inputs = InputOptions((str(table),), no_id=changes.pop("no_id", False))
    settings = {"precision": "fp32", "shard_rows": SHARD_ROWS, "output": Path("out.parquet"), "threads": 1, **changes}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return score.run(ScoreOptions(inputs, (model,), **settings), watch or SilentWatch())


def finish(process):
    """Its result as JSON, and what it said."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return json.loads(out), err


def wait_for_parts(folder, process, n, parts=None):
    until = time.monotonic() + PATIENCE_S
    while len(parts() if parts else list(folder.glob(".jobs/*/parts/[0-9]*.parquet"))) < n:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.02)


def workers_of(process):
    """Processes in which a Scorer may be: spawned ones of ours, or Ray's actors, which are named so."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            words = " ".join(child.cmdline())
            if "spawn_main" in words or "ray::_Actor" in words:
                found.append(child)
    return found


def output(folder):
    assert not list(folder.glob("**/.*.tmp"))
    return (folder / "out.parquet").read_bytes()


def test_two_processes_give_the_same_bytes_though_one_is_killed(table, model, whole, tmp_path):
    with start(tmp_path, table, model, "--workers", "2") as process:
        wait_for_parts(tmp_path, process, 2)
        workers_of(process)[0].kill()
        result, err = finish(process)
    assert output(tmp_path) == whole
    assert "ended by SIGKILL" in err
    assert result["totals"]["rows"] == ROWS


def test_killed_with_two_processes_the_workers_end_too_and_one_process_finishes(table, model, whole, tmp_path):
    with start(tmp_path, table, model, "--workers", "2") as process:
        wait_for_parts(tmp_path, process, 3)
        workers = workers_of(process)
        process.kill()
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    result = in_one_process(tmp_path, table, model)
    assert output(tmp_path) == whole
    assert 3 * SHARD_ROWS <= result.resumed_rows < ROWS


def test_sigterm_ends_two_processes_soon_and_leaves_nothing_half_written(table, model, tmp_path):
    with start(tmp_path, table, model, "--workers", "2") as process:
        wait_for_parts(tmp_path, process, 2)
        workers = workers_of(process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "run the same command again" in err
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    assert not list(tmp_path.glob("**/.*.tmp"))


@pytest.mark.slow
def test_four_actors_on_two_nodes_give_the_same_bytes_though_a_node_is_lost(table, model, whole, tmp_path, cluster):
    address = cluster.address
    with start(tmp_path, table, model, "--engine", "ray", "--ray-address", address, "--workers", "4") as process:
        wait_for_parts(tmp_path, process, 2)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        result, _ = finish(process)
    assert output(tmp_path) == whole
    assert result["totals"]["rows"] == ROWS


@pytest.mark.slow
def test_a_job_killed_under_ray_is_finished_by_one_process(table, model, whole, tmp_path, cluster):
    address = cluster.address
    with start(tmp_path, table, model, "--engine", "ray", "--ray-address", address, "--workers", "2") as process:
        wait_for_parts(tmp_path, process, 2)
        process.kill()
    result = in_one_process(tmp_path, table, model)
    assert output(tmp_path) == whole
    assert result.resumed_rows >= 2 * SHARD_ROWS


@pytest.mark.slow
def test_a_job_interrupted_in_one_process_is_finished_by_two_actors_of_which_one_is_killed(
    table, model, whole, tmp_path
):
    """On a Ray that is started for the job: it says little, keeps to this machine, and its files hold no secret."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with pytest.raises(KeyboardInterrupt):
        in_one_process(tmp_path, table, model, Impatient(3))
    trace = tmp_path / "trace.txt"
    with start(tmp_path, table, model, "--engine", "ray", "--workers", "2", under=tracing(trace)) as process:
        wait_for_parts(tmp_path, process, 5)
        workers_of(process)[0].kill()
        (logs,) = folders_of(process.pid)
        leaky = [p for p in logs.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
        result, err = finish(process)
    assert output(tmp_path) == whole
    assert result["resumed_rows"] >= 3 * SHARD_ROWS
    assert leaky == []
    assert beyond_this_machine(trace) == []
    assert not folders_of(process.pid)
    assert [line for line in err.splitlines() if "rows" not in line and not line.startswith("note: ")] == []


@pytest.mark.slow
def test_a_job_goes_from_engine_to_engine_though_they_share_nothing_but_storage(table, model, whole, tmp_path):
    """One process, killed; two actors of a Ray of their own, killed; two processes: each in a folder of its own."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    folders = [tmp_path / name for name in ("one", "actors", "processes")]
    for folder in folders:
        folder.mkdir()
    with object_storage.serve():
        place("s3://bucket/rows.csv").write_bytes(table.read_bytes())
        parts = place("s3://bucket/jobs")
        remote = {"parts": parts, "output": place("s3://bucket/out.parquet")}
        with pytest.raises(KeyboardInterrupt):
            in_one_process(folders[0], "s3://bucket/rows.csv", model, Impatient(2), **remote)
        words = ["--parts", str(parts), "--output", str(remote["output"]), "--engine", "ray", "--workers", "2"]
        with start(folders[1], "s3://bucket/rows.csv", model, *words) as process:
            wait_for_parts(folders[1], process, 5, lambda: list(parts.glob("*/parts/*")))
            process.kill()
        engine = EngineOptions(workers=2)
        result = in_one_process(folders[2], "s3://bucket/rows.csv", model, engine=engine, **remote)
        scored = pl.read_parquet(io.BytesIO(remote["output"].read_bytes()))
    assert scored.equals(pl.read_parquet(io.BytesIO(whole)))
    assert 5 * SHARD_ROWS <= result.resumed_rows < ROWS
    assert not list(tmp_path.rglob("*.parquet"))


def tracing(path):
    """A prefix under which each connection and each listening socket of a process and its children is written down."""
    if shutil.which("strace") is None:
        return []
    return f"strace -D -f -qq --seccomp-bpf -e trace=connect,bind -e signal=none -o {path}".split()


def beyond_this_machine(trace):
    """Traced calls with an address that is not of the loopback device; none where nothing traces."""
    calls = trace.read_text().splitlines() if trace.exists() else []
    assert not trace.exists() or any("127.0.0.1" in call for call in calls)
    inside = ("127.0.0.1", '"::1"')
    return [call for call in calls if "AF_INET" in call and not any(word in call for word in inside)]


class Impatient(SilentWatch):
    """A watch that ends the job after so many parts."""

    def __init__(self, parts):
        self.left = parts

    def committed(self, stats, seconds):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def folders_of(pid):
    from jobs.runner import ray_engine

    return list(ray_engine.PLACE.glob(f"{ray_engine.PREFIX}{pid}.*"))


@pytest.fixture(scope="module")
def bad_table(tmp_path_factory):
    """Bytes that do not decode, in two shards; without ids they are met when the shards are scored."""
    lines = [f"w{i % 200} w{i % 7}".encode() for i in range(8_000)]
    lines[4_500], lines[5_500] = b"w1 \xff", b"w2 \xfe"
    path = tmp_path_factory.mktemp("bad") / "rows.csv"
    path.write_bytes(b"text\n" + b"\n".join(lines) + b"\n")
    return path


FIRST_BAD_ROW = "rows.csv line 4,502: not utf-8"


def test_the_first_bad_row_is_the_error(bad_table, model, tmp_path):
    with pytest.raises(UserError, match=FIRST_BAD_ROW):
        in_one_process(tmp_path, bad_table, model, no_id=True)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_it_is_the_same_error_when_another_worker_meets_the_second(model, bad_table, tmp_path, engine, request):
    words = ["--no-id", "--workers", "2"]
    if engine == "ray":
        words += ["--engine", "ray", "--ray-address", request.getfixturevalue("cluster").address]
    with start(tmp_path, bad_table, model, *words) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: {FIRST_BAD_ROW}")
    assert len(list(tmp_path.glob(".jobs/*/parts/*"))) >= 4


@pytest.mark.slow
def test_a_network_without_numbers_in_the_last_shard_ends_the_job(save_model, tmp_path):
    """Of two workers one has nothing more to do, and the other's feed gives no more: nobody may wait for it."""
    broken = save_model(tmp_path / "broken", 0, num_hidden_layers=1)
    path = Path(broken) / "model.safetensors"
    weights = load_file(path)
    weights["bert.embeddings.word_embeddings.weight"][VOCABULARY.index("w199")] = torch.nan
    save_file(weights, path, {"format": "pt"})
    table = tmp_path / "rows.csv"
    table.write_text("id,text\n" + "".join(f"r{i},w{i % 190}\n" for i in range(3_999)) + "last,w199\n")
    with start(tmp_path, table, broken, "--workers", "2") as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "gives NaN for 1 rows" in err
    assert "last" in err


def test_devices_and_engines_that_do_not_go_together_are_refused():
    for options, device in [
        (EngineOptions(ray_address="auto"), "cpu"),
        (EngineOptions(workers=1), "cuda:0,cuda:1"),
        (EngineOptions(), "cpu,cuda:0"),
    ]:
        with pytest.raises(UserError):
            choose_engine(options, device)
    assert list(choose_engine(EngineOptions(), "cuda:0,cuda:1").devices) == ["cuda:0", "cuda:1"]
    assert list(choose_engine(EngineOptions(workers=3), "cuda:0,cuda:1").devices) == ["cuda:0", "cuda:1", "cuda:0"]


def test_shards_are_cut_for_the_devices_of_the_workers(monkeypatch):
    assert (choose_engine(EngineOptions(), "cpu").kind, choose_engine(EngineOptions(workers=2), "cpu").kind) == (
        "cpu",
        "cpu",
    )
    monkeypatch.setattr(engines, "resolve_device", torch.device)
    several = choose_engine(EngineOptions(workers=4), "cuda:0,cuda:1")
    assert (several.kind, several.n_devices) == ("cuda", 2)
    assert choose_engine(EngineOptions(workers=4), "cpu").n_devices == 1


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "expected"),
    [
        ("auto", 2, 2, ["cuda:0", "cuda:1"]),
        ("cuda", 3, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("auto", 2, 4, ["cuda:0", "cuda:1"]),
        ("cuda:1", 2, 2, ["cuda:1", "cuda:1"]),
        ("auto", 2, 0, ["auto", "auto"]),
    ],
)
def test_workers_share_out_the_gpus_unless_one_is_named(monkeypatch, device, workers, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert list(devices_of_workers(device, workers)) == expected
    assert list(choose_engine(EngineOptions(workers=workers), device).devices) == expected


@pytest.mark.parametrize(("gpus", "expected"), [(0, "cuda:0"), (1, "cuda:0")])
def test_all_gpus_are_the_first_where_there_is_one_or_none(monkeypatch, gpus, expected):
    """And where there is none, the device is told that is not there, instead of one that nobody knows."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert choose_engine(EngineOptions(), "cuda:all").own_device == expected


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "told"),
    [("auto", None, 2, True), ("cuda", None, 4, True), ("auto", None, 1, False), ("auto", 2, 2, False),
     ("cuda:0", None, 2, False), ("cpu", None, 2, False)],
)  # fmt: skip
def test_gpus_that_idle_are_told(monkeypatch, device, workers, gpus, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    note = idle_gpus(device, workers)
    assert note == (f"one of {gpus} GPUs is used; --device cuda:all uses them all" if told else None)


@pytest.mark.parametrize(
    ("device", "address", "gpus_here", "gpus_there", "kind"),
    [
        ("cuda", None, False, 0, "cuda"),
        ("cpu", "auto", True, 8, "cpu"),
        ("auto", None, True, 0, "cuda"),
        ("auto", None, False, 8, "cpu"),
        ("auto", "head:6379", False, 8, "cuda"),
        ("auto", "head:6379", True, 0, "cpu"),
    ],
)
def test_under_ray_they_are_the_actors_not_the_heads(monkeypatch, device, address, gpus_here, gpus_there, kind):
    ray_engine = pytest.importorskip("jobs.runner.ray_engine", exc_type=UserError)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus_here)
    nodes = [{"CPU": 16.0, "GPU": float(gpus_there)}, {"CPU": 4.0}]
    monkeypatch.setattr(ray_engine.RayEngine, "_connect", lambda self: None)
    monkeypatch.setattr(ray_engine.RayEngine, "_nodes", lambda self: nodes)
    assert ray_engine.RayEngine(None, address, device).kind == kind


def test_the_start_of_a_cluster_is_no_time_of_the_gate(table, model, tmp_path, monkeypatch):
    @contextmanager
    def session(_engine):
        time.sleep(0.5)
        yield

    monkeypatch.setattr(engines.Here, "session", session)
    result = in_one_process(tmp_path, table, model, limit=10)
    assert result.performance.stage_seconds["gate"] < 0.5 <= result.performance.stage_seconds["start"]


def test_a_plan_under_an_engine_of_gpus_has_shards_for_gpus(table, model, tmp_path, monkeypatch):
    rows = []
    monkeypatch.setattr(engines.Here, "kind", "cuda")
    monkeypatch.setattr(score, "shard_rows_for", lambda n_bytes, kind: rows.append(kind) or 2_000)
    for _ in range(2):
        in_one_process(tmp_path, table, model, limit=3_000, shard_rows=None)
    assert rows == ["cuda"]  # the second time the plan is there


def test_a_job_goes_on_with_the_threads_that_it_began_with(table, model, tmp_path):
    class Notes(SilentWatch):
        said = ""

        def note(self, text):
            self.said += text

    before = torch.get_num_threads()
    try:
        in_one_process(tmp_path, table, model, threads=3, limit=3_000)
        (store,) = tmp_path.glob(".jobs/*")
        assert json.loads((store / "precision.json").read_text())["threads"] == 3
        (tmp_path / "out.parquet").unlink()
        (store / "parts" / "00001.parquet").unlink()
        torch.set_num_threads(1)
        watch = Notes()
        in_one_process(tmp_path, table, model, watch, threads=None, limit=3_000)
        assert "begun with 3 threads a worker: going on so" in watch.said
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_rays_telemetry_is_off():
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ray._common.usage import usage_lib

    from jobs.runner import ray_engine  # noqa: F401

    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert not usage_lib.usage_stats_enabled()
