"""The contrast of a batch against a double loop, and what counts as the same."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.recipe import ContrastOptions, HeadOptions, check_recipe
from models.schema import Place
from models.text.pairs import SEPARATOR
from models.training.contrast import contrastive_loss, make_contrast


def brute_force(vectors, groups, positive, scale):
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    n, losses = len(positive), []
    for i in range(2 * n):
        if not positive[i % n]:
            continue
        partner = (i + n) % (2 * n)
        choices = [j for j in range(2 * n) if j == partner or groups[j] != groups[i]]
        scores = {j: scale * float(unit[i] @ unit[j]) for j in choices}
        losses.append(np.log(sum(np.exp(s - scores[partner]) for s in scores.values())))
    return np.mean(losses) if losses else 0.0


@given(st.integers(1, 6), st.integers(0, 1000), st.sampled_from([1.0, 20.0]))
def test_contrast_equals_a_double_loop(n, seed, scale):
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((2 * n, 5)).astype(np.float32)
    positive = draw.random(n) < 0.6
    groups = draw.integers(0, 2 * n, 2 * n)
    groups[:n][positive] = groups[n:][positive]
    found = contrastive_loss(*(torch.from_numpy(part) for part in (vectors, groups, positive)), scale)
    assert float(found) == pytest.approx(brute_force(vectors, groups, positive, scale), rel=1e-4, abs=1e-5)


def test_a_copy_of_a_text_is_no_negative():
    torch.manual_seed(0)
    first = torch.randn(1, 4)
    vectors = torch.cat(
        [first, first, torch.randn(1, 4), torch.randn(1, 4)]
    )  # pairs (0, 2), (1, 3): 0 and 1 are copies
    apart = contrastive_loss(vectors, torch.tensor([0, 0, 0, 0]), torch.tensor([True, True]), 20.0)
    assert float(apart) == 0.0  # all of one group: nothing to tell apart
    assert float(contrastive_loss(vectors, torch.tensor([0, 1, 0, 1]), torch.tensor([True, True]), 20.0)) > 0.5


def test_a_batch_without_a_positive_pair_has_no_loss_and_a_gradient_of_zero():
    vectors = torch.randn(4, 3, requires_grad=True)
    loss = contrastive_loss(vectors, torch.arange(4), torch.tensor([False, False]), 20.0)
    loss.backward()
    assert loss.item() == 0.0
    assert not vectors.grad.any()


def of(pairs, labels, classes=("no", "yes"), **options):
    texts = [SEPARATOR.join(pair) for pair in pairs]
    return make_contrast(ContrastOptions(weight=1.0, **options), texts, np.array(labels), classes, torch.device("cpu"))


def test_texts_linked_by_positive_pairs_are_one_group_and_a_text_with_itself_is_no_pair():
    found = of([("a", "b"), ("b", "c"), ("c", "x"), ("d", "d"), ("y", "a")], [1, 1, 0, 1, 0])
    groups = {
        text: int(group)
        for text, group in zip("abbccxddya", found.groups.flatten().tolist(), strict=True)
    }  # fmt: skip
    assert groups["a"] == groups["b"] == groups["c"]
    assert len({groups[text] for text in "axdy"}) == 4
    assert found.positive.tolist() == [True, True, False, False, False]


def test_another_class_can_be_the_positive_one():
    assert of([("a", "b"), ("c", "d")], [0, 1], positive="no").positive.tolist() == [True, False]
    assert of([("a", "b")], [0], positive="no").positive.tolist() == [True]
    with pytest.raises(ModelError, match="is no class"):
        of([("a", "b")], [0], positive="maybe")
    with pytest.raises(ModelError, match="no pair of two different texts"):
        of([("a", "a"), ("a", "b")], [1, 0])
    with pytest.raises(ModelError, match="one label a pair"):
        of([("a", "b")], [[0, 1]])
    with pytest.raises(ModelError, match="needs pairs"):
        of([("a",)], [1])


@pytest.mark.parametrize(
    ("head", "form", "contrast", "training", "message"),
    [
        ("cosine", "joined", {}, {}, "does not go with form = 'joined'"),
        ("cls", "apart", {}, {}, "does not go with form = 'apart'"),
        ("entity_starts", "joined", {}, {}, "needs to know the entities"),
        ("cls", "plain", {}, {}, "hides the entities"),
        ("cls", "joined", {"weight": 1.0}, {}, "go through the encoder apart"),
        ("cosine", "apart", {"alone": True}, {}, "nothing would train the encoder"),
        ("cosine", "apart", {"weight": 1.0}, {"r_drop": 1.0}, "r_drop"),
    ],
)
def test_switches_that_contradict_are_refused(tiny_recipe, head, form, contrast, training, message):
    recipe = dataclasses.replace(
        tiny_recipe,
        head=HeadOptions(head),
        data=dataclasses.replace(tiny_recipe.data, form=form),
        contrast=ContrastOptions(**contrast),
        training=dataclasses.replace(tiny_recipe.training, **training),
    )
    with pytest.raises(ModelError, match=message):
        check_recipe(recipe, Place("here"))
