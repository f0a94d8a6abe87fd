from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.tables import PassingIds, Repeats, TableFormat, index_file, sniff_format
from kaggle_tools.tables.ids import _MAX_RECORD_BYTES

from .helpers import read_all, to_csv, write

COLUMNS = ("text", "id", "more")


def all_differ(*paths: Path, fmt: TableFormat | None = None, block_bytes: int = 1 << 20, threads: int = 0) -> bool:
    with Repeats(paths[0].parent) as seen:
        for path in paths:
            form = fmt or sniff_format(path)
            plain = index_file(path, form, shard_rows=3)
            with PassingIds(form, COLUMNS, "id", seen.add, threads=threads) as ids:
                assert index_file(path, form, shard_rows=3, also=ids.add, _block_bytes=block_bytes) == plain
                if not ids.are_all:
                    return False
        return not len(seen.found())


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
    st.sampled_from([0, 2]),
)
def test_ids_are_called_different_only_where_reading_finds_them_so(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    end: str,
    quoting: int,
    block_bytes: int,
    breaks: bool,
    threads: int,
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
    if all_differ(path, fmt=fmt, block_bytes=block_bytes, threads=threads):
        assert not bad
        assert len(set(good)) == len(good) == index.n_rows


def test_plain_ids_are_told_apart_in_one_pass(tmp_path: Path) -> None:
    rows = [COLUMNS, *((f'text "{i}"\n', f"{i:05x}", "") for i in range(999)), ('"', "last, quoted", "x")]
    path = write(tmp_path / "a.csv", to_csv(rows))
    for block_bytes in (7, 1000, 1 << 20):
        assert all(all_differ(path, block_bytes=block_bytes, threads=threads) for threads in (0, 1, 3))
    assert not all_differ(path, path)
    assert not all_differ(write(tmp_path / "b.csv", to_csv([*rows, ("", "0000a", "")])))


def test_a_quote_that_is_never_closed_does_not_fill_the_memory() -> None:
    fmt, taken = TableFormat(), []
    ids, scanner = PassingIds(fmt, COLUMNS, "id", taken.append), fmt.scanner()
    block = b'"' + b"x" * ((4 << 20) - 1)
    for number in range(10):
        ids.add(block, number * len(block), scanner.feed(block if not number else block[1:]))
        assert len(ids._begun) <= _MAX_RECORD_BYTES
    assert not ids.are_all


@pytest.mark.parametrize("held", [0, 10, 1000, 1 << 20])
def test_repeated_hashes_are_found_in_memory_and_on_disk(tmp_path: Path, held: int) -> None:
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 1 << 64, 3000, dtype=np.uint64, endpoint=False)
    hashes[2000:2010] = hashes[:10]
    hashes[2500] = hashes[0]
    hashes[2600:2602] = [0, (1 << 64) - 1]
    hashes[2700:2702] = hashes[2600:2602]
    with Repeats(tmp_path, held=held) as seen:
        for some in np.split(hashes, [0, 1, 999, 2005]):
            seen.add(some)
        found = seen.found()
    values, counts = np.unique(hashes, return_counts=True)
    assert found.tolist() == values[counts > 1].tolist()
    assert len(found) == 12
    assert not list(tmp_path.iterdir())


def test_what_fails_in_another_thread_is_raised(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", to_csv([COLUMNS, *(("x", str(i), "y") for i in range(100))]))

    def full(_: object) -> None:
        raise UserError("no room")

    def read() -> bool:
        with PassingIds(TableFormat(), COLUMNS, "id", full, threads=2) as ids:
            index_file(path, TableFormat(), shard_rows=3, also=ids.add, _block_bytes=50)
            return ids.are_all

    with pytest.raises(UserError, match="no room"):
        read()


def test_hashes_that_find_no_room_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"), Repeats(tmp_path / "gone", held=0) as seen:
        seen.add(np.arange(3, dtype=np.uint64))
