"""Fixtures for all tests: tiny random-weight models, the development data, commands as real processes."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

# Two test processes on two cores: more threads than that only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A busy machine must not fail a test: neither an example nor its making has a time limit.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(200)))
CLASSES = ("cat", "dog", "emu")


@pytest.fixture(scope="session")
def shared_data():
    """The development data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the development data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def save_model():
    """Write a tiny classifier as a Hugging Face directory."""
    return _save_model


@pytest.fixture
def fake_openvino(tmp_path, monkeypatch):
    """Something that behaves like OpenVINO, on a CPU with VNNI, and an empty cache folder."""
    from tests.fake_openvino import FakeOpenVino

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("models.inference.device.has_fast_int8", lambda device: device.type == "cpu")
    return FakeOpenVino().install(monkeypatch)


@pytest.fixture
def cli(tmp_path):
    """Run the command line as a process of its own, in `tmp_path` unless told otherwise."""

    def run(*arguments, cwd=tmp_path, check=None, env=None, file_limit=None):
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", *map(str, arguments)],
            cwd=cwd,
            env=process_environment(env),
            capture_output=True,
            text=True,
            timeout=300,
            preexec_fn=None
            if file_limit is None
            else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit,) * 2),
        )
        if check is not None:
            assert done.returncode == check, done.stderr + done.stdout
        return done

    return run


def process_environment(extra=None):
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "160", **(extra or {})}


def _save_model(folder, seed, *, architecture="bert", classes=CLASSES, vocabulary=VOCABULARY, **changes):
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertTokenizerFast,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=40).save_pretrained(folder)
    settings = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "id2label": dict(enumerate(classes)),
        "label2id": {name: i for i, name in enumerate(classes)},
        **changes,
    }
    torch.manual_seed(seed)
    if architecture == "bert":
        model = BertForSequenceClassification(BertConfig(max_position_embeddings=64, **settings))
    else:
        model = RobertaForSequenceClassification(RobertaConfig(max_position_embeddings=66, pad_token_id=1, **settings))
    for parameter in model.parameters():  # larger weights than at initialisation, so that texts differ in their scores
        parameter.data *= 3.0
    model.save_pretrained(folder)
    return str(folder)


def without_fast_tokenizer(folder):
    """Give a saved classifier a tokenizer (CTRL's) that exists in Python alone."""
    for path in (*folder.glob("tokenizer*"), folder / "vocab.txt"):
        path.unlink()
    pieces = ["<unk>", "w@@", *map(str, range(10)), *(f"{digit}@@" for digit in range(10))]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    about = {"tokenizer_class": "CTRLTokenizer", "model_max_length": 40}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
