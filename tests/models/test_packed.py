"""Packed rows against the stock forward pass, each row alone, for every architecture; tiny random weights."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from models.classifier import TextClassifier
from models.heads import HEADS, ONLY_FOR, PAIR_HEADS, HeadShape
from models.inference import packed, varlen
from models.inference.gate import GateBounds, try_precision
from models.inference.scorer import Scorer

WIDTHS = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
SHAPE = {**WIDTHS, "intermediate_size": 48, "num_labels": 3}
WINDOWED = {**SHAPE, "local_attention": 12, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1}
WINDOWED |= {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 1}
CONFIGS = {
    "bert": BertConfig(max_position_embeddings=64, **SHAPE),
    "roberta": RobertaConfig(max_position_embeddings=66, pad_token_id=1, type_vocab_size=1, **SHAPE),
    "xlm-roberta": XLMRobertaConfig(max_position_embeddings=66, pad_token_id=1, type_vocab_size=1, **SHAPE),
    "electra": ElectraConfig(max_position_embeddings=64, embedding_size=16, **SHAPE),
    "albert": AlbertConfig(max_position_embeddings=64, embedding_size=16, **SHAPE),
    "distilbert": DistilBertConfig(
        vocab_size=90, dim=32, n_layers=3, n_heads=4, hidden_dim=48, max_position_embeddings=64, num_labels=3
    ),
    "modernbert, mean": ModernBertConfig(classifier_pooling="mean", **WINDOWED),
    "modernbert, first token": ModernBertConfig(classifier_pooling="cls", **WINDOWED),
}
ROWS = {
    "many": (2, 64, 7, 7, 7, 31, 2, 64, 1),
    "one": (19,),
    "two tokens": (2,),
    "the longest": (64,),
    "of one length": (5, 5, 5),
}
HEADS_OF_TEXTS = [name for name in HEADS if name not in ("stock", *PAIR_HEADS, *ONLY_FOR)]


def classifier(config, head=None):
    torch.manual_seed(0)
    auto = AutoModelForSequenceClassification if head is None else AutoModel
    body = auto.from_config(config)
    for parameter in body.parameters():  # larger than at initialisation, so that rows differ
        parameter.data *= 3.0
    return TextClassifier(body, head).eval()


def examples(lengths, n_types=None, seed=1):
    """Rows as the shard's flat arrays, packed, and each alone."""
    random = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    n = int(offsets[-1])
    ids = torch.randint(90, (n,), generator=random)
    types = None if n_types is None else torch.randint(n_types, (n,), generator=random)
    rows = packed.pack(ids, offsets, torch.arange(len(lengths)), n, max(lengths), types)
    alone = [
        (ids[a:b].unsqueeze(0), None, None if types is None else types[a:b].unsqueeze(0))
        for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    return rows, alone


def assert_packs(network, lengths, n_types=None):
    rows, alone = examples(lengths, n_types)
    with torch.inference_mode():
        stock = torch.cat([network(*row) for row in alone])
        own = packed.packed_logits(network, rows)
    assert stock.std() > 1e-3
    torch.testing.assert_close(own, stock, atol=1e-5, rtol=0)
    assert network.body.config._attn_implementation == "sdpa"  # the stock forward pass is itself again


@pytest.mark.parametrize("lengths", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("architecture", CONFIGS)
def test_packed_logits_are_those_of_the_stock_forward_pass(architecture, lengths):
    assert_packs(classifier(CONFIGS[architecture]), lengths)


@pytest.mark.parametrize("architecture", ["bert", "electra", "albert"])
def test_token_types_of_pairs_are_packed_too(architecture):
    assert_packs(classifier(CONFIGS[architecture]), ROWS["many"], n_types=2)


@pytest.mark.parametrize("name", HEADS_OF_TEXTS)
def test_every_head_gives_what_it_gives_row_by_row(name):
    head = HEADS[name](HeadShape(hidden=32, layers=3, classes=3))
    assert_packs(classifier(CONFIGS["roberta"], head), ROWS["many"])
    assert_packs(classifier(CONFIGS["bert"], head), ROWS["many"], n_types=2)


def test_a_padding_token_inside_a_text_is_counted_as_roberta_counts_it():
    network = classifier(CONFIGS["roberta"])
    rows, alone = examples((9, 4))
    for ids in (rows.ids, alone[0][0]):
        ids[0, 3] = 1
    with torch.inference_mode():
        stock = torch.cat([network(*row) for row in alone])
        torch.testing.assert_close(packed.packed_logits(network, rows), stock, atol=1e-5, rtol=0)


def test_rows_are_taken_from_a_shard_in_any_order():
    offsets = torch.tensor([0, 3, 4, 9])
    rows = packed.pack(torch.arange(9), offsets, torch.tensor([2, 0]), 8, 5, None)
    assert rows.ids.tolist() == [[4, 5, 6, 7, 8, 0, 1, 2]]
    assert rows.starts.tolist() == [0, 5, 8]
    assert rows.columns.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    assert rows.side_by_side(rows.ids)[1, :3].tolist() == [0, 1, 2]
    assert rows.mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_check_accepts_what_can_be_packed(architecture):
    assert packed.refusal(classifier(CONFIGS[architecture]), 64) is None


def test_the_check_refuses_a_kernel_that_lets_rows_see_each_other(monkeypatch):
    def leaky(q, k, v, starts, longest, scale, reach):
        parts = (part.transpose(0, 1).unsqueeze(0) for part in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*parts, scale=scale)[0].transpose(0, 1)

    monkeypatch.setitem(varlen.KERNELS, "cpu", leaky)
    for dtype in (torch.float32, torch.bfloat16):
        reason = packed.refusal(classifier(CONFIGS["bert"]).to(dtype), 64)
        assert "off those of its stock forward pass" in reason


def test_the_check_refuses_nan_and_kernels_that_fail(monkeypatch):
    monkeypatch.setitem(varlen.KERNELS, "cpu", lambda q, *_: torch.full_like(q, torch.nan))
    assert "nan off" in packed.refusal(classifier(CONFIGS["bert"]), 64)

    def fails(*_):
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nmore")

    monkeypatch.setitem(varlen.KERNELS, "cpu", fails)
    assert packed.refusal(classifier(CONFIGS["bert"]), 64) == (
        "bert fails: FlashAttention only supports Ampere GPUs or newer."
    )


@pytest.mark.parametrize(
    "config",
    [
        DebertaV2Config(max_position_embeddings=64, type_vocab_size=0, relative_attention=True, **SHAPE),
        MPNetConfig(max_position_embeddings=66, pad_token_id=1, **SHAPE),
    ],
    ids=["deberta-v2", "mpnet"],
)
def test_architectures_with_attention_of_their_own_are_refused(config):
    assert config.model_type in packed.refusal(classifier(config), 64)
    bare = classifier(config, HEADS["mean"](HeadShape(hidden=32, layers=3, classes=3)))
    assert packed.refusal(bare, 64) is not None


def test_the_bf16_check_accepts_faithful_networks():
    for config in CONFIGS.values():
        assert packed.refusal(classifier(config).bfloat16(), 64) is None


def test_the_cuda_kernel_is_called_as_torch_wants_it_and_nothing_beside_it():
    """Its own stand-in for tensors without data: shapes and arguments are checked, nothing is computed."""
    called = []

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(func)
            return func(*args, **(kwargs or {}))

    flat = torch.empty(10, 4, 8, device="meta", dtype=torch.bfloat16)
    starts = torch.empty(4, device="meta", dtype=torch.int32)
    for reach in (-1, 6):
        with Noted(), torch.inference_mode():
            assert varlen.KERNELS["cuda"](flat, flat, flat, starts, 7, 0.35, reach).shape == (10, 4, 8)
    assert called == [torch.ops.aten._flash_attention_forward.default] * 2


TEXTS = ["w1 w2 w3", "w9", "", "w4 w5 w6 w7 w8 w9 w10", "w1 w2 w3", "w3 w2 w1", "w11 " * 60, None, "w7 w8"]


@pytest.fixture(scope="module")
def models(tmp_path_factory, save_model):
    root = tmp_path_factory.mktemp("models")
    return [save_model(root / "a0", 0), save_model(root / "a1", 1), save_model(root / "r", 2, architecture="roberta")]


def test_a_scorer_that_packs_gives_the_same_scores_without_padding(models, monkeypatch):
    monkeypatch.setattr(packed, "wants_packing", lambda device, dtype: False)
    expected = Scorer(models, device="cpu", precision="fp32").score(TEXTS)
    monkeypatch.setattr(packed, "wants_packing", lambda device, dtype: True)
    for budget in (1, 20, 60, 100_000):
        scorer = Scorer(models, device="cpu", precision="fp32", token_budget=budget)
        assert all(group.packed for group in scorer.groups)
        assert scorer.notes == []
        scored = scorer.infer(scorer.prepare(TEXTS))
        assert scored.stats.padding == 0
        for run, probs in expected.per_model.items():
            np.testing.assert_allclose(scored.probs[run], probs, atol=1e-5)


def test_a_network_that_fails_the_check_is_padded_and_named(models, monkeypatch):
    monkeypatch.setattr(packed, "wants_packing", lambda device, dtype: False)
    expected = Scorer(models, device="cpu", precision="fp32").score(TEXTS)
    monkeypatch.setattr(packed, "wants_packing", lambda device, dtype: True)
    monkeypatch.setitem(varlen.KERNELS, "cpu", lambda q, *_: q)
    scorer = Scorer(models, device="cpu", precision="fp32")
    assert not any(group.packed for group in scorer.groups)
    assert len(scorer.notes) == len(scorer.groups)
    assert "padded, not packed: logits of bert were" in scorer.notes[0]
    for run, probs in scorer.score(TEXTS).per_model.items():
        np.testing.assert_array_equal(probs, expected[run])


def test_packing_begins_with_the_format_that_it_is_for(models, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    monkeypatch.setattr(packed, "wants_packing", lambda device, dtype: dtype == torch.bfloat16)
    scorer = Scorer(models[0], device="cpu", precision="fp32")
    assert not scorer.groups[0].packed
    assert try_precision(scorer, "bf16", TEXTS, GateBounds(1.0, 1.0)).passed
    assert scorer.groups[0].packed
    scorer.set_precision("fp32")
    assert not scorer.groups[0].packed


def test_networks_that_differ_by_weights_alone_are_checked_once(tmp_path, save_model, monkeypatch):
    folds = [save_model(tmp_path / f"fold{i}", i) for i in range(3)]
    other = save_model(tmp_path / "other", 3, hidden_act="relu")
    checked, real = [], packed.refusal
    monkeypatch.setattr(packed, "refusal", lambda network, n: checked.append(network.body.config) or real(network, n))
    scorer = Scorer({"run": folds, "other": other}, precision="fp32", device="cpu")
    assert [config.hidden_act for config in checked] == ["gelu", "relu"]
    assert scorer.groups[0].packed
    alone = Scorer(folds[0], precision="fp32", device="cpu")
    assert scorer.flop_per_token == 4 * alone.flop_per_token
