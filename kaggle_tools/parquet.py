"""Parquet as we write it: compressed, sealed, with a dictionary for labels and tags alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_tools.seals import seal_parquet

if TYPE_CHECKING:
    import pyarrow as pa

# For pyarrow. By default it collects each column's values, too: of ids and probabilities, which never repeat, that took
# three quarters of the time of writing and a third of the file.
_REPEATED = ["label", "label.list.element", "tag.list.element"]
PARQUET: dict[str, Any] = {"compression": "zstd", "use_dictionary": _REPEATED}


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table whole, with its seal (`kaggle_tools.seals`)."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, **PARQUET)
    seal_parquet(path)
