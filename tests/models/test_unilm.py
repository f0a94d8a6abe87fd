"""Writing one text of a pair from the other: the mask against a pass for each prefix, the sequences against lists."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from models.errors import ModelError
from models.inference.scorer import Scorer
from models.recipe import ContrastOptions, DataOptions, EncoderOptions, HeadOptions, check_recipe
from models.schema import Place
from models.training.contrast import make_contrast
from models.training.fold import make_tokenizer, train_fold
from models.training.unilm import Generator, both_ways, unilm_mask
from tests.models.test_pairs import LABELS, ROWS


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def bert(request):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, attn_implementation=request.param,
    )  # fmt: skip
    return BertModel(config).eval()


def test_each_state_is_that_of_a_pass_over_what_it_sees(bert):
    ids = torch.tensor([[2, 9, 8, 3, 7, 6, 3], [2, 9, 3, 11, 12, 3, 0]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0]])
    real = torch.tensor([[True] * 7, [True] * 6 + [False]])
    with torch.inference_mode():
        found = bert(ids, attention_mask=unilm_mask(types, real), token_type_ids=types).last_hidden_state
        for row, (n_first, n) in enumerate(((4, 7), (3, 6))):
            alone = bert(ids[row : row + 1, :n_first], token_type_ids=types[row : row + 1, :n_first])
            torch.testing.assert_close(found[row, :n_first], alone.last_hidden_state[0], atol=1e-5, rtol=1e-4)
            for end in range(n_first + 1, n + 1):  # what a token sees does not see it: masks of all prefixes agree
                cut = slice(0, end)
                mask = unilm_mask(types[row : row + 1, cut], real[row : row + 1, cut])
                prefix = bert(ids[row : row + 1, cut], attention_mask=mask, token_type_ids=types[row : row + 1, cut])
                torch.testing.assert_close(found[row, end - 1], prefix.last_hidden_state[0, -1], atol=1e-5, rtol=1e-4)


def test_a_token_sees_the_first_text_and_what_stands_before_it():
    types = torch.tensor([[0, 0, 1, 1, 0]])
    seen = unilm_mask(types, torch.tensor([[True] * 4 + [False]]))[0, 0] == 0
    assert seen[:4].int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]


tokens = st.lists(st.integers(1, 30), min_size=2, max_size=6)


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_pairs_stand_in_one_sequence_in_both_orders(pairs, skip):
    sides = [a for a, _ in pairs] + [b for _, b in pairs]
    lengths = torch.tensor([len(side) for side in sides])
    filled = torch.zeros(len(sides), int(lengths.max()), dtype=torch.long)
    for row, side in enumerate(sides):
        filled[row, : len(side)] = torch.tensor(side)
    ids, types, real = both_ways(filled, lengths, 0, skip)
    expected = [(a, b[skip:]) for a, b in pairs] + [(b, a[skip:]) for a, b in pairs]
    for row, (first, second) in enumerate(expected):
        n = len(first) + len(second)
        assert ids[row].tolist() == [*first, *second, *[0] * (ids.shape[1] - n)]
        assert types[row].tolist() == [*[0] * len(first), *[1] * len(second), *[0] * (ids.shape[1] - n)]
        assert real[row].sum() == n


def test_it_learns_to_write_and_leaves_no_trace_in_the_checkpoint(tmp_path, tiny_recipe):
    recipe = dataclasses.replace(
        tiny_recipe, data=DataOptions(max_length=16, form="apart"), head=HeadOptions("cosine"),
        contrast=ContrastOptions(weight=1.0, alone=True, generate=1.0),
        training=dataclasses.replace(tiny_recipe.training, epochs=6, learning_rate=5e-3),
    )  # fmt: skip
    made = make_tokenizer(recipe, ROWS)
    result = train_fold(recipe, ("no", "yes"), ROWS, LABELS, ROWS, LABELS, made, folder=tmp_path / "run")
    assert result.history[-1].train_loss < 0.7 * result.history[0].train_loss
    scored = Scorer(str(tmp_path / "run"), device="cpu", precision="fp32").score(ROWS)["run"]
    np.testing.assert_allclose(scored, result.valid_probs, atol=1e-5)


def test_scores_of_tokens_come_from_the_word_embeddings():
    torch.manual_seed(0)
    generator, embeddings = Generator(4, 7), torch.randn(7, 4)
    states = torch.randn(3, 4)
    dense = torch.nn.functional.gelu(states @ generator.dense.weight.T + generator.dense.bias)
    normed = (dense - dense.mean(1, keepdim=True)) / (dense.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(generator(states, embeddings), normed @ embeddings.T)


def test_what_it_cannot_do_is_refused(tmp_path, tiny_recipe, save_model):
    apart = dataclasses.replace(tiny_recipe, data=DataOptions(max_length=40, form="apart"), head=HeadOptions("cosine"))
    without = dataclasses.replace(apart, contrast=ContrastOptions(generate=1.0))
    with pytest.raises(ModelError, match="generate goes with the contrast"):
        check_recipe(without, Place("here"))
    long = dataclasses.replace(
        apart, contrast=ContrastOptions(weight=1.0, generate=1.0),
        encoder=EncoderOptions(path=save_model(tmp_path / "encoder", seed=0)),
    )  # fmt: skip
    with pytest.raises(ModelError, match="two texts of max_length = 40 tokens"):
        train_fold(long, ("no", "yes"), ROWS, LABELS, ROWS, LABELS, make_tokenizer(long, ROWS), folder=tmp_path / "run")


def test_contrast_knows_what_the_tokenizer_puts_first():
    options = ContrastOptions(weight=1.0)
    assert make_contrast(options, ROWS, LABELS, ("no", "yes"), torch.device("cpu"), skip=0).skip == 0
