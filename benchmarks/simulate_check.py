"""The simulation of a cluster against real processes: real reading, tokenising, committing; a GPU that only sleeps.

    python -m benchmarks.simulate_cluster --check

Each process scores its own slice of one table by `jobs.score.run` through a tiny network; with each shard it sleeps as
long as a GPU of a given speed would have taken, so that eight "GPUs" fit a machine with two cores. Stage times measured
in the run of one process drive the simulations of all. Compared is what lies between the first reading of a shard and
the last commit: planning and joining parts are the same for all.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SHARD_ROWS, SHARDS = 1024, 96
INFER_S = 2.0  # of a shard on the GPU that sleeps


@dataclass(frozen=True)
class Measured:
    """Seconds from the first reading of a shard to the last commit; mean seconds of each stage for a shard."""

    wall_s: float
    stages: dict[str, float]


def check(sizes: Sequence[int]) -> str:
    """Measure and simulate each number of processes; gives a table."""
    from benchmarks.simulate_cluster import Cluster, Simulation
    from benchmarks.soak import make_network

    lines = ["| processes | measured s | simulated s | simulated / measured | scaling, measured | scaling, simulated |"]
    lines.append("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        make_network(Path(folder) / "network")
        found = {n: _measure(Path(folder), n) for n in sizes}
        stages = found[sizes[0]].stages
        simulated = {}
        for n in sizes:
            # Shards are of one size and a sleep is exact: nothing scatters.
            cluster = Cluster(
                n,
                n_rows=SHARD_ROWS * SHARDS,
                shard_rows=SHARD_ROWS,
                infer_rows_per_s=SHARD_ROWS / stages["infer"],
                prepare_rows_per_s=SHARD_ROWS / (stages["read"] + stages["prepare"]),
                commit_s=stages["write"],
                commit_rows_per_s=math.inf,
                spread=0.0,
                workers_spread=0.0,
                start_s=0.0,
                static=True,
            )
            simulated[n] = Simulation(cluster).run().scoring_s
    first = sizes[0]
    for n in sizes:
        real, model = found[n].wall_s, simulated[n]
        ratios = (found[first].wall_s * first / n / real, simulated[first] * first / n / model)
        lines.append(f"| {n} | {real:.1f} | {model:.1f} | {model / real:.3f} | {ratios[0]:.1%} | {ratios[1]:.1%} |")
    told = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in stages.items())
    return "\n".join([*lines, "", f"a shard of {SHARD_ROWS:,} rows with one process: {told}"])


def _measure(folder: Path, n: int) -> Measured:
    from benchmarks.soak import write_rows

    processes = []
    for i in range(n):
        place = folder / f"{n}-{i}"
        place.mkdir()
        shards = SHARDS * (i + 1) // n - SHARDS * i // n
        write_rows(place / "rows.csv", SHARD_ROWS * shards, seed=i)
        command = [sys.executable, "-m", "benchmarks.simulate_check", str(folder / "network")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        processes.append(
            subprocess.Popen(
                command, cwd=place, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )
        )  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [json.loads(process.communicate()[0]) for process in processes]
    wall_s = max(one["ended"] for one in said) - min(one["began"] for one in said)
    return Measured(wall_s, said[0]["stages"])


def _work(network: str) -> None:
    """One process: says that it is ready, waits for its start, scores, tells its stages."""
    from benchmarks.faults.tables import Silent
    from jobs import score
    from jobs.resolve import InputOptions
    from models.inference.scorer import Scorer

    launch = Scorer.launch

    def slow(scorer: Scorer, prepared: object, tick: object = None) -> object:
        began = time.perf_counter()
        launched = launch(scorer, prepared, tick)  # type: ignore[arg-type]
        time.sleep(max(0.0, INFER_S - (time.perf_counter() - began)))
        return launched

    class Stages(Silent):
        def __init__(self) -> None:
            self.seconds: list[dict[str, float]] = []

        def started(self, *_: object) -> None:
            self.began = time.monotonic()

        def committed(self, _stats: object, seconds: dict[str, float]) -> None:
            self.seconds.append(seconds)
            self.ended = time.monotonic()

    options = score.ScoreOptions(
        InputOptions(("rows.csv",)), (network,), device="cpu", precision="fp32", submission=False, shard_rows=SHARD_ROWS
    )  # fmt: skip
    Scorer([network], device="cpu", precision="fp32")  # its imports are not part of what is measured
    Scorer.launch = slow  # type: ignore[assignment,method-assign]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    watch = Stages()
    score.run(options, watch)
    names = ("read", "prepare", "write")
    mean = {name: sum(one.get(name, 0.0) for one in watch.seconds) / len(watch.seconds) for name in names}
    stages = {**mean, "infer": INFER_S}
    sys.stdout.write(json.dumps({"began": watch.began, "ended": watch.ended, "stages": stages}))


if __name__ == "__main__":
    _work(sys.argv[1])
