"""Groups of training rows that the folds keep together: what a score gains on one row of them says little of the next.

groups, notes = groups_of(competition, oof.ids)      # (N,) for `kaggle_tools.search`, which draws them whole
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.workspace import FOLD_FILE, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.folds import group_column_of
from kaggle_tools.tables import read_table, sniff_format


def groups_of(competition: Competition, ids: pl.Series) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """The (N,) groups of (N,) training rows, and a note that intervals rest on them, or why they do not.

    None and no note where the folds of the workspace were made without groups.
    """
    fold_file = Workspace(competition.root, competition).runs_folder / FOLD_FILE
    column = None
    try:
        column = group_column_of(fold_file)
        groups = None if column is None else _read(competition, column, ids)
    except UserError as exc:
        known = "" if column is None else f", although folds keep groups of column '{column}' together"
        return None, (f"intervals of gains take rows for independent{known}: {exc.summary}",)
    if groups is None:
        return None, ()
    codes = (groups.rank("dense") - 1).to_numpy().astype(np.int64)
    note = (
        f"intervals of gains rest on {groups.n_unique():,} groups of column '{column}', whose rows are drawn together"
    )
    return codes, (note,)


def grouped_note(workspace: Workspace) -> tuple[str, ...]:
    """What to say beside an interval of test rows, whose groups are not known, where the folds keep groups together."""
    try:
        column = group_column_of(workspace.runs_folder / FOLD_FILE)
    except UserError:
        return ()
    if column is None:
        return ()
    return (f"test rows count as independent: where some are of one group of column '{column}', the interval is wider",)


def _read(competition: Competition, column: str, ids: pl.Series) -> pl.Series:
    path = competition.path(competition.train)
    if path is None:
        raise UserError("competition.toml names no training table")
    fmt = sniff_format(path, encoding=competition.encoding, encoding_errors=competition.encoding_errors)
    id_column = competition.id_column
    names = list(dict.fromkeys(name for name in (id_column, column) if name is not None))
    table = read_table(path, columns=names, fmt=fmt, id_column=id_column)
    own = table[id_column] if id_column is not None else pl.int_range(len(table), eager=True).cast(pl.String)
    known = pl.DataFrame({"id": own, "group": table[column]}).unique("id")
    groups = pl.DataFrame({"id": ids}).join(known, on="id", how="left", maintain_order="left")["group"]
    if groups.null_count():
        raise UserError(f"{groups.null_count():,} of {len(ids):,} rows have none in {path.name}")
    return groups
