"""Recorded batches: which shapes, that nothing changes by it, and that whatever fails leaves the plain call.

A stand-in records on a CPU: it keeps its own inputs and outputs, as a CUDA graph does, and calls the function anew.
"""

import numpy as np
import pytest
import torch

from models.inference import forward, graphs, groups
from models.inference.graphs import Graphs
from models.inference.scorer import Scorer

TEXTS = [" ".join(f"w{(i * j) % 200}" for j in range(1, 2 + i % 6)) for i in range(60)]


class Recorded:
    """What a CUDA graph is: one place for the inputs, one for the outputs, the same operations between them."""

    def __init__(self, forward, inputs):
        self.forward = forward
        self.inputs = [part.clone() for part in inputs]
        self.outputs = [part.clone() for part in forward(*self.inputs)]
        self.runs = 0

    def run(self, inputs):
        for own, part in zip(self.inputs, inputs, strict=True):
            own.copy_(part)
        for own, part in zip(self.outputs, self.forward(*self.inputs), strict=True):
            own.copy_(part)
        self.runs += 1
        return self.outputs


def double(*parts):
    return [part * 2 for part in parts]


def ones(*shape):
    return [torch.ones(*shape)]


def test_a_shape_is_recorded_once_it_came_often_and_run_from_then_on():
    recorded = Graphs(lambda: Recorded, after=2)
    for times in range(1, 6):
        (found,) = recorded.run(double, [torch.full((2, 3), float(times))])
        assert found.eq(2 * times).all()
        assert recorded.shapes == ((((2, 3),),) if times > 2 else ())
    assert next(iter(recorded._kept.values())).runs == 3  # compared once, then twice in earnest


def test_each_shape_has_a_recording_of_its_own_and_inputs_are_copied():
    recorded = Graphs(lambda: Recorded, after=2)
    for _ in range(4):
        recorded.run(double, ones(2, 3))
        recorded.run(double, [*ones(2, 3), *ones(2, 3)])
    assert recorded.shapes == (((2, 3),), ((2, 3), (2, 3)))
    given = torch.full((2, 3), 7.0)
    (found,) = recorded.run(double, [given])
    given.fill_(0)
    assert found.eq(14).all()


def test_lengths_that_come_in_turn_do_not_push_each_other_out():
    made = []

    def record(forward, inputs):
        made.append(inputs[0].shape)
        return Recorded(forward, inputs)

    recorded = Graphs(lambda: record, at_most=2, after=2)
    for _ in range(5):
        for size in (1, 2, 3):
            assert recorded.run(double, ones(size))[0].eq(2).all()
    assert recorded.shapes == (((1,),), ((2,),))
    assert len(made) == 2


def test_after_clearing_another_recorder_records():
    recorders = []

    def recorder():
        recorders.append([])
        return lambda forward, inputs: recorders[-1].append(0) or Recorded(forward, inputs)

    recorded = Graphs(recorder, after=2)
    for _ in range(3):
        recorded.run(double, ones(4))
    recorded.clear()
    assert recorded.shapes == ()
    for _ in range(3):
        recorded.run(double, ones(4))
    assert [len(made) for made in recorders] == [1, 1]


def test_a_recording_that_computes_nothing_is_not_used():
    """As one that was captured while another device was the current one: its outputs are those of the capture."""

    class Empty(Recorded):
        def run(self, inputs):
            return self.outputs

    recorded = Graphs(lambda: Empty, after=2)
    for times in range(1, 7):
        assert recorded.run(double, [torch.full((4,), float(times))])[0].eq(2 * times).all()
    assert recorded.shapes == ()


def test_texts_that_are_read_apart_are_not_recorded(model, monkeypatch):
    monkeypatch.setattr(groups, "graphs_for", lambda device, flop: Graphs(lambda: Recorded, after=2))
    group = Scorer(model, device="cpu", precision="fp32").groups[0]
    group.choose_graphs(torch.device("cpu"), 2560)
    assert group.graphs is not None
    group.form = "apart"
    group.choose_graphs(torch.device("cpu"), 2560)
    assert group.graphs is None


def test_networks_that_count_the_ends_of_a_text_are_not_recorded(model, monkeypatch):
    monkeypatch.setattr(groups, "graphs_for", lambda device, flop: Graphs(lambda: Recorded, after=2))
    group = Scorer(model, device="cpu", precision="fp32").groups[0]
    config = group.networks[0].body.config
    config.is_encoder_decoder, config.eos_token_id = True, 2
    group.choose_graphs(torch.device("cpu"), 2560)
    assert group.graphs is None


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), RuntimeError("not permitted when capturing")])
def test_what_cannot_be_recorded_is_computed_and_never_tried_again(error):
    tried = []

    def fails(forward, inputs):
        tried.append(inputs)
        raise error

    recorded = Graphs(lambda: fails, after=2)
    for _ in range(6):
        assert recorded.run(double, ones(4))[0].eq(2).all()
    assert (len(tried), recorded.shapes) == (1, ())


def test_a_recording_that_gives_other_bits_is_not_used():
    class Off(Recorded):
        def run(self, inputs):
            return [part + 1e-6 for part in super().run(inputs)]

    recorded = Graphs(lambda: Off, after=2)
    for _ in range(5):
        assert recorded.run(double, ones(4))[0].eq(2).all()
    assert recorded.shapes == ()


def test_shapes_that_come_once_are_forgotten(monkeypatch):
    monkeypatch.setattr(graphs, "_REMEMBERED", 10)
    recorded = Graphs(lambda: Recorded, after=2)
    for size in range(1, 40):
        recorded.run(double, ones(size))
    assert len(recorded._seen) <= 11


def test_only_small_batches_on_cuda_are_recorded():
    cuda = torch.device("cuda")
    assert graphs.graphs_for(torch.device("cpu"), 1e9) is None
    assert graphs.graphs_for(cuda, 2 * 1.06e7 * 65536) is not None  # MiniLM-L6
    assert graphs.graphs_for(cuda, 2 * 8.5e7 * 65536) is None  # BERT-base


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


def test_a_scorer_gives_the_same_bits_with_recordings_and_drops_them_with_its_networks(model, monkeypatch):
    scorer = Scorer([model], device="cpu", precision="fp32", token_budget=24)
    expected = [scorer.score(TEXTS[k:]).probabilities for k in range(3)]
    group = scorer.groups[0]
    group.graphs = Graphs(lambda: Recorded, after=2)
    for _ in range(3):
        for k in range(3):
            np.testing.assert_array_equal(scorer.score(TEXTS[k:]).probabilities, expected[k])
    assert len(group.graphs.shapes) > 2
    recorded = group.graphs
    scorer.set_compiled(False)
    assert recorded.shapes == ()


def test_memory_that_runs_out_takes_the_recordings_first(model, monkeypatch):
    scorer = Scorer(model, device="cpu", precision="fp32", token_budget=48)
    expected = scorer.score(TEXTS).probabilities
    group = scorer.groups[0]
    group.graphs = Graphs(lambda: Recorded, after=2)
    for _ in range(3):
        scorer.score(TEXTS)
    assert group.graphs.shapes
    real = forward._run

    def run(networks, tokens, batches, *others):
        if max(batch.n_tokens for batch in batches) > 24:
            raise torch.OutOfMemoryError("no room")
        assert group.graphs.shapes == ()
        return real(networks, tokens, batches, *others)

    monkeypatch.setattr(forward, "_run", run)
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, expected, atol=1e-6)
    assert scorer.budget.halvings == 1


def test_what_was_told_of_the_work_is_taken_back_where_memory_runs_out(model, monkeypatch):
    scorer = Scorer(model, device="cpu", precision="fp32", token_budget=48)
    real, told = forward._run, []

    def run(networks, tokens, batches, device, tick, *others):
        if scorer.budget.halvings == 0:
            tick(0.4)
            raise torch.OutOfMemoryError("no room")
        return real(networks, tokens, batches, device, tick, *others)

    monkeypatch.setattr(forward, "_run", run)
    scorer.infer(scorer.prepare(TEXTS), told.append)
    assert sum(told) == pytest.approx(1)
    assert told[:2] == [pytest.approx(0.4), pytest.approx(-0.4)]
