"""How many rows a shard has, and which files share one."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runner.plan import Piece, shard_rows_for, tasks_of
from kaggle_tools.tables import MAX_SHARD_BYTES, Shard

MB = 1 << 20


@pytest.mark.parametrize(
    ("model", "weight_bytes", "rows_per_s"),
    # Rates on two cores of a CPU, float32: benchmarks/LOG.md.
    [("MiniLM-L6", 87 * MB, 84.1), ("BERT-base", 417 * MB, 29.6), ("five of BERT-base", 5 * 417 * MB, 7.3)],
)
def test_a_kill_loses_at_most_thirty_seconds_of_inference(model, weight_bytes, rows_per_s):
    assert shard_rows_for(weight_bytes) / rows_per_s <= 30


def test_a_shard_is_a_power_of_two_within_bounds():
    sizes = [shard_rows_for(weight_bytes) for weight_bytes in (0, 1000, MB, 100 * MB, 10_000 * MB)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert (sizes[0], sizes[-1]) == (262144, 128)


def test_a_gpu_gets_shards_that_keep_it_busy():
    assert shard_rows_for(417 * MB, "cuda") == 32768  # .4 s of an H200, 20 s of a T4
    assert shard_rows_for(417 * MB, "tpu") == shard_rows_for(417 * MB, "cpu")


@given(st.lists(st.tuples(st.integers(1, 12), st.sampled_from([0, 10, MAX_SHARD_BYTES // 3]))), st.integers(1, 10))
def test_files_share_a_shard_while_they_are_no_more_than_one_may_be(files, shard_rows):
    sizes = [n_bytes or MAX_SHARD_BYTES // 2 for _, n_bytes in files]  # a Parquet shard does not tell its bytes
    pieces = [
        Piece(i, Shard(0, Path(f"{i}.csv"), 0, n_rows, 2, 5, 5 + n_bytes, 0), n_rows)
        for i, (n_rows, n_bytes) in enumerate(files)
    ]
    tasks = tasks_of(pieces, sizes, shard_rows)

    def fit(*together):
        own = [piece for task in together for piece in task.pieces]
        n_bytes = sum(sizes[piece.file] for piece in own)
        return sum(piece.n_rows for piece in own) <= shard_rows and n_bytes <= MAX_SHARD_BYTES

    assert [piece for task in tasks for piece in task.pieces] == pieces
    assert [(task.index, task.n_rows) for task in tasks] == [
        (i, sum(piece.n_rows for piece in task.pieces)) for i, task in enumerate(tasks)
    ]
    assert all(fit(task) or len(task.pieces) == 1 for task in tasks)
    for before, after in pairwise(tasks):  # as soon as one fits it is taken
        assert not fit(before, *tasks_of(after.pieces[:1], sizes, shard_rows))
