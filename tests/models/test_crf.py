"""`models.crf` against enumeration of every path in float64."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.crf import NO_WORD, Crf

C = 3


def make_crf(seed=0, **options):
    torch.manual_seed(seed)
    crf = Crf(C, **options)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def all_paths(crf, emissions, first=None, allowed=None):
    """Every path over (n, C) scores with its float64 score; those that are not allowed are left out."""
    start, end, between = (p.detach().double().numpy() for p in (crf.start, crf.end, crf.transitions))
    found = {}
    for path in itertools.product(range(C), repeat=len(emissions)):
        steps = list(itertools.pairwise(path))
        if first is not None and not first[path[0]]:
            continue
        if allowed is not None and not all(allowed[a, b] for a, b in steps):
            continue
        inside = sum(emissions[t, tag] for t, tag in enumerate(path)) + sum(between[a, b] for a, b in steps)
        found[path] = start[path[0]] + end[path[-1]] + inside
    return found


def log_sum(values):
    values = np.array(list(values))
    return values.max() + np.log(np.exp(values - values.max()).sum())


def shares(paths):
    """(n, C) what each tag has at each word, over all paths."""
    log_z = log_sum(paths.values())
    found = np.zeros((len(next(iter(paths))), C))
    for path, score in paths.items():
        found[np.arange(len(path)), path] += np.exp(score - log_z)
    return found


@st.composite
def batches(draw):
    """Emissions (B, T, C) and words (B, T) with holes anywhere, rows without words among them."""
    b, t = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    words = np.array(draw(st.lists(st.lists(st.booleans(), min_size=t, max_size=t), min_size=b, max_size=b)))
    seed = draw(st.integers(0, 1000))
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (b, t, C))).float(), torch.from_numpy(words)


@settings(max_examples=60, deadline=None)
@given(batches(), st.integers(0, 1000))
def test_loss_and_marginals_are_those_of_enumeration(batch, seed):
    emissions, words = batch
    crf = make_crf()
    draw = np.random.default_rng(seed)
    tags = torch.full(words.shape, NO_WORD)
    tags[words] = torch.from_numpy(draw.integers(0, C, int(words.sum())))
    total = 0.0
    marginals = crf.marginals(emissions, words)
    for row in range(len(words)):
        own = emissions[row][words[row]].double().numpy()
        assert (marginals[row][~words[row]] == 0).all()
        if not len(own):
            continue
        paths = all_paths(crf, own)
        log_z = log_sum(paths.values())
        total += log_z - paths[tuple(tags[row][words[row]].tolist())]
        assert np.allclose(marginals[row][words[row]].numpy(), shares(paths), atol=1e-4)
    assert float(crf.nll(emissions, tags).detach()) == pytest.approx(total / max(1, int(words.sum())), abs=1e-4)


def test_forbidden_neighbours_and_beginnings_have_no_share():
    first = torch.tensor([True, True, False])
    allowed = torch.tensor([[True, True, False], [True, True, True], [True, True, True]])
    crf = make_crf(first=first, allowed=allowed)
    emissions = torch.zeros(20, 6, C)
    emissions[:, :, 2] = 8.0  # everything speaks for the tag that may not begin
    emissions += torch.randn(emissions.shape)
    words = torch.ones(20, 6, dtype=torch.bool)
    marginals = crf.marginals(emissions, words)
    for row in range(len(words)):
        paths = all_paths(crf, emissions[row].double().numpy(), first, allowed)
        assert np.allclose(marginals[row].numpy(), shares(paths), atol=1e-3)
    assert float(marginals[:, 0, 2].max()) < 1e-6


def test_the_gradient_by_emissions_is_the_marginal_less_the_truth():
    crf = make_crf()
    emissions = torch.randn(2, 4, C, requires_grad=True)
    tags = torch.tensor([[NO_WORD, 1, 2, 0], [2, NO_WORD, 0, NO_WORD]])
    crf.nll(emissions, tags).backward()
    words = tags != NO_WORD
    expected = crf.marginals(emissions.detach(), words)
    expected[words, tags[words]] -= 1
    assert torch.allclose(emissions.grad, expected / words.sum(), atol=1e-5)


def test_the_gradient_of_marginals_is_that_of_enumeration():
    crf = make_crf()
    emissions = torch.randn(1, 4, C, requires_grad=True)
    words = torch.tensor([[True, False, True, True]])
    weights = torch.randn(3, C)  # of any function of the marginals
    (crf.marginal_logits(emissions, words)[words].softmax(-1) * weights).sum().backward()
    found, emissions.grad = emissions.grad, None
    paths = torch.tensor(list(itertools.product(range(C), repeat=3)))  # (27, 3)
    inside = emissions[0, [0, 2, 3]][torch.arange(3), paths].sum(1)
    between = crf.transitions[paths[:, :-1], paths[:, 1:]].sum(1)
    share = (crf.start[paths[:, 0]] + inside + between + crf.end[paths[:, -1]]).softmax(0)
    marginals = (torch.nn.functional.one_hot(paths, C) * share[:, None, None]).sum(0)
    (marginals * weights).sum().backward()
    torch.testing.assert_close(found, emissions.grad)


def test_parameters_stay_float32_when_the_network_becomes_bf16():
    crf = make_crf()
    before = crf.transitions.detach().clone()
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), crf).to(torch.bfloat16)
    assert network[0].weight.dtype == torch.bfloat16
    assert crf.transitions.dtype == torch.float32
    assert torch.equal(crf.transitions, before)
    loss = crf.nll(torch.randn(1, 3, C, dtype=torch.bfloat16), torch.tensor([[0, 1, 2]]))
    assert loss.dtype == torch.float32


def test_extreme_scores_give_no_nan():
    crf = make_crf()
    emissions = torch.tensor([[[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]]])
    assert torch.isfinite(crf.nll(emissions, torch.tensor([[1, 0]])))
    assert crf.marginals(emissions, torch.ones(1, 2, dtype=torch.bool)).tolist() == [[[1, 0, 0], [0, 1, 0]]]
    none = crf.nll(emissions, torch.full((1, 2), NO_WORD)).detach()
    assert float(none) == 0.0
