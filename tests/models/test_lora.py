"""Decoders as classifiers and LoRA: padding and pooling, what trains, that merging changes nothing, what is refused."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

from models.build import build_classifier
from models.errors import ModelError
from models.inference.scorer import Scorer
from models.lora import add_lora, merge_lora, require_peft
from models.recipe import (
    AdversaryOptions,
    DataOptions,
    EncoderOptions,
    HeadOptions,
    LoraOptions,
    check_recipe,
)
from models.saved import load_classifier
from models.schema import Place
from models.training.ema import Ema
from models.training.fold import make_tokenizer, train_fold
from models.training.soup import restore, snapshot
from tests.models.conftest import TEXTS

pytest.importorskip("peft", reason="LoRA needs peft: pip install 'kaggle-jobs[lora]'")

CLASSES = ("red", "green", "blue")
LORA = LoraOptions(rank=4, alpha=8, dropout=0.0)


def save_decoder(folder, architecture="llama", *, end="</s>", **changes):
    """A tiny decoder with random weights, and a tokenizer that has an end of text and no padding token."""
    tokenizer = word_tokenizer(end) if architecture == "llama" else byte_tokenizer(end)
    tokenizer.save_pretrained(folder)
    config, model = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[architecture]
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    values = {"vocab_size": len(tokenizer), "max_position_embeddings": 32, "num_key_value_heads": 1, **size, **changes}
    model(config(**values)).save_pretrained(folder)
    return folder


def word_tokenizer(end):
    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<unk>", *([end] if end else []), *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "<unk>"} | ({"eos_token": end} if end else {})
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=32, **names)


def byte_tokenizer(end):
    learner = ByteLevelBPETokenizer()
    learner.train_from_iterator(TEXTS, vocab_size=300, show_progress=False)
    model = json.loads(learner.to_str())["model"]
    vocabulary = {**model["vocab"], end: len(model["vocab"])}
    merges = [tuple(merge) for merge in model["merges"]]
    return Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, eos_token=end, unk_token=end, pad_token=None, model_max_length=32
    )


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def decoder(request, tmp_path_factory):
    return save_decoder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_decoder(tmp_path_factory.mktemp("llama"))


def recipe_for(tiny_recipe, folder, **changes):
    values = {"lora": LORA, "head": HeadOptions("stock"), "data": DataOptions(max_length=16), **changes}
    training = dataclasses.replace(tiny_recipe.training, learning_rate=1e-2, epochs=12, **values.pop("training", {}))
    return dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=str(folder)), training=training, **values
    )  # fmt: skip


def built(recipe, texts=TEXTS):
    tokenizer = make_tokenizer(recipe, texts)
    torch.manual_seed(0)
    return build_classifier(recipe, CLASSES, tokenizer, "single_label"), tokenizer


def fit(recipe, coloured, folder):
    texts, labels = coloured
    tokenizer = make_tokenizer(recipe, texts)
    return train_fold(
        recipe, CLASSES, texts, labels, texts[::3], labels[::3], tokenizer, folder=folder, device="cpu",
        metric=lambda probs, truth: float((probs.argmax(1) == truth).mean()),
    )  # fmt: skip


@pytest.mark.parametrize("head", ["stock", "last", "mean"])
def test_a_padded_row_gives_what_it_gives_alone(tiny_recipe, decoder, head):
    network, tokenizer = built(recipe_for(tiny_recipe, decoder, head=HeadOptions(head)))
    network.eval()
    rows = [tokenizer(text)["input_ids"] for text in ("red fox sleeps", "sea", "big old house is here now")]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        together = network(ids, mask)
        alone = torch.cat([network(torch.tensor([row])) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_stock_pooling_reads_the_last_token_of_a_row(tiny_recipe, llama):
    network, tokenizer = built(recipe_for(tiny_recipe, llama, lora=LoraOptions()))
    network.eval()
    ids = torch.tensor([tokenizer("red fox sleeps")["input_ids"]])
    with torch.inference_mode():
        states = network.body.model(ids).last_hidden_state
        torch.testing.assert_close(network(ids), states[:, -1] @ network.body.score.weight.T)


def test_only_updates_and_the_head_train(tiny_recipe, decoder):
    recipe = recipe_for(tiny_recipe, decoder)
    network, tokenizer = built(recipe)
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for _ in range(5):  # in the first step the updates' second matrices are zero and only these move
        optimizer.zero_grad()
        ids = torch.tensor([tokenizer("red fox sleeps")["input_ids"]])
        torch.nn.functional.cross_entropy(network(ids), torch.tensor([1])).backward()
        optimizer.step()
    moved = {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if "lora_" in name or name == "body.score.weight"}
    assert network.fixed == set(before) - moved
    ranks = {weight.shape[0] for name, weight in network.named_parameters() if "lora_A" in name}
    assert ranks == {4}


@pytest.mark.parametrize("targets", [(), ("q_proj", "v_proj")])
def test_merged_logits_are_the_unmerged_ones_and_those_of_the_naive_product(tiny_recipe, decoder, targets):
    recipe = recipe_for(tiny_recipe, decoder, lora=dataclasses.replace(LORA, targets=targets))
    network, tokenizer = built(recipe)
    generator = torch.Generator().manual_seed(3)
    naive = {}
    for name, module in network.named_modules():
        if hasattr(module, "lora_A"):
            for matrix in (module.lora_A.default.weight, module.lora_B.default.weight):
                matrix.data = torch.randn(matrix.shape, generator=generator) * 0.3
            update = (8 / 4) * (module.lora_B.default.weight.double() @ module.lora_A.default.weight.double())
            naive[name + ".weight"] = (module.base_layer.weight.double() + update).float()
    assert {name.split(".")[-2] for name in naive} == (
        set(targets) or {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    )
    network.eval()
    ids = torch.tensor([tokenizer("big old house is here now")["input_ids"]])
    with torch.inference_mode():
        unmerged = network(ids)
        merge_lora(network)
        torch.testing.assert_close(network(ids), unmerged, atol=1e-5, rtol=1e-5)
    state = network.state_dict()
    assert not [name for name in state if "lora" in name or "base_layer" in name]
    for name, weight in naive.items():
        torch.testing.assert_close(state[name], weight, atol=1e-6, rtol=1e-5)
    merge_lora(network)  # nothing is left to merge
    torch.testing.assert_close(network.state_dict(), state)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_checkpoint_is_a_stock_one_and_scores_without_peft(
    tmp_path, tiny_recipe, decoder, coloured, monkeypatch, side
):
    recipe = recipe_for(tiny_recipe, decoder)
    result = fit(recipe, coloured, tmp_path / "f")
    assert result.score == 1.0
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    scored = Scorer({"r": [str(tmp_path / "f")]}, device="cpu", precision="fp32").score(coloured[0][::3])["r"]
    np.testing.assert_allclose(result.valid_probs, scored, atol=1e-5)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "f").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "f", padding_side=side)
    inputs = tokenizer(coloured[0][::3], padding=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        theirs = stock(**inputs).logits.softmax(-1).numpy()
    np.testing.assert_allclose(result.valid_probs, theirs, atol=1e-5)
    assert stock.config.id2label == dict(enumerate(CLASSES))


def test_a_frozen_decoder_keeps_its_weights_where_there_is_no_update(tmp_path, tiny_recipe, llama, coloured):
    recipe = recipe_for(tiny_recipe, llama, lora=dataclasses.replace(LORA, targets=("q_proj",)))
    fit(recipe, coloured, tmp_path / "f")
    before = AutoModelForSequenceClassification.from_pretrained(llama).model.state_dict()
    after = load_classifier(tmp_path / "f").network.body.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"layers.{i}.self_attn.q_proj.weight" for i in range(2)}


@pytest.mark.parametrize("training", [{"soup": "greedy:3", "ema": 0.9}, {"r_drop": 0.5, "layer_decay": 0.9}])
def test_it_goes_with_the_rest_and_the_same_seed_gives_the_same_bytes(tmp_path, tiny_recipe, llama, coloured, training):
    recipe = recipe_for(tiny_recipe, llama, training=training, lora=dataclasses.replace(LORA, dropout=0.1))
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, epochs=3, micro_batch_size=4))
    results = [fit(recipe, coloured, tmp_path / name) for name in ("a", "b")]
    assert np.array_equal(results[0].valid_probs, results[1].valid_probs)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]
    scored = Scorer({"r": [str(tmp_path / "a")]}, device="cpu", precision="fp32").score(coloured[0][::3])["r"]
    np.testing.assert_allclose(results[0].valid_probs, scored, atol=1e-5)


def test_gradient_checkpointing_changes_no_gradient(tiny_recipe, llama):
    from models.training.fold import _checkpoint_activations

    gradients = []
    for asked in (False, True):
        network, tokenizer = built(recipe_for(tiny_recipe, llama))
        network.train()
        if asked:
            _checkpoint_activations(network)
        ids = torch.tensor([tokenizer("red fox sleeps")["input_ids"]])
        network(ids).square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.requires_grad})
    assert any("lora_B" in name and float(g.abs().max()) > 0 for name, g in gradients[0].items())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_copies_of_weights_leave_out_what_never_trains(tiny_recipe, llama):
    network, _ = built(recipe_for(tiny_recipe, llama))
    kept = snapshot(network)
    assert set(kept) == {n for n, p in network.named_parameters() if p.requires_grad}
    whole = {name: weight.clone() for name, weight in network.state_dict().items()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in kept:
                parameter.add_(1.0)
    restore(network, kept)
    torch.testing.assert_close(network.state_dict(), whole, rtol=0, atol=0)
    assert len(Ema(network, 0.9, network.fixed)._averages) == len(kept)


def test_an_encoder_with_a_head_of_ours_takes_updates_too(tmp_path, tiny_recipe, save_model, coloured):
    folder = save_model(tmp_path / "bert", 0)
    recipe = recipe_for(tiny_recipe, folder, head=HeadOptions("mean"))
    network, _ = built(recipe)
    trains = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trains if "lora_" not in name} == {"head"}
    result = fit(dataclasses.replace(recipe), coloured, tmp_path / "f")
    scored = Scorer({"r": [str(tmp_path / "f")]}, device="cpu", precision="fp32").score(coloured[0][::3])["r"]
    np.testing.assert_allclose(result.valid_probs, scored, atol=1e-5)


def test_a_foreign_decoder_without_padding_token_scores_batches(tmp_path, llama):
    body = AutoModelForSequenceClassification.from_pretrained(llama, num_labels=3)
    assert body.config.pad_token_id is None
    body.save_pretrained(tmp_path / "f")
    AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path / "f")
    texts = ["red fox sleeps", "sea", "old dog runs and sings", "fox"]
    scored = Scorer({"r": [str(tmp_path / "f")]}, device="cpu", precision="fp32")
    together = scored.score(texts)["r"]
    alone = np.concatenate([scored.score([text])["r"] for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_foreign_decoder_reads_the_last_token_before_the_padding_of_its_own_configuration(tmp_path, llama):
    body = AutoModelForSequenceClassification.from_pretrained(llama, num_labels=3)
    tokenizer = AutoTokenizer.from_pretrained(llama)
    body.config.pad_token_id = tokenizer.unk_token_id  # the tokenizer pads by another one
    assert body.config.pad_token_id != tokenizer.eos_token_id
    tokenizer.pad_token = tokenizer.eos_token
    body.save_pretrained(tmp_path / "f")
    tokenizer.save_pretrained(tmp_path / "f")
    texts = ["red fox sleeps", "sea", f"old dog{tokenizer.eos_token}", "old dog runs and sings", "old dog"]
    with torch.inference_mode():
        stock = [body.eval()(**tokenizer(text, return_tensors="pt")).logits.softmax(-1).numpy()[0] for text in texts]
    scored = Scorer({"r": [str(tmp_path / "f")]}, device="cpu", precision="fp32").score(texts)["r"]
    np.testing.assert_allclose(scored, np.stack(stock), atol=1e-5)


def test_a_decoder_whose_tokenizer_ends_nothing_is_refused(tmp_path, tiny_recipe):
    folder = save_decoder(tmp_path / "f", end=None, eos_token_id=None, bos_token_id=None)
    with pytest.raises(ModelError, match="neither a padding token nor an end of text"):
        make_tokenizer(recipe_for(tiny_recipe, folder), TEXTS)


def test_a_padding_token_that_the_network_does_not_know_gives_way_to_the_end_of_text(tmp_path, tiny_recipe):
    folder = save_decoder(tmp_path / "f")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    network, tokenizer = built(recipe_for(tiny_recipe, folder))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == network.body.config.pad_token_id


def test_heads_of_the_first_token_are_refused_for_decoders(tiny_recipe, llama):
    with pytest.raises(ModelError, match="reads the first token, which sees no other") as error:
        built(recipe_for(tiny_recipe, llama, head=HeadOptions("cls")))
    assert "'last'" in error.value.details["next"]


def test_a_layer_that_the_encoder_lacks_is_told_with_those_that_it_has(tiny_recipe, llama):
    network, _ = built(recipe_for(tiny_recipe, llama, lora=LoraOptions()))
    with pytest.raises(ModelError, match="no linear layer 'q_prj'") as error:
        add_lora(network, dataclasses.replace(LORA, targets=("q_prj",)))
    assert "q_proj" in error.value.details["next"]
    assert "down_proj" in error.value.details["found"]


def test_without_peft_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr("models.lora.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the package peft") as error:
        require_peft()
    assert "pip install 'kaggle-jobs[lora]'" in error.value.details["next"]
    assert importlib.util.find_spec("peft")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": None}, "would keep its random weights"),
        ({"training": {"unfreeze": 0.5}}, "would thaw what it freezes"),
        ({"adversary": AdversaryOptions("fgm")}, "fgm moves embeddings"),
        ({"lora": LoraOptions(alpha=32)}, "has no rank"),
        ({"encoder": EncoderOptions(path="x", reinit_layers=1)}, "reinit_layers would keep"),
        ({"data": DataOptions(form="marked")}, "needs new embeddings"),
    ],
)
def test_what_contradicts_it_is_refused(tiny_recipe, changes, message):
    encoder = {"encoder": changes.pop("encoder", EncoderOptions(path="x")) or tiny_recipe.encoder}
    recipe = dataclasses.replace(recipe_for(tiny_recipe, "x", **changes), **encoder)
    with pytest.raises(ModelError, match=message):
        check_recipe(recipe, Place("r.toml"))
