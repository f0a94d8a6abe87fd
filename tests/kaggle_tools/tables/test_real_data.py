"""Real files against Python's csv module."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.tables import index_file, read_table, sniff_format

from .helpers import by_csv_module, read_all

DATA = Path(__file__).parents[3].parent / "shared" / "data"
WEIBO = DATA / "weibo_ncov" / "nCov_10k_test.gb18030.csv.gz"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not beside this checkout"),
]


@pytest.mark.parametrize(
    ("name", "n_rows"),
    [
        ("weibo_ncov/nCov_10k_test.gb18030.csv.gz", 10_000),
        ("weibo_ncov/labelled_3000.csv", 3_000),
        ("weibo_ncov/submit_example_CRLF.csv.gz", 10_000),
        ("spooky/train.csv.gz", 19_579),
        ("goemotions/dev.csv.gz", 5_426),
        ("sentence_pairs/afqmc_train.tsv.gz", 12_000),
        ("sentence_pairs/afqmc_dev.tsv.gz", 4_316),
        ("semeval_relation/test.tsv.gz", 2_716),  # 2,717 sentences, the first of which stands where a header should
    ],
)
def test_real_tables_are_read_as_the_csv_module_reads_them(name: str, n_rows: int) -> None:
    path = DATA / name
    encoding = "gb18030" if "gb18030" in name else "utf-8"
    fmt = sniff_format(path, encoding=encoding, encoding_errors="replace")
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    expected = by_csv_module(
        raw.decode(encoding, "replace").removeprefix("\ufeff"),
        separator=fmt.separator,
        quoting=csv.QUOTE_MINIMAL if fmt.quote_char else csv.QUOTE_NONE,
    )
    got, bad = read_all(index_file(path, fmt, shard_rows=999))
    assert len(got) == n_rows
    assert not bad
    assert got == expected


def test_the_one_broken_byte_of_the_weibo_file_is_located() -> None:
    fmt = sniff_format(WEIBO, encoding="gb18030")
    with pytest.raises(UserError, match=r"line 9,403: not gb18030 at byte 2,103,758(.|\n)*mend the broken bytes"):
        read_table(WEIBO, fmt=fmt)
    good, bad = read_all(index_file(WEIBO, fmt, shard_rows=1_000), ["微博id", "微博中文内容"], id_column="微博id")
    assert (len(good), [row.line for row in bad]) == (9_999, [9_403])
    assert sum(text is None for _, text in good) == 37
    assert all(name == name.strip() for name, _ in good if name)


def test_the_weibo_file_without_its_encoding_is_one_clear_error() -> None:
    with pytest.raises(UserError, match=r"line 1 is not utf-8(.|\n)*--encoding gb18030"):
        index_file(WEIBO, sniff_format(WEIBO), shard_rows=1_000)
