"""What a scoring job of a million rows writes, how long that takes, and how much of it is spent on seals.

    python -m benchmarks.disk --rows 1000000

Probabilities are drawn at random, so nothing compresses but what always does: the worst case. Times are of CPU, since
other work may share the machine. Seals: docs/decisions/0015-a-seal-in-each-file.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from jobs.runner import joining, store
from jobs.runner.assemble import output_file, predictions_file
from jobs.runner.local import part_column
from kaggle_tools import files, seals

MB = 1e6
SHARD_ROWS = 262_144


def main() -> None:
    """Print a table: a line for each number of runs and classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    write = sys.stdout.write
    header = "runs classes parts_MB Parquet_MB CSV_MB predictions_MB parts_s join_s of_these_seals_s share_of_seals"
    write("| " + " | ".join(header.split()).replace("_", " ") + " |\n" + "|---" * 10 + "|\n")
    for runs, classes in ((1, 3), (5, 3), (1, 28)):
        with tempfile.TemporaryDirectory() as folder:
            write(measure(Path(folder), asked.rows, runs, classes) + "\n")
            sys.stdout.flush()


def measure(folder: Path, n_rows: int, n_runs: int, n_classes: int) -> str:
    """Commit parts and join them as `cli score` does, with every seal and digest timed."""
    runs, classes = [f"run{i}" for i in range(n_runs)], tuple(f"c{i}" for i in range(n_classes))
    job = store.JobStore(folder / "job")
    spent = _timed()
    draw = np.random.default_rng(0)
    commit_s = 0.0
    starts = range(0, n_rows, SHARD_ROWS)
    for index, start in enumerate(starts):
        frame = _frame(draw, start, min(SHARD_ROWS, n_rows - start), runs, classes)
        began = time.process_time()
        job.commit(index, frame, (), {})
        commit_s += time.process_time() - began
    plan: Any = SimpleNamespace(
        id="job",
        request=SimpleNamespace(models=dict.fromkeys(runs, ("0",)), classes=classes, inputs=()),
        tasks=[SimpleNamespace(index=index) for index in range(len(starts))],
    )
    began = time.process_time()
    own = [
        predictions_file(plan, run, folder / f"{run}.parquet", task="single_label", precision="fp32") for run in runs
    ]
    joining.join(plan, job, [output_file(plan, folder / "out.parquet", task="single_label", each=False), *own])
    files.file_digest(folder / "out.parquet")
    join_s, seals_s = time.process_time() - began, spent[0]
    joining.join(plan, job, [output_file(plan, folder / "out.csv", task="single_label", each=False)])
    sizes = (
        sum(path.stat().st_size for path in job.folder.rglob("*.parquet")),
        (folder / "out.parquet").stat().st_size,
        (folder / "out.csv").stat().st_size,
        sum((folder / f"{run}.parquet").stat().st_size for run in runs),
    )
    megabytes = " | ".join(f"{size / MB * 1e6 / n_rows:,.0f}" for size in sizes)
    share = seals_s / (commit_s + join_s)
    return f"| {n_runs} | {n_classes} | {megabytes} | {commit_s:.2f} | {join_s:.2f} | {seals_s:.3f} | {share:.1%} |"


def _frame(draw: np.random.Generator, start: int, n: int, runs: list[str], classes: tuple[str, ...]) -> pl.DataFrame:
    columns = [pl.Series("id", [f"id{i}" for i in range(start, start + n)])]
    for run in runs:
        probs = draw.dirichlet(np.ones(len(classes)), n).astype(np.float32)
        columns += [pl.Series(part_column(run, name), probs[:, i]) for i, name in enumerate(classes)]
    return pl.DataFrame(columns)


def _timed() -> list[float]:
    """Wrap whatever hashes whole files; gives a list with the seconds that they have taken so far."""
    spent = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*words: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return function(*words, **named)
            finally:
                spent[0] += time.process_time() - began

        return call

    seals._digest = timed(getattr(seals._digest, "__wrapped__", seals._digest))
    files.file_digest = timed(getattr(files.file_digest, "__wrapped__", files.file_digest))
    return spent


if __name__ == "__main__":
    main()
