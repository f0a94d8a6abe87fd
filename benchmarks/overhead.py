"""What a job costs beside its device: a GPU that only sleeps, and all the rest of `cli score` for real.

    python -m benchmarks.overhead                         # BERT-large, BERT-base, MiniLM as they should be on an H200
    python -m benchmarks.overhead --rates 80000 --rows 4000000

Rows of 40 tokens, log-normal, read from CSV; planned, ids checked, cleaned, tokenised, committed, joined to Parquet.
The share is what an engine that did nothing else would take, of what the job takes: from its call, and from its first
shard to its end. Launching kernels, which needs the interpreter as well, is not in it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.score import make_models, write_texts


def main() -> None:
    """Print a line for each rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[24_000.0, 80_000.0, 500_000.0], help="rows/s")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--shard-rows", type=int, default=32_768)
    asked = parser.parse_args()
    write = sys.stdout.write
    write("| device rows/s | rows/s | share | from the first shard on | seconds of each stage |\n" + "|---" * 5 + "|\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = make_models(folder, "MiniLM-L6", 1)[0]
        write_texts(folder / "rows.csv", asked.rows, 40)
        for rate in asked.rates:
            write(measure(folder, model, rate, asked.rows, asked.shard_rows) + "\n")
            sys.stdout.flush()


def measure(folder: Path, model: str, rate: float, n_rows: int, shard_rows: int) -> str:
    """Score the table by a device of this rate, in a folder of its own."""
    from benchmarks.faults.tables import Silent
    from jobs import score
    from jobs.resolve import InputOptions
    from models.inference.scorer import Scorer
    from models.inference.shards import Prepared, Scored, ShardStats

    class Sleeping:
        """A device with a queue: it begins with a shard when it is launched and the one before is done."""

        free_at = 0.0

        def launch(self, scorer: Scorer, prepared: Prepared, _tick: object = None) -> tuple[Scored, float]:
            rows = prepared.n_rows
            began = max(self.free_at, time.perf_counter())
            self.free_at = began + rows / rate
            probs = draw.dirichlet(np.ones(len(scorer.classes)), rows).astype(np.float32)
            stats = ShardStats(rows=rows, scored=rows, prepare_s=prepared.seconds, infer_s=rows / rate)
            return Scored(dict.fromkeys(scorer.runs, probs), stats), self.free_at

        def collect(self, _scorer: Scorer, launched: tuple[Scored, float]) -> Scored:
            scored, done_at = launched
            time.sleep(max(0.0, done_at - time.perf_counter()))
            return scored

    draw, device = np.random.default_rng(0), Sleeping()

    class FirstShard(Silent):
        at = 0.0

        def started(self, *_: object) -> None:
            self.at = time.perf_counter()

    watch = FirstShard()
    here, place = Path.cwd(), folder / f"{rate:.0f}"
    place.mkdir()
    os.chdir(place)
    try:
        asked = score.ScoreOptions(
            InputOptions(("../rows.csv",)), (model,), Path("out.parquet"), precision="fp32", backend="torch",
            shard_rows=shard_rows,
        )  # fmt: skip
        began = time.perf_counter()
        with (
            patch.object(Scorer, "launch", lambda *given: device.launch(*given)),
            patch.object(Scorer, "collect", lambda *given: device.collect(*given)),
        ):
            result = score.run(asked, watch)
        ended = time.perf_counter()
    finally:
        os.chdir(here)
    assert result.performance is not None
    stages = ", ".join(f"{name} {spent:.1f}" for name, spent in result.performance.stage_seconds.items())
    ideal = n_rows / rate
    return (
        f"| {rate:,.0f} | {n_rows / (ended - began):,.0f} | {ideal / (ended - began):.1%} "
        f"| {ideal / (ended - watch.at):.1%} | {stages} |"
    )


if __name__ == "__main__":
    main()
