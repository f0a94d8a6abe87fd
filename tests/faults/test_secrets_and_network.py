"""Secrets never get into files, nothing gets into the network, and no code gets out of files into this process."""

import os
import pickle
import socket

import numpy as np
import pytest

from benchmarks.faults import workplace
from models.errors import ModelError
from models.hub import local_folder
from models.pretrained import load_tokenizer, model_folder

SECRETS = {
    "KAGGLE_API_TOKEN": "planted-kaggle-token-8147",
    "KAGGLE_KEY": "planted-kaggle-key-8147",
    "KAGGLE_USERNAME": "planted-kaggle-user-8147",
    "HF_TOKEN": "planted-hub-token-8147",
    "AWS_SECRET_ACCESS_KEY": "planted-s3-secret-8147",
    "AWS_ACCESS_KEY_ID": "planted-s3-id-8147",
    "SLACK_WEBHOOK": "https://hooks.example/planted-webhook-8147",
    "POSTGRES_PASSWORD": "planted-database-8147",
}
COMMANDS = (
    ("init", "--train", "train.csv", "--test", "test.csv", "--sample", "sample.csv", "--force"),
    ("train", "one.toml"),
    ("train", "two.toml"),
    (*workplace.SCORE, "--verbose"),
    ("blend", "--method", "weights"),
    ("report",),
    ("doctor", "--json"),
    ("jobs", "show", "test"),
    ("submissions", "show", "1"),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The whole way with secrets in the environment and every connection refused and counted."""
    folder = tmp_path_factory.mktemp("watched")
    workplace.write_tables(folder)
    attempts = []

    def refuse(_socket, address, *_rest):
        attempts.append(address)
        raise ConnectionRefusedError(f"a test does not let anybody connect to {address}")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", lambda *address, **_: refuse(None, address))
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        done = {words[0]: workplace.call(folder, words) for words in COMMANDS}
    return folder, done, attempts


def test_the_whole_way_works_without_a_network_and_tries_no_connection(ran):
    _, done, attempts = ran
    assert {name: d.err for name, d in done.items() if d.code not in (0, 1)} == {}
    assert attempts == []


def test_no_secret_of_the_environment_is_in_any_file_or_message(ran):
    folder, done, _ = ran
    said = "".join(d.out + d.err for d in done.values())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    for secret in SECRETS.values():
        assert secret not in said
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "model.pkl"])
def test_pickled_weights_are_refused_with_advice_and_never_read(tmp_path, name):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model" / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(ModelError, match="pickled weights") as caught:
        model_folder(str(tmp_path / "model"))
    assert "safetensors" in caught.value.details["next"]
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["oof.npy", "oof.pkl", "oof.csv", "oof.parquet", "oof.npz"])
def test_pickled_predictions_are_refused_and_never_read(tmp_path, name):
    workplace.write_tables(tmp_path)
    bomb = np.array([[Bomb(tmp_path / "exploded")] * 3], dtype=object)
    with (tmp_path / name).open("wb") as handle:
        if name.endswith(".npy"):
            np.save(handle, bomb, allow_pickle=True)
        elif name.endswith(".npz"):
            np.savez(handle, bomb)
        else:
            pickle.dump(bomb, handle)
    done = workplace.call(tmp_path, ("import", "foe", "--oof", name, "--oof-ids", "train.csv"))
    assert done.code == 2, done.err
    assert done.err.startswith("error: ")
    assert not (tmp_path / "exploded").exists()


def test_a_table_that_is_a_pickle_is_refused_and_never_read(tmp_path):
    workplace.write_tables(tmp_path)
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    done = workplace.call(tmp_path, ("score", "--input", "rows.pkl", "--model", "one"))
    assert done.code == 2, done.err
    assert not (tmp_path / "exploded").exists()


def test_code_that_a_model_brings_along_is_never_run(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'exploded')!r})\nclass E: pass\n")
    (folder / "config.json").write_text('{"model_type": "evil", "auto_map": {"AutoConfig": "evil.E"}}')
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.E", null]}}')
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    from models.pretrained import load_config

    for load in (lambda: load_tokenizer(str(folder)), lambda: load_config(folder)):
        with pytest.raises(ModelError):
            load()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/../../evil", "..", ".", "", "a\nb", "a\0b", "~root", "con/x"]
)
def test_names_cannot_leave_their_folder(tmp_path, name):
    """Of runs and of versions; nothing is made anywhere."""
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    workplace.write_tables(inside)
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ("train", "one.toml", "--name", name),
        ("import", name, "--oof", "train.csv"),
        ("submissions", "adopt", "sample.csv", "--name", name),
    ):
        if words[0] == "submissions" and name == "":
            continue  # an empty name means the file's own
        done = workplace.call(inside, words)
        assert done.code == 2, (words, done.out, done.err)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_job_or_version_of_another_folder_cannot_be_named(tmp_path):
    workplace.write_tables(tmp_path)
    for words in (("jobs", "show", "../x"), ("submissions", "show", "../../etc"), ("record", "/etc", "--public", "1")):
        done = workplace.call(tmp_path, words)
        assert done.code == 2, done.out + done.err


@pytest.mark.parametrize("source", ["../nowhere", "/nowhere", "./x", "a/b/c"])
def test_a_path_that_does_not_exist_is_never_asked_for_at_the_hub(source, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was tried"))
    with pytest.raises(ModelError, match="no model directory"):
        local_folder(source)


@pytest.mark.parametrize(
    ("source", "advice"), [("org/name", "hf download org/name"), ("pretrained/weibo", "cli pretrain")]
)
def test_what_the_hub_does_not_give_is_told_with_what_to_do(source, advice, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelError, match="Hub did not give it") as caught:
        local_folder(source)
    assert caught.value.details["found"] == "no network"
    assert advice in caught.value.details["next"]
