from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.tables.streams import ByteStream

from .helpers import compress, write

DATA = bytes(i * i % 251 for i in range(300_000))


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "zip"])
@given(places=st.lists(st.tuples(st.integers(0, 310_000), st.integers(0, 200_000)), max_size=6))
def test_any_sequence_of_seeks_reads_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, compression: str | None, places: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"stream.{compression}"
    if not path.exists():
        write(path, compress(DATA, compression))
    with ByteStream(path, compression) as stream:
        for offset, n_bytes in places:
            stream.seek(offset)
            assert stream.read(n_bytes) == DATA[offset : offset + n_bytes]


def test_zeros_after_a_gzip_member_are_padding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gz", gzip.compress(b"abc") + b"\0" * 512 + gzip.compress(b"def") + b"\0" * 100_000)
    with ByteStream(path, "gzip") as stream:
        assert stream.read(100) == b"abcdef"
