"""The simulated cluster against what can be worked out by hand."""

from dataclasses import replace

import pytest

from benchmarks.simulate_cluster import Cluster, Simulation, table

# A hundred shards of ten seconds; nothing but inference takes time.
EVEN = Cluster(
    1,
    n_rows=100_000,
    shard_rows=1_000,
    infer_rows_per_s=100.0,
    prepare_rows_per_s=1e12,
    commit_s=0.0,
    commit_rows_per_s=1e12,
    spread=0.0,
    workers_spread=0.0,
    start_s=0.0,
    storage_bytes_per_s=1e15,
    plan_bytes_per_s=2e6,
    join_rows_per_s=10_000.0,
    repair_s=60.0,
)


@pytest.mark.parametrize(
    ("workers", "scoring_s"), [(1, 1000.0), (2, 500.0), (3, 340.0), (8, 130.0), (100, 10.0), (512, 10.0)]
)
@pytest.mark.parametrize("static", [False, True])
def test_even_shards_take_as_many_rounds_as_it_takes(workers, scoring_s, static):
    found = Simulation(replace(EVEN, workers=workers, static=static)).run()
    assert found.scoring_s == pytest.approx(scoring_s)
    assert scoring_s + 10.0 < found.wall_s <= scoring_s + 10.0 + 10.001  # planning, joining
    if not static:  # shards come in order: those of the last round are left to join, .1 s each
        assert found.wall_s == pytest.approx(scoring_s + 10.0 + 0.1 * (99 % workers + 1 if workers < 100 else 100))
    assert (found.failures, found.lost_s) == (0, 0.0)
    assert found.efficiency == pytest.approx(min(1.0, 1000.0 / (workers * scoring_s)))


def test_the_slowest_stage_decides():
    assert Simulation(replace(EVEN, prepare_rows_per_s=50.0)).run().scoring_s == pytest.approx(2000.0 + 10.0)
    assert Simulation(replace(EVEN, commit_s=20.0)).run().scoring_s == pytest.approx(2000.0 + 10.0)
    together = replace(EVEN, workers=4, storage_bytes_per_s=200.0 * 100)  # all of them read what one can score
    assert Simulation(together).run().scoring_s == pytest.approx(1000.0 + 10.0, rel=0.01)


def test_handing_out_evens_out_slow_workers_where_fixed_slices_do_not():
    uneven = replace(EVEN, workers=8, shard_rows=100, workers_spread=0.3)
    handed, fixed = Simulation(uneven).run(), Simulation(replace(uneven, static=True)).run()
    assert handed.scoring_s < 0.9 * fixed.scoring_s
    assert handed.efficiency > 0.95


def test_a_failure_costs_what_was_not_committed_and_no_shard_is_lost():
    failing = replace(EVEN, workers=16, n_rows=1_000_000, mtbf_h=0.25)
    found = Simulation(failing, seed=1).run()
    assert found.failures > 0
    assert 0 < found.worst_s <= 10.0  # one shard is in the network at a time
    assert found.lost_s <= found.failures * 8 * 10.0
    assert found.scoring_s > Simulation(replace(failing, mtbf_h=0.0)).run().scoring_s
    assert found == Simulation(failing, seed=1).run()


def test_eight_gpus_scale_to_ninety_five_per_cent():
    lines = table(Cluster(1, n_rows=100_000_000), [1, 8], seeds=2).splitlines()
    scaling = {line.split(" | ")[0].strip("| "): float(line.split(" | ")[4].rstrip("%")) for line in lines[2:]}
    assert scaling["8"] >= 95.0
