"""Tables of any size: CSV, TSV, JSON Lines and Parquet as shards of rows, wherever each begins."""
