"""`cli blend --trials 200` as a person runs it: files in, recipe and submission out; wall time and peak memory.

    python -m benchmarks.blend_command                           # 14 models × 1,000,000 rows × 3 classes
    python -m benchmarks.blend_command --rows 20000 --models 5 --trials 20

A workspace is made in a temporary folder: runs with out-of-fold and test predictions from `benchmarks.problems`, a
test table, a sample submission. Memory is the sum over the command and its child processes, looked at every 50 ms; what
they share counts once for each, so it is an upper bound. `--cold` begins with an empty cache of compiled code, for the
cost of the first call on a machine; without it, run a small size first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

CLASSES = ("ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
GOAL = (30.0, 4.0)  # seconds and GB for 14 × 1,000,000 × 3 on two cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="training rows")
    parser.add_argument("--test-rows", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=3, choices=range(2, len(CLASSES) + 1))
    parser.add_argument("--models", type=int, default=14)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--metric", default="macro_f1")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which the command is ended")
    parser.add_argument("--cold", action="store_true", help="with an empty cache of compiled code")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _in_a_process_of_its_own(folder, given)
        command = [sys.executable, "-m", "jobs.cli", "blend", "--trials", str(given.trials), "--json"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}
        if given.cold:
            environment["NUMBA_CACHE_DIR"] = str(folder / "cache")
        seconds, peak, output = measure(command, folder, environment, given.limit)
    print_result(given, seconds, peak, output)


def _in_a_process_of_its_own(folder: Path, given: argparse.Namespace) -> None:
    """Make the workspace, so that what that takes is not counted."""
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(
        target=make_workspace,
        args=(folder, given.rows, given.test_rows, CLASSES[: given.classes], given.models, given.metric),
    )
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the workspace could not be made")


def make_workspace(
    folder: Path, rows: int, test_rows: int, classes: tuple[str, ...], n_models: int, metric: str
) -> None:
    import polars as pl

    from benchmarks.problems import imbalanced
    from kaggle_tools.competition import FILE_NAME, Competition
    from kaggle_tools.predictions import Predictions

    fitted, held_out = imbalanced(rows=rows, classes=len(classes), models=n_models, strength=1.5)
    ids = {part: pl.Series("id", [f"{part}{i}" for i in range(n)]) for part, n in (("a", rows), ("b", test_rows))}
    labels = pl.Series("label", classes).gather(fitted.codes)
    folds = (np.arange(rows) % 5).astype(np.int16)
    for number in range(n_models):
        run = folder / "runs" / f"m{number:02}"
        run.mkdir(parents=True)
        Predictions(ids["a"], classes, fitted.stack[number], labels, folds).save(run / "oof.parquet")
        (run / "predictions").mkdir()
        test = np.resize(held_out.stack[number], (test_rows, len(classes)))
        Predictions(ids["b"], classes, test).save(run / "predictions" / "test.parquet")
        (run / "run.json").write_text("{}")
    pl.DataFrame({"id": ids["b"], "text": [""] * test_rows}).write_csv(folder / "test.csv")
    pl.DataFrame({"id": ids["b"], "y": [classes[0]] * test_rows}).write_csv(folder / "sample.csv")
    Competition(
        root=folder,
        name="benchmark",
        task="single_label",
        metric=metric,
        text_column="text",
        classes=classes,
        test="test.csv",
        sample_submission="sample.csv",
        submission_format="labels",
        submission_columns=("y",),
    ).save(folder / FILE_NAME)


def measure(command: list[str], folder: Path, environment: dict[str, str], limit_s: float) -> tuple[float, int, str]:
    """Seconds, peak bytes over the process and its children, and what it printed."""
    began, peak = time.perf_counter(), 0
    with (folder / "output").open("w+") as output, (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=errors)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _resident(watched))
            if time.perf_counter() - began > limit_s:
                for child in watched.children(recursive=True):
                    child.kill()
                process.kill()
                process.wait()
                raise SystemExit(f"ended after {limit_s:.0f} s; peak {peak / 1e9:.2f} GB")
            time.sleep(0.05)
        seconds = time.perf_counter() - began
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"the command failed:\n{errors.read()}")
        return seconds, peak, output.read()


def _resident(process: psutil.Process) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:  # it ended while it was looked at
        pass
    return total


def print_result(given: argparse.Namespace, seconds: float, peak: int, output: str) -> None:
    found = json.loads(output)
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}"
    )
    print(
        f"{given.models} models × {given.rows:,} rows × {given.classes} classes, {given.metric}, {given.trials} trials"
    )
    print("\n| | seconds | peak GB |\n|---|---|---|")
    print(f"| measured | {seconds:.1f} | {peak / 1e9:.2f} |\n| goal | {GOAL[0]:.1f} | {GOAL[1]:.2f} |\n")
    print("| candidate | fitted | honest | seconds |\n|---|---|---|---|")
    for row in found["table"]:
        print(f"| {row['name']} | {row['fitted']:.5f} | {row['honest']:.5f} | {row['seconds']:.1f} |")
    print(f"\ntaken: {found['chosen']}; {found['verdict']}")


if __name__ == "__main__":
    main()
