"""Kill `cli score` for real, at random moments, and compare bytes."""

import csv
import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import process_environment

ROWS = 48_000
SHARD_ROWS = 800


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """48,000 rows with quoted newlines, quotes, commas and duplicates."""
    path = tmp_path_factory.mktemp("input") / "rows.csv"
    draw = random.Random(3)
    tails = ["", "\nw7", '"w8"', ", w9", "\r\nw10"]
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "text"])
        for i in range(ROWS):
            words = " ".join(f"w{draw.randrange(200)}" for _ in range(draw.randrange(1, 9)))
            writer.writerow([f"r{i}", words + draw.choice(tails)])
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0, num_hidden_layers=1, hidden_size=16)


def command(table, model, output):
    return [
        *(sys.executable, "-m", "jobs.cli", "score", "--input", str(table), "--model", model, "--precision", "fp32"),
        *("--shard-rows", str(SHARD_ROWS), "--output", output, "--quiet", "--json"),
    ]


def parts_of(folder):
    return list(folder.glob(".jobs/*/parts/[0-9]*.parquet"))


@pytest.mark.slow
def test_a_job_killed_at_random_moments_gives_the_same_bytes(table, model, tmp_path):
    """Eight SIGKILLs, none to seven parts after the last; what was committed is never done again."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    environment = process_environment()
    subprocess.run(command(table, model, "out.csv"), cwd=tmp_path / "whole", env=environment, check=True)

    draw = random.Random(time.time_ns())
    kills, committed = 0, {}
    while kills < 8:
        process = subprocess.Popen(
            command(table, model, "out.csv"), cwd=tmp_path / "cut", env=environment, stdout=subprocess.DEVNULL
        )
        least = len(committed) + draw.randrange(8)
        while process.poll() is None and len(parts_of(tmp_path / "cut")) < least:
            time.sleep(0.005)
        try:
            process.wait(draw.uniform(0.0, 0.2))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        found = {p.name: p.stat().st_mtime_ns for p in parts_of(tmp_path / "cut")}
        assert committed.items() <= found.items(), "a committed part was written again"
        committed = found
        if process.returncode == 0:
            break  # it finished before the kill: only possible once most parts are there
    done = subprocess.run(
        command(table, model, "out.csv"), cwd=tmp_path / "cut", env=environment, check=True, capture_output=True
    )

    assert kills >= 1
    assert (tmp_path / "cut" / "out.csv").read_bytes() == (tmp_path / "whole" / "out.csv").read_bytes()
    assert json.loads(done.stdout)["totals"]["rows"] == ROWS
    assert not list(tmp_path.glob("**/.*.tmp"))
    with (tmp_path / "cut" / "out.csv").open(newline="") as handle:
        assert [row["id"] for row in csv.DictReader(handle)] == [f"r{i}" for i in range(ROWS)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_job_soon_and_the_same_command_resumes(table, model, tmp_path, number, code):
    process = subprocess.Popen(
        command(table, model, "out.parquet"), cwd=tmp_path, env=process_environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while len(parts_of(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == code
    assert "run the same command again" in complaint
    assert not (tmp_path / "out.parquet").exists()
    done = subprocess.run(
        command(table, model, "out.parquet"), cwd=tmp_path, env=process_environment(), check=True, capture_output=True
    )
    assert json.loads(done.stdout)["resumed_rows"] >= 2 * SHARD_ROWS
