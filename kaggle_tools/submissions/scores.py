"""What a leaderboard said about a version, written into its manifest: the one place that changes a manifest.

    record_scores(version.folder, public=0.738, rank=46)

Used by whoever learns a score: a person who types it, or the service that scored the file.
"""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError
from kaggle_tools.submissions.manifest import Manifest, broken_seal_of


def record_scores(
    version_folder: Path,
    *,
    public: float | None = None,
    private: float | None = None,
    rank: int | None = None,
    kaggle_ref: int | None = None,
    submitted: str | None = None,
) -> Manifest:
    """Write what became known into `manifest.json`, whole or not at all; what is not given stays as it is.

    Several processes may do so at the same time: each one's values are kept. A manifest that was edited by hand is
    told as one afterwards, too: what is written here does not vouch for the edit.

    Args:
        version_folder: `submissions/v0007-blend/`.
        public: Public leaderboard score.
        private: Private leaderboard score.
        rank: Place on the public leaderboard, 1 is the first.
        kaggle_ref: Kaggle's own number of the submission.
        submitted: When it was sent, UTC, ISO 8601.

    Returns:
        The manifest as it is now; the file is not touched where nothing is new.

    Raises:
        UserError: The manifest is damaged, a score is not a finite number, or the folder cannot be written to.
    """
    for name, score in (("public", public), ("private", private)):
        if score is not None and not math.isfinite(score):
            raise UserError(f"the {name} score cannot be {score}", expected="a finite number")
    if rank is not None and rank < 1:
        raise UserError(f"the rank cannot be {rank}", expected="1 or more")
    given: dict[str, Any] = {
        "public_score": public,
        "private_score": private,
        "rank": rank,
        "kaggle_ref": kaggle_ref,
        "submitted": submitted,
    }
    with _alone(version_folder):
        manifest = Manifest.load(version_folder)
        new = {key: value for key, value in given.items() if value is not None and value != getattr(manifest, key)}
        if not new:
            return manifest
        if new.keys() & {"public_score", "private_score", "rank"}:
            new["scored"] = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = dataclasses.replace(manifest, **new)
        manifest.save(version_folder, broken_seal=broken_seal_of(version_folder))
    return manifest


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's own lock: the manifest is read and written as one step. It ends with the process."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as exc:
        raise UserError(f"no such version folder: {exc.strerror}", where=folder) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
