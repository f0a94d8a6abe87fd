"""Who works on while workers are lost: made-up workers, each of which commits the oldest shard that it has."""

from types import SimpleNamespace

import pytest

from jobs.runner.crew import run_crew
from jobs.runner.local import Part
from jobs.runner.reports import Failed, Lost, Ready
from kaggle_tools.errors import UserError
from models.inference.shards import ShardStats

CHANGED = UserError("this machine has other weights of 'm' than the job was planned with")


class Crew:
    """Workers can begin as long as the run is `there`; after some shards one is lost and the run is trained anew."""

    def __init__(self, store, size, lost_after, *, there=True):
        self.size, self.store, self.there = size, store, there
        self.lost_after = [*lost_after]
        self.held, self.hired = {}, []

    def hire(self, place):
        self.held[place] = []
        self.hired.append(place)

    def assign(self, place, index):
        self.held[place].append(index)

    def dismiss(self, place):
        self.held.pop(place, None)

    def reports(self, timeout_s):
        for place in [place for place in self.hired if place in self.held]:
            yield place, Ready() if self.there else Failed(None, CHANGED)
        self.hired.clear()
        for place, held in list(self.held.items()):
            if not held:
                continue
            if len(self.store.parts) in self.lost_after:
                self.lost_after.remove(len(self.store.parts))
                self.there = False
                self.dismiss(place)
                yield place, Lost("ended by SIGKILL")
                continue
            self.store.parts.add(held[0])
            yield place, Part(held.pop(0), ShardStats(), {})

    def what_is_missing(self):
        return "nothing"

    def close(self):
        self.held.clear()


def work(size, lost_after, n_shards=30, **more):
    """Notes of a crew of so many, and the shards that it committed."""
    store = SimpleNamespace(parts=set())
    store.done = store.parts.copy
    plan = SimpleNamespace(n_rows=n_shards, tasks=[SimpleNamespace(index=i, n_rows=1) for i in range(n_shards)])
    notes = []
    watch = SimpleNamespace(
        started=lambda *_: None, advanced=lambda _: None, committed=lambda *_: None, note=notes.append
    )
    try:
        run_crew(plan, store, Crew(store, size, lost_after, **more), watch, 0.0)
    except UserError as exc:
        return notes, store.parts, exc
    return notes, store.parts, None


def test_a_run_that_is_trained_anew_costs_the_worker_that_was_lost_not_the_job():
    notes, parts, error = work(2, [5])
    assert error is None
    assert parts == set(range(30))
    assert [note.split(",")[0] for note in notes] == [
        "a worker was lost (ended by SIGKILL): its shards go to others",
        "nobody takes the place of a worker that was lost",
    ]


@pytest.mark.parametrize(("size", "lost_after", "there"), [(2, [5, 9], True), (1, [5], True), (2, [], False)])
def test_where_no_worker_is_left_the_reason_is_the_error(size, lost_after, there):
    _, parts, error = work(size, lost_after, there=there)
    assert error is CHANGED
    assert len(parts) == max(lost_after, default=0)
