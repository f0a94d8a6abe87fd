"""Whole numbers that stand as floats, as pandas makes of a column where a value is missing.

    ids_as_text(table["id"])  # 1.0, 2.0 → "1", "2"

Knows nothing of files. Text is left as it is: what a CSV file holds is what was meant.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from kaggle_tools.errors import UserError


def as_integers(values: pl.Series) -> pl.Series:
    """Floats as integers where all of them are whole and exact; any other column as it is."""
    if not values.dtype.is_float():
        return values
    known = values.drop_nulls().drop_nans()
    if not (known % 1 == 0).all() or _inexact(values).any():
        return values
    return values.fill_nan(None).cast(pl.Int64)


def ids_as_text(ids: pl.Series) -> pl.Series:
    """Ids as strings, whole numbers without their ``.0``, nulls kept.

    Raises:
        UserError: Floats so large that different ids may have become one.
    """
    if ids.dtype.is_float() and (lost := _inexact(ids)).any():
        row = lost.arg_max() or 0
        raise UserError(
            f"the ids in column '{ids.name}' are floats that have lost their last digits",
            found=f"{lost.sum():,} of {len(ids):,} rows; row {row + 1:,}: {ids[row]:.0f}",
            expected=f"integers or text; {ids.dtype} is exact below {_first_inexact(ids):,}",
            next="write the file again from where the ids are whole, that column as integers or text",
        )
    return as_integers(ids).cast(pl.String)


def _inexact(values: pl.Series) -> pl.Series:
    return values.is_finite().fill_null(False) & (values.abs() >= _first_inexact(values)).fill_null(False)


def _first_inexact(values: pl.Series) -> int:
    """From this one on neighbouring integers are one float."""
    return 1 << (int(np.finfo(values.head(0).to_numpy().dtype).nmant) + 1)
