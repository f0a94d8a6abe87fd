"""GELU in the product's epilogue, on a CPU, where torch's operator applies the exact one."""

from types import SimpleNamespace

import pytest
import torch
import torch._dynamo
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import MPNetConfig

from models.inference import compiled, fused
from tests.models.test_compiled_layers import DEBERTA
from tests.models.test_packed import CONFIGS, SHAPE, classifier

MPNET = MPNetConfig(max_position_embeddings=66, pad_token_id=1, **SHAPE)
ALL = {**CONFIGS, "deberta-v2": DEBERTA, "mpnet": MPNET}
# ALBERT has one layer three times; ModernBERT multiplies by a gate behind its GELU.
BLOCKS = {name: 0 if name.startswith("modernbert") else 1 if name == "albert" else 3 for name in ALL}


def structure(network):
    return [(name, type(module)) for name, module in network.named_modules()]


@pytest.mark.parametrize("architecture", ALL)
@torch.inference_mode()
def test_eager_layers_give_the_same_bits_and_the_way_back_is_whole(architecture):
    network = classifier(ALL[architecture])
    ids = torch.randint(5, 90, (3, 20))
    expected, before = network(ids), structure(network)
    assert fused.fuse(network) == BLOCKS[architecture]
    torch.testing.assert_close(network(ids), expected, atol=0, rtol=0)
    fused.undo(network)
    assert structure(network) == before
    torch.testing.assert_close(network(ids), expected, atol=0, rtol=0)


@pytest.fixture
def operators(monkeypatch):
    """Everywhere, as on CUDA; gives the operators of what is compiled."""
    found = []

    def backend(graph, inputs):
        found.extend(node.target for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", backend)
    monkeypatch.setattr(fused, "wants_fusing", lambda network: True)
    return found


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "deberta-v2"])
@torch.inference_mode()
def test_compiled_layers_apply_it_in_the_product(architecture, operators):
    network = classifier(ALL[architecture])
    ids = torch.randint(5, 90, (3, 20))
    expected = network(ids)
    assert compiled.enable(network, packed=False) is None
    torch.testing.assert_close(network(ids), expected, atol=1e-5, rtol=0)
    assert operators.count(torch._addmm_activation) == 2  # one layer in two layouts
    assert nn.functional.gelu not in operators
    compiled.disable(network)
    assert not any(isinstance(module, fused.GeluLinear) for module in network.modules())


@torch.inference_mode()
def test_another_activation_is_left_alone(operators):
    network = classifier(type(CONFIGS["bert"])(max_position_embeddings=64, hidden_act="silu", **SHAPE))
    assert fused.fuse(network) == 0
    assert compiled.enable(network, packed=False) is None
    assert torch._addmm_activation not in operators


@pytest.mark.parametrize(
    ("device", "dtype", "wanted"),
    [
        ("cuda", torch.bfloat16, True),
        ("cuda", torch.float16, False),
        ("cuda", torch.float32, False),
        ("cpu", torch.bfloat16, False),
    ],
)
def test_only_a_coarse_format_on_cuda_takes_the_other_form(device, dtype, wanted):
    with FakeTensorMode():
        weights = [torch.empty(2, dtype=dtype, device=device)]
    assert fused.wants_fusing(SimpleNamespace(parameters=lambda: iter(weights))) is wanted


def test_the_two_forms_are_as_near_as_is_said():
    inputs = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    exact, other = (nn.functional.gelu(inputs, approximate=form) for form in ("none", "tanh"))
    assert 4e-4 < (exact - other).abs().max() < 5e-4
