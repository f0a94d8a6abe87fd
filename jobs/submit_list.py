"""`cli submit --list`: what Kaggle has, and which versions here they were; their new scores come home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.submit import competition_slug, silent
from jobs.workspace import Workspace
from kaggle_tools.kaggle_service import Entry, KaggleService, Quota, match_versions
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
    recorded: list[str] = []
    for match in reversed(matches):  # the newest has the last word
        if match.version is not None and match.entry.status == "complete":
            before = match.version.manifest
            after = record_scores(
                match.version.folder, public=match.entry.public_score, private=match.entry.private_score
            )
            if (after.public_score, after.private_score) != (before.public_score, before.private_score):
                recorded.append(match.version.title)
    listed = tuple(Listed(match.version.title if match.version else None, match.entry) for match in matches)
    return ListResult(name, service.quota(name), listed, tuple(dict.fromkeys(recorded)))
