"""How many rows a shard has."""

import pytest

from jobs.runner.plan import shard_rows_for

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
