"""How long `cli jobs` takes with many jobs.

python benchmarks/jobs.py            # 10,000 jobs of 8 shards, nine in ten complete
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def make_jobs(folder: Path, n_jobs: int, n_shards: int) -> None:
    for i in range(n_jobs):
        job = folder / ".jobs" / f"test-{i:010x}"
        (job / "parts").mkdir(parents=True)
        shards = [{"path": "/data/test.csv", "first_row": k * 65536, "n_rows": 65536, "start": k << 22,
                   "end": (k + 1) << 22} for k in range(n_shards)]  # fmt: skip
        plan = {
            "version": 1,
            "id": job.name,
            "created": f"2026-01-01T{i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d}+00:00",
            "request": {"inputs": [{"path": "/data/test.csv"}], "models": {"roberta": ["a" * 32], "bert": ["b" * 32]}},
            "n_rows": 65536 * n_shards,
            "tasks": [{"index": k, "file": 0, "n_rows": 65536, "shard": shard} for k, shard in enumerate(shards)],
            "versions": {},
        }
        (job / "plan.json").write_text(json.dumps(plan))
        (job / "lock").touch()
        if i % 10:
            (job / "result.json").write_text(json.dumps({"job": job.name, "output": "/out.parquet", "totals": {}}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make_jobs(Path(name), asked.jobs, asked.shards)
        for words in ([], ["--all"], ["--json"]):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                command = [sys.executable, "-m", "jobs.cli", "jobs", *words]
                subprocess.run(command, cwd=name, check=True, stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - began)
            print(f"cli jobs {' '.join(words):8} {asked.jobs:,} jobs: {min(times):.2f} s (of {len(times)})")


if __name__ == "__main__":
    main()
