"""What joins several labels in a cell: ``|`` with us, blanks, commas or semicolons in other people's files.

joined_by(pl.Series(["a b", "c", ""]), ("a", "b", "c"))    # " "
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from kaggle_tools.predictions import SEPARATOR

_SEPARATORS = (SEPARATOR, " ", ",", ";", ", ", "; ")


def joined_by(cells: pl.Series, classes: Sequence[str]) -> str:
    """What all cells come apart by into nothing but classes; ``|`` where they hold one label each, or no classes.

    Args:
        cells: (N,) String; a cell may be empty.
        classes: Class names.
    """
    distinct, known = cells.drop_nulls().unique(), pl.Series(["", *classes])
    for separator in _SEPARATORS:
        if distinct.str.split(separator).explode().is_in(known.implode()).all():
            return separator
    return SEPARATOR
