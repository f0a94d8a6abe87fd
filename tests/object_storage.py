"""A local S3 server (moto's) that counts what it is asked for and fails when it is told to."""

import logging
import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from kaggle_tools.remote import bucket

KEYS = {"AWS_ACCESS_KEY_ID": "planted-s3-id-3318", "AWS_SECRET_ACCESS_KEY": "planted-s3-secret-3318"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    range: str | None


@dataclass
class Storage:
    """The server.

    Attributes:
        url: Its address.
        requests: What it was asked for.
        answer: Of a request, what to say instead: status and body, ``"drop"`` (the connection), or None.
    """

    url: str
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], object] | None = None

    @property
    def environment(self):
        """What a process needs to find it."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}

    def bytes_read(self, path):
        """Sum of the ranges of an object that were asked for."""
        ranges = [r.range for r in self.requests if r.path == path and r.method == "GET" and r.range]
        return sum(int(end) - int(start) + 1 for start, end in (r.removeprefix("bytes=").split("-") for r in ranges))


@contextmanager
def serve():
    """A server with a bucket `bucket`, and the environment that leads there."""
    pytest.importorskip("moto", reason="moto is not installed")
    pytest.importorskip("flask", reason="flask is not installed")
    pytest.importorskip("obstore", reason="the extra 'remote' is not installed")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    inner = DomainDispatcherApplication(create_backend_app)
    storage = Storage("")

    def app(environ, start_response):
        request = Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("QUERY_STRING", ""),
            environ.get("HTTP_RANGE"),
        )
        storage.requests.append(request)
        answer = storage.answer(request) if storage.answer else None
        if answer == "drop":
            with suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        if answer is not None:
            status, body = answer
            start_response(f"{status} Told so", [("Content-Type", "application/xml")])
            return [body.encode()]
        return inner(environ, start_response)

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    storage.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in storage.environment.items():
            patch.setenv(name, value)
        # Its state belongs to the process, not to the server: an earlier one's objects would still be there.
        for method, path in (("POST", "moto-api/reset"), ("PUT", "bucket")):
            with urllib.request.urlopen(urllib.request.Request(f"{storage.url}/{path}", method=method)) as reply:
                reply.read()
        forget_connections()
        try:
            yield storage
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            forget_connections()


def forget_connections():
    """As in a new process: where the service is, who we are, which buckets have answered."""
    bucket._open.cache_clear()
    bucket._answered.clear()


def failing(times, answer):
    """The answer to the first so many requests."""
    left = iter(range(times))
    return lambda request: answer if next(left, None) is not None else None


def error(status, code, message=""):
    """An answer as S3 gives it, with what it must not make us repeat."""
    secret = f"<AWSAccessKeyId>{KEYS['AWS_ACCESS_KEY_ID']}</AWSAccessKeyId>"
    return status, f"<Error><Code>{code}</Code><Message>{message}</Message>{secret}</Error>"
