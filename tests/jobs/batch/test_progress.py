"""`cli jobs` lists batches: the running ones with the progress of their steps."""

import io
import json
import signal
import subprocess
import sys

from rich.console import Console

from jobs import status
from jobs.batch.progress import PROGRESS_FILE, BatchSummary, batches
from jobs.show import jobs as show
from tests.conftest import process_environment

STEPS = """
[steps.a]
command = "STEP a in.txt a.txt"
[steps.b]
needs = ["a"]
command = "STEP b a.txt b.txt 60"
[steps.c]
command = "STEP c fail c.txt"
[steps.d]
needs = ["b"]
command = "STEP d b.txt d.txt"
"""


def listed(batch, *words):
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "jobs", *words],
        cwd=batch.folder,
        env=process_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_running_batch_is_listed_with_its_steps_until_it_has_finished(batch):
    batch.write(STEPS)
    process = batch.start("--parallel", "2")
    batch.wait_for("a", "b", "c")
    (found,) = json.loads(listed(batch, "--json"))
    assert (found["kind"], found["state"], found["running"]) == ("batch", "running", ["b"])
    assert found["file"].endswith("jobs.toml")
    assert sum(found["steps"].values()) == 4
    assert (found["steps"]["done"], found["steps"]["waiting"]) == (1, 1)
    table = listed(batch).splitlines()
    assert table[0].split() == ["batch", "state", "done", "steps", "began", "(UTC)", "now"]
    assert table[1].split()[1:4] == ["running", "1", "4"]

    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    batch.until_alone()
    (found,) = json.loads(listed(batch, "--json"))
    assert (found["state"], found["running"]) == ("interrupted", [])

    batch.write(STEPS.replace(" 60", "").replace("c fail", "c in.txt"))
    batch.run()
    (found,) = json.loads(listed(batch, "--json"))
    assert (found["state"], found["steps"]) == ("finished", {"done": 3, "up to date": 1})
    assert "no jobs yet" in listed(batch)
    assert "finished" in listed(batch, "--all")


def test_a_batch_whose_step_failed_says_so(batch):
    batch.write(STEPS.replace(" 60", ""))
    batch.run(code=1)
    assert listed(batch).splitlines()[1].endswith("1 failed")
    batch.write(STEPS.replace(" 60", "").replace("STEP a in.txt", "STEP a fail"))
    batch.run(code=1)
    assert "2 failed, 2 skipped" in listed(batch)


def test_progress_that_cannot_be_read_is_left_out(tmp_path):
    for name, content in (
        ("x", "{"),
        ("y", "[]"),
        ("z", '{"steps": 3}'),
        ("w", '{"steps": {"a": "done"}, "file": "f"}'),
    ):
        folder = tmp_path / "batches" / name
        folder.mkdir(parents=True)
        (folder / PROGRESS_FILE).write_text(content)
    assert batches(tmp_path) == ()


def test_following_goes_on_while_a_batch_runs(monkeypatch):
    monkeypatch.setattr(show, "FOLLOW_EVERY_S", 0.0)
    batch = BatchSummary(
        "jobs-1a2b", "running", "jobs.toml", "2026-11-21T00:00:00+00:00", {"done": 2, "running": 1}, ("b",)
    )
    looks = [status.JobList((), 0, (batch,)), status.JobList((), 0)]
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    show.follow(lambda: looks.pop(0), console)
    assert looks == []
    assert "jobs-1a2b  running     2      3  2026-11-21T00:00:00  b" in console.file.getvalue()
