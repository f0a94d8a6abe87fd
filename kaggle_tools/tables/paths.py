"""Input files from what a person types: names and globs, in the order in which people count.

expand_inputs(["data/part-*.csv"])      # part-2.csv before part-10.csv
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kaggle_tools.errors import UserError
from kaggle_tools.tables.formats import nearest_file

_GLOB = re.compile(r"[*?\[]")


def expand_inputs(patterns: Sequence[str | Path]) -> list[Path]:
    """The files that `patterns` name: patterns in the given order, the files of one in natural order, none twice.

    ``**`` matches folders. A name that exists is taken as it is, brackets and all.

    Raises:
        UserError: A pattern matches no file (with the nearest name), or names a folder.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        for path in _files(Path(pattern).expanduser()):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _files(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        raise UserError(f"{pattern} is a folder", next=f"name its files: '{pattern}/*.csv'")
    if pattern.is_file():
        return [pattern]
    if not _GLOB.search(str(pattern)):
        raise UserError(f"no file {pattern.name}", where=pattern.parent.resolve(), next=nearest_file(pattern))
    root = Path(pattern.anchor)
    files = [path for path in root.glob(str(pattern.relative_to(root))) if path.is_file()]
    if not files:
        raise UserError(f"no file matches '{pattern}'", where=Path.cwd(), next=nearest_file(pattern))
    return sorted(files, key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Runs of digits as numbers; a number sorts before text, and equal numbers ("1", "01") by their text."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
