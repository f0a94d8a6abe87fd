"""The same job by one process, by several and by as many Ray actors: rows a second of each, and the same bytes.

    python -m benchmarks.engines --workers 2 --rows 6000

A run's steady rate is taken from the times at which its parts were committed, so that neither the loading of models nor
the start of Ray counts; "whole" is the time of the whole command. Engines take turns, the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.score import make_models, write_texts

SHARDS = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    several = ["--workers", str(arguments.workers)]
    engines = {"one process": [], "processes": several, "ray": ["--engine", "ray", *several]}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (model,) = make_models(folder, "MiniLM-L6", 1)
        write_texts(folder / "rows.csv", arguments.rows, 40)
        found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in engines}
        for _ in range(arguments.rounds):
            for name, words in engines.items():
                found[name].append(run(folder, model, arguments, words))
    base = max(rate for rate, _, _ in found["processes"])
    print("| engine | steady rows/s | of processes | whole, s | bytes |\n|---|---|---|---|---|")
    for name, runs in found.items():
        rate, whole = max(r for r, _, _ in runs), min(w for _, w, _ in runs)
        print(f"| {name} | {rate:,.1f} | {rate / base:.1%} | {whole:.1f} | {' '.join({d for _, _, d in runs})} |")


def run(folder: Path, model: str, arguments: argparse.Namespace, words: list[str]) -> tuple[float, float, str]:
    """Steady rows a second, seconds of the command, digest of its output."""
    shutil.rmtree(folder / ".jobs", ignore_errors=True)
    command = ["score", "-i", "rows.csv", "-m", model, "-o", "out.parquet", "--force", "--quiet", "--threads", "1"]
    command += ["--device", arguments.device, "--precision", "fp32" if arguments.device == "cpu" else "bf16"]
    command += ["--shard-rows", str(-(-arguments.rows // SHARDS)), *words]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "jobs.cli", *command], cwd=folder, env={**os.environ}, check=True)
    whole = time.perf_counter() - began
    times = sorted(path.stat().st_mtime for path in folder.glob(".jobs/*/parts/*.parquet"))
    # Without the first and the last parts: one worker may have begun earlier, one may end later.
    skipped = len(times) // 6
    steady = times[skipped:-skipped]
    rate = arguments.rows / len(times) * (len(steady) - 1) / (steady[-1] - steady[0])
    return rate, whole, hashlib.blake2b((folder / "out.parquet").read_bytes(), digest_size=4).hexdigest()


if __name__ == "__main__":
    main()
