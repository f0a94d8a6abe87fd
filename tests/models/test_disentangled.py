"""DeBERTa's attention, computed in a faster way, against the stock forward pass; tiny random weights."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import DebertaV2Config, DebertaV2Model

from models.disentangled import _STEP, lighten
from models.heads import HEADS, HeadShape
from models.inference import disentangled, packed
from models.inference.scorer import Scorer
from models.recipe import EncoderOptions
from models.training.fold import make_tokenizer, train_fold
from tests.conftest import CLASSES, VOCABULARY
from tests.models.test_packed import SHAPE, classifier, examples

V3 = {
    **SHAPE, "relative_attention": True, "position_buckets": 16, "max_position_embeddings": 64, "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
CONFIGS = {
    "v3": V3,
    "a few buckets": {**V3, "position_buckets": 4},
    "buckets for all": {**V3, "position_buckets": 256},
    "no buckets": {**V3, "position_buckets": -1},
    "distances cut off": {**V3, "position_buckets": -1, "max_relative_positions": 10},
    "projections of their own": {**V3, "share_att_key": False},
    "keys of positions alone": {**V3, "pos_att_type": ["c2p"]},
    "queries of positions alone, their projection": {**V3, "pos_att_type": ["p2c"], "share_att_key": False},
    "no positions": {**V3, "relative_attention": False, "pos_att_type": []},
    "positions and types in the input": {**V3, "position_biased_input": True, "type_vocab_size": 2},
    "a convolution": {**V3, "conv_kernel_size": 3},
    "embeddings as they are": {**V3, "norm_rel_ebd": "none"},
}
LENGTHS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 64)  # tables reach to 4, 10, 16 and 64 tokens


def deberta(name, head=None):
    return classifier(DebertaV2Config(**CONFIGS[name]), head)


def n_places(name):
    """Distances to one side that are told apart; without positions it does not matter."""
    settings = CONFIGS[name]
    if not settings["relative_attention"]:
        return 64
    buckets = settings["position_buckets"]
    return buckets if buckets > 0 else settings.get("max_relative_positions", 64)


def padded(*lengths):
    ids = torch.randint(90, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(2))
    return ids, (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


@pytest.mark.parametrize("step", [1, 8])
@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_logits_are_those_of_the_stock_forward_pass(name, step, monkeypatch):
    monkeypatch.setitem(_STEP, "cpu", step)  # as on a GPU
    network = deberta(name)
    random = torch.Generator().manual_seed(1)
    batches = [(torch.randint(90, (1 + n % 4, n), generator=random), None) for n in LENGTHS]
    batches += [padded(50, 3, 9, 20), padded(14, 1, 2)]
    stock = [network(*batch) for batch in batches]
    assert torch.cat(stock).std() > 1e-2
    for one_way in (False, True):
        disentangled.disentangle(network, 64, one_way=one_way)
        assert disentangled.is_disentangled(network) == (not one_way or 2 * n_places(name) >= 64)
        for batch, expected in zip(batches, stock, strict=True):
            torch.testing.assert_close(network(*batch), expected, atol=1e-5, rtol=1e-5)
        disentangled.restore(network)


@pytest.mark.parametrize("name", ["v3", "no buckets", "projections of their own", "positions and types in the input"])
@torch.inference_mode()
def test_packed_rows_too(name):
    network = deberta(name)
    disentangled.disentangle(network, 64)
    assert packed.refusal(network, 64) is None
    rows, alone = examples((2, 64, 7, 7, 7, 31, 2, 64, 1))
    expected = torch.cat([network(*row) for row in alone])
    torch.testing.assert_close(packed.packed_logits(network, rows), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["mean", "weighted_layers"])
@torch.inference_mode()
def test_heads_get_the_layers_that_they_ask_for(name):
    network = deberta("a convolution", HEADS[name](HeadShape(hidden=32, layers=3, classes=3)))
    batch = padded(40, 6, 17)
    stock = network(*batch)
    disentangled.disentangle(network, 64)
    torch.testing.assert_close(network(*batch), stock, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_stock_forward_pass_comes_back():
    network = deberta("v3")
    before = set(network.state_dict()), set(dict(network.named_buffers())), network(*padded(40, 6, 17))
    disentangled.disentangle(network, 64)
    assert set(network.state_dict()) == before[0]
    disentangled.restore(network)
    assert (set(network.state_dict()), set(dict(network.named_buffers()))) == before[:2]
    assert torch.equal(network(*padded(40, 6, 17)), before[2])
    assert not any({"reach", "longest"} & set(vars(module)) for module in network.modules())


def test_other_encoders_are_left_alone(save_model, tmp_path):
    scorer = Scorer(save_model(tmp_path / "bert", 0), device="cpu", precision="fp32")
    assert not disentangled.is_disentangled(scorer.groups[0].networks[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_check_accepts_what_is_right(name, dtype):
    network = deberta(name)
    disentangled.disentangle(network, 64)
    assert disentangled.refusal(network.to(dtype)) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("table", ["near_pos_key", "near_pos_query", "far_pos_key", "far_pos_query"])
def test_the_check_refuses_distances_that_are_off_by_one(table, dtype):
    network = deberta("v3")
    disentangled.disentangle(network.to(dtype), 64)
    for module in network.modules():
        if isinstance(module, disentangled.Attention):
            setattr(module, table, getattr(module, table).roll(1, -1))
    assert "off that of its stock forward pass" in disentangled.refusal(network)


def test_the_check_refuses_nan():
    network = deberta("v3")
    disentangled.disentangle(network, 64)
    next(module for name, module in network.named_modules() if name.endswith("self")).near_pos_key.fill_(torch.nan)
    assert "nan off" in disentangled.refusal(network)


def test_a_row_is_multiplied_by_the_distances_that_it_has():
    """Stock multiplies by all, and projects them anew: 32 of them here, and 31 tokens have 61 distances."""

    def flop(network, length):
        counter = FlopCounterMode(display=False)
        with torch.inference_mode(), counter:
            network(torch.ones(1, length, dtype=torch.long))
        return counter.get_total_flops()

    network = deberta("buckets for all").requires_grad_(False)
    stock = [flop(network, length) for length in (4, 31)]
    disentangled.disentangle(network, 64)
    ours = [flop(network, length) for length in (4, 31)]
    assert (stock[0] / ours[0], stock[1] / ours[1]) > (20, 4)


@pytest.fixture
def folder(tmp_path, save_model):
    """A checkpoint with a tokenizer of words."""
    folder = Path(save_model(tmp_path / "deberta", 0))
    labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
    shape = {**V3, "vocab_size": len(VOCABULARY), "pad_token_id": VOCABULARY.index("[PAD]")}
    del shape["num_labels"]
    classifier(DebertaV2Config(**shape, **labels)).body.save_pretrained(folder)
    return str(folder)


TEXTS = [" ".join(f"w{(i + j) % 12}" for j in range(n)) for i, n in enumerate((1, 3, 3, 7, 20, 38) * 10)]


def test_a_scorer_attends_so_and_a_check_that_fails_brings_the_stock_attention_back(folder, monkeypatch):
    scorer = Scorer(folder, device="cpu", precision="fp32", token_budget=200)
    (group,) = scorer.groups
    assert group.packed
    assert scorer.notes == []
    scored = scorer.score(TEXTS).probabilities
    monkeypatch.setattr(disentangled, "refusal", lambda network: "its attention was 1.0e+00 off")
    other = Scorer(folder, device="cpu", precision="fp32", token_budget=200)
    (network,) = other.groups[0].networks
    assert type(network.encoder) is DebertaV2Model
    assert not other.groups[0].packed
    assert other.notes[0] == f"{folder}: the stock forward pass computes it: its attention was 1.0e+00 off"
    np.testing.assert_allclose(other.score(TEXTS).probabilities, scored, atol=1e-5)


def test_it_does_in_any_format_and_after_any_other(folder, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    scorer = Scorer(folder, device="cpu", precision="fp32")
    exact = scorer.score(TEXTS).probabilities
    scorer.set_precision("bf16")
    (network,) = scorer.groups[0].networks
    assert disentangled.is_disentangled(network)
    assert {part.dtype for part in (*network.parameters(), *network.buffers())} > {torch.bfloat16}
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, exact, atol=2e-2)
    scorer.set_precision("fp32")
    np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, exact)


@pytest.mark.parametrize("shape", [(3, 12), (2, 40)], ids=["within reach", "beyond"])
@pytest.mark.parametrize("name", CONFIGS)
def test_training_has_the_losses_and_gradients_of_the_stock_attention(name, shape):
    """Dropout included, which draws the same numbers."""
    config = DebertaV2Config(**CONFIGS[name], hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    ids = torch.randint(90, shape, generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(shape[1]) < torch.tensor([[shape[1]], *[[7]] * (shape[0] - 1)])).long()
    found = []
    for light in (False, True):
        network = classifier(config).train()
        if light:
            lighten(network)
        torch.manual_seed(4)
        loss = torch.nn.functional.cross_entropy(network(ids, mask), torch.arange(shape[0]))
        loss.backward()
        found.append((loss.detach(), {n: p.grad for n, p in network.named_parameters() if p.grad is not None}))
    (stock_loss, stock), (loss, ours) = found
    torch.testing.assert_close(loss, stock_loss, atol=1e-6, rtol=1e-5)
    assert set(ours) == set(stock)
    for parameter, gradient in stock.items():
        torch.testing.assert_close(ours[parameter], gradient, atol=1e-5, rtol=1e-4)
    relative = [n for n in stock if "rel_embeddings" in n]
    assert all(stock[n].abs().max() > 1e-6 for n in relative)


def test_a_fold_is_trained_so_and_saved_as_any_deberta(folder, tmp_path, tiny_recipe, monkeypatch):
    """With the weights of one that was trained with the stock attention, up to rounding."""
    training = dataclasses.replace(tiny_recipe.training, epochs=1)
    recipe = dataclasses.replace(tiny_recipe, encoder=EncoderOptions(path=folder), training=training)
    labels = np.arange(len(TEXTS)) % 3
    tokenizer = make_tokenizer(recipe, TEXTS)
    weights, probabilities = [], []
    for i, replaced in enumerate((lighten, lambda network: None)):
        monkeypatch.setattr("models.training.fold.lighten", replaced)
        run = tmp_path / str(i)
        probabilities.append(
            train_fold(recipe, CLASSES, TEXTS, labels, TEXTS, labels, tokenizer, folder=run).valid_probs
        )
        weights.append(load_file(run / "model.safetensors"))
    assert set(weights[0]) == set(weights[1])
    for name, stock in weights[1].items():
        torch.testing.assert_close(weights[0][name], stock, atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(probabilities[0], probabilities[1], atol=1e-4)
    scored = Scorer(tmp_path / "0", precision="fp32", device="cpu").score(TEXTS).probabilities
    np.testing.assert_allclose(scored, probabilities[0], atol=1e-5)
