"""Compiled layers against eager ones, on a CPU: the code that a GPU runs, with quicker back ends of torch.compile."""

import shutil
import threading

import numpy as np
import pytest
import torch
import torch._dynamo
from transformers import BartConfig, BigBirdConfig, DebertaV2Config

from models.classifier import TextClassifier
from models.inference import compiled, disentangled, packed
from models.inference.gain import CompileTrial, try_compiled
from models.inference.scorer import Scorer
from tests.models.test_packed import CONFIGS, SHAPE, classifier, examples

DEBERTA = DebertaV2Config(
    max_position_embeddings=64, type_vocab_size=0, relative_attention=True, position_buckets=16,
    pos_att_type=["p2c", "c2p"], **SHAPE,
)  # fmt: skip
BART = BartConfig(
    vocab_size=90, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, num_labels=3,
)  # fmt: skip
SIZES = ((2, 50), (40, 3), (5, 5), (1, 9), (9, 1))  # rows and tokens, among them those that torch would specialise on
TEXTS = ["w1 w2 w3", "w9", "", "w4 w5 w6 w7 w8 w9 w10", "w1 w2 w3", "w3 w2 w1", "w11 " * 60, None, "w7 w8"]


@pytest.fixture(autouse=True)
def traced_alone(monkeypatch):
    """torch.compile traces, and then runs what it traced: all but the last step, which a compiler takes."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


@pytest.fixture
def anew():
    """Nothing of what was compiled before."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def n_graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@torch.inference_mode()
def test_one_layer_is_compiled_for_all_and_for_any_size(anew):
    network = classifier(CONFIGS["bert"])
    batches = [torch.randint(5, 90, size) for size in SIZES]
    rows, _ = examples((2, 64, 7, 7, 31, 2, 64, 1))
    eager = [network(ids) for ids in batches]
    eager_packed = packed.packed_logits(network, rows)
    assert compiled.enable(network, packed=True) is None
    assert n_graphs() == 4  # embeddings and a layer, side by side and packed
    for ids, expected in zip(batches, eager, strict=True):
        torch.testing.assert_close(network(ids), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(packed.packed_logits(network, rows), eager_packed, atol=1e-6, rtol=0)
    assert n_graphs() == 4
    assert not torch._dynamo.utils.counters["graph_break"]
    compiled.disable(network)
    assert all("forward" not in vars(module) for module in network.modules())


@pytest.mark.parametrize("packs", [True, False])
def test_a_gpus_kernels_are_made_for_many_tokens(packs, monkeypatch):
    """From 1,024 on torch cuts a norm otherwise; and sizes that are equal by chance it takes for one."""
    monkeypatch.setitem(compiled._ROWS, "cpu", compiled._ROWS["cuda"])
    network = classifier(CONFIGS["bert"])
    sizes = []
    for example in compiled._examples(network, packed=packs):
        if isinstance(example, packed.PackedRows):
            sizes.append((example.ids.numel(), len(example.starts), example.longest))
        else:
            sizes.append((example[0].numel(), *example[0].shape))
    assert len(sizes) == 2
    for numbers in sizes:
        assert numbers[0] >= 1024
        assert len({*numbers, *SHAPE.values()}) == len(numbers) + len({*SHAPE.values()})


@torch.inference_mode()
def test_layers_of_an_encoder_decoder_are_compiled_once_too(anew):
    network = classifier(BART)
    batches = [torch.randint(5, 90, size) for size in SIZES]
    for ids in batches:
        ids[:, -1] = BART.eos_token_id
    batches[0][0, 7] = BART.eos_token_id
    eager = [network(ids) for ids in batches]
    assert compiled.enable(network, packed=False) is None
    before = n_graphs()
    for ids, expected in zip(batches, eager, strict=True):
        torch.testing.assert_close(network(ids), expected, atol=1e-6, rtol=0)
    assert n_graphs() == before
    assert not torch._dynamo.utils.counters["graph_break"]


@torch.inference_mode()
def test_layers_that_change_with_the_length_of_rows_are_left_as_they_are():
    network = classifier(BigBirdConfig(block_size=5, num_random_blocks=1, max_position_embeddings=64, **SHAPE))
    assert compiled.enable(network, packed=False) == "its attention becomes sparse beyond 35 tokens"
    for length in (20, 40, 20):
        assert network(torch.randint(5, 90, (3, length))).isfinite().all()


@torch.inference_mode()
def test_architectures_that_cannot_be_packed_are_compiled_with_their_masks():
    network = classifier(DEBERTA)
    ids = torch.randint(5, 90, (6, 20))
    mask = (torch.arange(20) < torch.tensor([20, 20, 9, 8, 3, 1])[:, None]).long()
    eager = network(ids, mask)
    assert compiled.enable(network, packed=False) is None
    before = n_graphs()
    torch.testing.assert_close(network(ids, mask), eager, atol=1e-6, rtol=0)
    assert n_graphs() == before


@pytest.mark.parametrize(("buckets", "layouts"), [(16, 4), (100, 2)])  # rows beyond a table's reach are a layout
@torch.inference_mode()
def test_debertas_attention_is_compiled_once_for_rows_within_reach_and_once_beyond(buckets, layouts, anew):
    network = classifier(DebertaV2Config.from_dict({**DEBERTA.to_dict(), "position_buckets": buckets}))
    disentangled.disentangle(network, 64)
    batches = [torch.randint(5, 90, size) for size in SIZES]
    mask = (torch.arange(20) < torch.tensor([20, 20, 9, 8, 3, 1])[:, None]).long()
    masked = torch.randint(5, 90, mask.shape)
    eager = [*(network(ids) for ids in batches), network(masked, mask)]
    assert compiled.enable(network, packed=False) is None
    before = n_graphs()
    assert before <= 2 * layouts
    for ids, expected in zip(batches, eager[:-1], strict=True):
        torch.testing.assert_close(network(ids), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(network(masked, mask), eager[-1], atol=1e-6, rtol=0)
    assert n_graphs() == before
    assert not torch._dynamo.utils.counters["graph_break"]


def test_networks_of_one_shape_share_what_was_compiled(monkeypatch):
    monkeypatch.setattr(compiled, "regions", compiled.layers)  # for time
    first, second = classifier(CONFIGS["bert"]), classifier(CONFIGS["bert"])
    for parameter in second.parameters():
        parameter.data *= 0.5
    with torch.inference_mode():
        expected = second(torch.arange(10, 30).view(2, 10))
    compiled.enable(first, packed=True)
    before = n_graphs()
    compiled.enable(second, packed=True)
    assert n_graphs() == before
    found = []

    def work():  # the job's thread for inference is not the one that compiled
        with torch.inference_mode():  # as the job does: tensors of another mode would be compiled for anew
            found.append(second(torch.arange(10, 30).view(2, 10)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=0)
    assert n_graphs() == before


def test_what_cannot_be_compiled_is_refused_by_name_and_stays_eager(monkeypatch):
    def fails(graph, inputs):
        raise RuntimeError("no working C++ compiler\nmore")

    monkeypatch.setattr(compiled, "BACKEND", fails)
    network = classifier(CONFIGS["bert"])
    assert "no working C++ compiler" in compiled.enable(network, packed=False)
    assert all("forward" not in vars(module) for module in network.modules())
    bare = TextClassifier(torch.nn.Module())
    bare.body.config, bare.body.base_model = CONFIGS["bert"], torch.nn.Linear(2, 2)
    assert compiled.enable(bare, packed=False) == "bert has no layers that could be compiled"


def test_layers_that_compute_something_else_are_refused(monkeypatch):
    def backend(graph, inputs):
        return lambda *arguments: tuple(out * 1.01 for out in graph.forward(*arguments))

    monkeypatch.setattr(compiled, "BACKEND", backend)
    network = classifier(CONFIGS["distilbert"])
    assert "off those of the eager ones" in compiled.enable(network, packed=False)
    assert all("forward" not in vars(module) for module in network.modules())


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


def test_a_scorer_compiles_and_goes_back(model, monkeypatch):
    monkeypatch.setattr(compiled, "regions", lambda network: compiled.layers(network)[:1])  # for time
    scorer = Scorer(model, device="cpu", precision="fp32")
    eager = scorer.score(TEXTS).probabilities
    scorer.set_compiled(True)
    assert scorer.compiled
    assert scorer.notes == []
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, eager, atol=1e-6)
    scorer.set_compiled(False)
    assert not scorer.compiled
    np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, eager)


def test_what_is_compiled_is_compiled_anew_in_another_format(model, monkeypatch):
    formats = []
    monkeypatch.setattr(compiled, "enable", lambda network, packed: formats.append(next(network.parameters()).dtype))
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    scorer = Scorer(model, device="cpu", precision="fp32", backend="torch", compile=True)
    scorer.set_precision("bf16")
    assert scorer.compiled
    assert formats == [torch.float32, torch.bfloat16]


def test_a_trial_keeps_what_is_faster(model, monkeypatch):
    scorer = Scorer(model, device="cpu", precision="fp32")
    real = scorer.infer

    def timed(prepared, *rest, **named):
        scored = real(prepared, *rest, **named)
        forced = torch._dynamo.eval_frame._stance.stance == "force_eager"
        scored.stats.infer_s = seconds["eager" if forced else "compiled"]
        return scored

    monkeypatch.setattr(scorer, "infer", timed)
    seconds = {"eager": 1.5, "compiled": 1.0}
    trial = try_compiled(scorer, TEXTS)
    assert (trial.gain, trial.pays, scorer.compiled, trial.rows) == (1.5, True, True, len(TEXTS))
    assert trial.difference < 1e-6
    scorer.set_compiled(False)
    seconds = {"eager": 1.0, "compiled": 1.0}
    assert not try_compiled(scorer, TEXTS).pays
    assert not scorer.compiled


def test_a_trial_of_what_cannot_be_compiled_gains_nothing(model, monkeypatch):
    monkeypatch.setattr(compiled, "enable", lambda network, packed: "no compiler")
    scorer = Scorer(model, device="cpu", precision="fp32")
    trial = try_compiled(scorer, TEXTS)
    assert isinstance(trial, CompileTrial)
    assert (trial.gain, trial.pays) == (0.0, False)
    assert scorer.notes == [f"{model}: its layers are not compiled: no compiler"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_compiler_itself_gives_the_same_logits(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "BACKEND", "inductor")
    monkeypatch.setattr(compiled, "regions", lambda network: list(network.encoder.transformer.layer))  # for time
    network = classifier(CONFIGS["distilbert"])
    ids = torch.randint(5, 90, (5, 12))
    with torch.inference_mode():
        eager = network(ids)
        assert compiled.enable(network, packed=False) is None
        torch.testing.assert_close(network(ids), eager, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_rows_longer_than_a_window_are_compiled_at_load(anew):
    network = classifier(CONFIGS["modernbert, mean"])
    assert compiled.enable(network, packed=True) is None
    before = n_graphs()
    for size in ((2, 4), (9, 40), (5, 60)):
        network(torch.randint(5, 90, size))
    packed.packed_logits(network, examples((2, 64, 7, 31))[0])
    assert n_graphs() == before
    assert torch._dynamo.config.recompile_limit >= 100
