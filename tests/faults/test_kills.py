"""A few kills and a crowd of two (`make faults` makes seventy kills and a crowd of eight)."""

import subprocess
import sys

from tests.conftest import ROOT, process_environment


def run(*words):
    """In a process of its own, which forks: a process of the tests has threads by now."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", *words],
        cwd=ROOT,
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_what_is_killed_is_finished_by_the_same_command_with_the_same_bytes():
    done = run("kills", "--kills", "9", "--stage", "train", "--stage", "version", "--stage", "record")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| train | " in done.stdout
    assert "| all | " in done.stdout


def test_two_and_eight_processes_lose_nothing():
    done = run("crowd")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| none |") == 6
