"""A local S3 server (moto's) that counts what it is asked for and fails when it is told to."""

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

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
        plans: Function of a request → status code to answer instead, or None; ``"drop"`` closes the connection.
    """

    url: str
    requests: list = field(default_factory=list)
    answer: object = None

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
            environ["werkzeug.socket"].close()
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
        _make_bucket(storage.url)
        try:
            yield storage
        finally:
            server.shutdown()
            thread.join()


def _make_bucket(url):
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).read()
