"""Trimmed vocabularies: the same tokens and logits for the texts at hand, fewer embeddings, a stock checkpoint."""

import dataclasses

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from models.errors import ModelError
from models.inference.scorer import Scorer
from models.recipe import EncoderOptions
from models.training.fold import make_tokenizer, train_fold
from models.trim import trim_embeddings, trim_tokenizer

TEXTS = ["red fox runs", "a green fox", "red and green"]


def unigram():
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581re", -3.0), ("d", -4.0)]
    pieces += [("\u2581red", -2.0), ("\u2581fox", -2.5), ("\u2581", -5.0)]
    pieces += [(c, -6.0) for c in "abefgnorsuxw"] + [("\u2581gr", -3.5), ("een", -3.0), ("\u2581blue", -3.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def names_of(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_the_texts_have_the_same_tokens_and_the_rest_is_gone(kind, tiny_tokenizer):
    whole = tiny_tokenizer if kind == "wordpiece" else unigram()
    trimmed = trim_tokenizer(whole, TEXTS)
    assert [names_of(trimmed, text) for text in TEXTS] == [names_of(whole, text) for text in TEXTS]
    used = {name for text in TEXTS for name in names_of(whole, text)}
    characters = set("".join(TEXTS)) | {"\u2581"}
    spare = set(trimmed.get_vocab()) - used - set(whole.all_special_tokens)
    assert {name.removeprefix("##").removeprefix("\u2581") or "\u2581" for name in spare} <= characters
    assert len(trimmed) < len(whole)
    assert trimmed.pad_token_id == whole.pad_token_id


def test_a_word_that_no_text_has_is_made_of_its_characters(tiny_tokenizer):
    trimmed = trim_tokenizer(tiny_tokenizer, TEXTS)
    assert trimmed.unk_token not in names_of(trimmed, "nerd")
    assert trimmed.unk_token in names_of(trimmed, "wolf")  # none of the texts has a w


def test_embeddings_are_those_of_the_same_names(tiny_tokenizer):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer) + 3, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8,
    )  # fmt: skip
    body = BertModel(config).eval()
    before = [body(**tiny_tokenizer(text, return_tensors="pt")).last_hidden_state for text in TEXTS]
    trimmed = trim_tokenizer(tiny_tokenizer, TEXTS)
    trim_embeddings(body, tiny_tokenizer, trimmed)
    assert body.get_input_embeddings().num_embeddings == body.config.vocab_size == len(trimmed)
    for text, expected in zip(TEXTS, before, strict=True):
        found = body(**trimmed(text, return_tensors="pt")).last_hidden_state
        assert torch.equal(found, expected)


def test_a_trimmed_run_is_the_whole_one_and_stock_transformers_loads_it(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured
):
    texts, labels = coloured
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16,
    )  # fmt: skip
    BertForSequenceClassification(config).base_model.save_pretrained(tmp_path / "encoder")
    tiny_tokenizer.save_pretrained(tmp_path / "encoder")
    rows = np.array([i for i, text in enumerate(texts) if "house" not in text])
    own, found = [texts[i] for i in rows], {}
    for vocabulary in ("full", "used"):
        recipe = dataclasses.replace(
            tiny_recipe, encoder=EncoderOptions(path=str(tmp_path / "encoder"), vocabulary=vocabulary)
        )
        tokenizer = make_tokenizer(recipe, own)
        folder = tmp_path / vocabulary
        found[vocabulary] = train_fold(
            recipe, ("red", "green", "blue"), own, labels[rows], own, labels[rows], tokenizer, folder=folder,
            device="cpu",
        )  # fmt: skip
    np.testing.assert_allclose(found["used"].valid_probs, found["full"].valid_probs, atol=1e-5)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "used").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "used")
    with torch.no_grad():
        logits = torch.cat([stock(**tokenizer(text, return_tensors="pt")).logits for text in own])
    np.testing.assert_allclose(logits.softmax(-1).numpy(), found["used"].valid_probs, atol=1e-5)
    scored = Scorer({"r": [str(tmp_path / "used")]}, device="cpu", precision="fp32").score(own)["r"]
    np.testing.assert_allclose(scored, found["used"].valid_probs, atol=1e-5)
    assert str(tmp_path) not in (tmp_path / "used" / "tokenizer_config.json").read_text()


def test_byte_pairs_are_refused():
    backend = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="a")
    with pytest.raises(ModelError, match="this one is BPE"):
        trim_tokenizer(tokenizer, ["ab"])
