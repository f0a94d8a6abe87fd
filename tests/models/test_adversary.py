"""Adversaries: they move weights as the formulas say, add a gradient, and put every weight back bit for bit."""

import dataclasses

import pytest
import torch

from models.build import build_classifier
from models.recipe import HeadOptions
from models.training.adversary import ADVERSARIES, awp, fgm, pgd, restored

REAL = ["fgm", "pgd", "awp"]


@pytest.fixture
def network(tiny_recipe, tiny_tokenizer):
    torch.manual_seed(0)
    recipe = dataclasses.replace(tiny_recipe, head=HeadOptions("mean"))
    return build_classifier(recipe, ("a", "b"), tiny_tokenizer, "single_label").eval()


def rows():
    return torch.randint(5, 40, (4, 6), generator=torch.Generator().manual_seed(1))


class Recorder:
    """A backward pass that notes the weights and gradients that it met."""

    def __init__(self, network):
        self.network = network
        self.embeddings = []
        self.gradients = []

    def __call__(self):
        before = self.gradient()
        self.embeddings.append(self.weight().detach().clone())
        self.network(rows()).log_softmax(-1)[:, 0].mean().neg().backward()
        self.gradients.append(self.gradient() - before)

    def weight(self):
        return self.network.body.get_input_embeddings().weight

    def gradient(self):
        return torch.zeros_like(self.weight()) if self.weight().grad is None else self.weight().grad.clone()


@pytest.mark.parametrize("name", REAL)
def test_weights_are_restored_bit_for_bit(network, name):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    backward = Recorder(network)
    backward()
    clean = {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}
    ADVERSARIES[name](network, backward)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert any(not torch.equal(network.get_parameter(key).grad, grad) for key, grad in clean.items())


@pytest.mark.parametrize("name", REAL)
def test_weights_are_restored_when_the_pass_fails(network, name):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    Recorder(network)()

    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        ADVERSARIES[name](network, fail)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_fgm_moves_the_word_embeddings_by_epsilon_along_the_gradient_and_adds_that_gradient(network):
    backward = Recorder(network)
    backward()
    clean = backward.gradient()
    fgm(network, backward, epsilon=0.7)
    origin, moved = backward.embeddings
    torch.testing.assert_close(moved - origin, 0.7 * clean / clean.norm(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(backward.gradient(), clean + backward.gradients[1])


@pytest.mark.parametrize("adversary", [fgm, pgd])
def test_relative_lengths_are_shares_of_the_mean_norm_of_a_token(network, adversary):
    with torch.no_grad():
        Recorder(network).weight().mul_(7.0)
    norm = float(Recorder(network).weight().detach().norm(dim=1).mean())
    options = {"step": 0.1, "steps": 4} if adversary is pgd else {}
    absolute, relative = Recorder(network), Recorder(network)
    for backward, changes in (
        (absolute, {"epsilon": 0.3 * norm} | {k: v * norm if k == "step" else v for k, v in options.items()}),
        (relative, {"epsilon": 0.3, "relative": True, **options}),
    ):
        network.zero_grad()
        backward()
        adversary(network, backward, **changes)
    assert float((relative.embeddings[-1] - relative.embeddings[0]).norm()) == pytest.approx(0.3 * norm, rel=1e-4)
    for expected, moved in zip(absolute.embeddings, relative.embeddings, strict=True):
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)


def test_pgd_never_leaves_the_ball_and_adds_the_last_gradient_alone(network):
    backward = Recorder(network)
    backward()
    clean = backward.gradient()
    pgd(network, backward, epsilon=0.5, step=0.3, steps=3)
    origin, *moved = backward.embeddings
    distances = [float((point - origin).norm()) for point in moved]
    assert distances[0] == pytest.approx(0.3, rel=1e-4)
    assert max(distances) <= 0.5 * (1 + 1e-5)
    assert len(moved) == 3
    torch.testing.assert_close(backward.gradient(), clean + backward.gradients[-1])


def test_awp_moves_matrices_relative_to_their_norm_and_no_weight_further_than_epsilon(network):
    seen = {}
    Recorder(network)()
    before = {key: p.detach().clone() for key, p in network.named_parameters()}

    def backward():
        seen.update({key: p.detach().clone() for key, p in network.named_parameters()})

    awp(network, backward, rate=1e-2, epsilon=1e9)
    for key, parameter in network.named_parameters():
        offset = seen[key] - before[key]
        if parameter.ndim == 1 or parameter.grad is None:
            assert not offset.any()
        else:
            expected = 1e-2 * before[key].norm() * parameter.grad / parameter.grad.norm()
            torch.testing.assert_close(offset, expected, rtol=1e-2, atol=1e-6)
    awp(network, backward, rate=1e3, epsilon=1e-2)
    for key in before:
        assert ((seen[key] - before[key]).abs() <= 1e-2 * before[key].abs() * 1.001 + 1e-9).all()


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("value", [None, 0.0, float("nan"), float("inf")])
def test_no_gradient_or_one_without_direction_means_no_adversary(network, name, value):
    for parameter in network.parameters():
        parameter.grad = None if value is None else torch.full_like(parameter, value)
    ADVERSARIES[name](network, lambda: pytest.fail("there is no direction to go in"))


def test_what_is_restored_is_exact_even_after_a_sum_that_rounds():
    weight = torch.nn.Parameter(torch.tensor([0.1, 1e-8, 1e8]))
    before = weight.detach().clone()
    with restored([weight]), torch.no_grad():
        weight.add_(0.3).sub_(0.3)
        assert not torch.equal(weight, before)
    assert torch.equal(weight, before)
