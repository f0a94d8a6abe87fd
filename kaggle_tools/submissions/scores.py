"""What a leaderboard said about a version, written into its manifest: the one place that changes a manifest.

    record_scores(version.folder, public=0.738, rank=46)

Used by whoever learns a score: a person who types it, or the service that scored the file.
"""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import find_metric
from kaggle_tools.submissions.manifest import Manifest, broken_seal_of

_CLEARABLE = {"public": "public_score", "private": "private_score", "rank": "rank"}


def record_scores(
    version_folder: Path,
    *,
    public: float | None = None,
    private: float | None = None,
    rank: int | None = None,
    kaggle_ref: int | None = None,
    submitted: str | None = None,
    metric: str | None = None,
    clear: Collection[str] = (),
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
        metric: What the scores are of: none can lie outside its range; None: unknown.
        clear: What is to be forgotten, of ``public``, ``private`` and ``rank``.

    Returns:
        The manifest as it is now; the file is not touched where nothing is new.

    Raises:
        UserError: The manifest is damaged, a score is not a finite number or none of the metric, or the folder cannot
            be written to.
    """
    for name, score in (("public", public), ("private", private)):
        if score is not None:
            check_score(name, score, metric)
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
        asked = {key: value for key, value in given.items() if value is not None}
        asked |= dict.fromkeys((_CLEARABLE[name] for name in clear), None)
        new = {key: value for key, value in asked.items() if value != getattr(manifest, key)}
        if not new:
            return manifest
        if new.keys() & set(_CLEARABLE.values()):
            new["scored"] = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = dataclasses.replace(manifest, **new)
        manifest.save(version_folder, broken_seal=broken_seal_of(version_folder))
    return manifest


def check_score(name: str, score: float, metric: str | None) -> None:
    """Raises `UserError` where the ``public`` or ``private`` score is no finite number, or none of the metric."""
    if not math.isfinite(score):
        raise UserError(f"the {name} score cannot be {score}", expected="a finite number")
    if metric is None:
        return
    found = find_metric(metric)
    low, high = found.bounds
    if low <= score <= high:
        return
    in_percent = high == 1 < score <= 100
    raise UserError(
        f"the {name} score cannot be {score:g}",
        expected=f"{found.name} is {low:g} or more"
        if math.isinf(high)
        else f"{found.name} lies in [{low:g}, {high:g}]",
        next=(f"{score:g} % is --{name} {score / 100:.10g}; or " if in_percent else "")
        + "set the metric in competition.toml, if the board computes another",
    )


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
