"""How results are shown: tables, JSON, progress."""
