"""Vectors of words beside those of tokens: against a search by hand; padding, packing and checkpoints."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.inference.packed import refusal
from models.inference.scorer import Scorer
from models.recipe import EncoderOptions, HeadOptions, WordOptions, check_recipe
from models.saved import WORDS_FILE, load_classifier
from models.schema import Place
from models.training.fold import make_tokenizer, train_fold
from models.vectors.words import make_lexicon
from models.words import WordVectors

TOKENS = st.lists(st.integers(0, 5), min_size=1, max_size=9)
WORDS = st.lists(st.tuples(*[st.integers(0, 5)] * 3).flatmap(lambda w: st.sampled_from([w[:1], w[:2], w])), min_size=1,
                 max_size=8, unique=True)  # fmt: skip


@settings(deadline=None)
@given(WORDS, st.lists(TOKENS, min_size=1, max_size=3))
def test_each_token_has_the_mean_of_the_words_that_it_is_part_of(spellings, rows):
    vectors = torch.randn(len(spellings), 2, generator=torch.Generator().manual_seed(0))
    words = WordVectors.of(spellings, vectors, n_tokens=6)
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
    found = words(ids, mask)
    for i, row in enumerate(rows):
        for place in range(len(row)):
            own = [
                vectors[number]
                for number, word in enumerate(spellings)
                for start in range(place - len(word) + 1, place + 1)
                if start >= 0 and tuple(row[start : start + len(word)]) == word
            ]
            expected = torch.stack(own).mean(0) if own else torch.zeros(2)
            torch.testing.assert_close(found[i, place], expected)


def recipe_with(tiny_recipe, **words):
    return dataclasses.replace(
        tiny_recipe, head=HeadOptions("conv", {"filters": 8}), words=WordOptions("glove", size=6, **words)
    )


def test_words_are_the_most_frequent_ones_as_the_tokenizer_spells_them(tmp_path, tiny_recipe):
    (tmp_path / "words.txt").write_text("武汉 20\n加油 9\n", encoding="utf-8")
    texts = ["武汉加油 unseen 武汉", "武汉加油", "x 武汉 unseen"] * 5
    scratch = dataclasses.replace(tiny_recipe.encoder.scratch, vocab_size=18)  # "unseen" becomes several pieces
    words = {"most": 3, "chinese": "list", "file": str(tmp_path / "words.txt")}
    recipe = dataclasses.replace(recipe_with(tiny_recipe, **words), encoder=EncoderOptions(scratch=scratch))
    tokenizer = make_tokenizer(recipe, texts)
    lexicon = make_lexicon(recipe, texts, tokenizer)
    words = ["".join(tokenizer.convert_ids_to_tokens(list(word))).replace("##", "") for word in lexicon.spellings]
    assert words[0] == "武汉"  # twenty times, the others ten times each
    assert set(words) == {"武汉", "加油", "unseen"}
    assert max(map(len, lexicon.spellings)) > 2
    assert lexicon.vectors.shape == (3, 6)
    assert np.isfinite(lexicon.vectors).all()


@pytest.mark.parametrize("head", ["conv", "rnn_conv", "weighted_rnn", "attention"])
def test_it_learns_and_its_checkpoint_scores_as_it_validated(tmp_path, tiny_recipe, tiny_tokenizer, coloured, head):
    texts, labels = coloured
    recipe = dataclasses.replace(recipe_with(tiny_recipe), head=HeadOptions(head))
    lexicon = make_lexicon(recipe, texts, tiny_tokenizer)
    result = train_fold(
        recipe, ("red", "green", "blue"), texts, labels, texts[::3], labels[::3], tiny_tokenizer,
        folder=tmp_path / "fold0", device="cpu", lexicon=lexicon,
    )  # fmt: skip
    scored = Scorer({"r": [str(tmp_path / "fold0")]}, device="cpu", precision="fp32").score(texts[::3])["r"]
    np.testing.assert_allclose(scored, result.valid_probs, atol=1e-5)
    loaded = load_classifier(tmp_path / "fold0")
    assert loaded.network.words.width == 6
    assert not np.allclose(loaded.network.words.vectors.detach().numpy(), lexicon.vectors)  # they train on
    assert refusal(loaded.network, 16) is None
    (tmp_path / "fold0" / WORDS_FILE).unlink()
    with pytest.raises(ModelError, match=r"no words\.safetensors"):
        load_classifier(tmp_path / "fold0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": WordOptions("glov")}, "unknown vectors 'glov'"),
        ({"words": WordOptions("glove", options={"windw": 3})}, "unknown key 'windw'"),
        ({"words": WordOptions(options={"window": 3})}, "window without a name"),
        ({"words": WordOptions("glove", chinese="list")}, "go together"),
        ({"words": WordOptions("glove"), "head": HeadOptions("stock")}, "head 'stock' reads no words"),
    ],
)
def test_what_cannot_be_had_is_refused(tiny_recipe, changes, message):
    with pytest.raises(ModelError, match=message):
        check_recipe(dataclasses.replace(tiny_recipe, **changes), Place("r.toml"))


def test_texts_without_a_word_that_comes_again_are_told(tiny_recipe, tiny_tokenizer):
    with pytest.raises(ModelError, match="no word that occurs twice"):
        make_lexicon(recipe_with(tiny_recipe), ["red fox"], tiny_tokenizer)
    with pytest.raises(ModelError, match="no word vectors"):
        WordVectors.of_state({"weight": torch.zeros(1)})
