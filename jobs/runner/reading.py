"""The rows of a job's shards: read piece by piece, where small files share a shard, and put together.

with TaskReader(plan.request) as reader:
    table = reader.read(plan.tasks[0])
texts, n_null = read_texts(table.frame, plan.request.text_columns)
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
import polars as pl

from jobs.runner.plan import Plan, Request, ShardTask
from kaggle_tools.tables import ShardReader, ShardTable, TableFormat, read_sample
from models.text.pairs import join_texts, single_texts

_TRIED = 256  # files of one shard that are read to try formats on: rows to judge by, and as many to calibrate with


class TaskReader:
    """Reads ids and texts of shards. A context manager; of thousands of files only one is open; for one thread."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._columns = list(dict.fromkeys(c for c in (request.id_column, *request.text_columns) if c is not None))
        self._format: TableFormat | None = None
        self._reader: ShardReader | None = None

    def read(self, task: ShardTask) -> ShardTable:
        """The rows of a shard.

        Raises:
            UserError: What `ShardReader.read` raises.
        """
        return _together(
            [self._of(piece.file).read(piece.shard, piece.n_rows) for piece in task.pieces],
            [piece.n_rows for piece in task.pieces],
        )

    def close(self) -> None:
        """Close the file that is open."""
        if self._reader is not None:
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _of(self, file: int) -> ShardReader:
        """A reader for a file's format, which the next file mostly has, too."""
        request = self._request
        fmt = request.inputs[file].format
        if self._reader is None or fmt != self._format:
            self.close()
            self._format = fmt
            self._reader = ShardReader(fmt, self._columns, id_column=request.id_column, on_bad_row=request.on_bad_row)
        return self._reader


def _together(tables: Sequence[ShardTable], n_rows: Sequence[int]) -> ShardTable:
    if len(tables) == 1:
        return tables[0]
    first_rows = np.cumsum([0, *n_rows])
    return ShardTable(
        pl.concat([table.frame for table in tables]),
        np.concatenate([table.positions + first for table, first in zip(tables, first_rows, strict=False)]),
        tuple(row for table in tables for row in table.bad_rows),
        sum(table.n_replaced for table in tables),
    )


def read_texts(frame: pl.DataFrame, columns: Sequence[str]) -> tuple[pl.Series, int]:
    """(N,) texts, or pairs joined to one column, and how many rows have a null among theirs."""
    n_null = int(frame.select(pl.any_horizontal(pl.col(list(columns)).is_null()).sum()).item())
    first = frame[columns[0]]
    return (single_texts(first) if len(columns) == 1 else join_texts(first, frame[columns[1]])), n_null


def texts_of(plan: Plan, task: ShardTask) -> pl.Series:
    """(N,) texts of a shard's good rows, read apart from the job's own reading; of thousands of files, from some."""
    request, pieces = plan.request, task.pieces
    some = [pieces[k * len(pieces) // _TRIED] for k in range(_TRIED)] if len(pieces) > _TRIED else pieces
    frames = [read_sample(piece.shard, request.inputs[piece.file].format, request.text_columns) for piece in some]
    return read_texts(pl.concat(frames), request.text_columns)[0]
