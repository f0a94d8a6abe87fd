"""Models that nothing was made for: architectures of other kinds, tokenizers in Python alone, devices that break."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from models.errors import ModelError
from models.inference import forward
from models.inference.device import DeviceFailed
from models.inference.scorer import Scorer
from models.inference.tokens import TextTokenizer
from tests.conftest import CLASSES

TEXTS = ["w1 w2 w3", "w9", "", "w4 w5 w6 w7 w8 w9 w10", "w3 w2 w1", "w11 " * 60]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "pad_token_id": 0}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory, save_model):
    """A tiny classifier of any architecture, with the BERT tokenizer of the other tests."""

    def save(kind, **settings):
        folder = tmp_path_factory.mktemp("odd") / kind
        save_model(folder, 0)
        labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
        config = AutoConfig.for_model(kind, vocab_size=205, **labels, **settings)
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            parameter.data *= 2.0
        model.save_pretrained(folder)
        return folder

    return save


def stock(folder, texts):
    """(N, C) probabilities by the plain forward pass, one text a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        ids = [tokenizer(text, truncation=True, max_length=40, return_tensors="pt")["input_ids"] for text in texts]
        return np.stack([model(row).logits.softmax(-1).numpy()[0] for row in ids])


RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_position_embeddings": 64}
EVERYDAY = {
    "bert": SMALL,
    "roberta": {**SMALL, "pad_token_id": 0, "max_position_embeddings": 64},
    "xlm-roberta": {**SMALL, "pad_token_id": 0, "max_position_embeddings": 64},
    "electra": SMALL,
    "albert": {**SMALL, "embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "modernbert": {**SMALL, "pad_token_id": 0, "local_attention": 8},
    "mpnet": {**SMALL, "pad_token_id": 0, "max_position_embeddings": 64},
    "deberta": {**SMALL, **RELATIVE},
    "deberta-v2": {
        **SMALL, **RELATIVE, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True,
        "type_vocab_size": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", EVERYDAY)
def test_architectures_that_people_use_give_the_stock_scores(folder_of, kind):
    folder = folder_of(kind, **EVERYDAY[kind])
    scorer = Scorer(folder, device="cpu", precision="fp32", backend="torch")
    assert scorer.flop_per_token > 1000
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, stock(folder, TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("roformer", {**SMALL, "max_position_embeddings": 64}),
        ("convbert", {**SMALL, "max_position_embeddings": 64, "embedding_size": 32}),
        ("squeezebert", {**SMALL, "max_position_embeddings": 64, "embedding_size": 32}),
        ("xlnet", XLNET),
        ("fnet", {**SMALL, "max_position_embeddings": 64}),
    ],
)
@pytest.mark.parametrize("budget", [60, 100_000])
def test_an_architecture_of_another_kind_scores_like_its_stock_forward_pass(folder_of, kind, settings, budget):
    folder = folder_of(kind, **settings)
    scorer = Scorer(folder, precision="fp32", device="cpu", token_budget=budget)
    scores = scorer.score(TEXTS)
    np.testing.assert_allclose(scores.probabilities, stock(folder, TEXTS), atol=1e-5)
    assert scorer.groups[0].pads == (kind in ("roformer", "squeezebert"))
    assert scorer.groups[0].pads or scores.stats.padding == 0


@pytest.fixture
def slow_folder(tmp_path, save_model):
    """A classifier whose tokenizer (CTRL's) exists in Python alone."""
    folder = tmp_path / "slow"
    save_model(folder, 0)
    for path in (*folder.glob("tokenizer*"), folder / "vocab.txt"):
        path.unlink()
    pieces = ["<unk>", "w@@", *map(str, range(10)), *(f"{digit}@@" for digit in range(10))]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    about = {"tokenizer_class": "CTRLTokenizer", "model_max_length": 40}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def test_a_tokenizer_in_python_alone_works_and_it_is_said(slow_folder):
    assert not AutoTokenizer.from_pretrained(slow_folder).is_fast
    scorer = Scorer(slow_folder, precision="fp32", device="cpu")
    assert scorer.notes == ["run 'slow' has no fast tokenizer: its texts are tokenised in Python, many times slower"]
    texts = [text for text in TEXTS if text]
    scores = scorer.score(texts)
    assert repr(scores).splitlines()[-1] == f"note: {scorer.notes[0]}"
    np.testing.assert_allclose(scores.probabilities, stock(slow_folder, texts), atol=1e-5)
    assert scores.stats.truncated == 1
    assert np.isfinite(scorer.score([""]).probabilities).all()  # a text without a token


def test_truncation_without_a_fast_tokenizer_is_counted(slow_folder):
    tokenizer = AutoTokenizer.from_pretrained(slow_folder)
    tokens = TextTokenizer(tokenizer, 6)(["w1 w2", "w1 w2 w3 w4", ""])
    assert tokens.lengths.tolist() == [4, 6, 1]
    assert (tokens.n_truncated, tokens.n_lost) == (1, 2)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: the GPU has fallen off the bus"),
    ],
)
def test_a_device_that_breaks_down_is_an_error_with_advice(tmp_path, save_model, monkeypatch, error):
    scorer = Scorer(save_model(tmp_path / "m", 0), precision="fp32", device="cpu")

    def gather(*_):
        raise error

    monkeypatch.setattr(forward, "_gather", gather)
    with pytest.raises(DeviceFailed, match="the device cpu failed") as caught:
        scorer.score(["w1"])
    assert caught.value.details["found"] == str(error).splitlines()[0]
    assert "--device cpu" in caught.value.details["next"]


def test_an_error_of_the_program_passes_as_it_is(tmp_path, save_model, monkeypatch):
    scorer = Scorer(save_model(tmp_path / "m", 0), precision="fp32", device="cpu")

    def gather(*_):
        raise RuntimeError("The size of tensor a (3) must match")

    monkeypatch.setattr(forward, "_gather", gather)
    with pytest.raises(RuntimeError, match="size of tensor a"):
        scorer.score(["w1"])


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_no_memory_by_another_name_is_no_broken_device(tmp_path, save_model, monkeypatch, words):
    scorer = Scorer(save_model(tmp_path / "m", 0), precision="fp32", device="cpu", token_budget=64)
    real, failed = forward._gather, []

    def gather(*arguments):
        if not failed:
            failed.append(1)
            raise torch.AcceleratorError(words)
        return real(*arguments)

    monkeypatch.setattr(forward, "_gather", gather)
    assert scorer.score(TEXTS).probabilities.shape == (6, 3)
    assert (scorer.budget.tokens, scorer.budget.halvings) == (32, 1)


def test_bf16_is_refused_by_a_device_without_it(monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: False)
    cpu = torch.device("cpu")
    with pytest.raises(ModelError):
        Scorer.set_precision(type("S", (), {"device": cpu, "precision": "fp32"})(), "bf16")
