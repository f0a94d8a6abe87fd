"""Objects from what a person types, in the order in which people count."""

from __future__ import annotations

import re

from kaggle_tools.remote.file import Place, RemoteFile

GLOB = re.compile(r"[*?\[]")


def find_objects(pattern: RemoteFile) -> list[RemoteFile]:
    """The objects that an address names, in natural order; only keys are listed that begin as a pattern does.

    Raises:
        UserError: No such bucket, no access, no connection.
    """
    if pattern.is_file():
        return [pattern]
    start = GLOB.split(pattern.key)[0]
    if start == pattern.key:
        return []
    root = RemoteFile(f"{pattern.bucket.scheme}://{pattern.bucket.name}/{start.rpartition('/')[0]}")
    return sorted(root.glob(pattern.key[len(root.key) :].lstrip("/")), key=natural)


def natural(path: Place) -> list[tuple[int, int, str]]:
    """Runs of digits as numbers; a number sorts before text, and equal numbers ("1", "01") by their text."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
