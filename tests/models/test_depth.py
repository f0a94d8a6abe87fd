"""Depth of parameters: layer-wise rates, gradual unfreezing, new top layers."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertModel, DistilBertConfig, DistilBertModel, ModernBertConfig, ModernBertModel

from models.build import build_classifier
from models.classifier import TextClassifier
from models.depth import Thaw, count_layers, parameter_depths, reinitialise_top_layers
from models.errors import ModelError
from models.heads import HEADS, HeadShape
from models.recipe import HeadOptions, TrainingOptions
from models.training.optimizer import make_optimizer

CLASSES = ("red", "green", "blue")


@pytest.fixture
def network(tiny_recipe, tiny_tokenizer):
    torch.manual_seed(0)
    recipe = dataclasses.replace(tiny_recipe, head=HeadOptions("pooler"))
    return build_classifier(recipe, CLASSES, tiny_tokenizer, "single_label")


@pytest.fixture
def albert():
    config = AlbertConfig(
        vocab_size=20, embedding_size=8, hidden_size=8, num_hidden_layers=3, num_attention_heads=1, intermediate_size=8
    )
    return TextClassifier(AlbertModel(config), HEADS["mean"](HeadShape(8, 3, 2)))


def depth_of(network, part):
    depths = parameter_depths(network)
    return {depths[id(p)] for name, p in network.named_parameters() if part in name}


def test_embeddings_are_the_bottom_and_the_head_is_the_top(network):
    assert depth_of(network, "embeddings") == {0}
    assert depth_of(network, "layer.0.") == {1}
    assert depth_of(network, "layer.1.") == {2}
    assert depth_of(network, "body.pooler") == {2}
    assert depth_of(network, "head.") == {3}


def test_other_architectures_have_depths_too():
    distil = DistilBertConfig(vocab_size=20, dim=8, n_layers=3, n_heads=1, hidden_dim=8)
    modern = ModernBertConfig(
        vocab_size=60000, hidden_size=8, num_hidden_layers=3, num_attention_heads=1, intermediate_size=8
    )
    for body, part in ((DistilBertModel(distil), "layer.2."), (ModernBertModel(modern), "layers.2.")):
        network = TextClassifier(body)
        assert count_layers(network) == 3
        assert depth_of(network, "embeddings") == {0}
        assert depth_of(network, part) == {3}


def test_rates_fall_by_the_decay_from_layer_to_layer(network):
    options = TrainingOptions(learning_rate=1e-3, head_learning_rate=1e-2, layer_decay=0.5, weight_decay=0.1)
    groups = make_optimizer(network, options).param_groups
    names = {id(p): name for name, p in network.named_parameters()}
    assert sum(len(group["params"]) for group in groups) == len(names)
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            place = next(key for key in ("head.", "embeddings", "layer.0.", "layer.1.", "body.pooler") if key in name)
            expected = {"head.": 1e-2, "embeddings": 0.25e-3, "layer.0.": 0.5e-3}.get(place, 1e-3)
            assert group["lr"] == pytest.approx(expected)
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)


def test_albert_refuses_what_needs_layers_of_their_own(albert):
    for ask in (
        lambda: make_optimizer(albert, TrainingOptions(layer_decay=0.9)),
        lambda: Thaw(albert, 10, 0.5),
        lambda: reinitialise_top_layers(albert, 1),
    ):
        with pytest.raises(ModelError, match="ALBERT's 3 layers share one set of weights"):
            ask()
    make_optimizer(albert, TrainingOptions())


def test_layers_thaw_from_the_top_down_and_really_train(network):
    thaw = Thaw(network, n_steps=12, share=0.5)  # three stages over six steps
    optimizer = make_optimizer(network, TrainingOptions(learning_rate=1e-2, weight_decay=0.0))
    parts = ("head.", "layer.1.", "layer.0.", "embeddings.word")
    moved_at = {}
    for step in range(12):
        thaw.at(step)
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        optimizer.zero_grad(set_to_none=True)
        network(torch.randint(5, 20, (4, 6))).square().sum().backward()
        optimizer.step()
        for part in parts:
            inside = [name for name in before if part in name]
            moved = any(not torch.equal(before[name], network.get_parameter(name)) for name in inside)
            assert not (part in moved_at and not moved), "what trains goes on training"
            if moved:
                moved_at.setdefault(part, step)
    assert moved_at == {"head.": 0, "layer.1.": 2, "layer.0.": 4, "embeddings.word": 6}


def test_no_share_freezes_nothing(network):
    Thaw(network, 12, 0.0).at(0)
    assert all(p.requires_grad for p in network.parameters())


def test_new_top_layers_leave_the_others_as_they_were(network):
    for parameter in network.parameters():
        parameter.data.fill_(7.0)
    reinitialise_top_layers(network, 1)
    for name, parameter in network.named_parameters():
        assert bool((parameter == 7.0).all()) == ("layer.1." not in name), name
    weight = network.get_parameter("body.encoder.layer.1.intermediate.dense.weight").detach().numpy()
    assert np.std(weight) == pytest.approx(0.02, rel=0.2)
    with pytest.raises(ModelError, match="reinit_layers = 3, but the encoder has 2"):
        reinitialise_top_layers(network, 3)
