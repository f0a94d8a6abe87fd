"""Input files from what a person types: names and globs, in the order in which people count.

expand_inputs(["data/part-*.csv"])      # part-2.csv before part-10.csv
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kaggle_tools.errors import UserError
from kaggle_tools.remote import Place, RemoteFile, place
from kaggle_tools.remote.find import GLOB, find_objects, natural
from kaggle_tools.tables.formats import nearest_file


def expand_inputs(patterns: Sequence[str | Place]) -> list[Place]:
    """The files that `patterns` name: patterns in the given order, the files of one in natural order, none twice.

    ``**`` matches folders. A name that exists is taken as it is, brackets and all. Addresses may be patterns, too:
    `s3://bucket/part-*.csv`.

    Raises:
        UserError: A pattern matches no file (with the nearest name), or names a folder.
    """
    found: dict[Place, Place] = {}
    for pattern in patterns:
        named = place(pattern)
        for path in _objects(named) if isinstance(named, RemoteFile) else _files(_at_home(named)):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _at_home(pattern: Path) -> Path:
    """`~` and `~name` as a shell has them, unless a file is called so or nobody is."""
    with suppress(RuntimeError):
        return pattern if pattern.exists() else pattern.expanduser()
    return pattern


def _files(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        raise _is_folder(pattern)
    if pattern.is_file():
        return [pattern]
    if pattern.exists():
        raise UserError(f"{pattern} is no regular file", next="`cli score --input -` reads a table from a pipe")
    if not GLOB.search(str(pattern)):
        raise UserError(f"no file {pattern.name}", where=pattern.parent.resolve(), next=nearest_file(pattern))
    root = Path(pattern.anchor)
    files = [path for path in root.glob(str(pattern.relative_to(root))) if path.is_file()]
    if not files:
        raise UserError(f"no file matches '{pattern}'", where=Path.cwd(), next=nearest_file(pattern))
    return sorted(files, key=natural)


def _objects(pattern: RemoteFile) -> list[RemoteFile]:
    """The same on object storage."""
    if files := find_objects(pattern):
        return files
    if GLOB.search(pattern.key):
        raise UserError(f"no file matches '{pattern}'", next=nearest_file(pattern))
    if pattern.is_dir():
        raise _is_folder(pattern)
    raise UserError(f"no file {pattern.name}", where=pattern.parent, next=nearest_file(pattern))


def _is_folder(path: Place) -> UserError:
    return UserError(f"{path} is a folder", next=f"name its files: '{str(path).rstrip('/')}/*.csv'")
