"""What goes wrong between us and Kaggle, told to a person: what the service said, and what to do about it.

Knows the shape of HTTP errors and of the service's answers; does not import the client.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any, Self

from kaggle_tools.errors import UserError

MAX_REASON = 300
NEW_TOKEN = "make a token at https://www.kaggle.com/settings/api and save it as ~/.kaggle/access_token"


class ServiceError(UserError):
    """Kaggle could not be asked, or said no. Whatever was asked for has not happened.

    Args:
        summary: One sentence, lower case.
        transient: The same request may succeed a little later.
        retry_after_s: How long the service asks us to wait before it, where it says so.
        **details: As of `UserError`.
    """

    def __init__(
        self, summary: str, *, transient: bool = False, retry_after_s: float | None = None, **details: Any
    ) -> None:
        super().__init__(summary, **details)
        self.transient = transient
        self.retry_after_s = retry_after_s

    @classmethod
    def like(cls, other: ServiceError, summary: str = "", **details: str) -> Self:
        """The same as `other` in this kind of error, perhaps with another summary or other details."""
        merged: dict[str, Any] = {**other.details, **details}
        return cls(summary or other.summary, transient=other.transient, retry_after_s=other.retry_after_s, **merged)

    def in_other_words(self, rewrite: Callable[[str], str]) -> Self:
        """The same with each text passed through `rewrite`."""
        return self.like(self, rewrite(self.summary), **{key: rewrite(text) for key, text in self.details.items()})


class UnclearError(ServiceError):
    """The connection ended, or the service failed, after a request that may have been carried out all the same."""


def explain(exc: Exception, doing: str, competition: str) -> ServiceError:
    """An exception of the client in our words.

    Args:
        exc: Of `requests`, or whatever the client raised over an answer that it does not understand.
        doing: What was asked for, as a noun: ``the upload``.
        competition: Kaggle's name of the competition; empty where none is concerned.
    """
    response = getattr(exc, "response", None)
    if response is not None:
        return _explain_answer(response, doing, competition)
    if is_connection_problem(exc):
        return ServiceError(
            f"no answer from Kaggle at {doing}: {_innermost(exc)}",
            transient=True,
            next="look at the connection (and at http_proxy, https_proxy), then run the same command again",
        )
    if isinstance(exc, OSError) and exc.filename is not None:
        return ServiceError(
            f"the Kaggle client cannot read a file at {doing}: {exc.strerror}",
            where=exc.filename,
            next="mend or remove it; a token belongs into ~/.kaggle/access_token",
        )
    return ServiceError(
        f"Kaggle's answer at {doing} cannot be understood: {type(exc).__name__}",
        next="`pip install --upgrade kaggle`; if that does not help, submit the file by hand, unless the site lists it",
    )


def is_connection_problem(exc: Exception) -> bool:
    """Whether no whole answer came: refused, dropped, timed out."""
    names = {kind.__name__ for kind in type(exc).__mro__}
    return bool(names & {"ConnectionError", "Timeout", "ChunkedEncodingError", "TimeoutError"})


def never_connected(exc: Exception) -> bool:
    """Whether the request cannot have reached the service: there was no connection to send it over."""
    reason = getattr(exc.args[0] if exc.args else None, "reason", None)
    return type(exc).__name__ == "ConnectTimeout" or type(reason).__name__ in (
        "NewConnectionError",
        "NameResolutionError",
    )


def status_of(exc: Exception) -> int | None:
    """HTTP status of the answer, or the one in its body where that is the worse; None where there was no answer."""
    response = getattr(exc, "response", None)
    return None if response is None else _status(response, _body(response))


def _explain_answer(response: Any, doing: str, competition: str) -> ServiceError:
    body = _body(response)
    status = _status(response, body)
    details: dict[str, Any] = {"reason": reason} if (reason := _reason(body, response)) else {}
    page = f"https://www.kaggle.com/competitions/{competition}"
    if status == 401:
        return ServiceError("Kaggle does not accept the credentials (401)", **details, next=NEW_TOKEN)
    if status == 403:
        return ServiceError(
            f"Kaggle does not allow {doing} (403)",
            **details,
            next=f"join the competition and accept its rules at {page}/rules; is it still open?",
        )
    if status == 404:
        return ServiceError(
            f"Kaggle has no competition '{competition}' (404)",
            **details,
            next="the name is the last part of its address; set `slug` in competition.toml or give --competition",
        )
    if status == 429:
        wait_s = _retry_after_s(response)
        ask = f" {wait_s:.0f} s" if wait_s is not None else " a few minutes"
        return ServiceError(
            f"Kaggle asks us to slow down, at {doing} (429)",
            transient=True,
            retry_after_s=wait_s,
            **details,
            next=f"wait{ask}, then run the same command again",
        )
    if status >= 500:
        return ServiceError(
            f"Kaggle failed at {doing} ({status})",
            transient=True,
            **details,
            next="run the same command again in a while",
        )
    return ServiceError(
        f"Kaggle refused {doing} ({status})",
        **(details or {"reason": "not given; often the day's quota, the deadline or rules that are not accepted"}),
        next=f"see {page}/submissions",
    )


def _body(response: Any) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _status(response: Any, body: Any) -> int:
    status = int(response.status_code)
    inner = body.get("code") if isinstance(body, dict) else None
    return inner if status < 400 and isinstance(inner, int) else status


def _reason(body: Any, response: Any) -> str:
    """The service's own words: from a JSON answer, or the text of a page."""
    if isinstance(body, dict):
        inner = body.get("error")
        found = body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner)
        return " ".join(str(found or "").split())[:MAX_REASON]
    without_code = re.sub(r"(?s)<(script|style|head)\b.*?</\1>|<[^>]*>", " ", response.text or "")
    return " ".join(html.unescape(without_code).split())[:MAX_REASON]


def _retry_after_s(response: Any) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:  # absent, or a date
        return None


def _innermost(exc: BaseException) -> str:
    """The plainest of nested network errors; never its address, which may be signed."""
    for _ in range(10):
        exc = _inner(exc) or exc
    text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return " ".join(re.sub(r"<[^>]*>|https?://\S+|\(?host=.*", "", text).split()).strip(" :.") or type(exc).__name__


def _inner(exc: BaseException) -> BaseException | None:
    candidates = [getattr(exc, "reason", None), *exc.args, exc.__cause__, exc.__context__]
    return next((c for c in candidates if isinstance(c, BaseException)), None)
