"""Telling somebody that it is over: a command or a web address of the user's choice.

It never fails what it tells of, and never shows the address or the command, which often hold a secret.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from jobs.batch.commands import process_environment
from kaggle_tools.errors import UserError

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Notify:
    """Who is told.

    Attributes:
        command: Gets the notice as JSON on stdin, and as ``KAGGLE_JOBS_EVENT`` and so on; no shell.
        url: Gets it as JSON by POST.
    """

    command: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise UserError("--notify-url takes an address that begins with http:// or https://")
        try:
            words = shlex.split(self.command) if self.command is not None else ["-"]
        except ValueError as exc:
            raise UserError(f"--notify-command cannot be read: {exc}".lower()) from exc
        if not words:
            raise UserError("--notify-command is empty")


@dataclass(frozen=True)
class Notice:
    """What is told.

    Attributes:
        event: ``finished`` or ``failed``.
        name: Of the batch file or the input file.
        text: A sentence for a person.
        seconds: How long it took.
        host: This machine.
    """

    event: str
    name: str
    text: str
    seconds: float
    host: str = field(default_factory=platform.node)


def send(notify: Notify, notice: Notice) -> tuple[str, ...]:
    """Tell all who want to know; gives what went wrong, in words without secrets."""
    # `text` is the key that chat services show.
    content = {**asdict(notice), "text": f"{notice.name} {notice.event} on {notice.host}: {notice.text}"}
    complaints = []
    if notify.command is not None and (complaint := _run(notify.command, content)):
        complaints.append(f"--notify-command: {complaint}")
    if notify.url is not None and (complaint := _post(notify.url, content)):
        complaints.append(f"--notify-url: {complaint}")
    return tuple(complaints)


def _run(command: str, content: Mapping[str, object]) -> str | None:
    variables = {f"KAGGLE_JOBS_{key.upper()}": str(value) for key, value in content.items()}
    try:
        child = subprocess.Popen(
            shlex.split(command),
            env=process_environment(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    except OSError as exc:
        return f"cannot be started: {exc.strerror}"
    with child:
        try:
            child.communicate(json.dumps(content).encode(), TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"took longer than {TIMEOUT_S:.0f} s"
        finally:
            if child.returncode is None:  # whatever it has started ends with it
                os.killpg(child.pid, signal.SIGKILL)
    return f"exit code {child.returncode}" if child.returncode else None


def _post(url: str, content: Mapping[str, object]) -> str | None:
    """In a thread: a time limit of a connection is one of each piece, and a name server has none at all."""
    outcome: list[str | None] = []
    asking = threading.Thread(target=lambda: outcome.append(_answer(url, content)), daemon=True, name="notify")
    asking.start()
    asking.join(TIMEOUT_S)
    return outcome[0] if outcome else f"no answer in {TIMEOUT_S:.0f} s"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Following would GET the other address, without what is to be told."""

    def redirect_request(self, *_: object) -> None:
        return None


def _answer(url: str, content: Mapping[str, object]) -> str | None:
    request = urllib.request.Request(
        url, json.dumps(content).encode(), {"Content-Type": "application/json", "User-Agent": "kaggle-jobs"}
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError as exc:
        exc.close()
        moved = 300 <= exc.code < 400
        return f"answered {exc.code}{': it has moved, name its new address' if moved else ''}"
    except (OSError, ValueError) as exc:
        return f"could not be reached ({type(exc).__name__})"
    except Exception as exc:  # http.client has a dozen kinds of its own; none may end a batch that is done
        return f"could not be reached ({type(exc).__name__})"
