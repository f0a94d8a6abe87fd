"""Two columns of unique ids joined faster than a general join can: which row of one has the id of a row of the other.

Polars hashes the ids; a compiled open-addressing table of row numbers is filled from one side and asked by the other.
What it finds is checked id by id, so a collision of hashes costs time (the general join then decides), never an answer.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_SEED = 20_201


def rows_of(wanted: pl.Series, ids: pl.Series) -> Rows | None:
    """For each wanted id the row of `ids` that has it, -1 where none has.

    Args:
        wanted: (N,) String, without nulls.
        ids: (M,) String, without nulls.

    Returns:
        (N,) int64; None where an id occurs twice in `ids`.
    """
    if len(wanted) == len(ids) and wanted.equals(ids):
        return np.arange(len(ids), dtype=np.int64) if ids.n_unique() == len(ids) else None
    ours, theirs = _hashes(wanted), _hashes(ids)
    slots, alike = _fill(theirs, _bits(len(ids)))
    if alike:
        return _general(wanted, ids)
    rows = _ask(slots, _bits(len(ids)), theirs, ours)
    found = rows >= 0
    if found.all():
        right = bool((ids.gather(rows) == wanted).all())
    else:
        right = bool((ids.gather(rows[found]) == wanted.filter(found)).all())
    return rows if right else _general(wanted, ids)


def _general(wanted: pl.Series, ids: pl.Series) -> Rows | None:
    if ids.n_unique() != len(ids):
        return None
    places = pl.DataFrame({"id": ids, "row": np.arange(len(ids), dtype=np.int64)})
    joined = pl.DataFrame({"id": wanted}).join(places, on="id", how="left", maintain_order="left")
    return joined["row"].fill_null(-1).to_numpy()


def _hashes(ids: pl.Series) -> Hashes:
    return ids.hash(_SEED).to_numpy()


def _bits(n: int) -> int:
    """So many that the table is between a quarter and half full."""
    return max(4, int(n).bit_length() + 1)


@compiled
def _fill(hashes, bits):  # type: ignore[no-untyped-def]
    """Slots with row numbers, and whether two rows have the same hash. The highest bits say where to begin looking."""
    mask = (1 << bits) - 1
    slots = np.full(1 << bits, -1, np.int32)
    for row in range(len(hashes)):
        slot = np.int64(hashes[row] >> np.uint64(64 - bits))
        while slots[slot] >= 0:
            if hashes[slots[slot]] == hashes[row]:
                return slots, True
            slot = (slot + 1) & mask
        slots[slot] = row
    return slots, False


@compiled
def _ask(slots, bits, hashes, wanted):  # type: ignore[no-untyped-def]
    mask = (1 << bits) - 1
    rows = np.full(len(wanted), -1, np.int64)
    for i in range(len(wanted)):
        slot = np.int64(wanted[i] >> np.uint64(64 - bits))
        while slots[slot] >= 0:
            if hashes[slots[slot]] == wanted[i]:
                rows[i] = slots[slot]
                break
            slot = (slot + 1) & mask
    return rows
