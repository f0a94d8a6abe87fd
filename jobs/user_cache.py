"""What was measured once and is worth keeping between jobs: JSON files in the user's cache folder.

read_cache("ceilings.json")                     # {} where there is none, or none that can be read
keep_in_cache("ceilings.json", key, value)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError
from models.cache import add_note, cache_folder, read_notes


def cache_path(name: str) -> Path:
    """A file of ours there; ``XDG_CACHE_HOME`` is respected."""
    return cache_folder() / name


def read_cache(name: str) -> dict[str, Any]:
    """What it holds; a file that cannot be read holds nothing."""
    return read_notes(name)


def keep_in_cache(name: str, key: str, value: Mapping[str, Any]) -> None:
    """Add to a file, in place of an older value of the same key.

    Raises:
        UserError: The cache folder cannot be written to.
    """
    try:
        add_note(name, key, dict(value))
    except OSError as exc:
        raise UserError(
            "what was measured cannot be kept", where=cache_path(name), next="name a folder with XDG_CACHE_HOME"
        ) from exc
