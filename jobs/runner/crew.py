"""Several workers work through a plan: processes of this machine or actors of a Ray cluster, by one loop.

    run_crew(plan, store, crew, watch)

The workers read, score and commit; this process holds the job, hands out shards and shows how far they are. Killed and
resumed by whichever engine, the job goes on with what is committed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Protocol

from jobs.errors import USER_ERRORS, Interrupted
from jobs.runner.handout import Handout
from jobs.runner.local import Part, Stop, Watch, stop_on_signals
from jobs.runner.plan import Plan
from jobs.runner.reports import Failed, Lost, Ready
from jobs.runner.store import JobStore
from jobs.runner.worker import Advanced, Report
from kaggle_tools.errors import UserError

_WAIT_S = 0.2
_LONG_WITHOUT_S = 30.0
_SEE_PARTS_S = 60.0  # how long a network file system may hide a file that another node wrote
_MOST_LOST_AT_START = 3


class Crew(Protocol):
    """Workers, each known by the number of its place, from 0."""

    @property
    def size(self) -> int:
        """Places."""

    def hire(self, place: int) -> None:
        """Begin to start a worker at a place where none is; it reports `Ready` in its time."""

    def assign(self, place: int, index: int) -> None:
        """Give a shard to a worker that is ready."""

    def dismiss(self, place: int) -> None:
        """End a worker that is not needed any more. One that was lost needs none."""

    def reports(self, timeout_s: float) -> Iterable[tuple[int, Report]]:
        """What workers said since the last call; waits so long for a first word."""

    def what_is_missing(self) -> str:
        """Why no worker may be ready yet, for a person."""

    def close(self) -> None:
        """End every worker, soon and without harm."""


def run_crew(plan: Plan, store: JobStore, crew: Crew, watch: Watch, ceiling: float) -> None:
    """Score every shard whose part is not there yet.

    Args:
        plan: What to do.
        store: The job, held by this process.
        crew: Who does it.
        watch: Follows; stages' seconds are means over the workers.
        ceiling: FLOP/s of all devices together, 0 where unknown.

    Raises:
        UserError: As `run_shards`, of the first bad shard; a shard that costs one worker after another.
        ModelError: Likewise.
        Interrupted: After SIGINT or SIGTERM.
    """
    done = store.done()
    tasks = [task for task in plan.tasks if task.index not in done]
    watch.started(plan.n_rows, plan.n_rows - sum(task.n_rows for task in tasks), ceiling)
    if not tasks:
        return
    stop = Stop()
    shift = _Shift(plan, crew, watch, Handout(task.index for task in tasks))
    try:
        with stop_on_signals(stop):
            shift.begin(len(tasks))
            while not shift.handout.over:
                if stop.signal_number is not None:
                    raise Interrupted(stop.signal_number)
                for place, report in crew.reports(_WAIT_S):
                    shift.hear(place, report)
                shift.hand_out()
    finally:
        crew.close()
    if shift.handout.failure is not None:
        raise shift.handout.failure[1]
    _see_parts(plan, store)


class _Shift:
    """The state of one call of `run_crew`."""

    def __init__(self, plan: Plan, crew: Crew, watch: Watch, handout: Handout) -> None:
        self.handout = handout
        self._plan = plan
        self._crew = crew
        self._watch = watch
        self._ready: set[int] = set()
        self._hired: set[int] = set()
        self._begun: set[int] = set()  # places where a worker was ready once
        self._closed: set[int] = set()  # and where none can begin any more
        self._uncommitted: dict[int, float] = {}  # rows that went through the networks of each place
        self._lost_at_start = 0
        self._next_note = time.monotonic() + _LONG_WITHOUT_S

    def begin(self, n_tasks: int) -> None:
        for place in range(min(self._crew.size, n_tasks)):
            self._hire(place)

    def hear(self, place: int, report: Report) -> None:
        match report:
            case Ready():
                self._ready.add(place)
                self._begun.add(place)
            case Advanced(rows):
                self._uncommitted[place] = self._uncommitted.get(place, 0.0) + rows
                self._watch.advanced(rows)
            case Part(index, stats, seconds):
                self.handout.committed(place, index)
                self._uncommitted[place] = self._uncommitted.get(place, 0.0) - self._plan.tasks[index].n_rows
                n_workers = max(1, len(self._ready))
                self._watch.committed(stats, {stage: spent / n_workers for stage, spent in seconds.items()})
            case Failed(None, error):
                self._cannot_begin(place, error)
            case Failed(int() as index, error):
                self._leave(place)
                self._crew.dismiss(place)
                self.handout.failed(place, index, error)
            case Lost(how):
                self._lose(place, how)

    def hand_out(self) -> None:
        """Shards to whoever is ready, as evenly as it goes; workers to empty places while there is work for them."""
        given = True
        while given:
            given = False
            for place in sorted(self._ready):
                index = self.handout.next_for(place, len(self._ready))
                if index is not None:
                    self._crew.assign(place, index)
                    given = True
        if self.handout.wanting:
            for place in range(self._crew.size):
                if place not in self._hired | self._closed and len(self._hired) < self.handout.left:
                    self._hire(place)
        else:
            for place in sorted(self._hired):
                if self.handout.is_idle(place):
                    self._leave(place)
                    self._crew.dismiss(place)
        if not self._ready and self.handout.wanting and time.monotonic() > self._next_note:
            self._next_note = math.inf
            self._watch.note(f"no worker is ready yet: {self._crew.what_is_missing()}")

    def _hire(self, place: int) -> None:
        self._hired.add(place)
        self._crew.hire(place)

    def _cannot_begin(self, place: int, error: Exception) -> None:
        """End the job, unless a worker could begin there before: a run was trained anew since, and others still have
        the models that the job began with."""
        if place not in self._begun or not self._ready:
            raise error
        self._leave(place)
        self._crew.dismiss(place)
        self._closed.add(place)
        told = error.summary if isinstance(error, USER_ERRORS) else str(error)
        self._watch.note(f"nobody takes the place of a worker that was lost, the others go on: {told}")

    def _leave(self, place: int) -> None:
        self._hired.discard(place)
        self._ready.discard(place)
        lost_rows = self._uncommitted.pop(place, 0.0)
        if lost_rows > 0:
            self._watch.advanced(-lost_rows)

    def _lose(self, place: int, how: str) -> None:
        was_ready = place in self._ready
        self._leave(place)
        costly = self.handout.lost(place)
        self._lost_at_start = 0 if was_ready else self._lost_at_start + 1
        if costly is not None:
            raise UserError(
                f"workers die, one after the other, at shard {costly}: {how}",
                where=self._plan.tasks[costly].words,
                next="often memory: fewer --workers, a smaller --batch-tokens, fewer --shard-rows",
            )
        if self._lost_at_start >= _MOST_LOST_AT_START:
            raise UserError(
                f"workers die before they have loaded the models: {how}", next="often memory: fewer --workers"
            )
        if self.handout.wanting:
            self._watch.note(f"a worker was lost ({how}): its shards go to others")


def _see_parts(plan: Plan, store: JobStore) -> None:
    """Wait until every part can be seen from here, which on a network file system may take a while."""
    until = time.monotonic() + _SEE_PARTS_S
    while missing := {task.index for task in plan.tasks} - store.done():
        if time.monotonic() > until:
            raise UserError(
                f"{len(missing):,} parts that workers have committed are not seen here",
                where=store.part(0).parent,
                next="the workspace must lie on a file system that all nodes share; or say --parts s3://…",
            )
        time.sleep(_WAIT_S)
