"""GloVe: pairs against counting by hand, one step against finite differences, a falling loss; where vectors go."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from models.build import build_classifier
from models.errors import ModelError
from models.recipe import EncoderOptions, ScratchOptions, check_recipe, load_recipe
from models.recipe_options import VectorOptions
from models.schema import Place
from models.scratch import train_tokenizer
from models.text.topics import frequent_topics
from models.training.fold import make_tokenizer
from models.vectors import VECTORS
from models.vectors.global_vectors import count_pairs, fit, glove, start
from models.vectors.make import make_vectors, place_vectors


def flat(texts):
    ids = np.array([token for text in texts for token in text], np.int32)
    return ids, np.cumsum([0, *map(len, texts)]).astype(np.int64)


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 5), max_size=9), max_size=6), st.integers(1, 4))
def test_pairs_are_those_counted_by_hand(texts, window):
    expected = Counter()
    for text in texts:
        for i in range(len(text)):
            for j in range(len(text)):
                if i != j and abs(i - j) <= window:
                    expected[text[i], text[j]] += 1 / abs(i - j)
    counts = count_pairs(*flat(texts), 6, window).toarray()
    for i in range(6):
        for j in range(6):
            assert counts[i, j] == pytest.approx(expected[i, j])


def test_pairs_across_two_chunks_are_counted(monkeypatch):
    texts = [np.random.default_rng(0).integers(0, 6, 40).tolist() for _ in range(5)]
    whole = count_pairs(*flat(texts), 6, 3).toarray()
    monkeypatch.setattr("models.vectors.global_vectors._CHUNK", 17)
    assert count_pairs(*flat(texts), 6, 3).toarray() == pytest.approx(whole)


def loss(words, contexts, count, x_max, alpha):
    """½ f(x) (w·c + a + b − log x)² of the pair (0, 1), in float64."""
    w, c = words[0], contexts[1]
    return 0.5 * min(1.0, (count / x_max) ** alpha) * (w[:-1] @ c[:-1] + w[-1] + c[-1] - np.log(count)) ** 2


@pytest.mark.parametrize("count", [0.5, 7.0, 30.0])
def test_the_first_step_goes_against_the_gradient_of_finite_differences(count):
    state = start(2, 5, seed=1)
    words, contexts = state.words.astype(np.float64), state.contexts.astype(np.float64)
    counts = csr_matrix(([count], ([0], [1])), shape=(2, 2))
    (met,) = fit(state, counts, epochs=1, x_max=10.0, alpha=0.75, rate=0.05, seed=0)
    assert met == pytest.approx(loss(words, contexts, count, 10.0, 0.75), rel=1e-4)
    for before, after, row in ((words, state.words, 0), (contexts, state.contexts, 1)):
        for d in range(6):
            slopes = []
            for nudge in (1e-5, -1e-5):
                before[row, d] += nudge
                slopes.append(loss(words, contexts, count, 10.0, 0.75))
                before[row, d] -= nudge
            gradient = (slopes[0] - slopes[1]) / 2e-5
            assert after[row, d] - before[row, d] == pytest.approx(-0.05 * gradient, abs=2e-6)  # squares begin at 1
    assert (state.words[1] == words[1].astype(np.float32)).all()
    assert state.word_squares[0, -1] > 1.0


def two_worlds(seed=0):
    """Texts of tokens 0–4 and texts of tokens 5–9, which never meet."""
    draw = np.random.default_rng(seed)
    return [(draw.integers(0, 5, 8) + 5 * (i % 2)).tolist() for i in range(200)]


def test_the_loss_falls_and_the_same_seed_gives_the_same_vectors():
    counts = count_pairs(*flat(two_worlds()), 10, 4)
    losses = fit(start(10, 8, 0), counts, epochs=20, x_max=20.0, alpha=0.75, rate=0.05, seed=0)
    assert losses[-1] < 0.1 * losses[0]
    first, again = (glove(*flat(two_worlds()), 12, 8, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.isnan(first[10:]).all()
    assert np.nanstd(first) == pytest.approx(0.1, rel=1e-3)


def test_tokens_that_share_their_neighbours_lie_together():
    vectors = glove(*flat(two_worlds()), 10, 8, seed=3, epochs=30)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert cosines[:5, :5].mean() > cosines[:5, 5:].mean() + 0.3


def test_no_pairs_give_no_vectors():
    assert np.isnan(glove(*flat([[1], [], [2]]), 4, 3, seed=0)).all()


def test_embeddings_begin_at_the_vectors_and_others_stay_as_they_were(tiny_recipe, coloured):
    texts, _ = coloured
    encoder = dataclasses.replace(tiny_recipe.encoder, vectors=VectorOptions("glove", {"epochs": 2}))
    recipe = dataclasses.replace(tiny_recipe, encoder=encoder)
    tokenizer = make_tokenizer(recipe, texts)
    vectors = make_vectors(recipe, texts, tokenizer)
    assert vectors.shape == (len(tokenizer), 16)
    torch.manual_seed(0)
    network = build_classifier(recipe, ("a", "b"), tokenizer, "single_label")
    before = network.body.get_input_embeddings().weight.detach().clone().numpy()
    place_vectors(network.body, vectors)
    after = network.body.get_input_embeddings().weight.detach().numpy()
    known = ~np.isnan(vectors).any(axis=1)
    assert known[tokenizer.convert_tokens_to_ids("fox")]
    assert not known[tokenizer.cls_token_id]
    np.testing.assert_array_equal(after[known], vectors[known])
    np.testing.assert_array_equal(after[~known], before[~known])
    assert make_vectors(tiny_recipe, texts, tokenizer) is None


def test_new_words_and_topics_are_tokens_and_stay_so(tmp_path):
    from transformers import AutoTokenizer

    filler = ["".join(chr(0x4E00 + 7 * i + k) for k in range(7)) for i in range(60)]
    texts = [f"{a}葡萄酒{b} #武汉加油# Good #nlp" for a, b in zip(filler, filler[1:] + filler[:1], strict=True)]
    options = ScratchOptions(vocab_size=600, min_frequency=1, new_words=5, topics=5)
    tokenizer = train_tokenizer(texts, options, 64)
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        tokens = one.convert_ids_to_tokens(one("葡萄酒葡萄 #武汉加油# good #nlp")["input_ids"])
        assert tokens == ["[CLS]", "葡萄酒", "葡", "萄", "#武汉加油#", "good", "#nlp", "[SEP]"]
    plain = train_tokenizer(texts, dataclasses.replace(options, new_words=0, topics=0), 64)
    added = set(tokenizer.get_vocab()) - set(plain.get_vocab())
    assert added == {"葡萄酒", "武汉加油", "#武汉加油#", "#nlp"}


def test_topics_are_counted_with_their_marks():
    texts = ["#武汉加油##抗疫# 加油", "#武汉加油#", "a #nlp b", "c # d #nlp", "#x"]
    assert frequent_topics(texts, 5) == ["#nlp", "#武汉加油#"]
    assert frequent_topics(texts, 1, min_count=1) == ["#nlp"]


def asked(tiny_recipe, **encoder):
    return dataclasses.replace(tiny_recipe, encoder=dataclasses.replace(tiny_recipe.encoder, **encoder))


@pytest.mark.parametrize(
    ("vectors", "complaint"),
    [
        (VectorOptions("glov"), "did you mean 'glove'"),
        (VectorOptions("glove", {"windw": 3}), "did you mean 'window'"),
        (VectorOptions("glove", {"window": 0}), "out of range"),
        (VectorOptions(options={"window": 3}), "without a name"),
    ],
)
def test_vectors_that_cannot_be_had_are_refused(tiny_recipe, vectors, complaint):
    with pytest.raises(ModelError) as caught:
        check_recipe(asked(tiny_recipe, vectors=vectors), Place("r.toml"))
    assert complaint in str(caught.value)


def test_a_pretrained_encoder_takes_no_vectors(tiny_recipe):
    encoder = EncoderOptions(path="x", vectors=VectorOptions("glove"))
    with pytest.raises(ModelError, match="for encoders from scratch"):
        check_recipe(dataclasses.replace(tiny_recipe, encoder=encoder), Place("r.toml"))


def test_a_recipe_with_vectors_is_written_back_and_all_vectors_have_a_name(tmp_path, tiny_recipe):
    recipe = asked(tiny_recipe, vectors=VectorOptions("glove", {"window": 3}))
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "r.toml") == recipe
    assert set(VECTORS) == {"glove"}
