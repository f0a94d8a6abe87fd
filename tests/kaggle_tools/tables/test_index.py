from __future__ import annotations

import dataclasses
import gzip
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.tables import index_file, require_columns, require_even_rows, require_rows, sniff_format

from .helpers import compress, read_all, to_csv, write

TEXT = to_csv([("id", "text"), *((str(i), f'row {i}, "quoted"\nsecond line') for i in range(10))])


def test_shards_tile_the_rows_and_name_their_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", TEXT)
    index = index_file(path, sniff_format(path), shard_rows=4)
    assert [(s.index, s.first_row, s.n_rows) for s in index.shards] == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]
    assert [s.first_line for s in index.shards] == [2, 10, 18]
    data = path.read_bytes()
    assert data[: index.shards[0].start] == b"id,text\n"
    assert b"".join(data[s.start : s.end] for s in index.shards) == data[8:]
    assert all(s.crc32 == zlib.crc32(data[s.start : s.end]) for s in index.shards)
    assert (index.columns, index.n_rows, index.size) == (("id", "text"), 10, len(data))


@given(
    st.integers(1, 7),
    st.integers(1, 5),
    st.sampled_from(["\n", "\r\n", ""]),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\n\r\n"]),
)
def test_the_index_does_not_depend_on_the_block_size(
    tmp_path_factory: pytest.TempPathFactory, block_bytes: int, shard_rows: int, tail: str, head: bytes
) -> None:
    text = to_csv([("id", "text"), ("1", 'a"b\r\nc'), ("2", ""), ("3", "字,𝄞"), ("4", "x")], end="\r\n")
    path = write(tmp_path_factory.getbasetemp() / "blocks.csv", head + (text.rstrip() + tail).encode())
    fmt = sniff_format(path)
    index = index_file(path, fmt, shard_rows=shard_rows)
    assert index_file(path, fmt, shard_rows=shard_rows, _block_bytes=block_bytes) == index
    assert [row[0] for row in read_all(index)[0]] == ["1", "2", "3", "4"]


def test_the_digest_names_the_content_not_the_container(tmp_path: Path) -> None:
    paths = {c: write(tmp_path / f"a.{c}", compress(TEXT.encode(), c)) for c in (None, "gzip", "zstd", "zip")}
    indexes = {c: index_file(path, sniff_format(path), shard_rows=3) for c, path in paths.items()}
    assert len({index.digest for index in indexes.values()}) == 1
    bare = [dataclasses.replace(shard, path=Path()) for shard in indexes[None].shards]
    assert all([dataclasses.replace(s, path=Path()) for s in index.shards] == bare for index in indexes.values())
    other = write(tmp_path / "b.csv", TEXT.replace("row 7", "row X"))
    assert index_file(other, sniff_format(other), shard_rows=3).digest != indexes[None].digest


def test_a_header_only_file_is_indexed_and_refused_by_the_caller(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text")
    index = index_file(path, sniff_format(path), shard_rows=3)
    assert (index.n_rows, index.shards) == (0, ())
    with pytest.raises(UserError, match="header but no rows"):
        require_rows(index)


def test_a_missing_column_error_names_the_nearest_and_lists_all(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", TEXT)
    index = index_file(path, sniff_format(path), shard_rows=3)
    require_columns(index, ["text", "id"])
    with pytest.raises(UserError, match=r"no column 'txt'(.|\n)*id, text(.|\n)*did you mean 'text'"):
        require_columns(index, ["id", "txt"])


def test_ragged_rows_are_known_before_anything_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,text\n1,"a\nb"\n2,b,c\n3\n4,d\n')
    index = index_file(path, sniff_format(path), shard_rows=3)
    assert (index.n_rows, index.n_ragged, index.first_ragged) == (4, 2, (4, 3))
    with pytest.raises(UserError, match=r"2 of 4 rows are ragged(.|\n)*line 4 has 3 fields"):
        require_even_rows(index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (gzip.compress(b"", mtime=0), r"empty \(0 bytes once decompressed\)"),
        (b"\n\r\n", "nothing but empty lines"),
        (b"id,text,id\n1,2,3\n", "1 column names that occur more than once"),
        (b"id,text\n1,2\n3,\x00\n", "line 3 has a NUL byte"),
        ("id,text\n1,字\n".encode("utf-16-le"), "line 1 has a NUL byte"),
        (b'id,text\n1,2\n3,"4\n5,6\n', "line 3: the quote that opens here is never closed"),
        (b'"id,text\n1,2\n', "line 1: the quote that opens here is never closed"),
        ("文本,字\n1,2\n".encode("gb18030"), r"line 1 is not utf-8(.|\n)*--encoding gb18030"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "is truncated"),
        (compress(TEXT.encode(), "zstd")[:-9], "is truncated"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-8] + b"12345678", "is damaged"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(UserError, match=message):
        index_file(path, sniff_format(path), shard_rows=3)


def test_a_missing_file_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", TEXT)
    with pytest.raises(UserError, match=r"no file tset.csv(.|\n)*did you mean 'test.csv'"):
        sniff_format(tmp_path / "tset.csv")
    with pytest.raises(UserError, match="is a folder"):
        sniff_format(tmp_path)
