"""A competition folder that submits to the fake Kaggle, and looks into what it left."""

import polars as pl

from kaggle_tools.kaggle_service import client, load_attempts
from kaggle_tools.submissions import Manifest, ManifestDraft, write_version
from tests.fake_kaggle import KEY, TOKEN

COMPETITION = """\
name = "spooky"
slug = "spooky"
task = "single_label"
metric = "log_loss"
text_column = "text"
classes = ["EAP", "MWS"]
sample_submission = "sample.csv"
"""
SAMPLE = "id,EAP,MWS\nr1,0.5,0.5\nr2,0.5,0.5\n"
SECRETS = (TOKEN, KEY, "signed_secret", "YWRhOnBsYW50ZWR")  # the last one: the start of base64 of user:key


def add_version(folder, name, share, note=""):
    table = pl.DataFrame({"id": ["r1", "r2"], "EAP": [share, 0.5], "MWS": [1 - share, 0.5]})
    return write_version(folder / "submissions", name, table, ManifestDraft(note=note))


def point_client_at(home, monkeypatch):
    """The client reads these once, when it is imported; a test process imports it once for all tests."""
    with client._contained():
        from kaggle.api.kaggle_api_extended import KaggleApi
    monkeypatch.setattr(KaggleApi, "config", str(home / ".kaggle" / "kaggle.json"))
    monkeypatch.setattr(KaggleApi, "args", ["--local", "--verbose"])
    monkeypatch.setattr(KaggleApi, "config_values", {})


def no_secret_in(text, folder):
    written = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    for secret in SECRETS:
        assert secret not in text
        assert not any(secret in content for content in written)


def manifest_of(folder, title):
    return Manifest.load(folder / "submissions" / title)


def states(folder, title):
    return [attempt.state for attempt in load_attempts(folder / "submissions" / title)]
