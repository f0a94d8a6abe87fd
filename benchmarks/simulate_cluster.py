"""A cluster that scores a huge table, simulated from measured rates: wall time, stragglers, work lost to failures.

    python -m benchmarks.simulate_cluster                                  # a billion rows, 1 to 512 GPUs
    python -m benchmarks.simulate_cluster --rows 1e8 --rate 30 --shard-rows 256 --mtbf-hours 24
    python -m benchmarks.simulate_cluster --check                          # against real processes on this machine

Discrete events: every worker reads, prepares, infers and commits shards in a pipeline, as `jobs.runner.local` does,
three at a time, handed out in order and never more than a fair share of what is left (so that all end together). Nodes
of eight GPUs fail at random, lose what is not committed, come back and load their models again. What shards are read
from is one file system with one bandwidth. One process plans, and joins parts in order while others are scored.

Rates of GPUs are predictions from their physical limits (docs/scale.md), not measurements.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

AHEAD = 3


@dataclass(frozen=True)
class Cluster:
    """What is simulated.

    Attributes:
        workers: GPUs, or processes.
        n_rows: Of the table.
        shard_rows: Rows of a shard.
        infer_rows_per_s: Of one worker's networks.
        prepare_rows_per_s: Of one worker's cleaning and tokenising, which overlaps with inference.
        commit_s: Of one part whatever its size: fsync, rename.
        commit_rows_per_s: Of writing and sealing parts, beside inference.
        spread: Standard deviation of the logarithm of a shard's inference time: its texts are longer or shorter.
        workers_spread: The same of workers: some are slower for good.
        start_s: From a process to its first shard: imports, models, warming up; drawn with the same spread.
        bytes_per_row: Of the input.
        storage_bytes_per_s: That all workers together can read.
        plan_bytes_per_s: Of indexing.
        check_rows_per_s: Of looking for ids that occur twice; 0: not done.
        join_rows_per_s: Of one process that joins the parts (`benchmarks.disk`: one run of three classes).
        per_node: Workers of a node, which fail together.
        mtbf_h: Mean time between failures of a node, in hours; 0: never.
        repair_s: Until a node that failed is there again.
        static: Each worker has its own slice, fixed before it starts.
    """

    workers: int
    n_rows: int = 1_000_000_000
    shard_rows: int = 262_144
    infer_rows_per_s: float = 76_000.0
    prepare_rows_per_s: float = 160_000.0
    commit_s: float = 0.05
    commit_rows_per_s: float = 6_000_000.0
    spread: float = 0.05
    workers_spread: float = 0.03
    start_s: float = 40.0
    bytes_per_row: float = 200.0
    storage_bytes_per_s: float = 4e9
    plan_bytes_per_s: float = 1e9
    check_rows_per_s: float = 0.0
    join_rows_per_s: float = 2_300_000.0
    per_node: int = 8
    mtbf_h: float = 0.0
    repair_s: float = 300.0
    static: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        wall_s: From the call to the output.
        scoring_s: Of these, from the first start of a worker to the last part.
        efficiency: Worker-seconds of inference that was kept, over worker-seconds of scoring, starting up excluded.
        tail_s: From the first worker without a shard, for want of one, to the last part.
        failures: Nodes that failed.
        lost_s: Worker-seconds of inference that had to be repeated.
        worst_s: The most inference that one worker lost at one time.
    """

    wall_s: float
    scoring_s: float
    efficiency: float
    tail_s: float
    failures: int
    lost_s: float
    worst_s: float


@dataclass
class _Worker:
    """A worker's pipeline: when each stage is free again; what it holds, with begin and end of its inference."""

    factor: float
    ready: float = 0.0
    prepared: float = 0.0
    inferred: float = 0.0
    committed: float = 0.0
    life: int = 0
    alive: bool = False
    held: dict[int, tuple[float, float]] = field(default_factory=dict)
    own: list[int] = field(default_factory=list)
    idle_since: float | None = None


class Simulation:
    """One run of a cluster; the same seed gives the same run."""

    def __init__(self, cluster: Cluster, seed: int = 0) -> None:
        self.cluster, self._draw = cluster, random.Random(seed)
        n_shards = -(-cluster.n_rows // cluster.shard_rows)
        self._rows = [cluster.shard_rows] * n_shards
        self._rows[-1] = cluster.n_rows - cluster.shard_rows * (n_shards - 1)
        self._waiting = list(range(n_shards))
        self._left = n_shards
        self._workers = [_Worker(self._noise(cluster.workers_spread)) for _ in range(cluster.workers)]
        for index in self._waiting if cluster.static else ():
            self._workers[index * cluster.workers // n_shards].own.append(index)
        self._events: list[tuple[float, int, str, int, int, int]] = []
        self._count = itertools.count()
        self._storage_free = 0.0
        self._last = self._useful = self._lost = self._worst = 0.0
        self._committed = [0.0] * n_shards
        self._failures = 0

    def run(self) -> Outcome:
        """From planning to the joined output."""
        cluster = self.cluster
        for number in range(cluster.workers):
            self._start(number, 0.0)
        for node in range(-(-cluster.workers // cluster.per_node)):
            self._plan_failure(node, 0.0)
        while self._left:
            now, _, kind, number, index, life = heapq.heappop(self._events)
            if kind == "fail":
                self._fail(number, now)
            elif self._workers[number].life == life:
                if kind == "ready":
                    self._workers[number].alive = True
                else:
                    self._commit(number, index, now)
                self._hand_out(now, [number])  # nobody else has more room than before
        return self._outcome()

    def _outcome(self) -> Outcome:
        cluster = self.cluster
        plan_s = cluster.n_rows * cluster.bytes_per_row / cluster.plan_bytes_per_s
        plan_s += cluster.n_rows / cluster.check_rows_per_s if cluster.check_rows_per_s else 0.0
        joined = 0.0
        for rows, committed in zip(self._rows, self._committed, strict=True):
            joined = max(joined, committed) + rows / cluster.join_rows_per_s
        idle = [worker.idle_since for worker in self._workers if worker.idle_since is not None]
        starting = min(cluster.start_s, self._last)
        return Outcome(
            wall_s=plan_s + joined,
            scoring_s=self._last,
            efficiency=self._useful / (cluster.workers * (self._last - starting)),
            tail_s=self._last - min(idle, default=self._last),
            failures=self._failures,
            lost_s=self._lost,
            worst_s=self._worst,
        )

    def _noise(self, spread: float) -> float:
        return self._draw.lognormvariate(0.0, spread) if spread else 1.0

    def _push(self, time: float, kind: str, number: int, index: int = -1) -> None:
        life = self._workers[number].life if kind != "fail" else 0
        heapq.heappush(self._events, (time, next(self._count), kind, number, index, life))

    def _start(self, number: int, now: float) -> None:
        worker = self._workers[number]
        ready = now + self.cluster.start_s * self._noise(self.cluster.spread)
        worker.prepared = worker.inferred = worker.committed = ready
        self._push(ready, "ready", number)

    def _hand_out(self, now: float, numbers: Sequence[int]) -> None:
        """A shard for whoever of these has room, one round after the other."""
        moved = True
        while moved:
            moved = False
            for number in numbers:
                worker = self._workers[number]
                if worker.alive and (index := self._next_for(worker, now)) is not None:
                    self._assign(number, index, now)
                    moved = True

    def _next_for(self, worker: _Worker, now: float) -> int | None:
        queue = worker.own if self.cluster.static else self._waiting
        most = AHEAD if self.cluster.static else min(AHEAD, -(-self._left // self.cluster.workers))
        if not queue:
            if not worker.held and worker.idle_since is None:
                worker.idle_since = now
            return None
        worker.idle_since = None
        return heapq.heappop(queue) if len(worker.held) < most else None

    def _assign(self, number: int, index: int, now: float) -> None:
        cluster, worker = self.cluster, self._workers[number]
        rows = self._rows[index]
        read = max(now, self._storage_free) + rows * cluster.bytes_per_row / cluster.storage_bytes_per_s
        self._storage_free = read
        worker.prepared = max(read, worker.prepared) + rows / cluster.prepare_rows_per_s
        begin = max(worker.prepared, worker.inferred)
        worker.inferred = begin + rows / cluster.infer_rows_per_s * worker.factor * self._noise(cluster.spread)
        commit_s = cluster.commit_s + rows / cluster.commit_rows_per_s
        worker.committed = max(worker.inferred, worker.committed) + commit_s
        worker.held[index] = (begin, worker.inferred)
        self._push(worker.committed, "commit", number, index)

    def _commit(self, number: int, index: int, now: float) -> None:
        begin, end = self._workers[number].held.pop(index)
        self._useful += end - begin
        self._left -= 1
        self._last = self._committed[index] = now

    def _plan_failure(self, node: int, now: float) -> None:
        if self.cluster.mtbf_h:
            self._push(now + self._draw.expovariate(1.0 / (self.cluster.mtbf_h * 3600)), "fail", node)

    def _fail(self, node: int, now: float) -> None:
        """All workers of a node lose what is not committed."""
        self._failures += 1
        back = now + self.cluster.repair_s
        for number in range(node * self.cluster.per_node, min((node + 1) * self.cluster.per_node, len(self._workers))):
            worker = self._workers[number]
            worker.life += 1
            worker.alive, worker.idle_since = False, None
            lost = sum(max(0.0, min(now, end) - begin) for begin, end in worker.held.values())
            self._lost += lost
            self._worst = max(self._worst, lost)
            for index in worker.held:
                heapq.heappush(worker.own if self.cluster.static else self._waiting, index)
            worker.held.clear()
            self._start(number, back)
        self._hand_out(now, range(len(self._workers)))
        self._plan_failure(node, back)


def table(base: Cluster, sizes: list[int], seeds: int = 3) -> str:
    """A line for each number of workers: means over `seeds` runs; scaling is against one that nothing delays."""
    ideal = replace(base, workers=1, mtbf_h=0.0, spread=0.0, workers_spread=0.0)
    alone = Simulation(ideal).run().scoring_s - base.start_s
    lines = [
        "| GPUs | wall | scoring | rows/s | scaling | efficiency | tail s | failures | lost GPU s | lost at once s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size in sizes:
        runs = [Simulation(replace(base, workers=size), seed).run() for seed in range(seeds)]
        mean = {name: sum(getattr(run, name) for run in runs) / seeds for name in Outcome.__annotations__}
        scaling = alone / size / max(mean["scoring_s"] - base.start_s, 1e-9)
        lines.append(
            f"| {size} | {_duration(mean['wall_s'])} | {_duration(mean['scoring_s'])} "
            f"| {base.n_rows / mean['scoring_s']:,.0f} | {scaling:.1%} | {mean['efficiency']:.1%} "
            f"| {mean['tail_s']:.1f} | {mean['failures']:.1f} | {mean['lost_s']:,.0f} "
            f"| {max(run.worst_s for run in runs):.1f} |"
        )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def main() -> None:
    """Print the table, or check the simulation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2, 8, 32, 64, 128, 256, 512])
    parser.add_argument("--rows", type=float, default=1e9)
    parser.add_argument("--shard-rows", type=int, default=262_144)
    parser.add_argument("--rate", type=float, default=76_000.0, help="rows/s of one worker")
    parser.add_argument("--prepare-rate", type=float, default=160_000.0, help="rows/s that one worker tokenises")
    parser.add_argument("--start", type=float, default=40.0, help="seconds until a worker has its models")
    parser.add_argument("--mtbf-hours", type=float, default=0.0, help="of a node of eight; 0: nothing fails")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--check", action="store_true", help="against real processes with simulated GPUs")
    asked = parser.parse_args()
    if asked.check:
        from benchmarks.simulate_check import check

        sys.stdout.write(check((1, 2, 8)) + "\n")
        return
    base = Cluster(
        1,
        n_rows=int(asked.rows),
        shard_rows=asked.shard_rows,
        infer_rows_per_s=asked.rate,
        prepare_rows_per_s=asked.prepare_rate,
        start_s=asked.start,
        mtbf_h=asked.mtbf_hours,
    )
    sys.stdout.write(table(base, asked.gpus, asked.seeds) + "\n")


if __name__ == "__main__":
    main()
