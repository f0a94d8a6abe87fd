"""Who gets which shard: every shard once, in order, fairly, whoever dies."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runner.handout import AHEAD, MOST_DEATHS, Handout


def test_shards_go_out_in_order_and_a_few_ahead():
    handout = Handout(range(100))
    assert [handout.next_for(0, 2) for _ in range(AHEAD + 1)] == [*range(AHEAD), None]
    assert handout.next_for(1, 2) == AHEAD


def test_the_last_shards_are_shared_evenly():
    handout = Handout(range(4))
    assert [handout.next_for(worker, 2) for worker in (0, 0, 0, 1, 1, 1)] == [0, 1, None, 2, 3, None]


def test_shards_of_a_lost_worker_go_to_another_first():
    handout = Handout(range(20))
    for _ in range(AHEAD):
        handout.next_for(0, 2)
    handout.next_for(1, 2)
    assert handout.lost(0) is None
    assert handout.next_for(1, 2) == 0


def test_of_two_failures_that_of_the_first_shard_counts_and_what_lies_before_it_is_done():
    handout = Handout(range(6))
    assert [handout.next_for(worker, 3) for worker in (0, 1, 2)] == [0, 1, 2]
    handout.failed(2, 2, ValueError("second"))
    assert not handout.over
    assert handout.next_for(2, 3) is None
    handout.failed(0, 0, ValueError("first"))
    assert handout.over
    assert str(handout.failure[1]) == "first"


def test_a_shard_that_costs_one_worker_after_another_is_named():
    handout = Handout(range(6))
    for death in range(MOST_DEATHS):
        assert handout.next_for(0, 1) == 0
        handout.next_for(0, 1)
        assert handout.lost(0) == (0 if death == MOST_DEATHS - 1 else None)


@given(st.integers(0, 40), st.integers(1, 6), st.integers(0, 2**32), st.sets(st.integers(0, 39), max_size=3))
def test_whatever_happens_all_before_the_first_bad_shard_is_committed_once(n_shards, n_workers, seed, bad):
    """Workers commit, die and fail at random; each works through its shards in the order in which it got them."""
    draw = random.Random(seed)
    handout, held, committed = Handout(range(n_shards)), {w: [] for w in range(n_workers)}, []
    for _ in range(10_000):
        if handout.over:
            break
        worker = draw.randrange(n_workers)
        while (index := handout.next_for(worker, n_workers)) is not None:
            held[worker].append(index)
        if held[worker] and draw.random() < 0.05:
            handout.lost(worker)
            held[worker] = []
        elif held[worker]:
            index = held[worker].pop(0)
            if index in bad:
                handout.failed(worker, index, ValueError(index))
                held[worker] = []
            else:
                handout.committed(worker, index)
                committed.append(index)
    bad = sorted(index for index in bad if index < n_shards)
    assert handout.over
    assert len(set(committed)) == len(committed)
    assert set(committed) >= set(range(bad[0] if bad else n_shards))
    assert (handout.failure and handout.failure[0]) == (bad[0] if bad else None)


@pytest.mark.parametrize(
    ("cpus", "n_workers", "each"), [([4], 2, 2), ([4, 4], 3, 2), ([2, 8], 4, 2), ([2], 4, 1), ([], 1, 1)]
)
def test_actors_get_as_many_cores_as_fit(cpus, n_workers, each):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from jobs.runner.ray_engine import cpus_per_worker

    assert cpus_per_worker(cpus, n_workers) == each
