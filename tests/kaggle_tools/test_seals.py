"""Seals: every flipped bit is noticed, and nobody else sees them."""

import json
import random

import polars as pl
import pyarrow.parquet as pq
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.seals import check_parquet, read_sealed, seal_parquet, sealed

TABLE = pl.DataFrame({"id": [f"r{i}" for i in range(50)], "p": [i / 50 for i in range(50)]})


@pytest.fixture
def path(tmp_path):
    pq.write_table(TABLE.to_arrow(), tmp_path / "t.parquet", compression="zstd")
    seal_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_other_readers_take_a_sealed_file_for_what_it_is(path):
    check_parquet(path)
    assert pl.read_parquet(path).equals(TABLE)
    assert pl.DataFrame(pq.read_table(path)).equals(TABLE)
    assert pl.scan_parquet(path).filter(pl.col("id") == "r7").collect()["p"].item() == 0.14


def test_the_same_content_has_the_same_bytes(path, tmp_path):
    pq.write_table(TABLE.to_arrow(), tmp_path / "again.parquet", compression="zstd")
    seal_parquet(tmp_path / "again.parquet")
    assert path.read_bytes() == (tmp_path / "again.parquet").read_bytes()


def test_every_flipped_bit_is_noticed_or_in_the_seal_itself(path):
    content = path.read_bytes()
    draw = random.Random(0)
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :])
        try:
            check_parquet(path)
            table = pl.DataFrame(pq.read_table(path))
        except (UserError, OSError):  # pyarrow's own errors are OSErrors and ValueErrors
            continue
        except ValueError:
            continue
        assert table.equals(TABLE)


def test_whoever_writes_the_table_anew_leaves_the_seal_behind(path):
    table = pl.DataFrame(pq.read_table(path)).with_columns(p=pl.lit(0.5))
    pq.write_table(table.to_arrow().replace_schema_metadata(pq.read_schema(path).metadata), path)
    check_parquet(path)


def test_a_file_without_a_seal_is_taken_as_it_is(tmp_path):
    TABLE.write_parquet(tmp_path / "t.parquet")
    check_parquet(tmp_path / "t.parquet")
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert read_sealed(tmp_path / "x.json", "nothing") == {"a": 1}


@pytest.mark.parametrize("text", ["[1]", "3", "{", '{"a": ' + "9" * 5000 + "}", "[" * 100_000, "\udcff"])
def test_what_is_no_json_object_is_a_mistake_and_no_bug(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"x\.json is damaged"):
        read_sealed(tmp_path / "x.json", "nothing")


def test_a_changed_digit_in_json_is_noticed(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(sealed({"rows": 17, "of": ["a", "é"], "share": 0.1})))
    assert read_sealed(path, "nothing")["rows"] == 17
    path.write_text(path.read_text().replace("17", "71"))
    with pytest.raises(UserError, match="damaged or was edited"):
        read_sealed(path, "nothing")
