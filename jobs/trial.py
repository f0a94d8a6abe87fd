"""What a shard of a job takes, stage by stage, found by trying a few: for `cli score --dry-run`.

Shards are taken from all over the input. Each is read whole, its distinct texts are counted and tokenised, and of the
batches that it would make every k-th goes through the networks: so the sample has the lengths, the duplicates and the
padding of the real thing, which a handful of rows has not. Parts and an output are written in the job's own, passing,
folder.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from jobs.runner.assemble import output_file, predictions_file
from jobs.runner.joining import join
from jobs.runner.local import part_column
from jobs.runner.plan import Piece, ShardTask
from jobs.runner.planner import Job
from jobs.runner.reading import TaskReader, read_texts
from kaggle_tools.files import file_digest
from models.inference.groups import Features, Group, NetworkGroup
from models.inference.scorer import Scorer
from models.inference.shards import Scored
from models.inference.tokens import Tokens
from models.tagging import WordRows
from models.text.cleaning import clean

SAMPLE_SECONDS = 9.0  # of inference, over all shards that are tried
N_SHARDS = 3
MAX_TEXTS = 65_536  # of a shard, tokenised
_PROBE_BATCHES = 3

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of processors (all cores)."""

    wall: float
    cpu: float

    def scaled(self, factor: float) -> Cost:
        """The cost of `factor` times as much."""
        return Cost(self.wall * factor, self.cpu * factor)


@dataclass(frozen=True)
class Trial:
    """One shard.

    Attributes:
        rows: Rows that it has.
        distinct: Different texts among them, under the cleaning of the largest network.
        sampled: Texts that went through the networks.
        tokens_per_text: Of distinct texts.
        truncated_share: Of distinct texts, in [0, 1].
        costs: Stage → cost of the whole shard: read, prepare, infer (``infer first``: while all shapes are new), write,
            finish (its share of the output and the runs' predictions).
        n_bytes: Of its texts, tokens and probabilities in memory.
    """

    rows: int
    distinct: int
    sampled: int
    tokens_per_text: float
    truncated_share: float
    costs: Mapping[str, Cost]
    n_bytes: int


@dataclass(frozen=True)
class Output:
    """What is written at the end: the kind of file, each run's columns or not, and runs that get predictions."""

    suffix: str
    each: bool
    runs: tuple[str, ...]


def try_shards(job: Job, scorer: Scorer, output: Output) -> list[Trial]:
    """Try up to `N_SHARDS` shards of a job that lies in a passing folder."""
    tasks = spread(job.plan.tasks)
    with ExitStack() as stack:
        lanes = {name: stack.enter_context(ThreadPoolExecutor(1)) for name in ("read", "prepare", "infer", "write")}
        bench = _Bench(job, scorer, output, SAMPLE_SECONDS / len(tasks), lanes)
        return [bench.try_one(*read) for read in bench.read(tasks) if len(read[2])]


def spread(tasks: tuple[ShardTask, ...]) -> list[ShardTask]:
    """The middle task of each third; all, where there are no more."""
    if len(tasks) <= N_SHARDS:
        return list(tasks)
    return [tasks[(2 * k + 1) * len(tasks) // (2 * N_SHARDS)] for k in range(N_SHARDS)]


@dataclass(frozen=True)
class _Bench:
    """What shards are tried on. Each stage has a thread, as in the job: memory of threads is not shared.

    Attributes:
        job: In a passing folder.
        scorer: All models.
        output: What is written at the end.
        seconds: Of inference for each shard.
        lanes: Stage → its thread.
    """

    job: Job
    scorer: Scorer
    output: Output
    seconds: float
    lanes: Mapping[str, Executor]

    def read(self, tasks: list[ShardTask]) -> Iterator[tuple[ShardTask, pl.Series, pl.Series, Cost]]:
        """Each shard's ids and texts, and what it takes to read so many rows."""
        request = self.job.plan.request
        before: Piece | None = None
        with TaskReader(request) as reader:
            for task in tasks:
                table, cost = self._timed("read", partial(reader.read, task))
                # What is compressed has to be read through up to the shard.
                first, through = task.pieces[0], 0
                if request.inputs[first.file].format.compression:
                    through = first.shard.first_row
                    if before is not None and before.file == first.file:
                        through -= before.shard.first_row + before.shard.n_rows
                before = task.pieces[-1]
                ids = pl.Series("row", np.arange(len(table.frame))).cast(pl.String)
                if request.id_column is not None:
                    ids = table.frame[request.id_column]
                texts = read_texts(table.frame, request.text_columns)[0]
                yield task, ids, texts, cost.scaled(task.n_rows / (task.n_rows + through))

    def try_one(self, task: ShardTask, ids: pl.Series, texts: pl.Series, reading: Cost) -> Trial:
        """One shard through all stages."""
        scorer = self.scorer
        lead = max(range(len(scorer.groups)), key=lambda i: _weight(scorer.groups[i]))
        cleaning = scorer.groups[lead].cleaning
        unique, finding = self._timed("prepare", lambda: clean(texts, cleaning).unique(maintain_order=True))
        sample = _every(unique, MAX_TEXTS)
        more = len(unique) / len(sample)  # texts than were tried
        prepared, preparing = self._timed("prepare", lambda: scorer.prepare(sample))
        # Cleaning and finding distinct texts was counted for the sample together with tokenising it.
        repeated = 1 - len(unique) / len(texts)
        prepare = _sum(preparing.scaled(more), finding.scaled(repeated))
        features = prepared.features[lead]
        lengths = _lengths(features)
        first, steady, scored = self._infer(sample, lengths, scorer.groups[lead])
        columns = len(scorer.runs) * len(scorer.classes)
        return Trial(
            rows=task.n_rows,
            distinct=len(unique),
            sampled=scored.stats.rows,
            tokens_per_text=0.0 if isinstance(features, csr_matrix) else float(lengths.mean()),
            truncated_share=features.n_truncated / len(sample) if isinstance(features, Tokens) else 0.0,
            costs={
                "read": reading,
                "prepare": prepare,
                "infer first": first.scaled(more),
                "infer": steady.scaled(more),
            }
            | self._write(task, ids, scored),
            n_bytes=_bytes(ids, texts, int(lengths.sum() * more), len(unique) - len(sample), columns),
        )

    def _infer(self, sample: pl.Series, lengths: NDArray[np.int64], group: Group) -> tuple[Cost, Cost, Scored]:
        """What the networks take for a shard, at first and once they know its shapes; scores of what was tried."""
        how = {"pads": True, "packed": False}
        if isinstance(group, NetworkGroup):
            how = {"pads": group.pads, "packed": group.packed}
        planned = self.scorer.budget.batches(lengths, **how)
        batches = [batch.rows for batch in sorted(planned, key=lambda batch: batch.length, reverse=True)]
        repeats = 1 if len(self.job.plan.tasks) == 1 else 2
        self._run(sample, lengths, batches[-1:])  # pools of threads and memory
        probe = batches[:: max(1, len(batches) // _PROBE_BATCHES)]  # the longest among them: memory peaks there
        cost, share, _ = self._run(sample, lengths, probe)
        step = max(1, round(cost.wall / max(share, 1e-9) * repeats / self.seconds))
        chosen = batches[min(step // 2, len(batches) - 1) :: step]
        runs = [self._run(sample, lengths, chosen) for _ in range(repeats)]
        first, steady = (runs[k][0].scaled(1 / runs[k][1]) for k in (0, -1))
        return first, steady, runs[-1][2]

    def _run(
        self, sample: pl.Series, lengths: NDArray[np.int64], batches: list[NDArray[np.int64]]
    ) -> tuple[Cost, float, Scored]:
        """What inference of some batches' texts takes, which share of the sample's tokens they are, their scores."""
        rows = np.concatenate(batches)
        prepared = self.scorer.prepare(sample.gather(rows))
        scored, cost = self._timed("infer", lambda: self.scorer.infer(prepared))
        return cost, float(lengths[rows].sum() / lengths.sum()), scored

    def _write(self, task: ShardTask, ids: pl.Series, scored: Scored) -> dict[str, Cost]:
        """A part and what comes of it, with scores that were found for some of its rows. Of tags nothing is known."""
        if scored.offsets is not None:
            return {"write": Cost(0.0, 0.0), "finish": Cost(0.0, 0.0)}
        job, scorer = self.job, self.scorer
        columns = [ids]
        for run, probs in scored.probs.items():
            whole = np.resize(probs, (len(ids), probs.shape[1]))
            columns += [pl.Series(part_column(run, name), whole[:, i]) for i, name in enumerate(scorer.classes)]
        frame = pl.DataFrame(columns)
        _, writing = self._timed("write", lambda: job.store.commit(task.index, frame, (), {}))
        plan = dataclasses.replace(job.plan, tasks=(task,))
        path = job.store.folder / f"output{self.output.suffix}"

        def finish() -> None:
            files = [output_file(plan, path, task=scorer.task, each=self.output.each)]
            for run in self.output.runs:
                own = job.store.folder / f"predictions-{run}.parquet"
                files.append(predictions_file(plan, run, own, task=scorer.task, precision=scorer.precision))
            join(plan, job.store, files)
            file_digest(path)

        return {"write": writing, "finish": timed(finish)[1]}

    def _timed(self, stage: str, work: Callable[[], Result]) -> tuple[Result, Cost]:
        return self.lanes[stage].submit(lambda: timed(work)).result()


def timed(work: Callable[[], Result]) -> tuple[Result, Cost]:
    """What `work` gives and what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Cost(time.perf_counter() - wall, time.process_time() - cpu)


def _weight(group: Group) -> float:
    return group.flop_per_token if isinstance(group, NetworkGroup) else 0.0


def _lengths(features: Features) -> NDArray[np.int64]:
    """(N,) tokens of each text; ones for a linear model, to which all texts are alike."""
    if isinstance(features, Tokens):
        return features.lengths
    if isinstance(features, WordRows):
        return features.rows.lengths
    return np.ones(features.shape[0], np.int64)


def _every(texts: pl.Series, rows: int) -> pl.Series:
    """At most so many, evenly."""
    return texts if len(texts) <= rows else texts.gather(np.linspace(0, len(texts) - 1, rows).astype(np.int64))


def _sum(*costs: Cost) -> Cost:
    return Cost(sum(cost.wall for cost in costs), sum(cost.cpu for cost in costs))


def _bytes(ids: pl.Series, texts: pl.Series, tokens: int, untried: int, columns: int) -> int:
    """Of a shard under way: its columns, token ids, probabilities, and what of these was not in memory yet."""
    return int(ids.estimated_size() + texts.estimated_size() + 4 * tokens + 4 * columns * len(ids) + 200 * untried)
