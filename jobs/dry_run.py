"""What a scoring job would take: time, disk, memory. Plans the job in a passing folder, tries some shards, adds up.

seconds = start + load + plan + gate                        # as this process spent them
        + max(one shard through all stages + the rest at the pace of the slowest stage,
              processor seconds of all stages / cores)      # stages overlap, but share the cores
        + finish                                            # joining one shard: the others were joined meanwhile
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.machine import peak_memory as peak_host_memory
from jobs.machine import usable_cores
from jobs.runner.planner import Job
from jobs.trial import Cost, Output, Trial, try_shards
from models.inference.device import peak_memory
from models.inference.scorer import Scorer

STAGES = ("read", "prepare", "infer", "write")
# Shards in memory at a time: one in each stage, and what waits between them. On a GPU more are launched than computed.
IN_FLIGHT = {"cpu": 7, "mps": 7, "cuda": 9}
# A float32 probability compresses little; an id takes about this much beside it.
_BYTES_PER_ID = 12


@dataclass(frozen=True)
class Forecast:
    """What to expect.

    Attributes:
        n_rows: Rows of the whole job.
        sample_rows: Texts that went through the networks to find out.
        rows_per_s: While shards are scored.
        seconds: For the whole job, from the command to its end.
        tokens_per_row: Mean over distinct texts.
        distinct_share: Distinct texts a row, in [0, 1].
        truncated_share: Distinct texts longer than a model's limit, in [0, 1].
        disk_bytes: Parts and output together.
        memory_bytes: Most host memory of the process.
        device_bytes: Most device memory; 0 on a CPU.
        precision: Number format that the gate let through.
        stage_seconds: Stage → seconds that it will work; read, prepare, infer and write overlap.
        cpu_seconds: Processor seconds, all cores together, from the first shard to the end.
    """

    n_rows: int
    sample_rows: int
    rows_per_s: float
    seconds: float
    tokens_per_row: float
    distinct_share: float
    truncated_share: float
    disk_bytes: int
    memory_bytes: int
    device_bytes: int
    precision: str
    stage_seconds: Mapping[str, float]
    cpu_seconds: float


def forecast(job: Job, scorer: Scorer, spent: Mapping[str, float], output: Output) -> Forecast:
    """Try some shards of a job in a passing folder and say what all of them would take.

    Args:
        job: As planned for the real request.
        scorer: In the format that the gate let through.
        spent: Seconds of start, load, plan and gate: the job itself will spend them again.
        output: What will be written.
    """
    trials = try_shards(job, scorer, output)
    n_rows = job.plan.n_rows
    sums = add_up(trials, n_rows, len(job.plan.tasks), usable_cores())
    width = 4 * len(scorer.classes)
    texts = sum(trial.distinct for trial in trials)
    in_flight = min(len(job.plan.tasks), IN_FLIGHT[scorer.device.type]) - 1
    return Forecast(
        n_rows=n_rows,
        sample_rows=sum(trial.sampled for trial in trials),
        rows_per_s=n_rows / sums.scoring if sums.scoring else 0.0,
        seconds=sum(spent.values()) + sums.scoring + sums.stages["finish"],
        tokens_per_row=sum(trial.tokens_per_text * trial.distinct for trial in trials) / max(1, texts),
        distinct_share=texts / max(1, sum(trial.rows for trial in trials)),
        truncated_share=sum(trial.truncated_share * trial.distinct for trial in trials) / max(1, texts),
        disk_bytes=n_rows * ((width + _BYTES_PER_ID) + len(scorer.runs) * 2 * width + _BYTES_PER_ID),
        memory_bytes=peak_host_memory() + in_flight * max((trial.n_bytes for trial in trials), default=0),
        device_bytes=peak_memory(scorer.device),
        precision=scorer.precision,
        stage_seconds={**spent, **sums.stages},
        cpu_seconds=sums.cpu,
    )


@dataclass(frozen=True)
class Sums:
    """Seconds of a whole job, from its first shard on.

    Attributes:
        scoring: From the first shard to the last.
        stages: Of each stage, and ``finish``.
        cpu: Of processors, ``finish`` included.
    """

    scoring: float
    stages: dict[str, float]
    cpu: float


def add_up(trials: Sequence[Trial], n_rows: int, n_shards: int, cores: float) -> Sums:
    """From what some shards took to all of them; see the head of this file.

    Args:
        trials: Shards that stand for all.
        n_rows: Rows of the job.
        n_shards: Shards of the job.
        cores: Processors that the stages share.
    """
    tried = sum(trial.rows for trial in trials)
    if not tried:
        return Sums(0.0, dict.fromkeys((*STAGES, "finish"), 0.0), 0.0)
    total = {name: _total(trials, name).scaled(n_rows / tried) for name in (*STAGES, "infer first", "finish")}
    one = 1 / n_shards  # share of the rows that a shard has
    at_first = {stage: total[stage].scaled(one) for stage in STAGES} | {"infer": total["infer first"].scaled(one)}
    later = {stage: total[stage].scaled(1 - one) for stage in (*STAGES, "finish")}
    last = total["finish"].scaled(one)
    overlapped = sum(cost.wall for cost in at_first.values()) + max(cost.wall for cost in later.values())
    cpu = sum(cost.cpu for cost in (*at_first.values(), *later.values()))
    stages = {stage: at_first[stage].wall + later[stage].wall for stage in STAGES}
    return Sums(max(overlapped, cpu / cores), stages | {"finish": last.wall}, cpu + last.cpu)


def _total(trials: Sequence[Trial], stage: str) -> Cost:
    costs = [trial.costs[stage] for trial in trials]
    return Cost(sum(cost.wall for cost in costs), sum(cost.cpu for cost in costs))
