"""Query, key and value by one product, on a CPU."""

import pytest
import torch
import torch._dynamo
from torch import nn
from transformers import BertConfig

from models.inference import compiled, disentangled, fp8, joined
from tests.models.test_fused import ALL, structure
from tests.models.test_packed import classifier

# ALBERT has one layer three times; ModernBERT has one product already; stock DeBERTa projects positions, too.
LAYERS = {name: 0 if name.startswith(("modernbert", "deberta")) else 1 if name == "albert" else 3 for name in ALL}
TABULATED = "deberta-v2, positions tabulated"
LAYERS[TABULATED] = 3
IDS = torch.randint(5, 90, (3, 20), generator=torch.Generator().manual_seed(0))


def made(architecture):
    network = classifier(ALL[architecture.split(", positions")[0]])
    if architecture == TABULATED:
        disentangled.disentangle(network, 64)
    return network


def tensors(network):
    return {name: part.clone() for name, part in network.state_dict().items()}


@pytest.mark.parametrize("architecture", LAYERS)
@torch.inference_mode()
def test_scores_stay_and_the_way_back_is_whole(architecture):
    network = made(architecture)
    expected, before, weights = network(IDS), structure(network), tensors(network)
    assert joined.join(network) == LAYERS[architecture]
    torch.testing.assert_close(network(IDS), expected, atol=1e-6, rtol=0)
    joined.undo(network)
    assert structure(network) == before
    found = tensors(network)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())
    torch.testing.assert_close(network(IDS), expected, atol=0, rtol=0)


@torch.inference_mode()
def test_each_of_the_three_gets_its_own_numbers():
    layers = [nn.Linear(5, n) for n in (3, 4, 2)]
    first = joined.Joined(layers)
    inputs = torch.randn(7, 2, 5)
    others = [joined.Kept(first), joined.Kept(first)]
    for layer, part in zip(layers, (first, *others), strict=True):
        torch.testing.assert_close(part(inputs), layer(inputs))
    assert first.kept == []  # nothing of a batch stays behind
    assert [layer.out_features for layer in first.apart()] == [3, 4, 2]


@torch.inference_mode()
def test_weights_are_held_once():
    network = classifier(ALL["bert"])
    joined.join(network)
    joined.undo(network)
    layer = network.encoder.encoder.layer[0].attention.self
    places = {getattr(layer, name).weight.untyped_storage().data_ptr() for name in ("query", "key", "value")}
    assert len(places) == 1


@pytest.fixture
def products(monkeypatch):
    """Everywhere, as on CUDA; gives the products of what is compiled, one list a graph."""
    found = []

    def backend(graph, inputs):
        found.append([node.target for node in graph.graph.nodes if node.target in (nn.functional.linear, torch.mm)])
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", backend)
    monkeypatch.setattr(joined, "wants_joining", lambda network: True)
    return found


@pytest.mark.parametrize("architecture", [name for name, n in LAYERS.items() if n])
@torch.inference_mode()
def test_compiled_layers_have_one_product_for_them(architecture, products):
    network = made(architecture)
    expected = network(IDS)
    assert compiled.enable(network, packed=architecture not in ("mpnet", TABULATED)) is None
    torch.testing.assert_close(network(IDS), expected, atol=1e-5, rtol=0)
    of_layers = [graph for graph in products if graph]
    assert {len(graph) for graph in of_layers} == {4}  # these, behind attention, and two of the feed-forward block
    # A layout each, for DeBERTa within and beyond its tables: what is kept for the next is no reason to compile anew.
    assert len(of_layers) == (4 if architecture == TABULATED else 2)
    compiled.disable(network)
    assert not any(isinstance(module, joined.Joined | joined.Kept) for module in network.modules())


@torch.inference_mode()
def test_eight_bits_are_joined_as_they_are():
    config = BertConfig(
        hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512, vocab_size=100, num_labels=3
    )
    network = classifier(config).to(fp8.REST)
    fp8.convert(network)
    expected, before = network(IDS), tensors(network)
    assert joined.join(network) == 2
    assert network.encoder.encoder.layer[0].attention.self.query.whole.weight.dtype == fp8.DTYPE
    torch.testing.assert_close(network(IDS), expected, atol=0, rtol=0)
    joined.undo(network)
    found = tensors(network)
    assert all(torch.equal(found[name].float(), part.float()) for name, part in before.items())
    torch.testing.assert_close(network(IDS), expected, atol=0, rtol=0)


@torch.inference_mode()
def test_after_memory_ran_out_between_them_the_next_batch_is_right():
    layers = [nn.Linear(5, 3) for _ in range(3)]
    first = joined.Joined(layers)
    first(torch.randn(4, 5))  # and then the pass ended
    inputs = torch.randn(2, 5)
    torch.testing.assert_close(first(inputs), layers[0](inputs))
    torch.testing.assert_close(joined.Kept(first)(inputs), layers[1](inputs))
