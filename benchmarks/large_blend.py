"""`cli blend --trials 200` on many rows: wall time and peak memory.

    python -m benchmarks.large_blend --models 14 --rows 1000000 --classes 3

Makes a workspace of runs with out-of-fold predictions (`problems.imbalanced`) in a temporary folder, or reuses the one
that `--folder` names, and runs the command there as a user would, for macro F1 and for log loss.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.problems import imbalanced
from kaggle_tools.predictions import Predictions


def main() -> None:
    """Print a Markdown row for each metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=14)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--metrics", nargs="+", default=["macro_f1", "log_loss"])
    parser.add_argument("--folder", type=Path, help="Kept, and reused where it is there.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        if not (folder / "competition.toml").is_file():
            make_workspace(folder, given.models, given.rows, given.classes)
        print("| metric | wall s | CPU s | peak MB | taken | honest |\n|---|---|---|---|---|---|")
        for metric in given.metrics:
            print(run(folder, metric, given.trials), flush=True)


def make_workspace(folder: Path, models: int, rows: int, classes: int) -> None:
    """Runs ``model00`` … with out-of-fold predictions in five folds."""
    half, _ = imbalanced(rows=rows, classes=classes, models=models, imbalance=10.0, strength=1.5)
    names = tuple(f"class{c}" for c in range(classes))
    ids = pl.Series("id", np.arange(rows).astype(str))
    labels = pl.Series("label", np.array(names)[half.codes])
    folds = (np.arange(rows) % 5).astype(np.int16)
    for m, probs in enumerate(half.stack):
        run_folder = folder / "runs" / f"model{m:02}"
        Predictions(ids, names, probs, labels, folds).save(run_folder / "oof.parquet")
        (run_folder / "run.json").write_text("{}")
    (folder / "competition.toml").write_text(
        'name = "large"\ntask = "single_label"\nmetric = "macro_f1"\ntext_column = "text"\nid_column = "id"\n'
        f'classes = {json.dumps(names)}\ntest = "test.csv"\nsample_submission = "sample.csv"\n'
        'submission_format = "labels"\nsubmission_columns = ["y"]\n'
    )


def run(folder: Path, metric: str, trials: int) -> str:
    """One blend in a process of its own."""
    command = [sys.executable, "-m", "jobs.cli", "blend", "--trials", str(trials), "--metric", metric]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [*command, "--no-submission", "--json"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = json.loads(done.stdout)
    peak_mb = after.ru_maxrss / 1024
    return f"| {metric} | {wall:.1f} | {cpu:.1f} | {peak_mb:,.0f} | {found['chosen']} | {found['honest']:.5f} |"


if __name__ == "__main__":
    main()
