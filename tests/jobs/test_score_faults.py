"""Faults under a job: networks that give NaN, a GPU that is lost, a tokenizer in Python alone."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from jobs import score
from jobs.resolve import InputOptions
from jobs.runner.store import JobStore
from jobs.score import ScoreOptions
from jobs.show.progress import SilentWatch
from kaggle_tools.errors import UserError
from models.classifier import TextClassifier
from models.errors import ModelError
from models.inference import faster_tokens, forward
from models.inference.device import DeviceFailed
from models.inference.scorer import Scorer
from models.inference.shards import NonFinite
from tests.conftest import VOCABULARY, without_fast_tokenizer

TEXTS = [f"w{i} w{i + 1}" for i in range(20)]


class Notes(SilentWatch):
    """A watch that remembers."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"r{i},{text}\n" for i, text in enumerate(TEXTS)))
    return tmp_path / "rows.csv"


@pytest.fixture
def model(tmp_path, save_model):
    return save_model(tmp_path / "models" / "tiny", 0)


def options(model, **changes):
    return ScoreOptions(
        InputOptions(("rows.csv",)), (model,), changes.pop("output", None) or Path("out.parquet"),
        **{"precision": "fp32", "device": "cpu", "shard_rows": 5, **changes},
    )  # fmt: skip


def committed(tmp_path):
    return len(list(tmp_path.glob(".jobs/*/parts/[0-9]*.parquet")))


@pytest.fixture
def poisoned(monkeypatch):
    """Texts with the word w13 give NaN."""
    real = TextClassifier.forward

    def poisoned(self, input_ids, *rest, **named):
        logits = real(self, input_ids, *rest, **named)
        logits[(input_ids == VOCABULARY.index("w13")).any(1)] = float("nan")
        return logits

    monkeypatch.setattr(TextClassifier, "forward", poisoned)


@pytest.mark.usefixtures("poisoned")
def test_nan_stops_the_job_with_the_ids_and_keeps_the_parts(tmp_path, model, monkeypatch):
    with pytest.raises(UserError, match="run 'tiny' gives NaN for 2 rows") as caught:
        score.run(options(model), Notes())
    assert caught.value.details["first"] == "r12, r13"
    assert caught.value.details["where"].endswith("rows.csv")
    assert (committed(tmp_path), Path("out.parquet").exists()) == (2, False)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert score.run(options(model), Notes()).resumed_rows == 10


@pytest.mark.usefixtures("poisoned")
def test_of_files_that_share_a_shard_the_one_with_the_nan_is_named(tmp_path, model):
    for name, text in (("a", "w1"), ("b", "w2,odd\nb2,w13"), ("c", "w3")):
        (tmp_path / f"rows-{name}.csv").write_text(f"id,text\n{name},{text}\n")
    asked = options(model, on_bad_row="set-aside")
    with pytest.raises(UserError, match="gives NaN for 1 rows") as caught:
        score.run(replace(asked, input=InputOptions(("rows-*.csv",))), Notes())
    assert caught.value.details["first"] == "b2"
    assert caught.value.details["where"].endswith("rows-b.csv")


def test_a_shard_is_launched_before_the_one_ahead_of_it_is_collected(tmp_path, model, monkeypatch):
    expected = Scorer(model, precision="fp32", device="cpu").score(TEXTS).probabilities
    launch, collect = Scorer.launch, Scorer.collect
    sent, second_sent = [], threading.Event()

    def launches(self, *arguments, **named):
        sent.append(launch(self, *arguments, **named))
        if len(sent) == 2:
            second_sent.set()
        return sent[-1]

    def waits(self, launched):
        assert second_sent.wait(10)
        return collect(self, launched)

    monkeypatch.setattr(Scorer, "launch", launches)
    monkeypatch.setattr(Scorer, "collect", waits)
    score.run(options(model), Notes())
    found = pl.read_parquet("out.parquet").select(pl.col("^prob_.*$")).to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_shard_behind_one_that_failed_is_given_up(tmp_path, model, monkeypatch):
    launch, second_begun, gave_up = Scorer.launch, threading.Event(), threading.Event()

    def long(self, prepared, tick):
        if second_begun.is_set() or not hasattr(self, "sent"):
            self.sent = True
            return launch(self, prepared, tick)
        second_begun.set()
        try:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                tick(0.0)
        except Exception:
            gave_up.set()
            raise
        return launch(self, prepared)

    def fails(self, launched):
        assert second_begun.wait(10)
        raise NonFinite("tiny", [0])

    monkeypatch.setattr(Scorer, "launch", long)
    monkeypatch.setattr(Scorer, "collect", fails)
    with pytest.raises(UserError, match="gives NaN for 1 rows"):
        score.run(options(model), Notes())
    assert gave_up.is_set()


def test_a_lost_gpu_stops_the_job_cleanly_and_a_cpu_goes_on(tmp_path, model, monkeypatch):
    expected = Scorer(model, precision="fp32", device="cpu").score(TEXTS).probabilities
    asked = options(model, precision="auto")
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: False)
    real, calls = forward._gather, []

    def lost(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "_gather", lost)
        with pytest.raises(DeviceFailed, match="failed") as caught:
            score.run(asked, Notes())
    assert "goes on where it was" in caught.value.details["next"]
    assert committed(tmp_path) == 2
    assert not list(tmp_path.rglob("*.tmp"))
    # What the first process would have written on a GPU.
    (folder,) = tmp_path.glob(".jobs/*-*")
    JobStore(folder).write("precision.json", {"precision": "bf16", "device": "cuda", "gate": None})

    watch = Notes()
    done = score.run(asked, watch)
    assert watch.notes == ["begun on cuda in bf16, resumed on cpu in fp32: last digits may differ"]
    assert (done.precision, done.resumed_rows) == ("fp32", 10)
    found = pl.read_parquet("out.parquet").select(pl.col("^prob_.*$")).to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_lost_gpu_is_one_error_on_the_command_line(model, call, monkeypatch):
    def lost(*_, **__):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("models.inference.forward._gather", lost)
    code, out, err = call("score", "-i", "rows.csv", "-m", model, "--precision", "fp32", "--device", "cpu")
    assert (code, out) == (2, "")
    assert "error: the device cpu failed" in err
    assert "CUDA error: unspecified launch failure" in err


def test_a_tokenizer_without_a_fast_version_is_told(tmp_path, model):
    without_fast_tokenizer(Path(model))
    watch = Notes()
    done = score.run(options(model), watch)
    assert watch.notes == ["run 'tiny' has no fast tokenizer: its texts are tokenised in Python, many times slower"]
    assert done.totals["rows"] == 20


def test_a_faster_tokenizer_that_proves_wrong_stops_the_job_and_stock_begins_anew(tmp_path, model, monkeypatch):
    def wrong(tokenizer):
        def encode(texts):
            rows = [row[:1] + row[2:] if "w16" in text else row for text, row in zip(texts, ids(texts), strict=True)]
            return np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)])

        def ids(texts):
            return tokenizer(texts, truncation=False)["input_ids"]

        return encode

    monkeypatch.setattr(faster_tokens, "_nanotoken", wrong)
    expected = Scorer(model, precision="fp32", device="cpu", tokenizer="stock").score(TEXTS).probabilities
    # As it is with a long table: only the first texts are compared, and few of the others.
    monkeypatch.setattr(faster_tokens, "_AT_FIRST", 2)
    monkeypatch.setattr(faster_tokens, "_ALWAYS", 2)
    monkeypatch.setattr(faster_tokens, "_LONGEST", 2)
    with pytest.raises(ModelError, match="reads 'w15 w16' otherwise than the stock one") as caught:
        score.run(options(model), Notes())
    assert "--tokenizer stock" in caught.value.details["next"]
    assert committed(tmp_path) == 3
    done = score.run(options(model, tokenizer="stock"), Notes())
    assert (done.resumed_rows, done.totals["faster_tokens"]) == (0, 0)
    found = pl.read_parquet("out.parquet").select(pl.col("^prob_.*$")).to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_who_read_the_texts_stands_in_the_result_and_a_refusal_is_told(model, monkeypatch):
    monkeypatch.setattr(faster_tokens, "_nanotoken", lambda tokenizer: lambda texts: 1 / 0)
    watch = Notes()
    done = score.run(options(model), watch)
    assert done.totals["faster_tokens"] == 0
    assert watch.notes == [
        f"{Path(model).resolve()}: the stock tokenizer reads all texts: the faster tokenizer failed: division by zero"
    ]
