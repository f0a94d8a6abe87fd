"""Fields of scanned records as columns: quotes taken off, bytes copied once, straight into Arrow's layout.

Why not hand the bytes to a CSV reader: the shard would be parsed by a second set of rules, and readers differ just
where files are odd (polars loses its place at a quote inside an unquoted field). One scanner finds the records; this
follows its rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled, inlined
from kaggle_tools.tables.scanner import END, START


def extract_columns(
    data: bytes,
    marks: NDArray[np.int64],
    *,
    quote_char: str | None,
    separator: str,
    wanted: Mapping[str, int],
) -> pl.DataFrame:
    """Columns of records that all have the same number of fields.

    Args:
        data: UTF-8 text, known to be valid.
        marks: (N, 5) int64 marks of the scanner with every=1, offsets into `data`.
        quote_char: The quote, or None.
        separator: The separator.
        wanted: Column name to position in the record.

    Returns:
        N rows; String columns in the order of `wanted`. An empty field is null, quoted or not, as in pandas.
    """
    slots = np.full(max(wanted.values(), default=-1) + 1, -1, dtype=np.int64)  # what lies behind is not looked at
    slots[list(wanted.values())] = np.arange(len(wanted))
    # Rows of `out` are as long as all of `data`, but only the pages that are written to cost memory.
    out = np.empty((len(wanted), len(data)), dtype=np.uint8)
    offsets = np.zeros((len(wanted), len(marks) + 1), dtype=np.int64)
    quote = ord(quote_char) if quote_char else -1
    _extract(np.frombuffer(data, dtype=np.uint8), marks, quote, ord(separator), slots, out, offsets)
    return pl.DataFrame({name: _strings(out[i], offsets[i]) for i, name in enumerate(wanted)})


def _strings(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> pl.Series:
    n_rows = len(offsets) - 1
    present = np.packbits(np.diff(offsets) > 0, bitorder="little")
    buffers = [pa.py_buffer(present), pa.py_buffer(offsets), pa.py_buffer(data[: offsets[-1]].tobytes())]
    return pl.Series(pa.Array.from_buffers(pa.large_string(), n_rows, buffers), dtype=pl.String)


@inlined
def _without_newline(data: NDArray[np.uint8], at: int, end: int) -> int:
    """The end of a record without its LF or CRLF."""
    if end > at and data[end - 1] == 10:
        end -= 1
    if end > at and data[end - 1] == 13:
        end -= 1
    return end


@inlined
def _behind_field(data: NDArray[np.uint8], at: int, end: int, quote: int, separator: int) -> int:
    """Where the next field begins."""
    if at < end and data[at] == quote:
        at += 1
        while at < end:
            if data[at] == quote:
                at += 1
                if at == end or data[at] != quote:
                    break
            at += 1
    while at < end and data[at] != separator:
        at += 1
    return at + 1


@compiled
def _extract(
    data: NDArray[np.uint8],
    marks: NDArray[np.int64],
    quote: int,
    separator: int,
    slots: NDArray[np.int64],
    out: NDArray[np.uint8],
    offsets: NDArray[np.int64],
) -> None:
    """Copy field k of each record to row `slots[k]` of `out`; -1 is dropped."""
    filled = np.zeros(out.shape[0], dtype=np.int64)
    for record in range(marks.shape[0]):
        at = marks[record, START]
        end = _without_newline(data, at, marks[record, END])
        for k in range(slots.size):
            slot = slots[k]
            if slot < 0:
                at = _behind_field(data, at, end, quote, separator)
                continue
            size = filled[slot]
            if at < end and data[at] == quote:
                at += 1
                while at < end:
                    if data[at] == quote:
                        at += 1
                        if at == end or data[at] != quote:
                            break
                    out[slot, size] = data[at]
                    size += 1
                    at += 1
            while at < end and data[at] != separator:
                out[slot, size] = data[at]
                size += 1
                at += 1
            at += 1
            filled[slot] = size
            offsets[slot, record + 1] = size


@compiled
def hash_field(
    data: NDArray[np.uint8],
    marks: NDArray[np.int64],
    begin: int,
    slot: int,
    quote: int,
    separator: int,
    found: NDArray[np.uint64],
) -> bool:
    """Field `slot` of each record as FNV-1a (Fowler, Noll, Vo), stirred, so that all its bits depend on all bytes.

    Args:
        data: Bytes of whole records.
        marks: (N, 5) int64 of these records.
        begin: The offset of the first byte, as marks count.
        slot: Place of the field in the record; those before it may be anything.
        quote: The quote, or -1.
        separator: The separator.
        found: (N,) uint64, filled.

    Returns:
        False at the first field that is no plain one: empty, with a blank or what is not ASCII at an end, a quote in
        quotes, text behind the closing quote.
    """
    for record in range(marks.shape[0]):
        at = marks[record, START] - begin
        end = _without_newline(data, at, marks[record, END] - begin)
        for _ in range(slot):
            at = _behind_field(data, at, end, quote, separator)
        is_quoted = at < end and data[at] == quote
        if is_quoted:
            at += 1
        first, last = at, at
        value = np.uint64(0xCBF29CE484222325)
        while last < end and data[last] != (quote if is_quoted else separator):
            value = (value ^ np.uint64(data[last])) * np.uint64(0x100000001B3)
            last += 1
        if is_quoted and last + 1 < end and data[last + 1] != separator:
            return False
        if last == first or not 32 < data[first] < 127 or not 32 < data[last - 1] < 127:
            return False
        found[record] = (value ^ (value >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return True
