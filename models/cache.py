"""The user's cache folder: what can be made again at any time, kept under a digest of what it was made from.

    folder = find("openvino", key) or keep("openvino", key, make)      # make(folder) fills an empty folder

An entry is a folder that appears by a rename, with a seal: the digests of its files. A damaged one counts as none and
is removed. Where a kind of entries takes too much room, those that were used longest ago go.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

LIMIT_BYTES = 8 << 30  # of a kind
_SEAL = "seal.json"
_MAKING = ".making-"
_ABANDONED_S = 24 * 3600.0


def cache_folder() -> Path:
    """Where it is; ``XDG_CACHE_HOME`` is respected."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaggle-jobs"


def find(kind: str, key: str) -> Path | None:
    """The folder of an entry, or None where there is none that is whole."""
    folder = cache_folder() / kind / key
    if not folder.is_dir():
        return None
    try:
        sealed = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        whole = sealed == _digests(folder)
    except (OSError, ValueError):
        whole = False
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):  # another user's, or read-only: then it does not count as used
        os.utime(folder)
    return folder


def keep(kind: str, key: str, make: Callable[[Path], None], n_bytes: int = 0) -> Path:
    """Make an entry. Where another process was faster, its own is taken.

    Args:
        kind: Folder of such entries.
        key: What it is found by.
        make: Fills an empty folder.
        n_bytes: Free room that it needs: not everybody who writes a file tells that the disk was full.

    Raises:
        OSError: The cache folder cannot be written to, or has too little room. What `make` raises passes as it is.
    """
    parent = cache_folder() / kind
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    if shutil.disk_usage(parent).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(parent))
    making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=parent))
    try:
        make(making)
        (making / _SEAL).write_text(json.dumps(_digests(making)), encoding="utf-8")
        try:
            making.rename(parent / key)
        except OSError:
            if find(kind, key) is None:
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    _make_room(parent, parent / key)
    return parent / key


def read_notes(name: str) -> dict[str, Any]:
    """The content of a small JSON file of the cache folder; empty where it is missing or cannot be read."""
    try:
        content = json.loads((cache_folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def add_note(name: str, key: str, value: object) -> None:
    """Set one entry of such a file. Of two processes that do so at once, one may lose its own: it is found anew.

    Raises:
        OSError: The cache folder cannot be written to.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**read_notes(name), key: value}, indent=2)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content + "\n")
        Path(temporary).replace(folder / name)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _digests(folder: Path) -> dict[str, str]:
    """Name of each file but the seal → its digest."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != _SEAL:
            with path.open("rb") as handle:
                found[path.name] = hashlib.file_digest(handle, "blake2b").hexdigest()
    return found


def _sweep(parent: Path) -> None:
    """Remove what killed processes have left half made."""
    for folder in parent.glob(f"{_MAKING}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)


def _make_room(parent: Path, newest: Path) -> None:
    """Remove the entries used longest ago, but never `newest`, until the rest is small enough."""
    entries = []
    for folder in parent.iterdir():
        with suppress(OSError):  # another process removes it
            if not folder.name.startswith("."):
                entries.append((folder.stat().st_mtime, sum(f.stat().st_size for f in folder.iterdir()), folder))
    total = sum(size for _, size, _ in entries)
    for _, size, folder in sorted(entries):
        if total <= LIMIT_BYTES:
            return
        if folder != newest:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
