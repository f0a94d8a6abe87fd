"""A tiny recipe from scratch and its tokenizer, for tests that build or train."""

import dataclasses
import itertools

import numpy as np
import pytest

from models.recipe import (
    DataOptions,
    EncoderOptions,
    HeadOptions,
    LossOptions,
    Recipe,
    ScratchOptions,
    TrainingOptions,
)
from models.scratch import train_tokenizer

SCRATCH = ScratchOptions(layers=2, hidden=16, heads=2, intermediate=32, vocab_size=120, min_frequency=1)
CLASSES = ("red", "green", "blue")
ENDS = ("fox sleeps", "dog", "big old house is here now", "sea sings", "sea", "old dog runs and sings", "house", "fox")
TEXTS = [f"{colour} {end}" for end, colour in itertools.product(ENDS, CLASSES)]


@pytest.fixture(scope="session")
def tiny_recipe():
    return Recipe(
        name="tiny",
        seed=1,
        encoder=EncoderOptions(scratch=SCRATCH),
        data=DataOptions(max_length=16),
        training=TrainingOptions(epochs=3, batch_size=8, learning_rate=3e-3),
    )


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return train_tokenizer(TEXTS, SCRATCH, max_length=16)


@pytest.fixture(scope="session")
def coloured():
    """24 texts whose first word is their class, and the classes' numbers."""
    return TEXTS, np.array([CLASSES.index(text.split()[0]) for text in TEXTS])


@pytest.fixture
def gradient_source(tiny_recipe, tiny_tokenizer, coloured):
    """A tiny network without dropout and the rows that it learns from, as `put_gradient` takes them."""
    import torch

    from models.build import build_classifier
    from models.losses import make_loss
    from models.training.batches import tokenise
    from models.training.half import HalfPrecision
    from models.training.step import GradientSource, MicroBatch

    texts, labels = coloured
    recipe = dataclasses.replace(
        tiny_recipe, head=HeadOptions("mean", {"dropout": 0.0}),
        training=dataclasses.replace(tiny_recipe.training, dropout=0.0),
    )  # fmt: skip
    torch.manual_seed(0)
    return GradientSource(
        network=build_classifier(recipe, CLASSES, tiny_tokenizer, "single_label").train(),
        rows=tokenise(tiny_tokenizer, texts, 16),
        targets=torch.from_numpy(labels),
        loss=make_loss(LossOptions(), "single_label"),
        task="single_label",
        classes=CLASSES,
        device=torch.device("cpu"),
        half=HalfPrecision(),
        r_drop=0.0,
        micro=MicroBatch(64),
    )
