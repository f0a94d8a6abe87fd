"""The Scorer on a GPU against itself on the CPU."""

import time

import numpy as np
import pytest
import torch
import torch._dynamo
from transformers import MPNetConfig

from models.inference import compiled, disentangled, fp8, fused, packed, varlen
from models.inference.device import computing, has_fp8
from models.inference.gain import try_compiled
from models.inference.gate import GateBounds, try_precision
from models.inference.scorer import Scorer
from tests.models.test_compiled_layers import DEBERTA
from tests.models.test_disentangled import CONFIGS as DEBERTAS
from tests.models.test_disentangled import deberta
from tests.models.test_packed import CONFIGS, SHAPE, classifier

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TEXTS = [" ".join(f"w{(i * j) % 200}" for j in range(1, 2 + i % 30)) for i in range(500)]


@pytest.fixture(autouse=True)
def by_kernels_for_any_shape():
    """As a Scorer computes, also where a test calls a network itself."""
    with computing(torch.device("cuda", 0)):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


def test_float32_scores_equal_those_of_the_cpu(model):
    on_cpu = Scorer(model, device="cpu", precision="fp32").score(TEXTS)["tiny"]
    on_gpu = Scorer(model, device="cuda", precision="fp32").score(TEXTS)["tiny"]
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-5)


def test_the_same_texts_give_the_same_bits_twice(model):
    scorer = Scorer(model, device="cuda", precision="bf16")
    np.testing.assert_array_equal(scorer.score(TEXTS)["tiny"], scorer.score(TEXTS)["tiny"])


def test_shards_launched_ahead_have_the_same_bits_and_their_own_seconds(model):
    scorer = Scorer(model, device="cuda", precision="bf16", token_budget=2048)
    prepared = [scorer.prepare([f"{text} w{k}" for text in TEXTS * 4]) for k in range(4)]
    alone = [scorer.infer(shard).probs["tiny"] for shard in prepared]
    torch.cuda.synchronize()
    began = time.perf_counter()
    found = [scorer.collect(shard) for shard in [scorer.launch(shard) for shard in prepared]]
    spent = time.perf_counter() - began
    for one, expected in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one.probs["tiny"], expected)
    assert 0 < sum(one.stats.infer_s for one in found) < spent


def test_the_gate_lets_bf16_through_and_measures_it(model):
    scorer = Scorer(model, device="cuda", precision="fp32")
    report = try_precision(scorer, "bf16", TEXTS, GateBounds(flips=0.05, difference=0.1))
    assert report.passed
    assert report.difference > 0


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_packed_rows_have_the_scores_of_padded_ones(tmp_path, save_model, monkeypatch, architecture):
    folder = save_model(tmp_path / "tiny", 1, architecture=architecture)
    packs = Scorer(folder, device="cuda", precision="bf16")
    assert packs.groups[0].packed, packs.notes
    scored = packs.infer(packs.prepare(TEXTS))
    assert scored.stats.padding == 0
    monkeypatch.setattr(packed, "wants_packing", lambda device, dtype: False)
    pads = Scorer(folder, device="cuda", precision="bf16")
    np.testing.assert_allclose(scored.probs["tiny"], pads.score(TEXTS)["tiny"], atol=1e-2)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_of_the_fast_path_passes_its_check(architecture):
    for dtype in (torch.bfloat16, torch.float16):
        assert packed.refusal(classifier(CONFIGS[architecture]).to("cuda", dtype), 64) is None


def test_the_kernel_attends_as_its_stand_in_on_the_cpu_does():
    torch.manual_seed(0)
    starts = torch.tensor([0, 2, 66, 70, 70 + 500], dtype=torch.int32)
    parts = [torch.randn(570, 4, 32).bfloat16() for _ in range(3)]
    for reach in (-1, 5):
        expected = varlen.KERNELS["cpu"](*(part.float() for part in parts), starts, 500, 0.2, reach)
        found = varlen.KERNELS["cuda"](*(part.cuda() for part in parts), starts.cuda(), 500, 0.2, reach)
        torch.testing.assert_close(found.cpu().float(), expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", DEBERTAS)
def test_debertas_faster_attention_passes_its_check(name, dtype):
    network = deberta(name)
    disentangled.disentangle(network, 64)
    assert disentangled.refusal(network.to("cuda", dtype)) is None


TABULATED = "deberta-v2, positions tabulated"
ALL = {**CONFIGS, "deberta-v2": DEBERTA, "mpnet": MPNetConfig(max_position_embeddings=66, pad_token_id=1, **SHAPE)}


@pytest.mark.parametrize("architecture", [*ALL, TABULATED])
def test_every_architecture_is_traced_with_few_graphs(architecture, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")  # all but the kernels, which would take minutes
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network = classifier(ALL[architecture.split(",")[0] if architecture == TABULATED else architecture])
    if architecture == TABULATED:
        disentangled.disentangle(network, 64)
    network.to("cuda", torch.bfloat16)
    packs = packed.refusal(network, 64) is None
    assert compiled.enable(network, packed=packs) is None
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert before <= 8  # ModernBERT: 7, of layers with a window and without, the first apart
    with torch.inference_mode():
        for rows, length in ((2, 50), (40, 3), (5, 5), (1, 9), (900, 31)):
            ids = torch.randint(5, 90, (rows, length), device="cuda")
            found = network(ids).float()
            with torch.compiler.set_stance("force_eager"):
                eager = network(ids).float()
            assert (found - eager).norm() <= packed.TOLERANCE[torch.bfloat16] * eager.norm()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] - before <= 1


def test_compiled_scores_are_the_same_bits_twice_and_near_the_eager_ones(model):
    scorer = Scorer(model, device="cuda", precision="bf16")
    eager = scorer.score(TEXTS)["tiny"]
    scorer.set_compiled(True)
    assert scorer.compiled, scorer.notes
    first = scorer.score(TEXTS)["tiny"]
    np.testing.assert_array_equal(scorer.score(TEXTS)["tiny"], first)
    np.testing.assert_allclose(first, eager, atol=1e-2)


def test_a_trial_of_compiled_layers_says_what_they_gain(model):
    trial = try_compiled(Scorer(model, device="cuda", precision="bf16"), TEXTS)
    assert trial.gain > 0
    assert trial.difference < 1e-2


def test_memory_that_runs_out_under_compiled_layers_shrinks_the_batches(model):
    """The allocator is held to what the weights take and a little more: no batch of the default size fits."""
    scorer = Scorer(model, device="cuda", precision="bf16", compile=True)
    expected = scorer.score(TEXTS)["tiny"]
    texts = [f"{text} w{i}" for i in range(400) for text in TEXTS]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (64 << 20)) / total)
        scorer.budget.tokens = 1 << 20
        scorer.score(texts)
        assert scorer.budget.halvings > 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(scorer.score(TEXTS)["tiny"], expected, atol=1e-2)


def test_recorded_batches_give_the_same_bits(save_model, tmp_path):
    folder = save_model(tmp_path / "tiny", 3)
    texts = [f"{text} w{i}" for i in range(40) for text in TEXTS]
    scorer = Scorer(folder, device="cuda", precision="bf16", token_budget=2048)
    group = scorer.groups[0]
    recorded, group.graphs = group.graphs, None
    assert recorded is not None
    recorded.after = 2
    plain = scorer.score(texts)["tiny"]
    group.graphs = recorded
    for _ in range(4):
        np.testing.assert_array_equal(scorer.score(texts)["tiny"], plain)
    assert recorded.shapes, "nothing was recorded: a capture failed, or gave other bits"


@pytest.fixture(scope="module")
def wide(tmp_path_factory, save_model):
    """Of weights so small that eight bits move a probability by .035 (on a CPU), where a row's differ by .06."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    return save_model(folder, 0, hidden_size=512, intermediate_size=1024, initializer_range=0.01)


@pytest.mark.skipif(not (torch.cuda.is_available() and has_fp8(torch.device("cuda"))), reason="needs fp8 hardware")
def test_eight_bits_on_the_gpu_are_those_of_the_cpu(wide):
    torch.manual_seed(0)
    linear = torch.nn.Linear(512, 1024)
    inputs = torch.randn(300, 512).bfloat16()
    on_cpu = fp8.Fp8Linear(linear)(inputs).float()
    on_gpu = fp8.Fp8Linear(linear.cuda())(inputs.cuda()).float().cpu()
    assert (on_gpu - on_cpu).norm() <= 1e-2 * on_cpu.norm()
    scorer = Scorer(wide, device="cuda", precision="fp32")
    report = try_precision(scorer, "fp8", TEXTS, GateBounds(1.0, 1.0))
    assert 1e-5 < report.difference < 0.07
    eager = scorer.score(TEXTS).probabilities
    scorer.set_compiled(True)
    assert scorer.compiled, scorer.notes
    assert np.abs(scorer.score(TEXTS).probabilities - eager).max() < report.difference + 1e-2


def test_gelu_in_the_products_epilogue_is_within_the_formats_own_rounding(wide):
    exact = Scorer(wide, device="cuda", precision="fp32").score(TEXTS).probabilities
    scorer = Scorer(wide, device="cuda", precision="bf16")
    rounding = np.abs(scorer.score(TEXTS).probabilities - exact).max()
    scorer.set_compiled(True)
    assert scorer.compiled, scorer.notes
    assert any(isinstance(module, fused.GeluLinear) for module in scorer.groups[0].networks[0].modules())
    assert np.abs(scorer.score(TEXTS).probabilities - exact).max() < 2 * rounding + 1e-3
