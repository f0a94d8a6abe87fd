"""Batch files of plain commands, run by real processes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import process_environment

# What a step does: note that it ran, then write what it read to what it is to write.
STEP = """
import pathlib, sys, time
name, source, target, *rest = sys.argv[1:]
with open("ran.txt", "a") as handle:
    handle.write(name + "\\n")
if rest:
    time.sleep(float(rest[0]))
if source == "fail":
    sys.exit("this went wrong")
text = "".join(pathlib.Path(s).read_text() for s in source.split("+"))
pathlib.Path(target).write_text(text.upper())
"""


class Batch:
    """A folder with a batch file; `run` is `cli run` in it."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "step.py").write_text(STEP)
        (folder / "in.txt").write_text("hello\n")

    def write(self, text):
        (self.folder / "jobs.toml").write_text(text.replace("STEP", f"{sys.executable} step.py"))

    def start(self, *words, env=None):
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "run", *words],
            cwd=self.folder,
            env=process_environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words, code=0, env=None):
        process = self.start(*words, env=env)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, out + err
        return out, err

    def ran(self):
        """Names of the steps that ran since the last call."""
        path = self.folder / "ran.txt"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names

    def wait_for(self, *names, timeout=60):
        path, end = self.folder / "ran.txt", time.monotonic() + timeout
        while not (path.exists() and set(names) <= set(path.read_text().split())):
            assert time.monotonic() < end
            time.sleep(0.02)

    def processes(self):
        """Numbers of processes that work in the folder."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and (entry / "cwd").readlink() == self.folder:
                    found.append(int(entry.name))
        return found

    def until_alone(self, timeout=20):
        end = time.monotonic() + timeout
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        for process in left:
            os.kill(process, signal.SIGKILL)
        return left


@pytest.fixture
def batch(tmp_path):
    return Batch(tmp_path)
