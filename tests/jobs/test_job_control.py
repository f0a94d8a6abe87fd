"""`cli jobs` on real scoring processes: progress, cancel, resume, prune; the metrics file."""

import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from rich.console import Console

from jobs import control, prune, status
from jobs.errors import Interrupted
from jobs.holding import hold
from jobs.runner import engines
from jobs.runner.store import JobStore
from jobs.show import jobs as show
from jobs.workspace import DUTY_FILE
from kaggle_tools.files import write_atomically
from tests.conftest import CLASSES, process_environment

ROWS, SHARD_ROWS = 100_000, 1_000


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0, num_hidden_layers=1, hidden_size=16)


@pytest.fixture
def table(tmp_path):
    rows = (f"r{i},w{i % 190} w{i % 13} w{i % 7} w{i // 7 % 200}" for i in range(ROWS))
    (tmp_path / "rows.csv").write_text("id,text\n" + "\n".join(rows) + "\n")
    return tmp_path / "rows.csv"


@pytest.fixture
def running(table, model, tmp_path):
    """A scoring job with at least two committed parts, that goes on."""
    words = ["--input", "rows.csv", "--model", model, "--shard-rows", str(SHARD_ROWS), "--output", "out.csv", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "score", *words, "--metrics-file", "score.prom"],
        cwd=tmp_path,
        env=process_environment({"KAGGLE_JOBS_SCORE_PRECISION": "fp32"}),
    )
    until = time.monotonic() + 90
    while len(list(tmp_path.glob(".jobs/*/parts/[0-9]*.parquet"))) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def metrics(path):
    """The samples of a file in Prometheus' text format."""
    found = {}
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line).groups()
            found[name, re.sub(r'job="[^"]*",?', "", labels)] = float(value)
    return found


def test_a_running_job_is_seen_cancelled_resumed_and_pruned(running, tmp_path, cli, cli_here):
    (job,) = json.loads(cli_here("jobs", "--json", check=0).stdout)
    assert job["state"] == "running"
    assert 2 * SHARD_ROWS <= job["rows_done"] < ROWS
    samples = metrics(tmp_path / "score.prom")
    assert samples["kaggle_jobs_rows", ""] == ROWS
    assert samples["kaggle_jobs_running", ""] == 1

    cancelled = json.loads(cli("jobs", "cancel", "rows", "--json", check=0).stdout)["jobs"][0]
    assert cancelled == {"id": job["id"], "pid": running.pid, "ended": True}
    assert running.wait(20) == 143
    assert metrics(tmp_path / "score.prom")["kaggle_jobs_running", ""] == 0

    parts = sorted(tmp_path.glob(".jobs/*/parts/*"))
    pruned = json.loads(cli_here("jobs", "prune", "--older-than", "0", "--json", check=0).stdout)
    assert (pruned["jobs"], pruned["n_kept"]) == ([], 1)
    assert sorted(tmp_path.glob(".jobs/*/parts/*")) == parts

    resumed = json.loads(cli("jobs", "resume", "rows", "--json", cwd=tmp_path, check=0).stdout)["jobs"][0]
    assert resumed["exit_code"] == 0
    (job,) = json.loads(cli_here("jobs", "--json", check=0).stdout)
    assert (job["state"], job["rows_done"]) == ("complete", ROWS)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == ROWS + 1
    samples = metrics(tmp_path / "score.prom")
    assert samples["kaggle_jobs_complete", ""] == 1
    assert samples["kaggle_jobs_rows_done", ""] == ROWS
    assert samples["kaggle_jobs_stage_seconds_total", 'stage="infer"'] > 0

    n_bytes = sum(path.stat().st_size for path in tmp_path.glob(".jobs/*/parts/*"))
    would = json.loads(cli_here("jobs", "prune", "--older-than", "0", "--dry-run", "--json", check=0).stdout)
    assert (would["n_bytes"], len(list(tmp_path.glob(".jobs/*/parts/*")))) == (n_bytes, ROWS // SHARD_ROWS)
    assert "0 B of 0 complete jobs" in cli_here("jobs", "prune", check=0).stdout  # not 30 days old
    assert json.loads(cli_here("jobs", "prune", "--older-than", "0", "--json", check=0).stdout)["n_bytes"] == n_bytes
    assert not list(tmp_path.glob(".jobs/*/parts"))
    (job,) = json.loads(cli_here("jobs", "--json", check=0).stdout)
    assert (job["state"], job["rows_done"]) == ("complete", ROWS)


def made(folder, name, *, plan=True, result=False, n_parts=2):
    """A job's folder."""
    store = JobStore(folder / ".jobs" / name)
    for i in range(n_parts):
        store.part(i).parent.mkdir(parents=True, exist_ok=True)
        store.part(i).write_bytes(b"x" * 10)
    if plan:
        tasks = [{"index": i, "n_rows": 5} for i in range(4)]
        request = {"inputs": [{"path": "/a.csv"}], "models": {"m": []}}
        store.write("plan.json", {"n_rows": 20, "created": f"2026-{name}", "request": request, "tasks": tasks})
    if result:
        store.write("result.json", {"job": name})
    return store


def test_prune_touches_only_old_complete_jobs_that_nobody_holds(tmp_path):
    stores = {
        "complete": made(tmp_path, "complete", result=True),
        "held": made(tmp_path, "held", result=True),
        "interrupted": made(tmp_path, "interrupted"),
        "planless": made(tmp_path, "planless", plan=False),
        "damaged": made(tmp_path, "damaged"),
    }
    (stores["damaged"].folder / "result.json").write_text('{"job": ')
    with stores["held"].lock():
        result = prune.run(0, start=tmp_path)
    assert [job.id for job in result.jobs] == ["complete"]
    assert (result.n_bytes, result.jobs[0].n_parts, result.n_kept) == (20, 2, 3)
    assert {name for name, store in stores.items() if store.done()} == stores.keys() - {"complete"}
    assert prune.run(1, start=tmp_path).jobs == ()


def test_prune_removes_what_a_killed_process_had_begun_to_write(running, tmp_path, cli_here):
    until = time.monotonic() + 30
    while not (left := list(tmp_path.glob(".out.csv.*.tmp"))) and time.monotonic() < until:
        time.sleep(0.02)
    assert json.loads(cli_here("jobs", "prune", "--json", check=0).stdout)["n_leftovers"] == 0  # at work
    running.kill()
    running.wait()
    parts = sorted(tmp_path.glob(".jobs/*/parts/[0-9]*"))
    n_bytes = left[0].stat().st_size
    own = left[0].name.replace(f".{running.pid}.", f".{os.getpid()}.")
    for name in (own, left[0].name.replace("out.csv", "other.csv")):  # of a living process; of no job of ours
        (tmp_path / name).touch()
    would = json.loads(cli_here("jobs", "prune", "--dry-run", "--json", check=0).stdout)
    assert (would["n_leftovers"], would["n_bytes"], left[0].exists()) == (1, n_bytes, True)
    assert "1 files that killed processes left" in cli_here("jobs", "prune", check=0).stdout
    assert (left[0].exists(), len(list(tmp_path.glob(".o*.tmp")))) == (False, 2)
    assert sorted(tmp_path.glob(".jobs/*/parts/[0-9]*")) == parts


def test_prune_leaves_predictions_of_a_table_that_a_job_is_about_to_write(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    stores = [made(tmp_path, f"{name}-0123456789") for name in ("busy", "idle")]
    folder = tmp_path / "runs" / "mine" / "predictions"
    folder.mkdir(parents=True)
    with write_atomically(folder / "any.parquet") as temporary:
        ending = temporary.name.removeprefix(".any.parquet").replace(f".{os.getpid()}.", f".{process.pid}.")
        temporary.touch()
    for name in ("busy", "idle"):
        (folder / f".{name}.parquet{ending}").touch()
    with stores[0].lock():
        assert prune.run(start=tmp_path).n_leftovers == 1
    assert [path.name for path in folder.glob(".*.tmp")] == [f".busy.parquet{ending}"]


def test_prune_removes_what_workers_were_told_unless_they_are_at_work(tmp_path):
    duties = [tmp_path / ".jobs" / "runs" / name / DUTY_FILE for name in ("busy", "killed")]
    for duty in duties:
        duty.parent.mkdir(parents=True)
        duty.write_bytes(b"x" * 7)
    with hold(duties[0].parent, "here"):
        result = prune.run(start=tmp_path)
    assert (result.n_leftovers, result.n_bytes, [duty.exists() for duty in duties]) == (1, 7, [True, False])


def test_the_list_shows_what_is_not_complete_and_the_newest_of_the_rest(tmp_path):
    for i in range(5):
        made(tmp_path, f"c{i}", result=True)
    made(tmp_path, "a", n_parts=1)
    (made(tmp_path, "d").folder / "plan.json").write_text("{}")
    listed = status.recent(newest=2, start=tmp_path)
    assert listed.n_older == 3
    assert {(job.id, job.state, job.rows_done) for job in listed.jobs} == {
        ("c3", "complete", 20),
        ("c4", "complete", 20),
        ("a", "interrupted", 5),
        ("d", "damaged", 0),
    }
    assert len(status.run(tmp_path)) == 7


def test_following_ends_when_nothing_runs(monkeypatch):
    monkeypatch.setattr(show, "FOLLOW_EVERY_S", 0.0)
    half = status.JobSummary("test-1", "running", 2_000_000, 1_000_000, rows_per_s=1e4, seconds_left=100.0)
    looks = [half, half, status.JobSummary("test-1", "complete", 2_000_000, 2_000_000)]
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    show.follow(lambda: status.JobList((looks.pop(0),), 0), console)
    assert looks == []
    assert "running   50%  2,000,000  10,000  1 min 40 s" in console.file.getvalue()
    assert "complete" in console.file.getvalue().rsplit("running", 1)[1]


def test_a_job_of_another_machine_is_not_cancelled_here(tmp_path, call, monkeypatch):
    store = made(tmp_path, "far")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(platform, "node", lambda: "node7")
        lock = store.lock()
        lock.__enter__()
    try:
        code, _, err = call("jobs", "cancel", "far")
    finally:
        lock.__exit__(None, None, None)
    assert code == 2
    assert "runs on node7" in err


def test_a_running_job_is_not_resumed_and_an_idle_one_not_cancelled(tmp_path, call):
    store = made(tmp_path, "job")
    with store.lock():
        assert "job job is running" in call("jobs", "resume", "job")[2]
    assert "it is interrupted" in call("jobs", "cancel", "job")[2]


def test_a_job_without_a_recorded_command_says_to_run_it_again(tmp_path, call):
    made(tmp_path, "old")
    code, _, err = call("jobs", "resume", "old")
    assert code == 2
    assert "run its command again" in err


def test_a_job_in_a_copied_workspace_is_not_resumed_in_the_first_one(tmp_path, call, monkeypatch):
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.chdir(first)
    control.record_command(made(first, "job"), ["score", "--input", "a.csv"])
    assert control._command_of(status.find("job"))[1] == first
    shutil.copytree(first / ".jobs", tmp_path / ".jobs")
    code, _, err = call("jobs", "resume", "job")
    assert code == 2
    assert re.search(rf"(?s)called in another workspace.*where: {first}\n.*run its command again here", err)


@pytest.mark.parametrize("words", [["--input", "-"], ["-i", "-"], ["--input=-"], ["-i-"], []])
def test_a_job_whose_table_came_through_a_pipe_is_resumed_from_what_was_kept(tmp_path, call, model, monkeypatch, words):
    real = engines.run_shards

    def break_off(*arguments):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(engines, "run_shards", break_off)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"id,text\na,w1\nb,w2\n")))
    if not words:
        monkeypatch.setenv("KAGGLE_JOBS_SCORE_INPUT", "-")
    assert call("score", *words, "--model", model, "--output", "out.csv")[0] == 143
    monkeypatch.setattr(engines, "run_shards", real)
    monkeypatch.delenv("KAGGLE_JOBS_SCORE_INPUT", raising=False)
    argv, _, environment = control._command_of(status.find("stdin", tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert call(*argv)[0] == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3
    assert len(status.run(tmp_path)) == 1


def test_a_job_of_all_runs_is_resumed_with_the_runs_that_it_began_with(tmp_path, call, monkeypatch):
    rows = [f"{i},{'yes yes' if i % 2 else 'no no'} {i % 7},{'ab'[i % 2]}" for i in range(30)]
    (tmp_path / "train.csv").write_text("id,text,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "test.csv").write_text("id,text\n" + "\n".join(row.rsplit(",", 1)[0] for row in rows[:9]) + "\n")
    (tmp_path / "recipe.toml").write_text('kind = "linear"\n[folds]\nn = 3\nkind = "stratified"\nseed = 1\n')
    assert call("init", "--train", "train.csv", "--test", "test.csv")[0] == 0
    assert call("train", "recipe.toml", "--name", "early")[0] == 0
    real = engines.run_shards

    def break_off(*arguments):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(engines, "run_shards", break_off)
    assert call("score", "--input", "test.csv")[0] == 143
    monkeypatch.setattr(engines, "run_shards", real)
    assert call("train", "recipe.toml", "--name", "later", "--seed", "2")[0] == 0
    argv, _, _ = control._command_of(status.find("test", tmp_path))
    assert call(*argv)[0] == 0
    (job,) = status.run(tmp_path)
    assert job.state == "complete"
    assert [path.parts[-3] for path in (tmp_path / "runs").glob("*/predictions/test.parquet")] == ["early"]


@pytest.mark.parametrize("what", ["rows.csv", "text columns", "classes"])
def test_a_resumed_job_says_what_changed_and_that_it_is_another(tmp_path, call, model, monkeypatch, what):
    (tmp_path / "rows.csv").write_text("id,text,other\na,w1,w3\nb,w2,w4\n")
    settings = tmp_path / "competition.toml"
    settings.write_text(
        'name = "c"\ntask = "single_label"\nmetric = "accuracy"\nid_column = "id"\ntext_column = "text"\n'
        f"classes = {json.dumps(CLASSES)}\n"
    )
    real = engines.run_shards

    def break_off(*arguments):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(engines, "run_shards", break_off)
    words = ["--input", "rows.csv", "--model", model, "--output", "out.csv", "--no-submission"]
    assert call("score", *words)[0] == 143
    (job,) = status.run(tmp_path)
    monkeypatch.setattr(engines, "run_shards", real)
    changes = {"text columns": ('"text"', '"other"'), "classes": (json.dumps(CLASSES), json.dumps(CLASSES[::-1]))}
    if what in changes:
        settings.write_text(settings.read_text().replace(*changes[what]))
    else:
        (tmp_path / what).write_text("id,text,other\na,w1,w3\nb,w9,w4\n")

    said = []

    def start(words, *_):
        code, _, err = call(*words[3:])
        said.append(" ".join(err.split()))
        return code

    monkeypatch.setattr(control, "_forwarding", lambda: nullcontext(start))
    (resumed,) = control.resume([job.id]).jobs
    assert (resumed.exit_code, resumed.as_new_job) == (0, True)
    assert f"{what} changed since job {job.id}: this is a new job" in said[0]
    console = Console(file=io.StringIO(), width=200)
    show.render_resume(control.ResumeResult((resumed,)), console)
    assert "what it was planned for has changed" in console.file.getvalue()


def test_a_beginning_that_several_jobs_share_lists_them_and_says_how_many_more(tmp_path, call):
    for i in range(32):
        made(tmp_path, f"small-{i:02d}")
    _, _, err = call("jobs", "show", "small")
    assert "the ids of 32 jobs begin with 'small'" in err
    assert "small-00, small-01" in err
    assert "small-19 and 12 more" in " ".join(err.split())
    _, _, err = call("jobs", "show", "smoll-07")
    assert "no job's id begins with 'smoll-07'" in err
    assert "did you mean 'small-07'?" in err


def test_a_second_ctrl_c_while_libraries_tidy_up_ends_it_without_an_error_of_theirs():
    program = (
        "import atexit, time, jobs.cli as line\n"
        "from jobs.errors import Interrupted\n"
        "def app():\n    raise Interrupted(2)\n"
        "line.app = app\n"
        "atexit.register(lambda: (print('tidying', flush=True), time.sleep(60)))\n"
        "line.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "tidying\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.count("\n")) == (-signal.SIGINT, 1)
    assert said.startswith("interrupted")
