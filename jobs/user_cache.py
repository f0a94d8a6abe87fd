"""What was measured once and is worth keeping between jobs: JSON files in the user's cache folder.

read_cache("ceilings.json")                     # {} where there is none, or none that can be read
keep_in_cache("ceilings.json", key, value)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically


def cache_path(name: str) -> Path:
    """A file of ours there; ``XDG_CACHE_HOME`` is respected."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaggle-jobs" / name


def read_cache(name: str) -> dict[str, Any]:
    """What it holds; a file that cannot be read holds nothing."""
    try:
        content = json.loads(cache_path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def keep_in_cache(name: str, key: str, value: Mapping[str, Any]) -> None:
    """Add to a file, in place of an older value of the same key.

    Raises:
        UserError: The cache folder cannot be written to.
    """
    try:
        with write_atomically(cache_path(name)) as temporary:
            temporary.write_text(json.dumps({**read_cache(name), key: value}, indent=2) + "\n", encoding="utf-8")
    except (UserError, OSError) as exc:
        raise UserError(
            "what was measured cannot be kept", where=cache_path(name), next="name a folder with XDG_CACHE_HOME"
        ) from exc
