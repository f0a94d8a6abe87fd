"""The product that gives the logits stays in float32 where the network computes in fewer bits."""

import numpy as np
import pytest
import torch
from torch import nn

from models.inference.last_layer import compute_exactly, name_of_last
from models.inference.scorer import Scorer
from tests.models.test_fused import ALL
from tests.models.test_packed import classifier

IDS = torch.randint(5, 90, (300, 12), generator=torch.Generator().manual_seed(0))
TEXTS = [" ".join(f"w{(i * j) % 200}" for j in range(1, 2 + i % 23)) for i in range(400)]


@pytest.mark.parametrize("architecture", ALL)
@torch.inference_mode()
def test_logits_have_all_bits_and_are_what_the_layer_makes_of_its_inputs(architecture):
    network = classifier(ALL[architecture])
    name = name_of_last(network, lambda: network(IDS[:2]))
    assert name is not None
    network.to(torch.bfloat16)
    seen, layer = [], network.get_submodule(name)
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    weight, bias = layer.weight.clone(), layer.bias.clone()
    rounded = network(IDS)
    compute_exactly(network, name)
    found = network(IDS)
    assert (rounded.dtype, found.dtype) == (torch.bfloat16, torch.float32)
    assert seen[1].dtype == torch.bfloat16
    expected = seen[1].double() @ weight.double().t() + bias.double()
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found, rounded.float(), atol=0.02, rtol=0.01)
    assert len(found[:, 0].unique()) == 300 > len(rounded[:, 0].unique())


@torch.inference_mode()
def test_logits_that_something_is_done_to_afterwards_have_no_last_layer():
    network = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    assert name_of_last(network, lambda: network(torch.ones(1, 3))) is None
    assert not network[0]._forward_hooks  # nothing stays behind


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_a_scorer_tells_rows_apart_and_goes_back_to_float32(tmp_path, save_model, monkeypatch, precision):
    for name in ("has_fast_bf16", "has_fp8"):
        monkeypatch.setattr(f"models.inference.device.{name}", lambda device: True)
    folder = save_model(tmp_path / "model", 0, classes=("LABEL_0",), hidden_size=256, intermediate_size=512)
    scorer = Scorer(folder, device="cpu", precision="fp32")
    exact = scorer.score(TEXTS).outputs
    scorer.set_precision(precision)
    coarse = scorer.score(TEXTS).outputs
    assert not np.array_equal(coarse, exact)
    bf16 = torch.from_numpy(coarse).bfloat16().float().numpy()
    assert len(np.unique(coarse)) == 400 > len(np.unique(bf16))
    scorer.set_precision("fp32")
    np.testing.assert_array_equal(scorer.score(TEXTS).outputs, exact)
