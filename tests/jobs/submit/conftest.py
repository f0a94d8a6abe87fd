"""The real Kaggle client against a server on this machine, inside the test's own process."""

import sys
from dataclasses import dataclass

import pytest

from jobs import cli as command_line
from kaggle_tools.kaggle_service import client, scoring, sending
from tests.fake_kaggle import TOKEN, FakeKaggle, environment, serve
from tests.submitting import COMPETITION, SAMPLE, add_version, no_secret_in, point_client_at


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def kaggle():
    fake = FakeKaggle()
    server = serve(fake)
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def workspace(tmp_path, kaggle, monkeypatch):
    """A competition with two versions, credentials planted, and no pauses."""
    folder, home = tmp_path / "competition", tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    folder.mkdir()
    (folder / "competition.toml").write_text(COMPETITION)
    (folder / "sample.csv").write_text(SAMPLE)
    add_version(folder, "first", 0.25)
    add_version(folder, "second", 0.75, note="pool of five")
    monkeypatch.chdir(folder)
    for key, value in environment(kaggle, home).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    for key in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(client, "RETRY_AFTER_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_S", 5.0)
    monkeypatch.setattr(sending, "LOOK_AGAIN_S", (0.0, 0.0))
    monkeypatch.setattr(sending, "SETTLED_AFTER_S", 0.0)
    monkeypatch.setattr(scoring, "PAUSES_S", (0.01,))
    point_client_at(home, monkeypatch)
    return folder


@pytest.fixture
def submit(workspace, monkeypatch, capsys):
    """Run `cli submit` in this process, as the shell would; no word of it may hold a secret."""

    def run(*arguments, code=0):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["cli", "submit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        captured = capsys.readouterr()
        done = Done(int(ended.value.code or 0), captured.out, captured.err)
        assert done.code == code, done.err + done.out
        no_secret_in(done.out + done.err, workspace)
        return done

    return run
