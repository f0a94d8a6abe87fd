"""Notifications: what arrives, that nothing that goes wrong with them matters, that no secret is shown."""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs import notify
from jobs.notify import Notice, Notify, send
from kaggle_tools.errors import UserError

NOTICE = Notice("failed", "jobs.toml", "2 done, failed: score", 1.5, "laptop")
SECRET = "xoxb-planted-secret"


@pytest.fixture
def server():
    """A web server that keeps what it gets and answers as its address says."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if "moved" in self.path:
                self.send_response(301)
                self.send_header("Location", "/here")
            elif "slow" in self.path:  # a byte now and then, which no time limit of a connection ends
                with suppress(OSError):
                    for byte in b"HTTP/1.1 200 OK\r\nX: aaaaaaaaaaaaaaaaaaaa":
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.1)
                return
            else:
                self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *_args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", got
    http.shutdown()
    http.server_close()
    thread.join()


def test_a_webhook_gets_the_outcome_as_json(server):
    address, got = server
    assert send(Notify(url=f"{address}/{SECRET}"), NOTICE) == ()
    assert got[0]["event"] == "failed"
    assert got[0]["text"] == "jobs.toml failed on laptop: 2 done, failed: score"


def test_a_command_gets_the_outcome_on_stdin_and_in_its_environment(tmp_path):
    command = f"sh -c 'cat > {tmp_path}/got.json; echo $KAGGLE_JOBS_EVENT > {tmp_path}/event'"
    assert send(Notify(command=command), NOTICE) == ()
    assert json.loads((tmp_path / "got.json").read_text())["seconds"] == 1.5
    assert (tmp_path / "event").read_text() == "failed\n"


def test_what_goes_wrong_is_told_without_the_address(server, monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT_S", 0.3)
    address, _ = server
    asked = {
        "answered 301: it has moved": Notify(url=f"{address}/moved/{SECRET}"),
        "no answer in": Notify(url=f"{address}/slow/{SECRET}"),
        "answered 500": Notify(url=f"{address}/broken/{SECRET}"),
        "could not be reached": Notify(url=f"http://127.0.0.1:1/{SECRET}"),
        "exit code 3": Notify(command=f"sh -c 'exit 3' {SECRET}"),
        "cannot be started": Notify(command=f"/no/such/{SECRET}"),
        "took longer": Notify(command="sleep 5"),
    }
    for words, one in asked.items():
        (complaint,) = send(one, NOTICE)
        assert words in complaint
        assert SECRET not in complaint + repr(one)


def test_nothing_that_a_command_has_started_outlives_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT_S", 0.3)
    (complaint,) = send(Notify(command=f"sh -c '(sleep 0.8; touch {tmp_path}/late) & sleep 5'"), NOTICE)
    assert "took longer" in complaint
    time.sleep(0.9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "host/x"])
def test_only_web_addresses_are_taken(url):
    with pytest.raises(UserError, match="http"):
        Notify(url=url)


def test_a_batch_tells_of_its_end_and_keeps_the_secret(server, tmp_path, call, monkeypatch):
    """The address comes from the environment; neither a step, its log, the state nor the output shows it."""
    address, got = server
    monkeypatch.setenv("KAGGLE_JOBS_RUN_NOTIFY_URL", f"{address}/{SECRET}")
    (tmp_path / "jobs.toml").write_text("[steps.ok]\ncommand = 'env'\n[steps.bad]\ncommand = 'false'\n")
    code, out, err = call("run", "jobs.toml")
    assert code == 1
    assert got[0]["text"].endswith("failed: bad, 1 done")
    (tmp_path / "jobs.toml").write_text("[steps.ok]\ncommand = 'env'\n")
    monkeypatch.setenv("KAGGLE_JOBS_RUN_NOTIFY_URL", f"{address}/broken/{SECRET}")
    code, again, complaint = call("run")
    assert code == 0
    assert "note: --notify-url: answered 500" in complaint
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "PYTEST_CURRENT_TEST" in kept.decode()  # `env` was logged
    assert SECRET not in kept.decode() + out + err + again + complaint
