"""Pairs of texts, from their encoding to their scores, against stock transformers."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.classifier import split_pairs
from models.inference.scorer import Scorer
from models.inference.tokens import TextTokenizer, UnusableTexts
from models.recipe import ContrastOptions, DataOptions, HeadOptions
from models.saved import load_classifier
from models.text.augmentation import augment
from models.text.cleaning import STEPS, clean
from models.text.pairs import SEPARATOR, are_pairs, as_series, join_texts, split_text, split_texts
from models.training.fold import make_tokenizer, train_fold

PAIRS = [
    ("w1 w2 w3", "w4 w5"), ("w1", "w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12"), ("", "w3"), ("w7", ""), ("", ""),
    ("w1 w2 w3", "w4 w5"), ("w1 w2 w3 w4", "w5"), (" ".join(f"w{i}" for i in range(30)), "w1 w2 w3 w4 w5 w6 w7 w8"),
    (" ".join(f"w{i}" for i in range(30)), " ".join(f"w{i}" for i in range(40, 60))),
]  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=SEPARATOR), max_size=12)


def joined(pairs):
    return [SEPARATOR.join(pair) for pair in pairs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, save_model):
    return Path(save_model(tmp_path_factory.mktemp("models") / "cross", seed=3))


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_pairs_are_taken_apart_as_they_were_joined(pairs):
    first, second = (pl.Series(side, dtype=pl.String) for side in zip(*pairs, strict=True))
    together = join_texts(first, second)
    assert are_pairs(together)
    assert [split_text(text) for text in together] == pairs
    assert list(zip(*split_texts(together), strict=True)) == pairs
    assert as_series(pairs).to_list() == together.to_list()


def test_nulls_are_empty_and_a_separator_in_a_text_parts_nothing():
    assert join_texts(pl.Series([None, "a"], dtype=pl.String), pl.Series(["b", f"c{SEPARATOR}d"])).to_list() == [
        f"{SEPARATOR}b", f"a{SEPARATOR}c d",
    ]  # fmt: skip


@pytest.mark.parametrize("step", list(STEPS))
def test_each_text_of_a_pair_is_cleaned_as_if_it_stood_alone(step):
    pairs = [(" A\u200b &amp; ", "//@甲：B 网页链接"), ("", "http://t.cn/x ，"), ("a", " ")]
    cleaned = clean(as_series(pairs), [step])
    alone = [tuple(clean(pl.Series(list(pair)), [step])) for pair in pairs]
    assert [split_text(text) for text in cleaned] == alone


def test_augmentation_keeps_pairs_pairs():
    generator = np.random.default_rng(0)
    changed = augment(joined([("a b c d", "e f g h")] * 5), ["delete", "swap"], rate=0.3, generator=generator)
    assert all(
        set(split_text(text)[0]) <= set("abcd ") and set(split_text(text)[1]) <= set("efgh ") for text in changed
    )


@pytest.mark.parametrize("max_length", [8, 16, 31, 64])
def test_pair_encodings_are_those_of_the_stock_tokenizer(folder, max_length):
    stock = AutoTokenizer.from_pretrained(folder)
    tokens = TextTokenizer(stock, max_length)(joined(PAIRS))
    first, second = zip(*PAIRS, strict=True)
    expected = stock(list(first), list(second), truncation="longest_first", max_length=max_length)
    for i, (start, end) in enumerate(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)):
        assert tokens.ids[start:end].tolist() == expected["input_ids"][i]
        assert tokens.types[start:end].tolist() == expected["token_type_ids"][i]
    whole = [len(row) for row in stock(list(first), list(second))["input_ids"]]
    assert tokens.n_truncated == sum(n > max_length for n in whole)
    assert tokens.n_lost == sum(max(0, n - max_length) for n in whole)


def test_a_tokenizer_without_token_types_gives_none(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    assert TextTokenizer(tokenizer, 16)(joined(PAIRS)).types is None


@pytest.mark.parametrize("budget", [None, 24])
def test_scores_of_pairs_equal_the_stock_forward_pass(folder, budget):
    scorer = Scorer(str(folder), device="cpu", precision="fp32", token_budget=budget)
    scored = scorer.infer(scorer.prepare(PAIRS))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected = []
    for first, second in PAIRS:
        batch = tokenizer([first], [second], truncation="longest_first", max_length=40, return_tensors="pt")
        with torch.inference_mode():
            expected.append(model(**batch).logits.softmax(-1).numpy()[0])
    np.testing.assert_allclose(scored.probs[folder.name], expected, atol=2e-6)
    assert scored.stats.scored == len(set(PAIRS))


def test_pairs_and_their_joined_column_score_the_same(folder):
    scorer = Scorer(str(folder), device="cpu", precision="fp32")
    first, second = (pl.Series(side) for side in zip(*PAIRS, strict=True))
    np.testing.assert_array_equal(
        scorer.score(PAIRS)[folder.name], scorer.score(join_texts(first, second))[folder.name]
    )


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_rows_of_two_sequences_are_split_into_them(lengths, extra):
    width = max(a + b for a, b in lengths) + extra
    ids = torch.full((len(lengths), width), 99)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (a, b) in enumerate(lengths):
        ids[row, : a + b] = torch.arange(1, a + b + 1) + 10 * row
        mask[row, : a + b] = 1
        types[row, a : a + b] = 1
    split, inside = split_pairs(ids, mask, types, pad_id=0)
    sides = [ids[row, :a] for row, (a, _) in enumerate(lengths)]
    sides += [ids[row, a : a + b] for row, (a, b) in enumerate(lengths)]
    for row, side in enumerate(sides):
        assert split[row, : len(side)].tolist() == side.tolist()
        assert (split[row, len(side) :] == 0).all()
        if inside is not None:
            assert inside[row].sum() == len(side)
    assert (inside is None) == (len({len(side) for side in sides}) == 1)


WORDS = ("fox", "dog", "sea", "house", "sky", "tree")
SAME = [(f"the {a} runs", f"a {a} ran") for a in WORDS] * 3
OTHER = [(f"the {a} runs", f"a {b} ran") for a, b in zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)] * 3
ROWS, LABELS = joined(SAME + OTHER), np.array([1] * len(SAME) + [0] * len(OTHER))


def fit(recipe, folder, **changes):
    recipe = dataclasses.replace(recipe, **changes)
    tokenizer = make_tokenizer(recipe, ROWS)
    return train_fold(recipe, ("no", "yes"), ROWS, LABELS, ROWS, LABELS, tokenizer, folder=folder)


APART = [
    ("cosine", {}, ContrastOptions()),
    ("cosine", {"pool": "cls"}, ContrastOptions(weight=1.0, alone=True)),
    ("siamese", {"pool": "pooler"}, ContrastOptions(weight=0.5)),
    ("siamese", {"pool": "max"}, ContrastOptions()),
    ("cosine", {"pool": "linear"}, ContrastOptions(weight=0.5)),
]


@pytest.mark.parametrize(("head", "options", "contrast"), APART)
def test_texts_apart_learn_and_the_scorer_gives_what_validation_gave(tmp_path, tiny_recipe, head, options, contrast):
    training = dataclasses.replace(tiny_recipe.training, epochs=8, learning_rate=5e-3)
    result = fit(
        tiny_recipe, tmp_path / "run", head=HeadOptions(head, options), contrast=contrast,
        data=DataOptions(max_length=16, form="apart"), training=training,
    )  # fmt: skip
    losses = [epoch.train_loss for epoch in result.history]
    assert losses[-1] < losses[0]
    scorer = Scorer(str(tmp_path / "run"), device="cpu", precision="fp32")
    np.testing.assert_allclose(scorer.score(ROWS)["run"], result.valid_probs, atol=1e-5)


def test_a_cross_encoder_is_scored_as_it_was_validated_and_refuses_single_texts(tmp_path, tiny_recipe):
    result = fit(tiny_recipe, tmp_path / "run", head=HeadOptions("cls"))
    scorer = Scorer(str(tmp_path / "run"), device="cpu", precision="fp32")
    np.testing.assert_allclose(scorer.score(ROWS)["run"], result.valid_probs, atol=1e-5)
    with pytest.raises(UnusableTexts, match="reads pairs of texts"):
        scorer.score(["the fox runs"])


def test_a_network_of_texts_apart_says_so_where_a_row_is_one_text(tiny_tokenizer):
    with pytest.raises(UnusableTexts, match="compares two texts") as caught:
        TextTokenizer(tiny_tokenizer, 16, "apart")([ROWS[0], "red fox"])
    assert caught.value.rows == [1]


def test_vectors_of_a_text_do_not_depend_on_its_partner(tmp_path, tiny_recipe):
    fit(
        tiny_recipe, tmp_path / "run", head=HeadOptions("cosine"), data=DataOptions(max_length=16, form="apart"),
        training=dataclasses.replace(tiny_recipe.training, epochs=1),
    )  # fmt: skip
    loaded = load_classifier(tmp_path / "run")
    probs = Scorer(str(tmp_path / "run"), device="cpu", precision="fp32").score(
        [("the fox runs", "a dog ran by the old sea")]
    )["run"]
    vectors = []
    for text in ("the fox runs", "a dog ran by the old sea"):
        batch = loaded.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            vectors.append(loaded.network.body(**batch).last_hidden_state.mean(1))
    cosine = torch.nn.functional.cosine_similarity(*vectors)
    head = loaded.network.head
    expected = torch.sigmoid(torch.nn.functional.softplus(head.slope) * (cosine - head.threshold)).detach()
    np.testing.assert_allclose(probs[0, 1], float(expected), atol=1e-5)
