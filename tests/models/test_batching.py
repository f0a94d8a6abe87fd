import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.inference.batching import plan_batches

LENGTHS = st.lists(st.integers(1, 40), min_size=0, max_size=200)


@given(LENGTHS, st.integers(1, 300), st.integers(0, 100))
def test_every_row_is_in_exactly_one_batch_and_no_batch_passes_the_budget(lengths, budget, pass_cost):
    lengths = np.array(lengths, dtype=np.int64)
    batches = plan_batches(lengths, budget, pass_cost)
    rows = np.concatenate([b.rows for b in batches]) if batches else np.empty(0, dtype=np.int64)
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert batch.length == lengths[batch.rows].max()
        assert batch.padded == (lengths[batch.rows].min() < batch.length)
        assert batch.n_tokens <= budget or len(batch.rows) == 1


@given(LENGTHS, st.integers(40, 300))
def test_a_free_pass_means_no_padding(lengths, budget):
    assert not any(b.padded for b in plan_batches(np.array(lengths, dtype=np.int64), budget, pass_cost=0))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=7, unique=True), st.integers(0, 60))
def test_left_overs_are_merged_at_the_least_cost(lengths, pass_cost):
    """Brute force over all ways to cut the sorted lengths into runs; the budget leaves every merge possible."""
    lengths = np.array(sorted(lengths), dtype=np.int64)
    budget = int(lengths.max()) * (len(lengths) + 1) * 50  # one row a length never fills a batch
    batches = plan_batches(lengths, budget, pass_cost)
    cost = sum(b.n_tokens + pass_cost for b in batches)
    cheapest = min(
        sum(max(run) * len(run) + pass_cost for run in _runs(lengths.tolist(), cuts))
        for cuts in itertools.product([False, True], repeat=len(lengths) - 1)
    )
    assert cost == cheapest


def _runs(lengths, cuts):
    runs = [[lengths[0]]]
    for length, cut in zip(lengths[1:], cuts, strict=True):
        if cut:
            runs.append([])
        runs[-1].append(length)
    return runs


def test_packed_batches_come_largest_first():
    """What a batch frees is then large enough for the next one, and memory does not grow from batch to batch."""
    lengths = np.random.default_rng(0).lognormal(3.5, 0.6, 2000).astype(np.int64) + 1
    tokens = [batch.n_tokens for batch in plan_batches(lengths, 2560, pass_cost=20, packed=True)]
    assert len(set(tokens)) > 10
    assert tokens == sorted(tokens, reverse=True)


def test_batches_come_longest_first():
    lengths = np.array([3, 9, 9, 1, 4, 9, 2], dtype=np.int64)
    batches = plan_batches(lengths, 18, pass_cost=2)
    assert [b.length for b in batches] == sorted((b.length for b in batches), reverse=True)


@given(LENGTHS, st.integers(1, 300))
def test_packed_left_overs_need_no_padding_and_keep_to_the_budget(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    batches = plan_batches(lengths, budget, pass_cost=20, packed=True)
    rows = np.concatenate([b.rows for b in batches]) if batches else np.empty(0, dtype=np.int64)
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert sum(b.n_tokens for b in batches) == lengths.sum()
    for batch in batches:
        own = lengths[batch.rows]
        assert batch.length == own.max()
        assert not batch.padded
        assert (batch.packed_tokens > 0) == (own.min() < own.max())
        assert batch.n_tokens == own.sum()
        assert batch.n_tokens <= budget or len(own) == 1
        assert len(own) * batch.length <= max(4 * budget, batch.length)
        if batch.packed_tokens:
            assert (np.diff(own) <= 0).all()
