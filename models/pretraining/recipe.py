"""What a person chooses about masked-language-model training, read from a file of kind ``pretraining``.

    recipe = load_pretraining(Path("recipes/pretraining/weibo.toml"))

A recipe of a run does as well: its encoder, cleaning, max_length and seed are taken, all else has its default. Strict
as `models.recipe`: a key exists if a field exists.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from models.errors import ModelError
from models.recipe import check_encoder, load_recipe, read_toml
from models.recipe_options import EncoderOptions, VectorOptions
from models.schema import Between, Place, read_table, to_toml
from models.text.cleaning import check_steps
from models.text.segment import Chinese


@dataclass(frozen=True)
class TextOptions:
    """`[data]`.

    Attributes:
        max_length: Tokens a row at most, special tokens included; longer texts become several rows.
        cleaning: Names in `models.text.cleaning.STEPS`, applied in order: those of the runs that come after.
        limit: So many texts, drawn at random by `seed`; None for all.
    """

    max_length: Annotated[int, Between(8, 1_000_000)] = 128
    cleaning: tuple[str, ...] = ()
    limit: Annotated[int | None, Between(1)] = None


@dataclass(frozen=True)
class MaskingOptions:
    """`[masking]`.

    Attributes:
        share: Of a row's tokens that are to be foretold.
        whole_words: All tokens of a word or none; false: each token by itself.
        chinese: How runs of Chinese characters are cut into words: ``discovered`` in the texts themselves, by a
            ``list``, by ``jieba`` (package rjieba), or not at all (``characters``).
        words: File of words for ``list``: a line a word, with its frequency where known.
    """

    share: Annotated[float, Between(0.01, 0.6)] = 0.15
    whole_words: bool = True
    chinese: Chinese = "discovered"
    words: str | None = None


@dataclass(frozen=True)
class PretrainingOptions:
    """`[training]`.

    Attributes:
        epochs: Passes over the texts; each draws its own masks.
        batch_size: Rows a step.
        learning_rate: Peak.
        weight_decay: Of matrices; biases and norms have none.
        warmup: Share of all steps in which the learning rate rises from 0.
        schedule: Name in `models.training.optimizer.SCHEDULES`.
        max_grad_norm: Gradients are clipped to this norm; 0: they are not clipped.
        precision: ``auto`` is bf16 where the device has it and it pays (a GPU; a CPU from width 256 on), fp16 on an
            older GPU (Volta, Turing), else fp32.
        held_out: Share of the rows that is not trained on and measures the perplexity; 2,000 rows at most.
    """

    epochs: Annotated[int, Between(1)] = 3
    batch_size: Annotated[int, Between(1)] = 32
    learning_rate: Annotated[float, Between(0.0)] = 5e-5
    weight_decay: Annotated[float, Between(0.0)] = 0.01
    warmup: Annotated[float, Between(0.0, 1.0)] = 0.06
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: Annotated[float, Between(0.0)] = 1.0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    held_out: Annotated[float, Between(0.001, 0.5)] = 0.05


@dataclass(frozen=True)
class Pretraining:
    """One pretraining as asked.

    Attributes:
        name: Of the folder in `pretrained/`.
        kind: Tells such a file from the recipe of a run.
        seed: Of new weights, held-out rows, masks, order and dropout.
        encoder: ``path``, or ``scratch`` with a vocabulary made from the texts.
        data, masking, training: See there.
    """

    name: str
    kind: Literal["pretraining"] = "pretraining"
    seed: Annotated[int, Between(0, 2**63 - 1)] = 42
    encoder: EncoderOptions = field(default_factory=EncoderOptions)
    data: TextOptions = TextOptions()
    masking: MaskingOptions = MaskingOptions()
    training: PretrainingOptions = PretrainingOptions()

    def to_toml(self) -> str:
        """Every value in force, as TOML that `load_pretraining` reads back to an equal recipe."""
        return to_toml(dataclasses.asdict(self))


def load_pretraining(path: Path) -> Pretraining:
    """Read and check a file of kind ``pretraining``, or take from the recipe of a run what concerns its encoder.

    Raises:
        ModelError: No such file, not TOML, an unknown key, a wrong value, switches that contradict each other.
    """
    raw = read_toml(path)
    place = Place(str(path))
    if raw.get("kind") == "pretraining":
        recipe: Pretraining = read_table(Pretraining, {"name": path.stem, **raw}, place)
    else:
        recipe = _of_run(path)
    check_pretraining(recipe, place)
    return recipe


def check_pretraining(recipe: Pretraining, place: Place) -> None:
    """Whether the parts fit together.

    Raises:
        ModelError: Something does not fit; named with its place.
    """
    read_table(Pretraining, tomllib.loads(recipe.to_toml()), place)  # the command line may have changed values
    check_encoder(recipe.encoder, place.inside("encoder"))
    check_steps(recipe.data.cleaning)
    scratch, masking = recipe.encoder.scratch, place.inside("masking")
    if scratch is not None and scratch.layers == 0:
        raise place.inside("encoder.scratch").error(
            "layers = 0 foretells nothing: no token would see its neighbours", next="layers = 1 or more"
        )
    if recipe.encoder.vectors.name != "none":
        raise place.inside("encoder.vectors").error(
            "pretraining learns embeddings of its own", next="leave it out here"
        )
    if recipe.encoder.reinit_layers:
        raise place.inside("encoder").error("reinit_layers would undo what pretraining gave", next="leave it out here")
    if recipe.encoder.vocabulary == "used":
        raise place.inside("encoder").error(
            "vocabulary = 'used' is for runs: what is pretrained serves texts that are not known yet",
            next="leave it out here",
        )
    if (recipe.masking.words is not None) != (recipe.masking.chinese == "list"):
        raise masking.error(
            "chinese = 'list' and words = 'FILE' go together", found=f"chinese = '{recipe.masking.chinese}'"
        )
    if not recipe.masking.whole_words and recipe.masking.chinese in ("list", "jieba"):
        raise masking.error(
            f"whole_words = false, but chinese = '{recipe.masking.chinese}' names words",
            next="leave one of the two out",
        )


def _of_run(path: Path) -> Pretraining:
    run = load_recipe(path)
    if run.kind != "transformer":
        raise ModelError(f"a {run.kind} recipe has no encoder to pretrain", where=path)
    encoder = dataclasses.replace(run.encoder, reinit_layers=0, vocabulary="full", vectors=VectorOptions())
    data = TextOptions(run.data.max_length, run.data.cleaning, run.data.limit)
    rate = PretrainingOptions.learning_rate if run.encoder.scratch is None else run.training.learning_rate
    training = dataclasses.replace(PretrainingOptions(), learning_rate=rate)
    return Pretraining(run.name, seed=run.seed, encoder=encoder, data=data, training=training)
