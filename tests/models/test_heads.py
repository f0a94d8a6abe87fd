"""Heads: padding never matters, pooling is what it says."""

import dataclasses

import pytest
import torch

from models.errors import ModelError
from models.heads import HEADS, ONLY_FOR, PAIR_HEADS, HeadShape

SHAPE = HeadShape(hidden=8, layers=3, classes=4)
OWN = [name for name in HEADS if name != "stock" and name not in (*PAIR_HEADS, *ONLY_FOR)]


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
    torch.testing.assert_close(pooled("last"), last[:, -1])
    torch.testing.assert_close(pooled("mean"), last.mean(1))
    torch.testing.assert_close(pooled("max"), last.max(1).values)
    torch.testing.assert_close(pooled("mean_max"), torch.cat([last.mean(1), last.max(1).values], 1))
    torch.testing.assert_close(pooled("cls_last_layers", layers=2), torch.cat([hidden[-2][:, 0], last[:, 0]], 1))
    torch.testing.assert_close(pooled("weighted_layers"), torch.stack(hidden).mean(0).mean(1))


def test_attention_of_a_constant_score_is_the_mean_and_a_sharp_one_picks_a_token():
    head, hidden = make("attention"), hidden_states()
    torch.nn.init.zeros_(head.pool.query.weight)
    torch.testing.assert_close(head.pool(hidden, None), hidden[-1].mean(1))
    with torch.no_grad():
        head.pool.dense.weight.zero_()[0, 0] = 1.0  # tanh of a token's first feature …
        head.pool.query.weight[0, 0] = 1e4  # … decides
    best = hidden[-1][:, :, 0].argmax(1)
    torch.testing.assert_close(head.pool(hidden, None), hidden[-1][torch.arange(3), best])


def test_the_pooler_is_a_dense_layer_and_tanh_of_the_first_token():
    head, hidden = make("pooler"), hidden_states()
    expected = torch.tanh(hidden[-1][:, 0] @ head.pool.dense.weight.T + head.pool.dense.bias)
    torch.testing.assert_close(head.pool(hidden, None), expected)
    linear = HEADS["cosine"](dataclasses.replace(SHAPE, classes=2), pool="linear")
    expected = hidden[-1][:, 0] @ linear.pool.dense.weight.T + linear.pool.dense.bias
    torch.testing.assert_close(linear.embed(hidden, None), expected)
    both = make("cls_pooler")
    pooled = both.pool(hidden, None)
    torch.testing.assert_close(pooled[:, :16], torch.cat([hidden[-2][:, 0], hidden[-1][:, 0]], 1))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("pool", ["mean", "max", "mean_max", "attention"])
def test_a_recurrent_head_reads_each_row_to_its_own_end(cell, pool):
    head, hidden = make("rnn", cell=cell, pool=pool, layers=2, width=6), hidden_states()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    together = head(hidden, mask)
    for row, length in enumerate((5, 2, 1)):
        alone = head(tuple(layer[row : row + 1, :length] for layer in hidden), None)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-6)


def test_textcnn_is_the_naive_convolution():
    head, hidden = make("textcnn", windows=[1, 2, 3], filters=4), hidden_states()
    found = []
    for masked, window in zip(head.pool.convolutions, (1, 2, 3), strict=True):
        before, after = (window - 1) // 2, window // 2
        padded = torch.nn.functional.pad(hidden[-1], (0, 0, before, after))
        windows = torch.stack([padded[:, i : i + window] for i in range(5)], 1)  # (B, T, window, D)
        scores = torch.einsum("btwd,fdw->btf", windows, masked.network.weight) + masked.network.bias
        found.append(scores.relu().max(1).values)
    x = torch.cat(found, 1)
    expected = torch.nn.functional.layer_norm(x + head.pool.dense(x), (12,))
    torch.testing.assert_close(head.pool(hidden, None), expected, rtol=1e-4, atol=1e-5)


def test_a_text_shorter_than_the_window_has_features():
    hidden = tuple(layer[:, :1] for layer in hidden_states())
    for name in ("textcnn", "conv", "rnn_conv"):
        assert torch.isfinite(make(name)(hidden, None)).all()


def test_windows_of_no_width_are_refused():
    for windows in ([], [0]):
        with pytest.raises(ModelError, match="windows"):
            make("textcnn", windows=windows)


def test_hire_weighs_layers_by_the_text():
    head, hidden = make("hire"), hidden_states()
    with torch.no_grad():
        head.pool.score.weight.zero_()
        head.pool.score.bias.zero_()
    mixed = torch.stack(hidden[1:]).mean(0)  # scores all equal
    joined = torch.cat([hidden[-1], mixed, hidden[-1] * mixed], -1)
    torch.testing.assert_close(head.pool(hidden, None), head.pool.tokens(joined, None).mean(1), rtol=1e-4, atol=1e-6)


def test_samples_of_dropout_average_to_less_noise():
    hidden = hidden_states()
    shape = dataclasses.replace(SHAPE, dropout_samples=64)
    torch.manual_seed(0)
    many, one = HEADS["mean"](shape, dropout=0.5).train(), HEADS["mean"](SHAPE, dropout=0.5).train()
    one.load_state_dict(many.state_dict())
    spread = [torch.stack([head(hidden, None).detach() for _ in range(50)]).std(0).mean() for head in (many, one)]
    assert float(spread[0]) < float(spread[1]) / 4
    torch.testing.assert_close(many.eval()(hidden, None), one.eval()(hidden, None))


def test_more_layers_than_there_are_means_all_of_them():
    assert make("cls_last_layers", layers=10).classifier.in_features == SHAPE.layers * SHAPE.hidden


def test_stock_makes_no_module():
    assert HEADS["stock"](SHAPE) is None
