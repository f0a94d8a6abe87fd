"""Half precision in training: the format a device gets, the factor on the loss, steps that overflow."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, DebertaConfig

from models.classifier import TextClassifier
from models.errors import ModelError
from models.training.adversary import ADVERSARIES
from models.training.half import HalfPrecision
from models.training.step import MicroBatch, put_gradient

BATCH = np.arange(11)
CPU = torch.device("cpu")


def fp16(scale=2.0**16):
    return HalfPrecision(torch.float16, scale)


@pytest.fixture
def source(gradient_source):
    return dataclasses.replace(gradient_source, micro=MicroBatch(4))


def gradient(source, adversary=None):
    put_gradient(source, BATCH, adversary)
    return torch.cat([p.grad.flatten() for p in source.network.parameters() if p.grad is not None])


def angle(a, b):
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 0), None), ((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16)],
)
def test_auto_is_fp16_on_gpus_that_have_nothing_better(monkeypatch, capability, expected):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: capability)
    found = HalfPrecision.of("auto", torch.device("cuda"), BertConfig(num_hidden_layers=2, hidden_size=64))
    assert (found.dtype, found.scale > 1) == (expected, expected == torch.float16)


def test_fp16_on_a_cpu_is_refused(tiny_recipe):
    with pytest.raises(ModelError, match="emulated") as error:
        HalfPrecision.of("fp16", CPU, BertConfig())
    assert error.value.details["next"] == "precision = 'auto' under [training]"  # there is no --precision


@pytest.mark.parametrize(("config", "expected"), [(DebertaConfig, None), (BertConfig, torch.bfloat16)])
def test_a_network_that_cannot_be_computed_in_less_trains_in_float32(monkeypatch, config, expected):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda _: True)
    shape = config(vocab_size=30, hidden_size=256, num_hidden_layers=1, num_attention_heads=4, intermediate_size=16)
    network = TextClassifier(AutoModelForSequenceClassification.from_config(shape).train())
    assert HalfPrecision.fitting("auto", CPU, network) == HalfPrecision(expected)
    assert network.training
    if expected is None:
        with pytest.raises(ModelError, match="a deberta cannot be computed in bf16"):
            HalfPrecision.fitting("bf16", CPU, network)


@pytest.mark.parametrize("name", sorted(ADVERSARIES))
def test_gradients_in_fp16_are_those_of_float32(source, name):
    expected = gradient(source, ADVERSARIES[name])
    found = gradient(dataclasses.replace(source, half=fp16()), ADVERSARIES[name])
    assert angle(found, expected) > 0.999
    assert float(found.norm()) == pytest.approx(float(expected.norm()), rel=0.02)


def test_without_the_factor_small_gradients_would_be_lost(source):
    """A loss whose gradients are a millionth: in fp16 they vanish inside the network, unless it is enlarged."""
    small = dataclasses.replace(source, loss=lambda logits, targets: source.loss(logits, targets) * 1e-6)
    expected = gradient(small)
    lost = gradient(dataclasses.replace(small, half=fp16(1.0)))
    kept = gradient(dataclasses.replace(small, half=fp16()))
    assert angle(kept, expected) > 0.999
    assert angle(lost, expected) < 0.99
    assert float(kept.norm()) == pytest.approx(float(expected.norm()), rel=0.02)


@pytest.mark.parametrize("adversary", [None, ADVERSARIES["pgd"]])
def test_a_step_that_overflows_is_made_again_with_a_smaller_factor(source, adversary):
    expected = gradient(source, adversary)
    half = fp16(2.0**30)
    found = gradient(dataclasses.replace(source, half=half), adversary)
    assert 1 < half.scale < 2.0**30
    assert angle(found, expected) > 0.999
    assert half.good == 1


def test_the_factor_grows_after_many_good_steps():
    half, weight = fp16(2.0**10), torch.nn.Parameter(torch.ones(3))
    for _ in range(1999):
        weight.grad = torch.ones(3)
        assert half.settle([weight])
    assert half.scale == 2.0**10
    weight.grad = torch.full((3,), 2.0**10)
    assert half.settle([weight])
    assert (half.scale, half.good) == (2.0**11, 0)
    assert weight.grad.tolist() == [1.0, 1.0, 1.0]


def test_a_gradient_that_is_no_number_without_a_factor_is_left_to_the_caller():
    half, weight = fp16(4.0), torch.nn.Parameter(torch.ones(1))
    for _ in range(2):
        weight.grad = torch.tensor([float("nan")])
        assert not half.settle([weight])
    weight.grad = torch.tensor([float("nan")])
    assert half.settle([weight])
    assert torch.isnan(weight.grad).all()


def test_parameters_without_gradient_do_not_matter():
    half, frozen = fp16(4.0), torch.nn.Parameter(torch.ones(1), requires_grad=False)
    assert half.settle([frozen])
