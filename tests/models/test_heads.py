"""Heads: padding never matters, pooling is what it says."""

import pytest
import torch

from models.heads import HEADS, HeadShape

SHAPE = HeadShape(hidden=8, layers=3, classes=4)
OWN = [name for name in HEADS if name != "stock"]


def make(name, **options):
    torch.manual_seed(0)
    return HEADS[name](SHAPE, **options).eval()


def hidden_states(batch=3, length=5):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(batch, length, SHAPE.hidden, generator=generator) for _ in range(SHAPE.layers + 1))


@pytest.mark.parametrize("name", OWN)
def test_no_mask_equals_a_mask_of_ones(name):
    head, hidden = make(name), hidden_states()
    torch.testing.assert_close(head(hidden, None), head(hidden, torch.ones(3, 5, dtype=torch.int64)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_what_stands_under_the_mask_changes_nothing(name, dtype):
    head, hidden = make(name), hidden_states()
    mask = torch.zeros(3, 9, dtype=dtype)
    mask[:, :5] = 1
    padded = tuple(torch.cat([layer, torch.full((3, 4, SHAPE.hidden), 1e3)], dim=1) for layer in hidden)
    torch.testing.assert_close(head(hidden, None), head(padded, mask), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", OWN)
def test_a_head_without_need_of_all_layers_reads_the_last_alone(name):
    head, hidden = make(name), hidden_states()
    if not head.all_layers:
        torch.testing.assert_close(head(hidden, None), head(hidden[-1:], None))
    assert head(hidden, None).shape == (3, SHAPE.classes)


@pytest.mark.parametrize("name", OWN)
def test_a_head_works_in_bf16_and_trains_all_its_weights(name):
    head = make(name, dropout=0.0)
    head(hidden_states(), None).sum().backward()
    assert all(weight.grad is not None for weight in head.parameters())
    assert head.to(torch.bfloat16)(tuple(h.bfloat16() for h in hidden_states()), None).dtype == torch.bfloat16


def test_pools_are_the_plain_formulas():
    hidden, last = hidden_states(), hidden_states()[-1]

    def pooled(name, **options):
        return make(name, **options).pool(hidden, None)

    torch.testing.assert_close(pooled("cls"), last[:, 0])
    torch.testing.assert_close(pooled("mean"), last.mean(1))
    torch.testing.assert_close(pooled("max"), last.max(1).values)
    torch.testing.assert_close(pooled("mean_max"), torch.cat([last.mean(1), last.max(1).values], 1))
    torch.testing.assert_close(pooled("cls_last_layers", layers=2), torch.cat([hidden[-2][:, 0], last[:, 0]], 1))
    torch.testing.assert_close(pooled("weighted_layers"), torch.stack(hidden).mean(0).mean(1))


def test_more_layers_than_there_are_means_all_of_them():
    assert make("cls_last_layers", layers=10).classifier.in_features == SHAPE.layers * SHAPE.hidden


def test_stock_makes_no_module():
    assert HEADS["stock"](SHAPE) is None
