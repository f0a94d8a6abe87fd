"""`attempts.json` beside a submission: each try to send it, written before Kaggle is asked.

An attempt that was interrupted stays ``sending``: whether Kaggle has it is found out by its marker, a part of the
message that no other attempt has, before anything is sent again.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically

ATTEMPTS_FILE = "attempts.json"
STATES = ("sending", "sent", "refused", "lost")


@dataclass(frozen=True)
class Attempt:
    """One try to send a version.

    Attributes:
        competition: Kaggle's name of it.
        marker: Found in the message of the submission, and in no other's: content of the file, and chance.
        started: When Kaggle was asked, UTC, ISO 8601 to the second.
        state: ``sending`` until Kaggle has answered, then ``sent`` or ``refused``; ``lost`` where it never arrived.
        ref: Kaggle's number of the submission, once known.
        reason: Why it was refused.
    """

    competition: str
    marker: str
    started: str
    state: str = "sending"
    ref: int | None = None
    reason: str = ""

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.started)).total_seconds()


def new_attempt(competition: str, digest: str) -> Attempt:
    """An attempt to send a file of this digest, from now."""
    return Attempt(competition, f"{content_marker(digest)}.{secrets.token_hex(3)}]", now())


def content_marker(digest: str) -> str:
    """What the messages of all submissions of one content have in common."""
    return f"[{digest[:12]}"


def now() -> str:
    """UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load_attempts(folder: Path) -> tuple[Attempt, ...]:
    """All attempts of a version, oldest first.

    Raises:
        UserError: The file is damaged: nothing can be sent until a person has looked.
    """
    path = folder / ATTEMPTS_FILE
    try:
        attempts = tuple(Attempt(**item) for item in json.loads(path.read_text(encoding="utf-8")))
        if any(a.state not in STATES or datetime.fromisoformat(a.started).tzinfo is None for a in attempts):
            raise ValueError("an attempt has an unknown state or no time zone")
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as exc:
        raise UserError(
            f"{ATTEMPTS_FILE} is damaged: {exc}",
            where=path,
            next="see what Kaggle has with `cli submit --list`, then remove the file",
        ) from exc
    return attempts


def save_attempt(folder: Path, attempt: Attempt) -> None:
    """Add an attempt, or replace the one with its marker; on disk when this returns.

    Raises:
        UserError: The folder cannot be written to.
    """
    others = [known for known in load_attempts(folder) if known.marker != attempt.marker]
    ordered = sorted([*others, attempt], key=lambda known: known.started)
    text = json.dumps([dataclasses.asdict(known) for known in ordered], indent=2, ensure_ascii=False)
    with write_atomically(folder / ATTEMPTS_FILE) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
