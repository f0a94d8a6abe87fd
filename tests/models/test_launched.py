"""Shards that are launched before the ones before them are collected. What only a GPU does is played by a clock."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch

from models.inference import launched
from models.inference import scorer as scorer_module
from models.inference.device import computing
from models.inference.launched import AHEAD, Mark, Pace
from models.inference.scorer import Scorer

SHARDS = [[f"w{i} w{i % (k + 2)}" for i in range(60)] for k in range(3)] + [[]]


@pytest.fixture
def models(tmp_path, save_model):
    return {
        "first": [save_model(tmp_path / f"fold{k}", k) for k in range(2)],
        "second": save_model(tmp_path / "own", 7),
    }


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_shards_launched_ahead_have_the_same_bits(models, order):
    scorer = Scorer(models, device="cpu", precision="fp32")
    prepared = [scorer.prepare(texts) for texts in SHARDS]
    alone = [scorer.infer(shard, keep_logits=True) for shard in prepared]
    sent = [scorer.launch(shard, keep_logits=True) for shard in prepared]
    for k in order:
        found = scorer.collect(sent[k])
        assert found.stats.rows == len(SHARDS[k])
        assert found.stats.computed_tokens == alone[k].stats.computed_tokens
        for run in ("first", "second"):
            np.testing.assert_array_equal(found.probs[run], alone[k].probs[run])
            np.testing.assert_array_equal(found.logits[run], alone[k].logits[run])


class Device:
    """A device that computes a batch in a second, launched by a thread that takes no time."""

    type = "cuda"

    def __init__(self):
        self.now = self.done_at = 0.0
        self.behind = []

    def launch(self):
        self.done_at = max(self.now, self.done_at) + 1.0

    def event(self, **_):
        device = self

        class Event:
            def record(self, _stream):
                self.at = device.done_at

            def synchronize(self):
                device.now = max(device.now, self.at)

            def elapsed_time(self, later):
                return 1000 * (later.at - self.at)

        return Event()


@pytest.fixture
def device(monkeypatch):
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", device.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    return device


@pytest.mark.parametrize(("networks", "batches"), [(1, AHEAD), (5, AHEAD // 5), (AHEAD, 2), (100, 2)])
def test_python_is_a_few_passes_ahead_and_no_more(device, networks, batches):
    pace = Pace(device)
    for n_launched in range(1, 3 * AHEAD):
        device.launch()
        pace.keep(networks)
        assert device.now == max(0, n_launched - batches)  # so many batches are computed


def test_seconds_of_a_shard_are_those_of_the_device_whenever_it_is_collected(device):
    device.launch()
    started = Mark(device)
    for _ in range(4):
        device.launch()
    ended = Mark(device)
    device.launch()  # of the next shard
    ended.wait()
    assert device.now == 5.0
    assert ended.since(started) == 4.0


def test_a_result_is_copied_to_the_cpu_without_waiting_where_a_gpu_has_it(monkeypatch):
    asked = []

    class Part:
        device = torch.device("cuda", 0)

        def to(self, where, non_blocking):
            asked.append((where, non_blocking))
            return torch.ones(2, 3)

    assert launched._sent_back({"run": Part()})["run"].shape == (2, 3)
    assert asked == [("cpu", True)]


def test_cudnn_attends_to_nothing_until_the_last_thread_has_computed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    enabled = torch.backends.cuda.cudnn_sdp_enabled
    assert enabled()
    one, other = (computing(torch.device("cuda", 0)) for _ in range(2))
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert not enabled()
    other.__exit__(None, None, None)
    assert enabled()
    with computing(torch.device("cpu")):
        assert enabled()


def test_networks_compute_so_and_who_waits_names_the_device(models, monkeypatch):
    """A thread that names none is given the first GPU, and a context on it."""
    inside = []

    def marked(name):
        @contextmanager
        def context(_):
            inside.append(name)
            yield
            inside.pop()

        return context

    monkeypatch.setattr(scorer_module, "computing", marked("computing"))
    monkeypatch.setattr(scorer_module, "current", marked("current"))
    scorer, seen = Scorer(models, device="cpu", precision="fp32"), []
    for group in scorer.groups:
        group.networks[0].register_forward_hook(lambda *_: seen.append(("forward", *inside)))
    monkeypatch.setattr(Mark, "wait", lambda _: seen.append(("wait", *inside)))
    scorer.score(SHARDS[0])
    assert set(seen) == {("forward", "computing"), ("wait", "current")}
