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

from kaggle_tools.compiled import compiled
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
        at, end = marks[record, START], marks[record, END]
        if end > at and data[end - 1] == 10:
            end -= 1
        if end > at and data[end - 1] == 13:
            end -= 1
        for k in range(slots.size):
            slot = slots[k]
            size = filled[slot] if slot >= 0 else 0
            if at < end and data[at] == quote:
                at += 1
                while at < end:
                    if data[at] == quote:
                        at += 1
                        if at == end or data[at] != quote:
                            break
                    if slot >= 0:
                        out[slot, size] = data[at]
                        size += 1
                    at += 1
            while at < end and data[at] != separator:
                if slot >= 0:
                    out[slot, size] = data[at]
                    size += 1
                at += 1
            at += 1
            if slot >= 0:
                filled[slot] = size
                offsets[slot, record + 1] = size
