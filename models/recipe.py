"""`recipe.toml`: everything a person chooses about one run, read strictly and written back exactly.

    recipe = load_recipe(Path("recipes/bert-mini.toml"))
    recipe.training.epochs

The dataclasses in `models.recipe_options` are the schema: a key exists if a field exists, its type and bounds are
checked, and what a head or a loss accepts is read from the signature of its function. Adding an option is adding a
field or a parameter.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import ModelError, did_you_mean
from models.recipe_options import (
    LINEAR_SECTIONS,
    TRANSFORMER_SECTIONS,
    AdversaryOptions,
    AugmentationOptions,
    ContrastOptions,
    DataOptions,
    DistillOptions,
    EncoderOptions,
    FoldOptions,
    HeadOptions,
    LoraOptions,
    LossOptions,
    PseudoLabelOptions,
    Recipe,
    SamplerOptions,
    ScratchOptions,
    TrainingOptions,
    WordOptions,
)
from models.schema import Place, check_options, read_table
from models.text.augmentation import AUGMENTATIONS
from models.text.cleaning import check_steps
from models.text.forms import ENTITY_FORMS

__all__ = [
    "AdversaryOptions",
    "AugmentationOptions",
    "ContrastOptions",
    "DataOptions",
    "DistillOptions",
    "EncoderOptions",
    "FoldOptions",
    "HeadOptions",
    "LoraOptions",
    "LossOptions",
    "PseudoLabelOptions",
    "Recipe",
    "SamplerOptions",
    "ScratchOptions",
    "TrainingOptions",
    "WordOptions",
    "check_encoder",
    "check_recipe",
    "check_values",
    "load_recipe",
    "read_toml",
]

_ONE_DRAW = ("stock", "linked", "tags", "crf", "cosine")  # heads that do not draw dropout several times


def load_recipe(path: Path) -> Recipe:
    """Read and check one recipe. Without a ``name`` it is called like its file.

    Raises:
        ModelError: No such file, not TOML, an unknown key, a wrong type or value; names file, section and key.
    """
    raw = read_toml(path)
    place = Place(str(path))
    if raw.get("kind") == "pretraining":
        raise ModelError("this file is for `cli pretrain`, not for a run", where=path, next=f"cli pretrain {path}")
    recipe: Recipe = read_table(Recipe, {"name": path.stem, **raw}, place)
    foreign = [key for key in (LINEAR_SECTIONS if recipe.kind == "transformer" else TRANSFORMER_SECTIONS) if key in raw]
    if foreign:
        raise place.inside(foreign[0]).error(f"has no meaning in a {recipe.kind} recipe")
    check_recipe(recipe, place)
    return recipe


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a recipe's file, unchecked.

    Raises:
        ModelError: No such file, one that cannot be read, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows begin files with a mark
    except FileNotFoundError as exc:
        raise ModelError("no such recipe", where=path, next="see recipes/ for examples, or use --encoder") from exc
    except IsADirectoryError as exc:
        inside = path / "recipe.toml"
        advice = f"name the file in it: {inside}" if inside.is_file() else "name a file; see recipes/ for examples"
        raise ModelError(
            "a folder, not a recipe", where=path, expected="a file such as mine.toml", next=advice
        ) from exc
    except OSError as exc:
        raise ModelError(
            f"cannot read the recipe: {exc.strerror or exc}", where=path, next="see who may read it: `ls -l`"
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ModelError(f"{path.name} is not valid TOML: {exc}", where=path) from exc


def check_values(recipe: Recipe, place: Place) -> None:
    """Compare each value of a recipe that was put together by hand with the schema, as `load_recipe` does.

    Raises:
        ModelError: A wrong type, or a value out of range.
    """
    read_table(Recipe, tomllib.loads(recipe.to_toml()), place)


def check_recipe(recipe: Recipe, place: Place) -> None:
    """What a single value cannot tell: whether the parts fit together.

    Args:
        recipe: From a file, or put together by hand.
        place: Named in errors.

    Raises:
        ModelError: Something does not fit.
    """
    name = recipe.name
    if not name or name.startswith((".", "-")) or any(c in name for c in "/\\\0"):
        raise place.error(f"'{name}' cannot be the name of a run's folder", next="use letters, digits and '-'")
    check_steps(recipe.data.cleaning)
    grouped = recipe.folds.kind in ("group", "stratified_group")
    if grouped != (recipe.folds.group_column is not None):
        problem = "needs" if grouped else "does not use"
        raise place.inside("folds").error(f"kind = '{recipe.folds.kind}' {problem} a group_column")
    _check_seeds(recipe, place)
    _check_pseudo_labels(recipe, place.inside("pseudo_labels"))
    if recipe.kind == "linear":
        _check_linear(recipe, place)
    if recipe.kind == "transformer":
        check_encoder(recipe.encoder, place.inside("encoder"))
        _check_named_parts(recipe, place)
        _check_adversary(recipe, place.inside("adversary"))
        _check_words(recipe, place.inside("words"))
        _check_form(recipe, place)
        _check_augmentation(recipe.augmentation, place.inside("augmentation"))
        _check_lora(recipe, place.inside("lora"))
        _check_distill(recipe, place.inside("distill"))
        _check_soup(recipe.training, place.inside("training"))
        _check_training(recipe, place.inside("training"))


def _check_seeds(recipe: Recipe, place: Place) -> None:
    if recipe.seeds and recipe.kind == "linear":
        raise place.error("seeds make no difference to a linear run, which draws nothing at random")
    if len(set(recipe.seeds)) < len(recipe.seeds):
        raise place.error("a seed stands twice in seeds", found=", ".join(map(str, recipe.seeds)))


def _check_pseudo_labels(recipe: Recipe, place: Place) -> None:
    options = recipe.pseudo_labels
    if options.run is None and options != PseudoLabelOptions():
        raise place.error("names no teacher", next='run = "a run, or a recipe in blends/"')
    if options.stage == "before" and recipe.kind == "linear":
        raise place.error("stage = 'before' is for transformers: a linear model is fitted once", next="stage = 'mixed'")
    if options.epochs != PseudoLabelOptions.epochs and options.stage == "mixed":
        raise place.error("epochs are those of stage = 'before'", next="leave them out, or set the stage")


def _check_linear(recipe: Recipe, place: Place) -> None:
    from models.linear import check_linear_options

    with _naming(place.inside("linear")):
        check_linear_options(recipe.linear)
    for key in ("max_length", "form"):
        if getattr(recipe.data, key) != getattr(DataOptions, key):
            raise place.inside("data").error(
                f"{key} has no meaning in a linear recipe, which counts words of whole texts", next="leave it out"
            )


@contextmanager
def _naming(place: Place) -> Iterator[None]:
    """Errors of a part that knows no recipe say where its options stand."""
    try:
        yield
    except ModelError as exc:
        raise place.error(exc.summary, **exc.details) from exc


def check_encoder(encoder: EncoderOptions, place: Place) -> None:
    """Whether the parts of `[encoder]` fit together. Raises `ModelError`."""
    scratch = encoder.scratch
    if (encoder.path is None) == (scratch is None):
        raise place.error("needs exactly one of 'path' and a section [encoder.scratch]")
    if scratch is not None and encoder.reinit_layers:
        raise place.error("reinit_layers is for pretrained encoders: one from scratch is new throughout")
    if scratch is not None and encoder.vocabulary == "used":
        raise place.error("vocabulary = 'used' is for pretrained encoders: one from scratch knows its own texts alone")
    if scratch is None and encoder.vectors.name != "none":
        raise place.inside("vectors").error(
            "for encoders from scratch: a pretrained one has its own", next="leave it out"
        )
    _check_vectors(encoder.vectors.name, encoder.vectors.options, place.inside("vectors"))
    if scratch is not None and scratch.hidden % scratch.heads:
        raise place.inside("scratch").error(f"hidden = {scratch.hidden} is not a multiple of heads = {scratch.heads}")


def _check_vectors(name: str, options: Mapping[str, Any], place: Place) -> None:
    """Whether there are such vectors, and whether they take these options."""
    if name == "none":
        if options:
            raise place.error(f"{', '.join(options)} without a name", next='name = "glove"')
        return
    from models.vectors import VECTORS

    if name not in VECTORS:
        raise place.error(f"unknown vectors '{name}'", next=did_you_mean(name, ["none", *VECTORS]))
    check_options(VECTORS[name], options, place)


def _check_adversary(recipe: Recipe, place: Place) -> None:
    options, epochs = recipe.adversary, recipe.training.epochs
    if options.name == "none" and options != AdversaryOptions():
        raise place.error("start_epoch without a name", next='name = "fgm", or leave the section out')
    if options.name != "none" and options.start_epoch > epochs:
        raise place.error(
            f"start_epoch = {options.start_epoch}, but there are {epochs} epochs: it would never begin",
            next=f"start_epoch = {epochs} at most, or more epochs",
        )
    for key in ("epsilon", "rate", "step"):
        if options.options.get(key) == 0:
            raise place.error(f"{key} = 0 moves nothing", next="a length above 0, or leave the section out")
    if options.name in ("fgm", "pgd") and recipe.training.unfreeze == 1:
        raise place.error(
            f"{options.name} moves word embeddings, which unfreeze = 1.0 keeps frozen to the last step",
            next='unfreeze below 1 under [training], or name = "awp"',
        )


def _check_words(recipe: Recipe, place: Place) -> None:
    from models.heads import PAIR_HEADS

    options = recipe.words
    _check_vectors(options.name, options.options, place)
    if (options.file is not None) != (options.chinese == "list"):
        raise place.error("chinese = 'list' and file = 'FILE' go together", found=f"chinese = '{options.chinese}'")
    if options.name == "none" and options != WordOptions():
        raise place.error("names no vectors", next='name = "glove", or leave the section out')
    if options.name != "none" and recipe.head.name in ("stock", *PAIR_HEADS):
        raise place.error(f"head '{recipe.head.name}' reads no words", next="use another head, such as 'conv'")


def _check_lora(recipe: Recipe, place: Place) -> None:
    options = recipe.lora
    if options.rank == 0:
        if options != LoraOptions():
            raise place.error("has no rank", next="rank = 16, or leave the section out")
        return
    contradictions = {
        "[encoder.scratch] would keep its random weights": recipe.encoder.scratch is not None,
        "[encoder] reinit_layers would keep their random weights": recipe.encoder.reinit_layers > 0,
        "[training] unfreeze would thaw what it freezes": recipe.training.unfreeze > 0,
        f"[adversary] {recipe.adversary.name} moves embeddings, which do not train": recipe.adversary.name
        in ("fgm", "pgd"),
        f"[data] form = '{recipe.data.form}' needs new embeddings, which would not train": recipe.data.form
        in ("marked", "embedded"),
    }
    for problem, there in contradictions.items():
        if there:
            raise place.error(problem, next="leave one of the two out")


def _check_form(recipe: Recipe, place: Place) -> None:
    """Whether the form of a row's text, the head and the training that is asked for go together."""
    from models.heads import ENTITY_HEADS, PAIR_HEADS

    form, head = recipe.data.form, recipe.head.name
    if (head in PAIR_HEADS) != (form == "apart"):
        wanted = f"one of {', '.join(PAIR_HEADS)}" if form == "apart" else "form = 'apart' under [data]"
        raise place.inside("head").error(f"head '{head}' does not go with form = '{form}'", expected=wanted)
    if head in ENTITY_HEADS and form not in ENTITY_FORMS:
        raise place.inside("head").error(
            f"head '{head}' needs to know the entities",
            expected=f"form = one of {', '.join(ENTITY_FORMS)} under [data]",
        )
    if form == "plain" and head not in ENTITY_HEADS:
        raise place.inside("data").error(
            f"form = 'plain' hides the entities from head '{head}'", next="form = 'marked', or a head for entities"
        )
    if form in ENTITY_FORMS and recipe.augmentation.copies:
        raise place.inside("augmentation").error("it would tear the marks of entities", next="leave it out")
    contrast = place.inside("contrast")
    if recipe.contrast.weight and form != "apart":
        raise contrast.error("it compares texts that go through the encoder apart", expected="form = 'apart'")
    if recipe.contrast.generate and not recipe.contrast.weight:
        raise contrast.error("generate goes with the contrast, whose weight = 0", next="set a weight")
    if recipe.contrast.alone and not recipe.contrast.weight:
        raise contrast.error("alone = true, but weight = 0: nothing would train the encoder")
    if not recipe.contrast.weight and recipe.contrast != ContrastOptions():
        raise contrast.error("has no weight: it would not count", next="set a weight, or leave the section out")
    if recipe.contrast.weight and recipe.training.r_drop:
        raise contrast.error("it cannot be had together with r_drop", next="leave one of the two out")


def _check_distill(recipe: Recipe, place: Place) -> None:
    options = recipe.distill
    if options.teacher is None and options != DistillOptions():
        raise place.error("names no teacher", next='teacher = "a run, or a recipe in blends/"')
    if options.source == "fold" and not options.test:
        raise place.error("source = 'fold' teaches test rows alone", next="test = true")
    if options.teacher is not None and options.alpha == 0:
        raise place.error("alpha = 0 leaves the teacher no share of the loss", next="leave the section out")
    if options.teacher is not None and options.alpha == 1 and recipe.loss != LossOptions():
        raise place.error("alpha = 1 leaves [loss] no share", next="an alpha below 1, or leave [loss] out")
    if options.teacher is not None and recipe.contrast.weight:
        raise place.error("it cannot be had together with [contrast]", next="leave one of the two out")
    if options.teacher is not None and recipe.pseudo_labels.run is not None:
        raise place.error("pseudo-labels have no teacher's probabilities", next="test = true teaches the test rows")


def _check_soup(options: TrainingOptions, place: Place) -> None:
    if options.soup is None:
        return
    from models.training.soup import parse_soup

    with _naming(place):
        plan = parse_soup(options.soup)
    if plan.size > options.epochs:
        raise place.error(f"soup = '{options.soup}' wants more epochs than the {options.epochs} that there are")
    if plan.kind == "greedy" and options.keep == "last":
        raise place.error("a greedy soup goes by the validation score, which keep = 'last' ignores")


def _check_training(recipe: Recipe, place: Place) -> None:
    """Refuse what would change nothing, but for a patience that a trial of few epochs never tries."""
    options, scratch = recipe.training, recipe.encoder.scratch
    micro, batch = options.micro_batch_size, options.batch_size
    if micro is not None and micro > batch:
        raise place.error(
            f"micro_batch_size = {micro}, but a step has batch_size = {batch} rows",
            next="leave it out, or a larger batch_size",
        )
    if options.patience is not None and options.keep == "last":
        raise place.error("patience waits for a better epoch, which keep = 'last' ignores")
    if (
        scratch is not None
        and scratch.layers == 0
        and (options.layer_decay is not None or options.gradient_checkpointing)
    ):
        raise place.error("layer_decay and gradient_checkpointing are for layers, of which [encoder.scratch] has none")


def _check_augmentation(options: AugmentationOptions, place: Place) -> None:
    for step in options.steps:
        if step not in AUGMENTATIONS:
            raise place.error(f"unknown step '{step}'", next=did_you_mean(step, list(AUGMENTATIONS)))
    if not options.copies and dataclasses.replace(options, table=None) != AugmentationOptions():
        raise place.error("has no copies: no text would be changed", next="copies = 1, or leave the section out")
    if options.copies and not options.steps:
        raise place.error("copies without steps", next=f"name some of {', '.join(AUGMENTATIONS)}")
    if options.copies and "replace" in options.steps and options.synonyms is None:
        raise place.error("step 'replace' needs synonyms", next='name a file: synonyms = "synonyms.tsv"')
    if options.synonyms is not None and not {"replace", "insert"} & set(options.steps):
        raise place.error(
            f"synonyms are for steps 'replace' and 'insert', not for {', '.join(options.steps)}", next="leave them out"
        )


def _check_named_parts(recipe: Recipe, place: Place) -> None:
    # Here, because torch takes seconds to import and a linear recipe has no need of it.
    from models.heads import HEADS
    from models.losses import LOSSES
    from models.training.adversary import ADVERSARIES
    from models.training.samplers import SAMPLERS

    for key, part, known in (
        ("head", recipe.head, HEADS),
        ("loss", recipe.loss, {"auto": LOSSES["cross_entropy"], **LOSSES}),
        ("sampler", recipe.sampler, SAMPLERS),
        ("adversary", recipe.adversary, ADVERSARIES),
    ):
        if part.name not in known:
            raise place.inside(key).error(f"unknown {key} '{part.name}'", next=did_you_mean(part.name, list(known)))
        check_options(known[part.name], part.options, place.inside(key))
    loss = recipe.loss
    if loss.alpha and (loss.class_weights != "none" or min(loss.alpha) < 0 or max(loss.alpha) == 0):
        raise place.inside("loss").error(
            f"alpha = {list(loss.alpha)}, class_weights = '{loss.class_weights}'",
            expected="one of the two; of alpha no number below 0, and one above",
        )
    if recipe.head.name == "crf" and loss != LossOptions():
        raise place.inside("loss").error("a CRF has a loss of its own", next="leave it out, or take head 'tags'")
    options = recipe.head.options
    if recipe.head.name in ("tags", "crf") and "width" in options and options.get("rnn", "none") == "none":
        raise place.inside("head").error("width without rnn: there is nothing of that width", next='rnn = "lstm"')
    if recipe.head.dropout_samples > 1 and options.get("dropout") == 0:
        raise place.inside("head").error(
            f"dropout_samples = {recipe.head.dropout_samples}, but dropout = 0: all draws are the same",
            next="a dropout above 0, or leave dropout_samples out",
        )
    if recipe.head.name in _ONE_DRAW and recipe.head.dropout_samples > 1:
        raise place.inside("head").error(
            f"dropout_samples is not for head '{recipe.head.name}'", next="leave it out, or choose another head"
        )
