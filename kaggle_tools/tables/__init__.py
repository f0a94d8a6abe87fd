"""Tables of any size: CSV, TSV, JSON Lines and Parquet as shards of rows, wherever each begins.

fmt = sniff_format(path)
index = index_file(path, fmt, shard_rows=4096)
with ShardReader(fmt, ["id", "text"], id_column="id") as reader:
    tables = [reader.read(shard) for shard in index.shards]
"""

from kaggle_tools.tables.formats import TableFormat, sniff_format
from kaggle_tools.tables.ids import PassingIds
from kaggle_tools.tables.index import (
    MAX_SHARD_BYTES,
    FileIndex,
    changed_error,
    index_file,
    missing_column,
    require_columns,
    require_even_rows,
    require_rows,
)
from kaggle_tools.tables.paths import expand_inputs
from kaggle_tools.tables.reader import ShardReader, ShardTable, float_columns, read_columns, read_sample, read_table
from kaggle_tools.tables.records import BadRow
from kaggle_tools.tables.repeats import Repeats
from kaggle_tools.tables.shard import Shard

__all__ = [
    "MAX_SHARD_BYTES",
    "BadRow",
    "FileIndex",
    "PassingIds",
    "Repeats",
    "Shard",
    "ShardReader",
    "ShardTable",
    "TableFormat",
    "changed_error",
    "expand_inputs",
    "float_columns",
    "index_file",
    "missing_column",
    "read_columns",
    "read_sample",
    "read_table",
    "require_columns",
    "require_even_rows",
    "require_rows",
    "sniff_format",
]
