"""How near `cli score --dry-run` comes: predicted against real seconds and memory, for models and inputs that differ.

    python -m benchmarks.forecast
    python -m benchmarks.forecast --cases tiny --repeats 3

Each command is a process of its own; forecast and job take turns, and of each the fastest counts. On a machine that
others use as well, processor seconds tell more than those of the clock.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.score import SHAPES, make_models

# Name → shape, rows, mean tokens, share of rows that repeat another, precision, how the table is written.
CASES = {
    "MiniLM": ("MiniLM-L6", 6000, 40, 0.0, "fp32", "rows.csv"),
    "BERT": ("BERT-base", 700, 16, 0.2, "auto", "rows.csv"),
    "tiny": ("tiny", 600_000, 10, 0.5, "fp32", "rows.csv.gz"),
}
SHAPES["tiny"] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many rows")
    arguments = parser.parse_args()
    print(
        "| case | rows | predicted s | real s | off | predicted CPU s | real | off | predicted MB | real | off ", end=""
    )
    print("| stages predicted | real |\n" + "|---" * 13 + "|")
    for name in arguments.cases:
        with tempfile.TemporaryDirectory() as scratch:
            line = compare(Path(scratch), name, arguments.repeats, arguments.scale)
        print(line, flush=True)


def compare(folder: Path, name: str, repeats: int, scale: float) -> str:
    shape, rows, mean, repeated, precision, file = CASES[name]
    rows = int(rows * scale)
    (model,) = make_models(folder, shape, 1)
    write_rows(folder / file, rows, mean, repeated)
    command = ["score", "-i", file, "-m", model, "--precision", precision, "--max-difference", "1", "--json"]
    forecasts, results = [], []
    for turn in range(repeats):
        forecasts.append(call(folder, [*command, "--dry-run"]))
        job = [*command, "-o", f"out{turn}.parquet", "--batch-tokens", str(2560 + turn)]  # so that it is a new job
        results.append(call(folder, job))
    predicted = min(forecasts, key=lambda found: found["seconds"])
    real = min(results, key=lambda found: found["seconds"])
    found = real["performance"]
    pairs = (
        (predicted["seconds"], real["seconds"]),
        (predicted["cpu_seconds"], found["cpu_seconds"]),
        (predicted["memory_bytes"] / 1e6, found["peak_memory"] / 1e6),
    )
    cells = " | ".join(f"{ours:,.1f} | {true:,.1f} | {ours / true - 1:+.0%}" for ours, true in pairs)
    return f"| {name} | {rows:,} | {cells} | {stages(predicted['stage_seconds'])} | {stages(found['stage_seconds'])} |"


def call(folder: Path, command: list[str]) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "HF_HUB_OFFLINE": "1"}
    run = [sys.executable, "-m", "jobs.cli", *command, "--quiet"]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def stages(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {spent:.1f}" for name, spent in seconds.items() if spent >= 0.05)


def write_rows(path: Path, rows: int, mean: int, repeated: float) -> None:
    """Log-normal lengths; a share of the rows repeats an earlier text; long texts come last, as in a sorted table."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(mean - 2) - 0.18, 0.6, rows), 1, 400).astype(int)
    lengths[: rows // 2].sort()
    fresh = random.random(rows) >= repeated
    fresh[0] = True
    texts: list[str] = []
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "text"])
        for i, length in enumerate(lengths.tolist()):
            if fresh[i]:
                texts.append(" ".join(f"w{w}" for w in random.integers(0, 30000, length)))
            writer.writerow([f"r{i}", texts[-1] if fresh[i] else texts[int(random.integers(len(texts)))]])


if __name__ == "__main__":
    main()
