"""Parts to files: the same bytes whether parts are there before or come one by one, and none of them on a failure."""

import threading
import time
from types import SimpleNamespace

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from jobs.runner import joining
from jobs.runner.joining import JoinedFile, Joining, NotWanted, join
from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError
from kaggle_tools.seals import check_parquet

PARTS = [
    pl.DataFrame({"id": [f"{i}-{j}" for j in range(3)], "m/prob_a": pl.Series([0.1 * i] * 3, dtype=pl.Float32)})
    for i in range(5)
]
PLAN = SimpleNamespace(tasks=[SimpleNamespace(index=i) for i in range(len(PARTS))])
SUFFIXES = (".parquet", ".csv", ".jsonl")


@pytest.fixture
def store(tmp_path):
    return JobStore(tmp_path / "job")


def files_in(folder, **changes):
    return [
        JoinedFile(folder / f"out{suffix}", lambda part: part.rename({"m/prob_a": "prob_a"}), "{}", **changes)
        for suffix in SUFFIXES
    ]


def commit(store, *indices):
    for index in indices:
        store.commit(index, PARTS[index], (), {})


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_files_hold_all_parts_in_order(store, tmp_path):
    commit(store, *range(5))
    join(PLAN, store, files_in(tmp_path / "out"))
    whole = pl.concat(PARTS).rename({"m/prob_a": "prob_a"})
    found = tmp_path / "out"
    check_parquet(found / "out.parquet")
    assert_frame_equal(pl.read_parquet(found / "out.parquet"), whole)
    assert_frame_equal(pl.read_csv(found / "out.csv", schema=whole.schema), whole)
    assert_frame_equal(pl.read_ndjson(found / "out.jsonl", schema=whole.schema), whole)
    assert pq.ParquetFile(found / "out.parquet").num_row_groups == 5


def test_parts_that_come_one_by_one_and_out_of_order_give_the_same_bytes(store, tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "_LOOK_S", 0.01)
    read, real = [], JobStore.read_part
    monkeypatch.setattr(JobStore, "read_part", lambda own, index: (read.append(index), real(own, index))[1])
    with Joining(PLAN, store, files_in(tmp_path / "one")) as joined:
        commit(store, 1)
        time.sleep(0.1)
        assert read == []
        commit(store, 0)
        until(lambda: read == [0, 1])  # while the others are still to come
        assert not any(path.suffix in SUFFIXES for path in (tmp_path / "one").iterdir() if path.name[0] != ".")
        commit(store, 4, 2, 3)
        joined.wait()
        joined.place()
    join(PLAN, store, files_in(tmp_path / "other"))
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
    assert read == [*range(5), *range(5)]  # each part once for all three files


def test_work_that_ends_early_leaves_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "_LOOK_S", 0.01)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "out.csv").write_text("of another job")

    def work():
        with Joining(PLAN, store, files_in(tmp_path / "out")):
            commit(store, 0)
            raise OSError(5, "a device", "elsewhere")

    with pytest.raises(OSError, match="a device"):
        work()
    assert contents(tmp_path / "out") == {"out.csv": b"of another job"}
    assert not any(thread.name == "joining" for thread in threading.enumerate())


def test_a_damaged_part_is_told_and_leaves_nothing(store, tmp_path):
    commit(store, *range(5))
    path = store.part(3)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        join(PLAN, store, files_in(tmp_path / "out"))
    assert contents(tmp_path / "out") == {}


def test_a_file_that_is_not_wanted_any_more_stays_away_alone(store, tmp_path):
    def refuse():
        raise NotWanted

    commit(store, *range(5))
    first, second, third = files_in(tmp_path / "out")
    join(PLAN, store, [first, JoinedFile(second.path, second.columns, "{}", refuse), third])
    assert sorted(contents(tmp_path / "out")) == ["out.jsonl", "out.parquet"]


def test_where_one_file_cannot_be_placed_those_after_it_are_not(store, tmp_path):
    def refuse():
        raise UserError("somebody else's")

    commit(store, *range(5))
    first, second, third = files_in(tmp_path / "out")
    with pytest.raises(UserError, match="somebody else's"):
        join(PLAN, store, [first, JoinedFile(second.path, second.columns, "{}", refuse), third])
    assert sorted(contents(tmp_path / "out")) == ["out.parquet"]
