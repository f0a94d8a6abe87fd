"""`cli submit 7`: check a version, send it to Kaggle once, wait for its score, write that into the manifest.

    cli submit latest -m "log pool of five"

How it is never sent twice: `kaggle_tools/kaggle_service/sending.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.kaggle_service import Entry, KaggleService, Quota, ServiceError, load_attempts, wait_for_score
from kaggle_tools.kaggle_service.sending import (
    Earlier,
    check_quota,
    describe,
    find_earlier,
    new_attempt_for,
    send,
    sending_alone,
    settle,
)
from kaggle_tools.submissions import (
    Version,
    check_score,
    find_version,
    is_intact,
    list_versions,
    record_scores,
    validate,
)


def silent(_: object) -> None:
    """For whoever wants to hear nothing."""


@dataclass(frozen=True)
class Preview:
    """What is about to be sent.

    Attributes:
        competition: Kaggle's name of it.
        version: Title of the version.
        file: What is sent.
        n_rows: Its rows.
        checked: What it was compared with.
        message: As Kaggle will show it.
        quota: What the team may still send.
    """

    competition: str
    version: str
    file: Path
    n_rows: int
    checked: str
    message: str
    quota: Quota


@dataclass(frozen=True)
class SubmitOptions:
    """What to send and how.

    Attributes:
        version: As `find_version` takes it.
        competition: Kaggle's name; None: the one in `competition.toml`.
        message: Shown at Kaggle beside the version's title; None: the version's note.
        again: Send although Kaggle has this content.
        dry_run: Stop before anything is sent.
        wait: Stay until it is scored.
        timeout_s: How long at most.
        on_preview: Gets what is about to be sent.
        on_note: Gets a line about what goes on.
    """

    version: str
    competition: str | None = None
    message: str | None = None
    again: bool = False
    dry_run: bool = False
    wait: bool = True
    timeout_s: float = 600.0
    on_preview: Callable[[Preview], None] = silent
    on_note: Callable[[str], None] = silent


@dataclass(frozen=True)
class SubmitResult:
    """What became of it.

    Attributes:
        version: Title.
        competition: Kaggle's name of it.
        state: ``dry run``, ``pending`` (sent, not scored) or ``complete``.
        sent: Whether this call has sent it; False where an earlier one had.
        ref: Kaggle's number of the submission.
        submitted: When it was sent, UTC, ISO 8601.
        public_score: As written into the manifest.
        private_score: Likewise.
        n_left: Submissions left today; None where not asked.
        message: As Kaggle shows it.
    """

    version: str
    competition: str
    state: Literal["dry run", "pending", "complete"]
    sent: bool
    ref: int | None
    submitted: str | None
    public_score: float | None
    private_score: float | None
    n_left: int | None
    message: str


def run(options: SubmitOptions) -> SubmitResult:
    """Send a version, or find that it was sent, and bring its score home.

    Raises:
        UserError: The file is not a valid submission, its content was sent before, the quota is used up, Kaggle refuses
            it or cannot score it, or cannot be asked.
    """
    workspace = Workspace.find()
    version = find_version(workspace.submissions, options.version)
    competition = competition_slug(workspace, options.competition)
    checked = _check(version, workspace)
    service = KaggleService.connect(options.on_note)
    n_left, message = None, ""
    with sending_alone(version.folder.parent):
        entries = settle(service, version, competition, options.on_note)
        earlier = find_earlier(version, competition, entries)
        if earlier is not None and (not options.again or _score_is_due(earlier, version)):
            ref, sent = _take_up(earlier, version, options), False
        else:
            quota = service.quota(competition)
            check_quota(quota, competition)
            attempt = new_attempt_for(version, competition)
            words = version.manifest.note if options.message is None else options.message
            message = describe(version, attempt, words)
            n_left = quota.n_left
            options.on_preview(
                Preview(
                    competition, version.title, version.submission, version.manifest.n_rows, checked, message, quota
                )
            )
            if options.dry_run:
                return SubmitResult(
                    version.title, competition, "dry run", False, None, None, None, None, n_left, message
                )
            ref = send(service, version, attempt, words, options.on_note)
            n_left, sent = n_left - 1, True
            options.on_note(f"sent as {ref}")
    try:
        entry = wait_for_score(service, competition, ref, options.timeout_s if options.wait else 0.0, options.on_note)
    except ServiceError as exc:
        hint = f"it was sent as {ref}, do not send it again: `cli submit {version.title}` fetches its score"
        raise ServiceError.like(exc, next=hint) from None
    tell_if_odd(entry, workspace, options.on_note)
    return _finish(version, competition, ref, entry, sent=sent, n_left=n_left, message=message)


def tell_if_odd(entry: Entry | None, workspace: Workspace, on_note: Callable[[str], None]) -> None:
    """Tell of scores that `competition.toml`'s metric cannot have."""
    if entry is None or workspace.competition is None:
        return
    for name, score in (("public", entry.public_score), ("private", entry.private_score)):
        try:
            if score is not None:
                check_score(name, score, workspace.competition.metric)
        except UserError as exc:
            on_note(f"{exc.summary}: {exc.details['expected']}; is `metric` in competition.toml the board's?")


def competition_slug(workspace: Workspace, given: str | None) -> str:
    """Kaggle's name of the competition: the one given, or that of `competition.toml`.

    Raises:
        UserError: Neither, or scores of two competitions would stand beside each other in one folder.
    """
    where = workspace.root / "competition.toml"
    slug = workspace.competition.slug if workspace.competition else None
    found = given or slug
    if not found:
        raise UserError(
            "which Kaggle competition?",
            where=where,
            found="no `slug` in it" if workspace.competition else "no such file",
            next='add `slug = "..."`, the last part of the competition\'s address, or give --competition',
        )
    own_folder = f"send to '{found}' from a folder of its own: scores of two competitions would be ranked together"
    if slug and found != slug:
        raise UserError(f"competition.toml is of '{slug}', not of '{found}'", where=where, next=own_folder)
    if not slug and (others := _sent_to(workspace) - {found}):
        raise UserError(
            f"versions here were sent to '{min(others)}', not to '{found}'",
            where=workspace.submissions,
            next=f'{own_folder}; or say in competition.toml which one it is: `slug = "..."`',
        )
    return found


def _sent_to(workspace: Workspace) -> set[str]:
    """Competitions that have a version of this folder."""
    found = set()
    for version in list_versions(workspace.submissions).versions:
        with suppress(UserError):  # a damaged record is told where it matters
            found |= {attempt.competition for attempt in load_attempts(version.folder) if attempt.state == "sent"}
    return found


def _check(version: Version, workspace: Workspace) -> str:
    """What the file was compared with, in words; raises where it is not fit to be sent."""
    if not is_intact(version):
        raise UserError(
            f"{version.title} was changed after it was made",
            where=version.submission,
            next=f"make a version of it as it is now: `cli submissions adopt {version.submission}`",
        )
    competition = workspace.competition
    sample = competition.path(competition.sample_submission) if competition else None
    if sample is None:
        return "not checked: competition.toml names no sample_submission"
    validate(version.submission, sample, competition).raise_if_bad()
    return f"valid beside {sample.name}"


def _score_is_due(earlier: Earlier, version: Version) -> bool:
    """Whether this version's own newest submission has a score to bring home: then nothing is sent, even ``again``.

    The command that sent it may have been interrupted, and whoever runs that again does not want two.
    """
    entry, manifest = earlier.entry, version.manifest
    if entry is None or entry.status == "error" or earlier.title != version.title:
        return False
    unknown = entry.public_score is not None and entry.public_score != manifest.public_score
    return entry.status == "pending" or entry.ref != manifest.kaggle_ref or unknown


def _take_up(earlier: Earlier, version: Version, options: SubmitOptions) -> int:
    """The number of an earlier submission whose score this version still waits for.

    Raises:
        UserError: It waits for none: the content was sent before, and that is that.
    """
    due = _score_is_due(earlier, version)
    if due and earlier.entry and not options.dry_run:
        options.on_note(f"{version.title} was sent before as {earlier.ref}; nothing is sent, its score is looked up")
        record_scores(version.folder, kaggle_ref=earlier.ref, submitted=earlier.entry.date or None)
        return earlier.ref
    sent_as = "" if earlier.title == version.title else f", as {earlier.title}"
    raise UserError(
        f"the content of {version.title} was sent to Kaggle before{sent_as}",
        found=f"submission {earlier.ref}{_outcome(earlier.entry)}",
        next=f"`cli submit {version.title}` fetches its score"
        if due
        else "--again sends it once more, which costs one of today's submissions",
    )


def _outcome(entry: Entry | None) -> str:
    if entry is None:
        return ", which Kaggle does not list"
    if entry.status == "error":
        return f" of {entry.date}, which could not be scored: {entry.error or 'no reason given'}"
    score = "" if entry.public_score is None else f", public score {entry.public_score}"
    return f" of {entry.date}{score or ', ' + entry.status}"


def _finish(
    version: Version,
    competition: str,
    ref: int,
    entry: Entry | None,
    *,
    sent: bool,
    n_left: int | None,
    message: str,
) -> SubmitResult:
    if entry is not None and entry.status == "error":
        raise UserError(
            f"Kaggle cannot score {version.title}",
            reason=entry.error or "not given",
            found=f"submission {ref} to {competition}",
            next="mend the file, make a version of it with `cli submissions adopt FILE`, send that",
        )
    manifest = record_scores(
        version.folder,
        public=entry.public_score if entry else None,
        private=entry.private_score if entry else None,
    )
    return SubmitResult(
        version=version.title,
        competition=competition,
        state="complete" if entry is not None and entry.status == "complete" else "pending",
        sent=sent,
        ref=ref,
        submitted=manifest.submitted,
        public_score=manifest.public_score,
        private_score=manifest.private_score,
        n_left=n_left,
        message=entry.description if entry else message,
    )
