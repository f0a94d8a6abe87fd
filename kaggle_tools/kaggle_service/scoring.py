"""What became of submissions: waiting for a score, and finding which version a listed submission was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kaggle_tools.kaggle_service.attempts import content_marker
from kaggle_tools.kaggle_service.client import KaggleService
from kaggle_tools.kaggle_service.entries import Entry
from kaggle_tools.kaggle_service.errors import ServiceError
from kaggle_tools.submissions import Version

PAUSES_S = (2.0, 3.0, 5.0, 8.0, 15.0)  # between looks; the last one is repeated


@dataclass(frozen=True)
class Match:
    """A listed submission and the version that it was, where it is one of ours."""

    entry: Entry
    version: Version | None


def wait_for_score(
    service: KaggleService, competition: str, ref: int, timeout_s: float, tell: Callable[[str], None]
) -> Entry | None:
    """Look at a submission until it is scored or refused; failures of the service are waited out.

    Args:
        service: Where it was sent.
        competition: Kaggle's name of it.
        ref: Kaggle's number of the submission.
        timeout_s: How long at most; 0 looks once.
        tell: Gets a line for each look but the first that found nothing new.

    Returns:
        The submission as it is at the end, perhaps still ``pending``; None where it is not (yet) in the list.

    Raises:
        ServiceError: Kaggle cannot be asked, for a reason that waiting does not mend.
    """
    started = time.monotonic()
    pauses = iter(PAUSES_S)
    pause_s = 0.0
    entry: Entry | None = None
    while True:
        try:
            entry = next((e for e in service.submissions(competition) if e.ref == ref), None)
        except ServiceError as exc:
            if not exc.transient:
                raise
            tell(exc.summary)
        if entry is not None and entry.status != "pending":
            return entry
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            return entry
        if pause_s:
            tell(f"not scored yet, after {waited_s:.0f} s")
        pause_s = next(pauses, pause_s)
        time.sleep(min(pause_s, timeout_s - waited_s))


def match_versions(entries: Iterable[Entry], versions: Iterable[Version]) -> list[Match]:
    """Each submission with the version that its message, or the version's manifest, says it was."""
    known = list(versions)
    return [Match(entry, next((v for v in known if _is(entry, v)), None)) for entry in entries]


def _is(entry: Entry, version: Version) -> bool:
    named = entry.description.split(" ", 1)[0] == version.title
    return version.manifest.kaggle_ref == entry.ref or (
        named and content_marker(version.manifest.submission_digest) in entry.description
    )
