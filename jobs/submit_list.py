"""`cli submit --list`: what Kaggle has, and which versions here they were; their new scores come home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.submit import competition_slug, silent, tell_if_odd
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.kaggle_service import Entry, KaggleService, Match, Quota, match_versions
from kaggle_tools.submissions import list_versions, record_scores


@dataclass(frozen=True)
class Listed:
    """A submission at Kaggle, and the version here that it was."""

    version: str | None
    entry: Entry


@dataclass(frozen=True)
class ListResult:
    """What Kaggle has.

    Attributes:
        competition: Kaggle's name of it.
        quota: What the team has sent and may still send.
        submissions: Newest first.
        recorded: Titles of versions whose manifests got a score by this.
    """

    competition: str
    quota: Quota
    submissions: tuple[Listed, ...]
    recorded: tuple[str, ...]


def list_submissions(competition: str | None = None, on_note: Callable[[str], None] = silent) -> ListResult:
    """What Kaggle has of a competition; scores that are new here are written into the manifests of their versions.

    Raises:
        UserError: No competition is named, or Kaggle cannot be asked.
    """
    workspace = Workspace.find()
    name = competition_slug(workspace, competition)
    service = KaggleService.connect(on_note)
    matches = match_versions(service.submissions(name), list_versions(workspace.submissions).versions)
    newest = {m.version.title: m for m in reversed(matches) if m.version is not None and m.entry.status == "complete"}
    recorded = tuple(title for title, match in newest.items() if _bring_home(match, on_note))
    for title in recorded:
        tell_if_odd(newest[title].entry, workspace, on_note)
    listed = tuple(Listed(match.version.title if match.version else None, match.entry) for match in matches)
    return ListResult(name, service.quota(name), listed, recorded)


def _bring_home(match: Match, on_note: Callable[[str], None]) -> bool:
    """Write a score into its version's manifest; whether it was new there."""
    if match.version is None:
        return False
    before = match.version.manifest
    try:
        after = record_scores(match.version.folder, public=match.entry.public_score, private=match.entry.private_score)
    except UserError as exc:  # one folder that cannot be written to hides no list
        on_note(f"{match.version.title}: {exc.summary}")
        return False
    return (after.public_score, after.private_score) != (before.public_score, before.private_score)
