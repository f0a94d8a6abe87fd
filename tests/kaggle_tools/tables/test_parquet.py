from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.tables import ShardReader, index_file, read_table, require_columns, sniff_format
from kaggle_tools.tables.parquet import _cut

from .helpers import read_all, write


@given(st.lists(st.integers(0, 300), max_size=20), st.integers(1, 60))
def test_shards_respect_row_groups_of_up_to_twice_their_size(groups: list[int], shard_rows: int) -> None:
    sizes = _cut(groups, shard_rows)
    assert sum(sizes) == sum(groups)
    assert all(0 < size <= 2 * shard_rows for size in sizes)
    ends = {sum(sizes[: i + 1]) for i in range(len(sizes))}
    if all(size <= 2 * shard_rows for size in groups):
        assert ends <= {sum(groups[: i + 1]) for i in range(len(groups))}


@pytest.mark.parametrize(("group_rows", "shard_rows"), [(10, 25), (40, 25), (1000, 30), (100, 100)])
def test_any_shard_may_be_read_at_any_time(tmp_path: Path, group_rows: int, shard_rows: int) -> None:
    frame = pl.DataFrame({"text": [f"字{i}" for i in range(230)], "id": range(230)})
    path = tmp_path / "a.parquet"
    pq.write_table(frame.to_arrow(), path, row_group_size=group_rows)
    index = index_file(path, sniff_format(path), shard_rows=shard_rows)
    expected = [(str(i), f"字{i}") for i in range(230)]
    assert read_all(index, ["id", "text"], id_column="id") == (expected, [])
    with ShardReader(index.fmt, ["id"], id_column="id") as reader:
        for shard in reversed(index.shards):
            ids = reader.read(shard).frame["id"].to_list()
            assert ids == [str(i) for i in range(shard.first_row, shard.first_row + shard.n_rows)]


def test_values_of_any_type_become_strings_and_nulls_stay(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "i": [1, None],
            "f": [1.5, None],
            "b": [True, None],
            "d": [datetime.date(2020, 2, 8), None],
            "c": pl.Series(["x", None], dtype=pl.Categorical),
            "l": [["a", "字"], None],
            "s": [{"k": [1]}, None],
            "t": ["", None],
        }
    )
    path = tmp_path / "a.csv"  # the magic bytes decide, not the name
    frame.write_parquet(path)
    table = read_table(path)
    assert table.schema == dict.fromkeys(frame.columns, pl.String)
    assert table.row(0) == ("1", "1.5", "true", "2020-02-08", "x", '["a", "字"]', '{"k": [1]}', "")
    assert table.row(1)[:6] == (None,) * 6
    assert table.row(1)[7] is None


def test_types_that_polars_lacks_become_text_as_well(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=i << 96 | 255) for i in range(2)]  # bytes of which one is no UTF-8
    columns = {
        "uuid": pa.array([name.bytes for name in ids], pa.uuid()),
        "json": pa.array(['{"a": 1}', None], pa.json_()),
        "large": pa.array([Decimal(10) ** 40, None], pa.decimal256(50, 0)),
        "time": pa.array([datetime.timedelta(days=1, seconds=5), None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet", id_column="uuid")
    assert table.row(0) == (str(ids[0]), '{"a": 1}', "1" + "0" * 40, "P1DT5S")
    assert table.row(1) == (str(ids[1]), None, None, None)


@pytest.mark.parametrize("kind", [pa.list_(pa.string(), 2), pa.list_(pa.list_(pa.string()), 2)])
def test_lists_of_one_length_are_read_in_slices_with_their_nulls(tmp_path: Path, kind: pa.DataType) -> None:
    a, b = ("a", "b") if kind.value_type == pa.string() else (["a"], ["b", None])
    values = [[a, b], None, [b, None], [None, a], None] * 3
    pq.write_table(pa.table({"text": pa.array(values, kind)}), tmp_path / "a.parquet", row_group_size=8)
    index = index_file(tmp_path / "a.parquet", sniff_format(tmp_path / "a.parquet"), shard_rows=3)
    found, bad = read_all(index)
    assert len(index.shards) > 3
    assert not bad
    assert [text and json.loads(text) for (text,) in found] == values


def test_rows_without_an_id_are_set_aside_by_number(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": ["a", None, " c ", ""], "text": list("wxyz")}).write_parquet(path)
    index = index_file(path, sniff_format(path), shard_rows=10)
    good, bad = read_all(index, id_column="id")
    assert good == [("a", "w"), ("c", "y")]
    assert [(row.line, row.reason) for row in bad] == [(2, "no id in column 'id'"), (4, "no id in column 'id'")]


def test_a_file_that_changed_or_is_damaged_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": ["a", "b"]}).write_parquet(path)
    index = index_file(path, sniff_format(path), shard_rows=10)
    pl.DataFrame({"id": ["a", "c"]}).write_parquet(path)
    with ShardReader(index.fmt, ["id"], id_column="id") as reader, pytest.raises(UserError, match="changed"):
        reader.read(index.shards[0])
    write(path, path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a whole Parquet file"):
        index_file(path, sniff_format(path), shard_rows=10)


def test_a_parquet_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame(schema={"id": pl.Int64}).write_parquet(path)
    assert read_table(path).schema == {"id": pl.String}


def test_a_missing_column_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": ["a"], "text": ["b"]}).write_parquet(path)
    index = index_file(path, sniff_format(path), shard_rows=10)
    with ShardReader(index.fmt, ["id", "txt"], id_column="id") as reader, pytest.raises(UserError, match="'text'"):
        reader.read(index.shards[0])


def test_bytes_are_text_where_they_are_utf8_and_a_clear_error_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"id": ["a"], "text": ["猫".encode()]}).write_parquet(path)
    assert read_table(path)["text"].to_list() == ["猫"]
    pl.DataFrame({"id": ["a"], "text": [b"\xff\xfe"]}).write_parquet(path)
    with pytest.raises(UserError, match=r"column 'text' of t\.parquet holds bytes that are not UTF-8"):
        read_table(path)


def test_strings_whose_bytes_are_no_text_are_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    unchecked = pa.array([b"fine", b"caf\xe9"]).view(pa.string())  # as a writer that looks at no bytes leaves them
    pq.write_table(pa.table({"text": unchecked}), path)
    with pytest.raises(UserError, match=r"column 'text' of t\.parquet holds bytes that are not UTF-8"):
        read_table(path)
    pq.write_table(pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0, 1]), unchecked)}), path)
    with pytest.raises(UserError, match=r"t\.parquet from row 0 on cannot be read") as caught:
        read_table(path)
    assert caught.value.details["found"] == "Invalid UTF8 payload"


def test_a_damaged_page_is_told_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(9000)]}), path, row_group_size=4500)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    whole = path.read_bytes()
    write(path, whole[:start] + b"\xff" * 200 + whole[start + 200 :])
    with pytest.raises(UserError, match=r"rows of t\.parquet from row 4096 on cannot be read"):
        read_table(path)


def test_a_column_name_that_occurs_twice_is_refused_as_in_a_csv_where_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["id", "text", "id"]), path)
    index = index_file(path, sniff_format(path), shard_rows=10)
    for read in (
        lambda: read_table(path),
        lambda: require_columns(index, ["id", "text"]),
        lambda: read_all(index, ["id", "text"], id_column="id"),
    ):
        with pytest.raises(UserError, match="1 column names that occur more than once") as caught:
            read()
        assert caught.value.details["first"] == "'id'"
    require_columns(index, ["text"])
    with ShardReader(index.fmt, ["text"], id_column=None) as reader:
        assert reader.read(index.shards[0]).frame["text"].to_list() == ["b"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([201.0, 202.0, 203.0, -4.0], ["201", "202", "203", "-4"]),
        ([201.0, 202.0, 203.0, 203.5], ["201.0", "202.0", "203.0", "203.5"]),  # known only in the last shard
        ([201, 202, 203, 204], ["201", "202", "203", "204"]),
        (["201.0", "202", "203", "204"], ["201.0", "202", "203", "204"]),
    ],
)
def test_whole_ids_that_pandas_made_floats_of_are_those_of_the_sample(tmp_path: Path, values, expected) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"text": [1.0, 2.0, 3.0, 4.0], "id": values}).write_parquet(path, row_group_size=2)
    index = index_file(path, sniff_format(path), shard_rows=2)
    texts = ["1.0", "2.0", "3.0", "4.0"]  # a text is as it stands
    assert read_all(index, ["id", "text"], id_column="id") == (list(zip(expected, texts, strict=True)), [])


def test_float_ids_that_are_missing_or_have_lost_digits_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"id": [1.0, None, float("nan")], "text": list("xyz")}).write_parquet(path)
    index = index_file(path, sniff_format(path), shard_rows=9)
    good, bad = read_all(index, id_column="id")
    assert (good, [row.line for row in bad]) == ([("1", "x")], [2, 3])
    pl.DataFrame({"id": [1.0, float(2**53)], "text": list("xy")}).write_parquet(path)
    with pytest.raises(UserError, match=r"(?s)lost their last digits.*row 2: 9007199254740992\n.*a\.parquet"):
        read_table(path, id_column="id")
