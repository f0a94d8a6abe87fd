"""One process works through a plan: read, prepare, infer (launch, collect) and commit overlap; what is committed is
never done again.

    run_shards(plan, store, scorer, watch)

Ctrl-C or SIGTERM stop between two batches; committed parts stay and the next call goes on from there.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from types import FrameType
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.errors import Interrupted
from jobs.runner.overlap import overlapped
from jobs.runner.plan import Plan, ShardTask
from jobs.runner.reading import TaskReader, read_texts
from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import PREFIX
from kaggle_tools.remote import Place
from kaggle_tools.tables import BadRow
from kaggle_tools.tag_predictions import prob_columns
from models.inference.device import PRECISIONS, measure_matmul_rate
from models.inference.launched import Launched
from models.inference.scorer import Scorer
from models.inference.shards import NonFinite, Prepared, Scored, ShardStats
from models.inference.tokens import UnusableTexts

TEXT = "text"  # second column of a part whose words have tags, so that entities can be shown


class Watch(Protocol):
    """Whoever follows a job while it runs."""

    def note(self, text: str) -> None:
        """Something worth knowing, once."""

    def started(self, n_rows: int, rows_done: int, ceiling: float) -> None:
        """Before the first shard: rows of the whole job, those committed earlier, the device's measured FLOP/s."""

    def advanced(self, rows: float) -> None:
        """So many rows more went through the networks."""

    def committed(self, stats: ShardStats, seconds: dict[str, float]) -> None:
        """A part is on disk; `seconds` are those that each stage worked for it."""


@dataclass
class Stop:
    """Set by a signal, read between two batches."""

    signal_number: int | None = None


@dataclass(frozen=True)
class Part:
    """A part that was committed just now.

    Attributes:
        index: Of its shard.
        stats: What it took.
        seconds: How long each stage worked for it.
    """

    index: int
    stats: ShardStats
    seconds: dict[str, float]


class _Unwanted(Exception):
    """A shard before this one failed, so that nobody waits for it."""


@dataclass
class _Shard:
    """What travels from stage to stage."""

    task: ShardTask
    ids: pl.Series
    texts: pl.Series
    positions: NDArray[np.int64]
    bad_rows: tuple[BadRow, ...]
    n_null: int
    n_replaced: int
    seconds: dict[str, float] = field(default_factory=dict)
    prepared: Prepared | None = None
    launched: Launched | None = None
    scored: Scored | None = None

    def first_path(self, rows: Sequence[int]) -> Place:
        """The file that holds the first of these good rows."""
        return self.task.path_of(int(self.positions[rows[0]]))


def run_shards(plan: Plan, store: JobStore, scorer: Scorer, watch: Watch, ceiling: float | None = None) -> None:
    """Score every shard whose part is not there yet.

    Args:
        plan: What is to be done.
        store: Where the parts go.
        scorer: All models.
        watch: Whoever follows.
        ceiling: FLOP/s of the device where that is known; otherwise a fraction of a second finds out.

    Raises:
        UserError: A bad row (with ``fail``), a file that changed, a full disk.
        ModelError: Out of memory with a single row, NaN logits.
        Interrupted: After SIGINT or SIGTERM.
    """
    done = store.done()
    tasks = [task for task in plan.tasks if task.index not in done]
    if ceiling is None and tasks and scorer.flop_per_token and scorer.precision in PRECISIONS:
        ceiling = measure_matmul_rate(scorer.device, PRECISIONS[scorer.precision])
    watch.started(plan.n_rows, plan.n_rows - sum(task.n_rows for task in tasks), ceiling or 0.0)
    stop = Stop()

    def tick(rows: float) -> None:
        watch.advanced(rows)
        if stop.signal_number is not None:
            raise Interrupted(stop.signal_number)

    with stop_on_signals(stop), closing(work_through(tasks, plan, store, scorer, tick)) as parts:
        for part in parts:
            watch.committed(part.stats, part.seconds)


def work_through(
    tasks: Iterable[ShardTask], plan: Plan, store: JobStore, scorer: Scorer, tick: Callable[[float], None]
) -> Generator[Part, None, None]:
    """Score shards, commit their parts, and give them in the order of `tasks`, with five stages at work at once.

    Args:
        tasks: May be endless: a few are taken ahead.
        plan: What they are shards of.
        store: Where their parts go.
        scorer: All models.
        tick: Called between batches with the rows that went through the networks; what it raises ends the work.

    Raises:
        UserError: See `run_shards`. The first task without a part is the one that failed.
        ModelError: Likewise.
    """
    with TaskReader(plan.request) as rows:
        shards = overlapped(tasks, _Reader(plan, rows).read)
        prepared = overlapped(shards, lambda shard: _prepare(shard, scorer))
        # A GPU is sent the next shard before this one is collected.
        stopped = threading.Event()
        launched = overlapped(prepared, lambda shard: _launch(shard, scorer, tick, stopped), 1, stopped)
        scored = overlapped(launched, lambda shard: _collect(shard, scorer))
        # The threads end first, then the file is closed that one of them reads.
        with closing(overlapped(scored, lambda shard: _commit(shard, plan, store))) as committed:
            for shard in committed:
                assert shard.scored is not None
                yield Part(shard.task.index, shard.scored.stats, shard.seconds)


@dataclass
class _Reader:
    """Reads shards in order."""

    plan: Plan
    rows: TaskReader

    def __post_init__(self) -> None:
        self._first_rows = [0, *accumulate(task.n_rows for task in self.plan.tasks)]

    def read(self, task: ShardTask) -> _Shard:
        began = time.perf_counter()
        request = self.plan.request
        table = self.rows.read(task)
        if request.id_column is None:
            ids = pl.Series("row", self._first_rows[task.index] + table.positions).cast(pl.String)
        else:
            ids = table.frame[request.id_column]
        texts, n_null = read_texts(table.frame, request.text_columns)
        shard = _Shard(task, ids, texts, table.positions, table.bad_rows, n_null, table.n_replaced)
        shard.seconds["read"] = time.perf_counter() - began
        return shard


def _prepare(shard: _Shard, scorer: Scorer) -> _Shard:
    try:
        shard.prepared = scorer.prepare(shard.texts)
    except UnusableTexts as exc:
        ids = ", ".join(shard.ids.gather(exc.rows[:5]).to_list())
        details: dict[str, Any] = {**exc.details, "where": shard.first_path(exc.rows)}
        raise UserError(f"{exc.summary}: rows {ids}", **details) from exc
    shard.seconds["prepare"] = shard.prepared.seconds
    return shard


def _launch(shard: _Shard, scorer: Scorer, tick: Callable[[float], None], stopped: threading.Event) -> _Shard:
    def after_batch(share: float) -> None:
        tick(share * shard.task.n_rows)
        if stopped.is_set():
            raise _Unwanted

    assert shard.prepared is not None
    shard.launched = scorer.launch(shard.prepared, after_batch)
    return shard


def _collect(shard: _Shard, scorer: Scorer) -> _Shard:
    assert shard.launched is not None
    try:
        shard.scored = scorer.collect(shard.launched)
    except NonFinite as exc:
        ids = ", ".join(shard.ids.gather(exc.rows[:5]).to_list())
        raise UserError(exc.summary, first=ids, where=shard.first_path(exc.rows), next=exc.details["next"]) from exc
    shard.seconds["infer"] = shard.scored.stats.infer_s
    shard.prepared = shard.launched = None
    return shard


def _commit(shard: _Shard, plan: Plan, store: JobStore) -> _Shard:
    began = time.perf_counter()
    assert shard.scored is not None
    columns, offsets = [shard.ids], shard.scored.offsets
    if offsets is not None:
        columns.append(shard.texts.fill_null("").alias(TEXT))
    for run, probs in shard.scored.probs.items():
        names = [part_column(run, name) for name in plan.request.classes]
        if offsets is not None:
            columns += prob_columns(probs, offsets, names)
            continue
        columns += [pl.Series(name, probs[:, i]) for i, name in enumerate(names)]
    counts = {"null_texts": shard.n_null, "set_aside": len(shard.bad_rows), "replaced": shard.n_replaced}
    stats = {**asdict(shard.scored.stats), **counts}
    store.commit(shard.task.index, pl.DataFrame(columns), shard.bad_rows, stats)
    shard.seconds["write"] = time.perf_counter() - began
    return shard


def part_column(run: str, class_name: str) -> str:
    """Column of a part: the probability of a class by a run."""
    return f"{run}/{PREFIX}{class_name}"


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `stop`; a second one acts as it would have without us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.signal_number = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
