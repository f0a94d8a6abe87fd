"""A tiny recipe from scratch and its tokenizer, for tests that train or build."""

import pytest

from models.recipe import DataOptions, EncoderOptions, HeadOptions, Recipe, ScratchOptions, TrainingOptions
from models.scratch import train_tokenizer

SCRATCH = ScratchOptions(layers=2, hidden=16, heads=2, intermediate=32, vocab_size=120, min_frequency=1)

COLOURS = ("red", "green", "blue")
TEXTS = [f"{COLOURS[i % 3]} {noun} {verb}" for i, (noun, verb) in enumerate(
    (noun, verb) for noun in ("fox", "dog runs", "big old house", "sea") for verb in ("sleeps", "is here now", "sings", "")
)] * 2  # fmt: skip


@pytest.fixture(scope="session")
def tiny_recipe():
    return Recipe(
        name="tiny",
        seed=1,
        encoder=EncoderOptions(scratch=SCRATCH),
        data=DataOptions(max_length=16),
        head=HeadOptions("stock"),
        training=TrainingOptions(epochs=3, batch_size=8, learning_rate=3e-3),
    )


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return train_tokenizer(TEXTS, SCRATCH, max_length=16)


@pytest.fixture(scope="session")
def coloured_texts():
    """Texts whose first word is their class, and the classes' numbers."""
    import numpy as np

    return TEXTS, np.array([COLOURS.index(text.split()[0]) for text in TEXTS])
