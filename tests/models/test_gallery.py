"""Every recipe of the gallery trains: with its own head, loss and tricks, on a tiny encoder."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.heads import ONLY_FOR
from models.inference.scorer import Scorer
from models.recipe import DataOptions, EncoderOptions, load_recipe
from models.text.forms import ENTITY_FORMS
from models.text.pairs import SEPARATOR
from models.training.fold import make_tokenizer, train_fold
from models.vectors.words import make_lexicon

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
TRANSFORMERS = [path for path in RECIPES if load_recipe(path).kind == "transformer"]


def scaled_down(recipe, tiny):
    """The recipe on the tiny encoder: all that it asks for but size and time."""
    layers = recipe.encoder.scratch.layers if recipe.encoder.scratch is not None else tiny.encoder.scratch.layers
    scratch = dataclasses.replace(tiny.encoder.scratch, layers=min(layers, tiny.encoder.scratch.layers))
    training = dataclasses.replace(recipe.training, epochs=2, batch_size=8, micro_batch_size=4)
    data = DataOptions(max_length=16, cleaning=recipe.data.cleaning, form=recipe.data.form)
    return dataclasses.replace(recipe, encoder=EncoderOptions(scratch=scratch), training=training, data=data)


def in_form(recipe, texts, labels):
    """The texts as the recipe reads them, and classes that suit it."""
    if recipe.data.form == "apart":
        pairs = [f"{text}{SEPARATOR}{text if i % 2 else texts[i - 1]} now" for i, text in enumerate(texts)]
        return pairs, np.arange(len(texts)) % 2, ("other", "same")
    if recipe.data.form in ENTITY_FORMS:
        texts = ["<e1>{}</e1> <e2>{}</e2>".format(*text.split(maxsplit=1)) for text in texts]
    if recipe.loss.name in ("bce", "multilabel_ce"):
        labels = np.eye(3, dtype=np.float32)[labels]
    return texts, labels, ("red", "green", "blue")


@pytest.mark.parametrize("path", TRANSFORMERS, ids=lambda path: path.stem)
def test_the_recipe_trains_and_its_checkpoint_scores_as_it_validated(
    tmp_path, path, tiny_recipe, tiny_tokenizer, coloured
):
    recipe = scaled_down(load_recipe(path), tiny_recipe)
    texts, labels, classes = in_form(recipe, *coloured)
    tokenizer = make_tokenizer(recipe, texts) if recipe.data.form in ENTITY_FORMS else tiny_tokenizer
    task = None
    if recipe.loss.group_weights or recipe.head.name == "linked":
        classes, task = ("warm:no", "warm:yes", "c:red", "c:green", "c:blue"), "multi_group"
        labels = np.stack([(labels == 0).astype(np.int64), labels], axis=1)
    elif ONLY_FOR.get(recipe.head.name) == "token":
        classes, task = ("B-C", "I-C", "O"), "token"
        n_words = np.array([len(text.split(" ")) for text in texts])
        labels = np.where(np.arange(n_words.max()) < n_words[:, None], labels[:, None], -100)
    result = train_fold(
        recipe, classes, texts, labels, texts[::3], labels[::3], tokenizer,
        folder=tmp_path / "fold0", device="cpu", task=task, lexicon=make_lexicon(recipe, texts, tokenizer),
    )  # fmt: skip
    assert len(result.history) == 2
    scored = Scorer({"r": [str(tmp_path / "fold0")]}, device="cpu", precision="fp32").score(texts[::3])["r"]
    validated = result.valid_probs.probs if task == "token" else result.valid_probs
    np.testing.assert_allclose(validated, scored, atol=1e-5)


def test_the_documentation_names_every_recipe():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert [path.name for path in RECIPES if f"`{path.name}`" not in text] == []
