"""The official Kaggle client behind one plain boundary: nothing else in this program imports it.

    service = KaggleService.connect(tell=print)
    service.quota("spooky-author-identification")

The client prints, exits, and authenticates while it is imported; it shows headers when it is verbose, and waits for a
silent server for ever. Here its words are caught, each request has a time limit, and what goes wrong comes out as a
`ServiceError` without any credential in it. Credentials are found by the client's own habits: `KAGGLE_API_TOKEN`,
`~/.kaggle/access_token`, `~/.kaggle/kaggle.json`, `KAGGLE_USERNAME` with `KAGGLE_KEY`, `kaggle auth login`.
"""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TypeVar

from kaggle_tools.errors import UserError
from kaggle_tools.kaggle_service.entries import Entry, Quota, read_entry
from kaggle_tools.kaggle_service.errors import (
    NEW_TOKEN,
    ServiceError,
    UnclearError,
    explain,
    never_connected,
    status_of,
)

REQUEST_TIMEOUT_S = 60.0
RETRY_AFTER_S = (1.0, 3.0, 8.0)  # pauses before the second, third and fourth try of a request that changes nothing
LONGEST_PAUSE_S = 60.0  # whoever asks for more is left alone
PAGE_SIZE = 100
CLIENT_ERRORS = (OSError, ValueError, KeyError, TypeError)  # all of `requests`, and answers that are not as expected

Answer = TypeVar("Answer")


class KaggleService:
    """An authenticated client. Every method raises `ServiceError`, and nothing of the client's own kinds."""

    def __init__(self, api: Any, tell: Callable[[str], None]) -> None:
        self._api = api
        self._tell = tell
        self._told: set[str] = set()

    @classmethod
    def connect(cls, tell: Callable[[str], None]) -> KaggleService:
        """Load the client and authenticate.

        Args:
            tell: Gets a line for what the user should know while it happens, such as that a request is repeated.

        Raises:
            UserError: The client is not installed, there are no credentials, or Kaggle does not accept them.
        """
        with _contained():
            api = _new_api()
        service = cls(api, tell)
        service._ask("the sign-in", "", service._authenticate)
        return service

    def quota(self, competition: str) -> Quota:
        """Submissions made and left."""
        limits = self._ask("the quota", competition, lambda: self._api.competition_get_submission_limits(competition))
        return Quota(limits.num_today, limits.num_total, limits.num_allowed_now, limits.limited_by_total)

    def submissions(self, competition: str) -> Iterator[Entry]:
        """The team's submissions, newest first, read page by page as far as they are asked for."""
        from kagglesdk.competitions.types.competition_api_service import ApiListSubmissionsRequest

        request, seen = ApiListSubmissionsRequest(), {""}
        request.competition_name, request.page_size = competition, PAGE_SIZE
        while True:
            page = self._ask("the list of submissions", competition, lambda: self._call("list_submissions", request))
            yield from (read_entry(item) for item in page.submissions or ())
            if (page.next_page_token or "") in seen:
                return
            request.page_token = page.next_page_token
            seen.add(page.next_page_token)

    def upload(self, competition: str, path: Path, name: str) -> str:
        """Bring a file to Kaggle under a name. That is not a submission yet.

        Returns:
            The token that `create` turns into one.
        """
        from kaggle.models.kaggle_models_extended import ResumableUploadResult
        from kagglesdk.competitions.types.competition_api_service import ApiStartSubmissionUploadRequest

        request = ApiStartSubmissionUploadRequest()
        request.competition_name, request.file_name = competition, name
        request.content_length = path.stat().st_size
        request.last_modified_epoch_seconds = int(path.stat().st_mtime)

        def bring() -> str:
            started = self._call("start_submission_upload", request)
            # The client repeats a dropped upload itself, up to ten times.
            if self._api.upload_complete(str(path), started.create_url, quiet=True) != ResumableUploadResult.COMPLETE:
                raise ServiceError(
                    "the file could not be uploaded to Kaggle; nothing was submitted",
                    where=path,
                    next="run the same command again; is the file larger than the competition allows?",
                )
            return str(started.token)

        return self._ask("the upload", competition, bring)

    def create(self, competition: str, token: str, description: str) -> int:
        """Make an uploaded file a submission. Asked once only: never repeated but where Kaggle has surely not acted.

        Returns:
            Kaggle's number of it; 0 where Kaggle answered without one, which may mean either.

        Raises:
            UnclearError: It may have been made, or not.
            ServiceError: It has not been made.
        """
        from kagglesdk.competitions.types.competition_api_service import ApiCreateSubmissionRequest

        request = ApiCreateSubmissionRequest()
        request.competition_name, request.blob_file_tokens = competition, token
        request.submission_description = description

        def once() -> int:
            try:
                return int(self._call("create_submission", request).ref)
            except CLIENT_ERRORS as exc:
                status = status_of(exc)
                surely_not = (status is not None and 400 <= status < 500 and status != 408) or never_connected(exc)
                if surely_not:
                    raise
                raise UnclearError.like(explain(exc, "the submission", competition)) from None

        # Repeated is what never got through the door: 429, or no connection at all.
        return self._ask("the submission", competition, once)

    def _call(self, method: str, request: Any) -> Any:
        # A client for each request: no connection is old enough to have been closed by the other side.
        with self._api.build_kaggle_client() as client:
            return getattr(client.competitions.competition_api_client, method)(request)

    def _ask(self, doing: str, competition: str, ask: Callable[[], Answer]) -> Answer:
        for pause_s in (*RETRY_AFTER_S, None):
            try:
                with _contained() as said:
                    answer = ask()
                self._pass_on(said)
                return answer
            except ServiceError as exc:
                error = exc
            except CLIENT_ERRORS as exc:
                error = explain(exc, doing, competition)
            error = error.in_other_words(self._redacted)
            pause_s = None if pause_s is None else max(pause_s, error.retry_after_s or 0.0)
            final = isinstance(error, UnclearError) or not error.transient
            if final or pause_s is None or pause_s > LONGEST_PAUSE_S:
                raise error from None  # the client's own exceptions may hold headers
            self._tell(f"{error.summary}; again in {pause_s:.0f} s")
            time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _pass_on(self, said: io.StringIO) -> None:
        """Warnings of the client, once each: a key that others can read, a version that is too old."""
        for line in said.getvalue().splitlines():
            if line.startswith("Warning:") and line not in self._told:
                self._told.add(line)
                self._tell(f"the Kaggle client says: {self._redacted(line.removeprefix('Warning: '))}")

    def _authenticate(self) -> None:
        from kagglesdk import get_access_token_from_env

        try:
            self._api.authenticate()
        except SystemExit:
            token, source = get_access_token_from_env()
            if token:
                raise ServiceError(
                    f"Kaggle does not know the token from {_place(source)}: revoked, expired or mistyped",
                    next=NEW_TOKEN if source == "access_token" else f"{NEW_TOKEN}, and unset {source}",
                ) from None
            raise ServiceError(
                "no Kaggle credentials found",
                expected="KAGGLE_API_TOKEN, ~/.kaggle/access_token, ~/.kaggle/kaggle.json, "
                "or KAGGLE_USERNAME with KAGGLE_KEY",
                next=NEW_TOKEN,
            ) from None

    def _redacted(self, text: str) -> str:
        for secret in _secrets(self._api):
            text = text.replace(secret, "***")
        return text


def _new_api() -> Any:
    """The client, imported where that has not happened yet."""
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as exc:
        lacking = f"it lacks '{exc.name}'" if exc.name not in (None, "kaggle") else "no module 'kaggle'"
        raise UserError(
            f"the Kaggle client is not installed: {lacking}",
            next="`pip install 'kaggle-jobs[kaggle]'`, in a checkout `pip install -e '.[kaggle]' -c constraints.txt`",
        ) from None
    except OSError as exc:  # it makes its settings folder while it is imported
        raise UserError(
            f"the Kaggle client cannot make its folder: {exc.strerror}",
            where=exc.filename,
            next="set KAGGLE_CONFIG_DIR to a folder that can be written to",
        ) from None
    if not hasattr(KaggleApi, "competition_get_submission_limits"):
        raise UserError("the Kaggle client is too old to tell the quota", next="`pip install --upgrade kaggle`")
    api = KaggleApi()
    api.args = [word for word in api.args if word != "--verbose"]  # it would print every header, credentials included
    return api


@contextmanager
def _contained() -> Iterator[io.StringIO]:
    """Catch what the client prints, into the buffer that is given, and end requests that are never answered."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), _time_limit():
        yield said


@contextmanager
def _time_limit() -> Iterator[None]:
    try:
        from requests.adapters import HTTPAdapter
    except ImportError:  # `_new_api` says what is missing
        yield
        return
    adapter: Any = HTTPAdapter
    send = adapter.send

    def send_with_limit(self: Any, request: Any, **options: Any) -> Any:
        options["timeout"] = options.get("timeout") or REQUEST_TIMEOUT_S
        return send(self, request, **options)

    adapter.send = send_with_limit  # the client offers no other way
    try:
        yield
    finally:
        adapter.send = send


def _secrets(api: Any) -> list[str]:
    from kagglesdk import get_access_token_from_env

    user, key = api.config_values.get("username", ""), api.config_values.get("key", "")
    found = [key, api.config_values.get("token"), os.environ.get("KAGGLE_API_TOKEN"), os.environ.get("KAGGLE_KEY")]
    found.append(base64.b64encode(f"{user}:{key}".encode()).decode() if key else None)
    with suppress(OSError):  # a token file that cannot be read
        found.append(get_access_token_from_env()[0])
    # Nothing so short is a credential, and blotting it out everywhere would tell what it is.
    return sorted({secret for secret in found if secret and len(secret) >= 6}, key=len, reverse=True)


def _place(source: str | None) -> str:
    return "~/.kaggle/access_token" if source == "access_token" else f"{source} in the environment"
