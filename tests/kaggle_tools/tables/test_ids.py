from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.tables import PassingIds, TableFormat, all_differ, index_file, sniff_format
from kaggle_tools.tables.ids import _MAX_RECORD_BYTES

from .helpers import read_all, to_csv, write

COLUMNS = ("text", "id", "more")


def passed(path: Path, fmt: TableFormat, *, at_most: int = 1000, block_bytes: int = 1 << 20) -> PassingIds:
    ids = PassingIds(fmt, COLUMNS, "id", at_most)
    plain = index_file(path, fmt, shard_rows=3)
    assert index_file(path, fmt, shard_rows=3, also=ids.add, _block_bytes=block_bytes) == plain
    return ids


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "a text", 'a "quoted" text', "two\nlines", "字 𝄞", "a,b"]),
            st.sampled_from(
                ["1", "2", "3", "4", "id-1", '"1"', "1,2", " 1", "1 ", "", "\xa01", "x\ny", "1\u3000", "字"]
            ),
            st.sampled_from(["", "z", "1"]),
        ),
        min_size=1,
        max_size=7,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(0, 3),
    st.integers(1, 40),
    st.booleans(),
)
def test_ids_are_called_different_only_where_reading_finds_them_so(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    end: str,
    quoting: int,
    block_bytes: int,
    breaks: bool,
) -> None:
    try:
        content = to_csv([COLUMNS, *rows], end=end, quoting=quoting).encode()
    except Exception:  # csv.QUOTE_NONE writes no separators
        return
    content = content.replace("字".encode(), "字".encode()[:2]) if breaks else content.removesuffix(end.encode())
    path = write(tmp_path_factory.getbasetemp() / "ids.csv", content)
    fmt = TableFormat()
    index = index_file(path, fmt, shard_rows=3)
    good, bad = read_all(index, ["id"], id_column="id")
    if all_differ([passed(path, fmt, block_bytes=block_bytes)]):
        assert not bad
        assert len(set(good)) == len(good) == index.n_rows


def test_plain_ids_are_told_apart_in_one_pass(tmp_path: Path) -> None:
    rows = [COLUMNS, *((f'text "{i}"\n', f"{i:05x}", "") for i in range(999)), ('"', "last, quoted", "x")]
    path = write(tmp_path / "a.csv", to_csv(rows))
    fmt = sniff_format(path)
    for block_bytes in (7, 1000, 1 << 20):
        assert all_differ([passed(path, fmt, block_bytes=block_bytes)])
    assert not all_differ([passed(path, fmt), passed(path, fmt)])  # the same ids in two files
    assert not all_differ([passed(path, fmt, at_most=900)])
    again = write(tmp_path / "b.csv", to_csv([*rows, ("", "0000a", "")]))
    assert not all_differ([passed(again, fmt)])


def test_a_quote_that_is_never_closed_does_not_fill_the_memory() -> None:
    fmt = TableFormat()
    ids, scanner = PassingIds(fmt, COLUMNS, "id", 1000), fmt.scanner()
    block = b'"' + b"x" * ((4 << 20) - 1)
    for number in range(10):
        ids.add(block, number * len(block), scanner.feed(block if not number else block[1:]))
        assert len(ids._begun) <= _MAX_RECORD_BYTES
    assert not all_differ([ids])
