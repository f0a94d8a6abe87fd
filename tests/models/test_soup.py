"""Checkpoint soup: the average against a naive one, the greedy choice against the paper's recipe, training with it."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.errors import ModelError
from models.inference.scorer import Scorer
from models.recipe import HeadOptions, check_recipe
from models.saved import load_classifier
from models.schema import Place
from models.training.soup import Ingredient, Pot, SoupPlan, average, choose, parse_soup
from tests.models.test_training import accuracy, train


def states(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "weight": torch.randn(3, 4, generator=draw),
            "half": torch.randn(5, generator=draw).bfloat16(),
            "steps": torch.tensor(100 + i),
            "mask": torch.tensor([True, i > 0]),
        }
        for i in range(n)
    ]


def test_an_average_is_the_mean_of_each_number_and_leaves_counters_alone():
    parts = states(3)
    found = average(parts)
    for row in range(3):
        for column in range(4):
            naive = sum(float(part["weight"][row, column]) for part in parts) / 3
            assert float(found["weight"][row, column]) == pytest.approx(naive, rel=1e-6)
    assert found["half"].dtype == torch.bfloat16
    naive = np.mean([part["half"].double().numpy() for part in parts], axis=0)
    np.testing.assert_allclose(found["half"].double().numpy(), naive, rtol=2**-8)
    assert int(found["steps"]) == 100
    assert found["mask"].tolist() == [True, False]


def test_an_average_of_one_is_that_one_bit_for_bit():
    (only,) = states(1)
    assert all(torch.equal(average([only])[name], weight) for name, weight in only.items())


def test_a_greedy_soup_takes_what_does_not_lower_the_score():
    worth = {1: 0.5, 2: 0.9, 3: 0.8, 4: 0.7}
    ranked = [Ingredient(i, worth[i], {"w": torch.tensor(float(i))}) for i in sorted(worth, key=lambda i: -worth[i])]
    # Values of averages: (2, 3) = 2.5 as good as 2 alone, (2, 3, 4) = 3 worse, (2, 3, 1) = 2 better.
    values = {2.5: 0.9, 3.0: 0.85, 2.0: 0.95}
    asked = []

    def judge(weights):
        asked.append(float(weights["w"]))
        return values[asked[-1]]

    chosen = choose(SoupPlan("greedy", 4), ranked, judge)
    assert [one.epoch for one in chosen] == [2, 3, 1]
    assert asked == [2.5, 3.0, 2.0]


def test_a_uniform_soup_takes_all_and_asks_nobody():
    parts = [Ingredient(i, 0.0, {}) for i in range(3)]
    assert choose(SoupPlan("uniform", 3), parts, judge=None) == parts


@pytest.mark.parametrize(("keep", "expected"), [("best", [4, 2, 1]), ("last", [3, 4, 5])])
def test_the_pot_holds_the_best_or_the_last_epochs(keep, expected):
    pot = Pot(3, keep)
    for epoch, value in enumerate([0.5, 0.7, 0.1, 0.9, 0.5], start=1):
        if pot.wants(value):
            pot.put(Ingredient(epoch, value, {}))
    assert [one.epoch for one in pot.ingredients] == expected
    assert not Pot(0, "best").wants(1.0)


def every_epoch(recipe, tokenizer, coloured, tmp_path, epochs):
    """Weights and score of each epoch of one training: with keep = "last" a shorter one, of the same schedule."""
    weights, scores = [], []
    for epoch in range(1, epochs + 1):
        stopped = {"epochs": epoch, "schedule": "constant", "warmup": 0.0, "keep": "last"}
        result = train(recipe, tokenizer, coloured, tmp_path / f"e{epoch}", **stopped)
        weights.append({**load_file(tmp_path / f"e{epoch}/model.safetensors")})
        scores.append(result.score)
    return weights, scores


@pytest.mark.parametrize("soup", ["uniform:3", "greedy:4"])
def test_the_checkpoint_is_the_average_of_the_epochs_that_are_told(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured, soup
):
    constant = {"epochs": 4, "schedule": "constant", "warmup": 0.0, "learning_rate": 3e-3}
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "soup", soup=soup, **constant)
    slow = dataclasses.replace(
        tiny_recipe, training=dataclasses.replace(tiny_recipe.training, learning_rate=constant["learning_rate"])
    )
    weights, scores = every_epoch(slow, tiny_tokenizer, coloured, tmp_path, 4)
    assert [epoch.score for epoch in result.history] == pytest.approx(scores)
    chosen = [weights[epoch - 1] for epoch in result.soup]
    assert len(chosen) == 3 or soup.startswith("greedy")
    for name, found in load_file(tmp_path / "soup/model.safetensors").items():
        naive = torch.stack([state[name].double() for state in chosen]).mean(0)
        torch.testing.assert_close(found.double(), naive, atol=1e-6, rtol=1e-6)
    spec = load_classifier(tmp_path / "soup").spec
    assert spec.score == result.score == accuracy(result.valid_probs, coloured[1][::3])
    scored = Scorer({"r": [str(tmp_path / "soup")]}, device="cpu", precision="fp32").score(coloured[0][::3])["r"]
    np.testing.assert_allclose(result.valid_probs, scored, atol=1e-5)
    if soup.startswith("greedy"):
        assert result.score >= max(scores)


def test_a_soup_of_the_last_epochs_chooses_nothing(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "s", epochs=4, keep="last", soup="uniform:2")
    assert result.soup == (3, 4)


def test_epochs_enter_the_soup_as_they_are_validated(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    changes = {"epochs": 3, "ema": 0.9, "r_drop": 0.5, "head": HeadOptions("rnn", {"width": 4})}
    first = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "a", soup="greedy:3", **changes)
    again = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "b", soup="greedy:3", **changes)
    assert first.soup == again.soup
    assert np.array_equal(first.valid_probs, again.valid_probs)
    assert (tmp_path / "a/head.safetensors").read_bytes() == (tmp_path / "b/head.safetensors").read_bytes()
    scored = Scorer({"r": [str(tmp_path / "a")]}, device="cpu", precision="fp32").score(coloured[0][::3])["r"]
    np.testing.assert_allclose(first.valid_probs, scored, atol=1e-5)


def test_where_training_stops_after_one_epoch_that_one_is_kept(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "s", epochs=1, soup="greedy:2")
    assert (result.kept, result.soup) == (1, ())


@pytest.mark.parametrize("text", ["uniform", "uniform:1", "greedy:0", "greedy:x", "stone:3", "uniform:3 ", ""])
def test_what_is_no_soup_is_refused(text):
    with pytest.raises(ModelError, match="no such soup") as error:
        parse_soup(text)
    assert "uniform:3" in error.value.details["expected"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"soup": "soup"}, r"\[training\] no such soup"),
        ({"soup": "uniform:9", "epochs": 4}, "wants more epochs than the 4"),
        ({"soup": "greedy:2", "epochs": 4, "keep": "last"}, "goes by the validation score"),
    ],
)
def test_a_recipe_whose_soup_contradicts_it_is_refused(tiny_recipe, changes, message):
    recipe = dataclasses.replace(tiny_recipe, training=dataclasses.replace(tiny_recipe.training, **changes))
    with pytest.raises(ModelError, match=message):
        check_recipe(recipe, Place("r.toml"))
