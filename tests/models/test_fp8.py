"""Linear layers in eight bits against float32, by the stand-in on a CPU, and by the rules of the CUDA kernel."""

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from models.errors import ModelError
from models.inference import compiled, device, fp8
from models.inference.device import resolve_precision
from models.inference.gate import GateBounds, try_precision
from models.inference.scorer import Scorer

TEXTS = [" ".join(f"w{(i * j) % 200}" for j in range(1, 2 + i % 13)) for i in range(40)]
BF16 = torch.bfloat16


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(0)
    return nn.Linear(256, 320)


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    folder = tmp_path_factory.mktemp("models") / "wide"
    return save_model(folder, 0, hidden_size=256, num_hidden_layers=2, intermediate_size=512)


@pytest.fixture
def on_hardware(monkeypatch):
    """As if the CPU had it: what is tested is the numbers, not the speed."""
    monkeypatch.setattr(device, "has_fp8", lambda device: True)
    monkeypatch.setattr(device, "has_fast_bf16", lambda device: True)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_products_are_near_those_of_float32(linear):
    inputs = rows(5, 7, 256) * torch.logspace(-3, 3, 7).unsqueeze(1)  # tokens of very different size
    expected = linear(inputs)
    found = fp8.Fp8Linear(linear)(inputs.to(BF16))
    assert found.dtype == BF16
    error = (found.float() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < 0.06  # three bits of mantissa in both factors: 0.037 of a product of independent numbers
    assert error.min() > 1e-4  # and not by a wider format


def test_each_row_and_each_output_has_a_scale(linear):
    with torch.no_grad():
        linear = nn.Linear(256, 320, bias=False)
        linear.weight[7] *= 1e4
    small = fp8.Fp8Linear(linear)
    quantised, scale = fp8.quantise(linear.weight.detach())
    restored = quantised.float() * scale
    assert ((restored - linear.weight).norm(dim=1) / linear.weight.norm(dim=1)).max() < 0.04
    assert small.scale.shape == (1, 320)
    assert quantised.float().abs().amax(1).eq(448).all()


def test_the_rows_beside_it_do_not_touch_a_row(linear):
    layer = fp8.Fp8Linear(linear)
    inputs = rows(8, 256).to(BF16)
    others = inputs.clone()
    others[1:] *= 1000
    torch.testing.assert_close(layer(inputs)[0], layer(others)[0], atol=0, rtol=0)


def test_zeros_and_the_largest_numbers_stay_finite(linear):
    layer = fp8.Fp8Linear(linear)
    inputs = torch.stack([torch.zeros(256), torch.full((256,), 3e38), torch.full((256,), 1e-38)]).to(BF16)
    torch.testing.assert_close(layer(inputs)[0], linear.bias.to(BF16))
    quantised, scale = fp8.quantise(inputs)
    assert quantised.float().isfinite().all()
    assert scale.isfinite().all()


def test_layouts_are_those_that_the_cuda_kernel_takes(linear):
    """Its shape rules run without a GPU: they refuse wrong strides, sizes and scales."""
    layer = fp8.Fp8Linear(linear)
    parts = dict(layer.named_buffers())
    with FakeTensorMode():
        on_gpu = {
            name: torch.empty_strided(part.shape, part.stride(), dtype=part.dtype, device="cuda")
            for name, part in parts.items()
        }
        found = torch.func.functional_call(layer, on_gpu, torch.empty(3, 5, 256, dtype=BF16, device="cuda"))
    assert (found.shape, found.dtype, found.device.type) == ((3, 5, 320), BF16, "cuda")


def test_large_linear_layers_of_the_encoder_are_converted_and_no_others(model):
    network = Scorer(model, device="cpu", precision="fp32").groups[0].networks[0].to(BF16)
    assert fp8.convert(network) == 2 * 6
    kept = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    assert kept == ["body.bert.pooler.dense", "body.classifier"]
    assert {module.weight.dtype for module in network.modules() if isinstance(module, nn.LayerNorm)} == {BF16}


def test_narrow_layers_are_left_as_they_are(tmp_path, save_model):
    network = Scorer(save_model(tmp_path / "tiny", 0), device="cpu", precision="fp32").groups[0].networks[0]
    assert fp8.convert(network.to(BF16)) == 0


def test_the_gate_measures_it_and_the_way_back_is_exact(model, on_hardware):
    scorer = Scorer(model, device="cpu", precision="fp32")
    exact = scorer.score(TEXTS).probabilities
    report = try_precision(scorer, "fp8", TEXTS, GateBounds(1.0, 1.0))
    assert (report.precision, scorer.precision) == ("fp8", "fp8")
    assert 1e-5 < report.difference < 0.2
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, exact, atol=0.2)
    scorer.set_precision("fp32")
    np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, exact)
    assert not try_precision(scorer, "fp8", TEXTS, GateBounds(1.0, 0.0)).passed
    np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, exact)


def test_eight_bits_are_compiled_with_the_layer(model, on_hardware, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    monkeypatch.setattr(compiled, "regions", lambda network: fp8.layers(network)[:1])  # for time
    scorer = Scorer(model, device="cpu", precision="fp8")
    eager = scorer.score(TEXTS).probabilities
    scorer.set_compiled(True)
    assert scorer.compiled, scorer.notes
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, eager, atol=1e-3)


def test_a_device_without_the_hardware_refuses():
    with pytest.raises(ModelError, match="this cpu has no hardware for fp8"):
        resolve_precision("fp8", torch.device("cpu"))
