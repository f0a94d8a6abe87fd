from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.tables.scanner import END, FIELDS, LINE, NEXT_LINE, START, RecordScanner

soups = st.lists(st.sampled_from(["a", "字", '"', '""', ",", "\n", "\r\n", '",', ',"', '"\n']), max_size=60).map(
    "".join
)


def scan(data: bytes, sizes: list[int] | None = None, **options: int) -> tuple[np.ndarray, RecordScanner]:
    scanner = RecordScanner('"', ",", **options)
    marks, position = [], 0
    for size in sizes or []:
        marks.append(scanner.feed(data[position : position + size]))
        position += size
    marks += [scanner.feed(data[position:]), scanner.finish()]
    return np.concatenate(marks), scanner


@given(soups)
def test_records_and_field_counts_are_those_of_the_csv_module(text: str) -> None:
    marks, scanner = scan(text.encode())
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    if scanner.open_quote_line is not None:
        rows = rows[:-1]  # the csv module closes the quote at the end; we report it
    assert marks[:, FIELDS].tolist() == [len(row) for row in rows]


@given(soups, st.lists(st.integers(0, 5), max_size=80), st.integers(1, 4))
def test_marks_do_not_depend_on_how_the_bytes_are_cut_into_blocks(text: str, sizes: list[int], every: int) -> None:
    data = text.encode()
    whole, one = scan(data, every=every, expected_fields=2)
    pieces, other = scan(data, sizes, every=every, expected_fields=2)
    assert whole.tolist() == pieces.tolist()
    for name in ("next_line", "n_unmarked", "open_quote_line", "n_ragged", "first_ragged", "n_irregular", "n_quoted"):
        assert getattr(one, name) == getattr(other, name), name


@given(soups)
def test_lines_count_physical_newlines_before_each_record(text: str) -> None:
    data = text.encode()
    for mark in scan(data)[0]:
        assert mark[LINE] == 1 + data[: mark[START]].count(b"\n")
        assert mark[NEXT_LINE] >= 1 + data[: mark[END]].count(b"\n")


@given(soups, st.integers(1, 5))
def test_every_nth_mark_is_the_nth_of_all_marks(text: str, every: int) -> None:
    marks = scan(text.encode())[0]
    sparse, scanner = scan(text.encode(), every=every)
    assert sparse[:, END].tolist() == marks[every - 1 :: every, END].tolist()
    assert scanner.n_unmarked == len(marks) % every


@pytest.mark.parametrize(
    ("text", "n_irregular"),
    [('a,"b"\n', 0), ('"a""b"\n', 0), ('""\n', 0), ('a,5" disk\n', 1), ('"a"b\n', 1), ('"a"b"c\n', 2), ('"a"\r\n', 0)],
)
def test_irregular_quotes_are_counted(text: str, n_irregular: int) -> None:
    assert scan(text.encode())[1].n_irregular == n_irregular


def test_a_carriage_return_ends_a_record_only_before_a_newline() -> None:
    marks, _ = scan(b'a\rb,c\r\n\r\n"d\r",e\r')
    assert marks[:, FIELDS].tolist() == [2, 2]
    assert marks[:, START].tolist() == [0, 9]


def test_long_runs_without_special_bytes_cross_the_inner_chunks() -> None:
    data = b"x" * 10_000 + b"," + b"y" * 9_000 + b"\n" + b"z" * 4096 + b"\n"
    marks, _ = scan(data)
    assert marks[:, [END, FIELDS]].tolist() == [[19_002, 2], [len(data), 1]]


def test_ragged_records_nul_bytes_and_open_quotes_are_located() -> None:
    _, scanner = scan(b'a,b\n1,2,3\n4\n\x00,"\nx', expected_fields=2)
    assert (scanner.n_ragged, scanner.first_ragged) == (2, (2, 3))
    assert (scanner.nul_line, scanner.open_quote_line) == (4, 4)
