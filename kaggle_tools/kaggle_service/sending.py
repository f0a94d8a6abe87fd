"""A version goes to Kaggle once: the order of steps that never submits twice, whatever is interrupted where.

1. Read what Kaggle has. An attempt of ours that was cut off is looked for there by its marker.
2. Content that Kaggle has is not sent again, unless that is asked for.
3. Upload the file, which is no submission yet; write the attempt to disk; ask for the submission, once.
4. Where no answer came, look for the marker again; where it is not there, say so and stop.

Knows versions and the service; nothing of workspaces or of what is shown.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kaggle_tools.errors import UserError
from kaggle_tools.kaggle_service.attempts import Attempt, content_marker, load_attempts, new_attempt, now, save_attempt
from kaggle_tools.kaggle_service.client import KaggleService
from kaggle_tools.kaggle_service.entries import Entry, Quota
from kaggle_tools.kaggle_service.errors import ServiceError, UnclearError
from kaggle_tools.submissions import Version, list_versions, record_scores

LOOK_AGAIN_S = (0.0, 2.0, 5.0, 10.0)  # after an unclear answer; a list may lag behind what was accepted
SETTLED_AFTER_S = 60.0  # an attempt that is older and not in the list has not arrived
MAX_MESSAGE = 400

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Earlier:
    """A submission of the same content that Kaggle has, or that we know to have sent.

    Attributes:
        title: Title of the version it was sent as, as far as its message says.
        ref: Kaggle's number of it.
        entry: As Kaggle lists it; None where it is not in the list.
    """

    title: str
    ref: int
    entry: Entry | None


@contextmanager
def sending_alone(submissions: Path) -> Iterator[None]:
    """Hold the right to send from a `submissions/` folder; it ends with the process.

    Raises:
        UserError: Another process holds it.
    """
    descriptor = os.open(submissions, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as exc:
        raise UserError(
            "another `cli submit` is sending from here", where=submissions, next="wait until it has sent"
        ) from exc
    finally:
        os.close(descriptor)


def settle(service: KaggleService, version: Version, competition: str, tell: Tell) -> list[Entry]:
    """What Kaggle has, with every cut-off attempt of this version's content resolved in `attempts.json`."""
    entries = list(service.submissions(competition))
    for folder, attempt in _attempts_of_content(version, competition):
        if attempt.state != "sending":
            continue
        tell(f"the attempt of {attempt.started} got no answer; looking for it at Kaggle")
        # A clock that was put back since then makes an attempt younger than it is: a minute from now is enough.
        until = time.monotonic() + min(SETTLED_AFTER_S, SETTLED_AFTER_S - attempt.age_s)
        while (found := _with_marker(entries, attempt.marker)) is None and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(5.0, max(0.1, left_s)))
            entries = list(service.submissions(competition))
        if found is None:
            tell("it has not arrived")
            save_attempt(folder, dataclasses.replace(attempt, state="lost"))
        else:
            tell(f"it has arrived as {found.ref}")
            save_attempt(folder, dataclasses.replace(attempt, state="sent", ref=found.ref))
    return entries


def find_earlier(version: Version, competition: str, entries: Sequence[Entry]) -> Earlier | None:
    """The newest submission of this content to this competition, this version's own before another's."""
    marker = content_marker(version.manifest.submission_digest)
    found = [Earlier(e.description.split(" ", 1)[0], e.ref, e) for e in entries if marker in e.description]
    listed = {entry.ref: entry for entry in entries}
    found += [
        Earlier(folder.name, attempt.ref, listed.get(attempt.ref))
        for folder, attempt in _attempts_of_content(version, competition)
        if attempt.state == "sent" and attempt.ref
    ]
    own = [earlier for earlier in found if earlier.title == version.title]
    return max(own or found, key=lambda earlier: earlier.ref, default=None)


def check_quota(quota: Quota, competition: str) -> None:
    """Do nothing where the team may submit.

    Raises:
        UserError: It may not; says until when.
    """
    if quota.n_left > 0:
        return
    if not (quota.n_today or quota.n_total):
        raise UserError(
            f"Kaggle allows no submission to '{competition}' from this account",
            found="0 sent, 0 left",
            next=f"join it and accept its rules: https://www.kaggle.com/competitions/{competition}/rules",
        )
    if quota.limited_by_total:
        raise UserError(
            f"the competition's total of submissions is used up: {quota.n_total:,} sent, none left",
            next=f"choose the final ones at https://www.kaggle.com/competitions/{competition}/submissions",
        )
    hours, minutes = divmod(int(until_midnight_s() // 60), 60)
    raise UserError(
        f"today's quota is used up: {quota.n_today} sent, none left",
        next=f"run the same command again after midnight UTC, in {hours} h {minutes} min",
    )


def until_midnight_s() -> float:
    """Seconds until Kaggle's day ends."""
    current = datetime.now(UTC)
    return ((current + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0) - current).total_seconds()


def describe(version: Version, attempt: Attempt, message: str) -> str:
    """The message of the submission: title, marker, and what the user says. The marker stands where nothing cuts it."""
    return f"{version.title} {attempt.marker} {' '.join(message.split())}".strip()[:MAX_MESSAGE]


def send(service: KaggleService, version: Version, attempt: Attempt, message: str, tell: Tell) -> int:
    """Upload the file and make it a submission.

    Returns:
        Kaggle's number of it, also in the manifest and in `attempts.json`.

    Raises:
        UnclearError: It may have been made; the attempt stays open, and `settle` resolves it.
        UserError: It has not been made, and the quota is used up meanwhile; says until when.
        ServiceError: It has not been made for another reason.
    """
    token = service.upload(attempt.competition, version.submission, f"{version.title}.csv")
    attempt = dataclasses.replace(attempt, started=now())
    save_attempt(version.folder, attempt)
    try:
        ref = service.create(attempt.competition, token, describe(version, attempt, message))
        unclear = None if ref else UnclearError("Kaggle answered without a number for the submission")
    except UnclearError as exc:
        ref, unclear = 0, exc
    except ServiceError as exc:
        refused = dataclasses.replace(attempt, state="refused", reason=exc.details.get("reason", exc.summary))
        save_attempt(version.folder, refused)
        _tell_of_used_up_quota(service, attempt.competition, exc)
        raise
    if unclear is not None:
        tell(f"{unclear.summary}; looking whether the submission has arrived")
        ref = _look_again(service, attempt, unclear)
        tell(f"it has arrived as {ref}")
    save_attempt(version.folder, dataclasses.replace(attempt, state="sent", ref=ref))
    record_scores(version.folder, kaggle_ref=ref, submitted=attempt.started)
    return ref


def _tell_of_used_up_quota(service: KaggleService, competition: str, refusal: ServiceError) -> None:
    """Raise where a refusal comes from the quota, which a team mate may have used up since it was asked for."""
    with suppress(ServiceError):
        quota = service.quota(competition)
        try:
            check_quota(quota, competition)
        except UserError as exc:
            exc.details = {"reason": refusal.details.get("reason", refusal.summary), **exc.details}
            raise exc from None


def new_attempt_for(version: Version, competition: str) -> Attempt:
    """The attempt that `send` will write to disk."""
    return new_attempt(competition, version.manifest.submission_digest)


def _look_again(service: KaggleService, attempt: Attempt, unclear: UnclearError) -> int:
    for pause_s in LOOK_AGAIN_S:
        time.sleep(pause_s)
        try:
            found = _with_marker(service.submissions(attempt.competition), attempt.marker)
        except ServiceError:
            break
        if found is not None:
            return found.ref
    raise UnclearError.like(
        unclear,
        f"{unclear.summary}: whether the submission has arrived is not known",
        next="run the same command again: it looks for it at Kaggle first, and sends only what has not arrived",
    )


def _with_marker(entries: Sequence[Entry] | Iterator[Entry], marker: str) -> Entry | None:
    return next((entry for entry in entries if marker in entry.description), None)


def _attempts_of_content(version: Version, competition: str) -> list[tuple[Path, Attempt]]:
    """Attempts to send this content to this competition, as whichever version."""
    marker = content_marker(version.manifest.submission_digest)
    siblings = {known.folder for known in list_versions(version.folder.parent).versions} | {version.folder}
    return [
        (folder, attempt)
        for folder in sorted(siblings)
        for attempt in load_attempts(folder)
        if attempt.competition == competition and attempt.marker.startswith(marker)
    ]
