"""One step: micro-batches add up to the batch, memory and numbers that run out, R-Drop, the moving average."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import BertConfig

from models.build import build_classifier
from models.classifier import TextClassifier
from models.errors import ModelError
from models.losses import make_loss, symmetric_kl
from models.recipe import HeadOptions, LossOptions, ScratchOptions
from models.scratch import train_tokenizer
from models.tagging import align_words, tag_loss
from models.training.ema import Ema
from models.training.half import HalfPrecision
from models.training.step import GradientSource, MicroBatch, NoNumber, put_gradient

CLASSES = ("red", "green", "blue")
TAGS = ("B-X", "I-X", "O")
BATCH = np.arange(11)


@pytest.fixture
def source(gradient_source):
    return gradient_source


@pytest.mark.parametrize(
    ("device", "flags", "layers", "hidden", "expected"),
    [
        ("cpu", "fpu avx2 avx512_bf16", 6, 384, True),  # AMD's, which has no tiles
        ("cpu", "fpu amx_bf16 amx_tile", 6, 256, True),
        ("cpu", "fpu avx2 avx512f", 6, 384, False),
        ("cpu", "fpu amx_bf16", 2, 128, False),  # too narrow to pay
        ("cpu", "fpu amx_bf16", 0, 384, False),  # embeddings alone
    ],
)
def test_auto_precision_is_bf16_where_hardware_has_it_and_it_pays(
    tmp_path, monkeypatch, device, flags, layers, hidden, expected
):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr("models.inference.device._CPU_INFO", tmp_path / "cpuinfo")
    config = BertConfig(num_hidden_layers=layers, hidden_size=hidden)
    found = HalfPrecision.of("auto", torch.device(device), config)
    assert found == HalfPrecision(torch.bfloat16 if expected else None)
    assert HalfPrecision.of("fp32", torch.device(device), config) == HalfPrecision()


def gradients(network):
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("size", [1, 3, 4, 11])
def test_micro_batches_add_up_to_the_gradient_of_the_batch(source, size):
    whole = put_gradient(source, BATCH, None)
    expected = gradients(source.network)
    parts = put_gradient(dataclasses.replace(source, micro=MicroBatch(size)), BATCH, None)
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, gradient in gradients(source.network).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


TAGGED = ("a bb c bb a", "c", "\u200b", "bb a", "\u200b")  # nothing is left of a zero-width space


def tag_source(tiny_recipe, head, r_drop=0.0):
    """Rows of words, one long, some of which the network sees nothing."""
    tokenizer = train_tokenizer(["a bb c"] * 3, ScratchOptions(vocab_size=20, min_frequency=1), max_length=16)
    recipe = dataclasses.replace(
        tiny_recipe, head=HeadOptions(head, {"dropout": 0.0}),
        training=dataclasses.replace(tiny_recipe.training, dropout=0.0),
    )  # fmt: skip
    torch.manual_seed(0)
    network = build_classifier(recipe, TAGS, tokenizer, "token").train()
    words = align_words(tokenizer, TAGGED, 16)
    tags = np.full((len(TAGGED), 5), -100)
    for row, text in enumerate(TAGGED):
        found = [0 if word == "bb" else 2 for word in text.split(" ")]
        tags[row, : len(found)] = found
    return GradientSource(
        network=network, rows=words.rows, targets=torch.from_numpy(words.targets(tags)),
        loss=tag_loss(network, make_loss(LossOptions(), "token", None, TAGS)), task="token", classes=TAGS,
        device=torch.device("cpu"), half=HalfPrecision(), r_drop=r_drop, micro=MicroBatch(64),
    )  # fmt: skip


@pytest.mark.parametrize("head", ["tags", "crf"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_micro_batches_of_tags_count_by_their_words(tiny_recipe, head, size):
    source, batch = tag_source(tiny_recipe, head), np.arange(len(TAGGED))
    whole = put_gradient(source, batch, None)
    expected = gradients(source.network)
    parts = put_gradient(dataclasses.replace(source, micro=MicroBatch(size)), batch, None)
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, gradient in gradients(source.network).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


def test_r_drop_passes_over_rows_without_a_word_that_is_seen(tiny_recipe):
    assert put_gradient(tag_source(tiny_recipe, "tags", r_drop=1.0), np.array([2, 4]), None) == 0.0


def test_an_adversary_follows_the_whole_batch_whatever_the_micro_batches(source):
    from models.training.adversary import fgm

    results = []
    for size in (11, 2):
        put_gradient(dataclasses.replace(source, micro=MicroBatch(size)), BATCH, fgm)
        results.append(gradients(source.network))
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, rtol=1e-3, atol=1e-6)


def memory_for(rows, monkeypatch):
    forward, sizes = TextClassifier.forward, []

    def limited(self, input_ids, *rest):
        sizes.append(len(input_ids))
        if len(input_ids) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids, *rest)

    monkeypatch.setattr(TextClassifier, "forward", limited)
    return sizes


def test_memory_that_runs_out_halves_the_micro_batch_and_keeps_the_batch(source, monkeypatch):
    put_gradient(source, BATCH, None)
    expected = gradients(source.network)
    sizes = memory_for(3, monkeypatch)
    put_gradient(source, BATCH, None)
    assert sizes == [11, 6, 3, 3, 3, 2]
    assert (source.micro.size, source.micro.halvings) == (3, 2)
    for name, gradient in gradients(source.network).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


def test_memory_that_runs_out_under_an_adversary_leaves_the_weights_as_they_were(source, monkeypatch):
    calls = 0
    forward = TextClassifier.forward
    before = {name: value.clone() for name, value in source.network.state_dict().items()}

    def once(self, *inputs):
        nonlocal calls
        calls += 1
        if calls == 2:  # the adversary's pass
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, *inputs)

    from models.training.adversary import fgm

    put_gradient(source, BATCH, fgm)
    expected = gradients(source.network)
    monkeypatch.setattr(TextClassifier, "forward", once)
    put_gradient(source, BATCH, fgm)
    assert all(torch.equal(value, before[name]) for name, value in source.network.state_dict().items())
    for name, gradient in gradients(source.network).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)


def test_no_memory_for_a_single_row_is_told(source, monkeypatch):
    memory_for(0, monkeypatch)
    with pytest.raises(ModelError, match="out of memory in training with a single row"):
        put_gradient(source, BATCH, None)


def test_other_errors_pass_through(source, monkeypatch):
    def broken(self, *inputs):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(TextClassifier, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        put_gradient(source, BATCH, None)


def test_the_rows_whose_loss_is_no_number_are_named(source):
    bad = source.rows.ids[4][1]  # a token of rows that begin with that colour
    with torch.no_grad():
        source.network.body.get_input_embeddings().weight[int(bad)] = float("nan")
    with pytest.raises(NoNumber, match="loss is nan") as error:
        put_gradient(source, BATCH, None)
    assert error.value.rows.tolist() == [row for row in BATCH if bad in source.rows.ids[row]]


def test_r_drop_adds_the_divergence_between_two_passes(source):
    noisy = dataclasses.replace(source, r_drop=2.0)
    plain = put_gradient(source, BATCH, None)
    assert put_gradient(noisy, BATCH, None) == pytest.approx(plain, rel=1e-5)  # no dropout, no divergence
    source.network.head.dropout.p = 0.5
    kept = []
    source.network.head.register_forward_hook(lambda _module, _inputs, logits: kept.append(logits.detach()))
    value = put_gradient(noisy, BATCH, None)
    losses = [float(source.loss(logits, source.targets[:11])) for logits in kept]
    assert len(kept) == 2
    assert value == pytest.approx(np.mean(losses) + 2 * float(symmetric_kl(*kept, "single_label")), rel=1e-5)


@pytest.mark.parametrize("head", ["tags", "crf"])
def test_r_drop_of_tags_compares_what_the_head_says_of_each_word(tiny_recipe, head):
    source, batch = tag_source(tiny_recipe, head, r_drop=2.0), np.arange(len(TAGGED))
    source.network.head.dropout.p = 0.5
    if head == "crf":  # neighbours that matter
        torch.nn.init.normal_(source.network.head.crf.transitions, std=2.0)
    kept = []
    source.network.head.register_forward_hook(lambda _module, _inputs, logits: kept.append(logits.detach()))
    value = put_gradient(source, batch, None)
    targets = source.targets[:, : kept[0].shape[1]]
    words = targets != -100
    crf = source.network.head.crf
    p, q = (
        (logits.softmax(-1) if crf is None else crf.marginals(logits, words))[words].double().numpy() for logits in kept
    )
    known = (p > 0) & (q > 0)  # what a CRF forbids has no share
    divergence = np.where(known, (p - q) * np.log(np.where(known, p / np.where(known, q, 1), 1)), 0).sum() / 2 / len(p)
    assert divergence > 1e-4
    losses = [float(source.loss(logits, targets).detach()) for logits in kept]
    assert value == pytest.approx(np.mean(losses) + 2 * divergence, rel=1e-4)


def test_the_moving_average_is_the_formula_and_the_weights_come_back():
    network = torch.nn.Linear(1, 1, bias=False)
    values, average = [3.0, -1.0, 5.0, 2.0], float(network.weight.detach())
    ema = Ema(network, 0.2)
    for step, value in enumerate(values, start=1):
        network.weight.data.fill_(value)
        ema.update()
        decay = min(0.2, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
    with ema.applied():
        assert float(network.weight.detach()) == pytest.approx(average)
    assert float(network.weight.detach()) == 2.0
    ema.put()
    assert float(network.weight.detach()) == pytest.approx(average)


def test_without_a_decay_there_is_no_average():
    network = torch.nn.Linear(1, 1)
    before = network.weight.detach().clone()
    ema = Ema(network, None)
    ema.update()
    ema.put()
    with ema.applied():
        assert torch.equal(network.weight, before)
