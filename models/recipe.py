"""`recipe.toml`: everything a person chooses about one run, read strictly and written back exactly.

    recipe = load_recipe(Path("recipes/bert-mini.toml"))
    recipe.training.epochs

The dataclasses below are the schema: a key exists if a field exists, its type and bounds are checked, and what a head
or a loss accepts is read from the signature of its function. Adding an option is adding a field or a parameter.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from models.errors import ModelError, did_you_mean
from models.schema import Between, Place, check_options, read_table, to_toml
from models.text.augmentation import AUGMENTATIONS
from models.text.cleaning import check_steps
from models.text.forms import ENTITY_FORMS, Form


@dataclass(frozen=True)
class ScratchOptions:
    """`[encoder.scratch]`: a small encoder with random weights and a WordPiece vocabulary made from the training texts.

    Attributes:
        architecture: Only ``bert``.
        layers: Transformer layers; 0: embeddings of tokens and positions alone, for heads such as ``textcnn``.
        hidden: Width; a multiple of `heads`.
        heads: Attention heads.
        intermediate: Width of the feed-forward layers.
        vocab_size: Word pieces at most, special tokens included.
        min_frequency: Characters and pieces seen less often are left out.
        lowercase: Fold case (and accents) before tokenising.
    """

    architecture: Literal["bert"] = "bert"
    layers: Annotated[int, Between(0)] = 2
    hidden: Annotated[int, Between(1)] = 128
    heads: Annotated[int, Between(1)] = 2
    intermediate: Annotated[int, Between(1)] = 512
    vocab_size: Annotated[int, Between(16)] = 8000
    min_frequency: Annotated[int, Between(1)] = 2
    lowercase: bool = True


@dataclass(frozen=True)
class EncoderOptions:
    """`[encoder]`: exactly one of the two.

    Attributes:
        path: Local directory (relative to the working directory) or Hub id of a pretrained encoder.
        scratch: An encoder made for this run.
        reinit_layers: With `path`: so many of the top layers get new random weights.
    """

    path: str | None = None
    scratch: ScratchOptions | None = None
    reinit_layers: Annotated[int, Between(0)] = 0


@dataclass(frozen=True)
class DataOptions:
    """`[data]`.

    Attributes:
        max_length: Tokens a row at most, special tokens included.
        cleaning: Names in `models.text.cleaning.STEPS`, applied in order.
        limit: Train on so many rows, drawn at random by `seed`; None for all.
        form: Name in `models.text.forms.FORMS`: how a row's text, its pair of texts or its entities reach the network.
    """

    max_length: Annotated[int, Between(4)] = 128
    cleaning: tuple[str, ...] = ()
    limit: Annotated[int | None, Between(1)] = None
    form: Form = "joined"


@dataclass(frozen=True)
class FoldOptions:
    """`[folds]`: how training rows are divided. All runs of a workspace share one division.

    Attributes:
        n: Number of folds.
        kind: ``stratified`` (by label), ``group`` (a group stays together), ``stratified_group`` (both) or ``random``.
        group_column: Column of the training table; for the two group kinds.
        seed: Of the division; independent of the run's seed.
    """

    n: Annotated[int, Between(2)] = 5
    kind: Literal["stratified", "group", "stratified_group", "random"] = "stratified"
    group_column: str | None = None
    seed: Annotated[int, Between(0)] = 42


@dataclass(frozen=True)
class HeadOptions:
    """`[head]`.

    Attributes:
        name: ``stock`` (the architecture's own, so that stock transformers loads it) or a name in `models.heads.HEADS`.
        options: Keyword arguments of the head's function, such as ``dropout``.
        dropout_samples: Draws of dropout in training whose logits are averaged; not for ``stock``.
    """

    name: str = "stock"
    options: dict[str, Any] = field(default_factory=dict)
    dropout_samples: Annotated[int, Between(1)] = 1


@dataclass(frozen=True)
class LossOptions:
    """`[loss]`.

    Attributes:
        name: A name in `models.losses.LOSSES`, or ``auto``: cross_entropy for one label a row, bce for several.
        class_weights: ``balanced`` weighs a class by the inverse of its share among the training rows.
        options: Keyword arguments of the loss function, such as ``label_smoothing``.
    """

    name: str = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ContrastOptions:
    """`[contrast]`: texts that say the same are drawn together, all others of a batch apart; for heads that compare.

    Attributes:
        weight: Of this loss beside that of the labels; 0: none.
        scale: Cosines are multiplied by it before the softmax.
        positive: Class of the pairs that say the same; None: the last class.
        alone: Only this loss trains the encoder; that of the labels the head alone, as in SimBERT.
    """

    weight: Annotated[float, Between(0.0)] = 0.0
    scale: Annotated[float, Between(0.1)] = 30.0
    positive: str | None = None
    alone: bool = False


@dataclass(frozen=True)
class SamplerOptions:
    """`[sampler]`: which rows an epoch draws.

    Attributes:
        name: A name in `models.training.samplers.SAMPLERS`.
        options: Keyword arguments of its function, such as ``q``.
    """

    name: str = "instance"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdversaryOptions:
    """`[adversary]`: training against perturbed weights.

    Attributes:
        name: A name in `models.training.adversary.ADVERSARIES`.
        start_epoch: First epoch with it, from 1.
        options: Keyword arguments of its function, such as ``epsilon``.
    """

    name: str = "none"
    start_epoch: Annotated[int, Between(1)] = 1
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AugmentationOptions:
    """`[augmentation]`: changed copies of the training rows of a fold; validation rows stay as they are.

    Attributes:
        steps: Names in `models.text.augmentation.AUGMENTATIONS`; each copy goes through one of them.
        copies: Of each row; 0: no augmentation.
        rate: Share of a text's words (Chinese: characters) that a step changes.
        synonyms: File of synonyms: a line a group, separated by tabs; ``replace`` needs it.
    """

    steps: tuple[str, ...] = ("delete", "swap")
    copies: Annotated[int, Between(0)] = 0
    rate: Annotated[float, Between(0.0, 1.0)] = 0.1
    synonyms: str | None = None


@dataclass(frozen=True)
class PseudoLabelOptions:
    """`[pseudo_labels]`: texts without labels join the training rows of a fold, labelled by a run where it is sure.

    Attributes:
        run: Name of the run that labels; None: no pseudo-labels.
        table: Table of texts, relative to competition.toml; None: the competition's test table.
        source: ``fold``: each fold is taught by the run's checkpoint of the same fold, which saw none of the fold's
            validation rows either; ``predictions``: by `runs/<run>/predictions/<table>.parquet`, the mean of all folds.
        threshold: Confidence that a text needs: its most probable class's probability, or for several labels the least
            sure of its decisions.
    """

    run: str | None = None
    table: str | None = None
    source: Literal["fold", "predictions"] = "fold"
    threshold: Annotated[float, Between(0.5, 1.0)] = 0.9


@dataclass(frozen=True)
class TrainingOptions:
    """`[training]`.

    Attributes:
        epochs: Passes over the training rows of a fold.
        batch_size: Rows a step.
        micro_batch_size: Rows that go through the network at once; their gradients are added up to those of the batch.
            None: the whole batch. Halved when a GPU runs out of memory.
        learning_rate: Peak, for the encoder.
        head_learning_rate: Peak, for the head; None: the same.
        weight_decay: Of matrices; biases and norms have none.
        warmup: Share of all steps in which the learning rate rises from 0.
        schedule: Name in `models.training.optimizer.SCHEDULES`: what follows the warm-up.
        max_grad_norm: Gradients are clipped to this norm.
        dropout: Of the encoder's hidden states and attention; None: as its configuration says.
        precision: ``auto`` is bf16 on a CUDA device that has it, else fp32.
        keep: Checkpoint of the ``best`` epoch by validation score, or of the ``last``.
        patience: Stop after so many epochs without a better score; None: never.
        gradient_checkpointing: Spend time to save memory.
        layer_decay: The learning rate of each layer is that of the layer above times this; the embeddings' the lowest.
        unfreeze: Share of all steps over which the encoder thaws from its top layer down; 0: all trains from the start.
        ema: Decay of an exponential moving average of the weights, which is then validated and kept; None: no average.
        r_drop: Weight of the symmetric divergence between two passes with different dropout; 0: one pass.
    """

    epochs: Annotated[int, Between(1)] = 3
    batch_size: Annotated[int, Between(1)] = 32
    micro_batch_size: Annotated[int | None, Between(1)] = None
    learning_rate: Annotated[float, Between(0.0)] = 2e-5
    head_learning_rate: Annotated[float | None, Between(0.0)] = None
    weight_decay: Annotated[float, Between(0.0)] = 0.01
    warmup: Annotated[float, Between(0.0, 1.0)] = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: Annotated[float, Between(0.0)] = 1.0
    dropout: Annotated[float | None, Between(0.0, 0.95)] = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    keep: Literal["best", "last"] = "best"
    patience: Annotated[int | None, Between(1)] = None
    gradient_checkpointing: bool = False
    layer_decay: Annotated[float | None, Between(0.01, 1.0)] = None
    unfreeze: Annotated[float, Between(0.0, 1.0)] = 0.0
    ema: Annotated[float | None, Between(0.0, 0.99999)] = None
    r_drop: Annotated[float, Between(0.0)] = 0.0


@dataclass(frozen=True)
class Recipe:
    """One run as asked.

    Attributes:
        name: Name of the run and of its folder.
        kind: ``transformer``, or ``linear`` (TF-IDF and logistic regression).
        seed: Of weights, order of rows and dropout.
        encoder, head, loss, contrast, sampler, adversary, augmentation, training: For ``transformer``.
        data, folds, pseudo_labels: For both.
        linear: Keyword arguments of `models.linear`, for ``linear``.
    """

    name: str
    kind: Literal["transformer", "linear"] = "transformer"
    seed: Annotated[int, Between(0)] = 42
    encoder: EncoderOptions = EncoderOptions()
    data: DataOptions = DataOptions()
    folds: FoldOptions = FoldOptions()
    head: HeadOptions = HeadOptions()
    loss: LossOptions = LossOptions()
    contrast: ContrastOptions = ContrastOptions()
    sampler: SamplerOptions = SamplerOptions()
    adversary: AdversaryOptions = AdversaryOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    pseudo_labels: PseudoLabelOptions = PseudoLabelOptions()
    training: TrainingOptions = TrainingOptions()
    linear: dict[str, Any] = field(default_factory=dict)

    def to_toml(self) -> str:
        """Every value in force, defaults included, as TOML that `load_recipe` reads back to an equal recipe."""
        other = _LINEAR if self.kind == "transformer" else _TRANSFORMER
        return to_toml({key: v for key, v in dataclasses.asdict(self).items() if key not in other})


_TRANSFORMER = ("encoder", "head", "loss", "contrast", "sampler", "adversary", "augmentation", "training")
_LINEAR = ("linear",)


def load_recipe(path: Path) -> Recipe:
    """Read and check one recipe. Without a ``name`` it is called like its file.

    Raises:
        ModelError: No such file, not TOML, an unknown key, a wrong type or value; names file, section and key.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ModelError("no such recipe", where=path, next="see recipes/ for examples, or use --encoder") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ModelError(f"{path.name} is not valid TOML: {exc}", where=path) from exc
    place = Place(str(path))
    recipe: Recipe = read_table(Recipe, {"name": path.stem, **raw}, place)
    foreign = [key for key in (_LINEAR if recipe.kind == "transformer" else _TRANSFORMER) if key in raw]
    if foreign:
        raise place.inside(foreign[0]).error(f"has no meaning in a {recipe.kind} recipe")
    check_recipe(recipe, place)
    return recipe


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
    if recipe.kind == "transformer":
        _check_encoder(recipe.encoder, place.inside("encoder"))
        _check_named_parts(recipe, place)
        _check_form(recipe, place)
        _check_augmentation(recipe.augmentation, place.inside("augmentation"))
        if recipe.training.patience is not None and recipe.training.keep == "last":
            raise place.inside("training").error("patience waits for a better epoch, which keep = 'last' ignores")


def _check_encoder(encoder: EncoderOptions, place: Place) -> None:
    scratch = encoder.scratch
    if (encoder.path is None) == (scratch is None):
        raise place.error("needs exactly one of 'path' and a section [encoder.scratch]")
    if scratch is not None and encoder.reinit_layers:
        raise place.error("reinit_layers is for pretrained encoders: one from scratch is new throughout")
    if scratch is not None and scratch.hidden % scratch.heads:
        raise place.inside("scratch").error(f"hidden = {scratch.hidden} is not a multiple of heads = {scratch.heads}")


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
    if recipe.contrast.alone and not recipe.contrast.weight:
        raise contrast.error("alone = true, but weight = 0: nothing would train the encoder")
    if recipe.contrast.weight and recipe.training.r_drop:
        raise contrast.error("it cannot be had together with r_drop", next="leave one of the two out")


def _check_augmentation(options: AugmentationOptions, place: Place) -> None:
    for step in options.steps:
        if step not in AUGMENTATIONS:
            raise place.error(f"unknown step '{step}'", next=did_you_mean(step, list(AUGMENTATIONS)))
    if options.copies and not options.steps:
        raise place.error("copies without steps", next=f"name some of {', '.join(AUGMENTATIONS)}")
    if options.copies and "replace" in options.steps and options.synonyms is None:
        raise place.error("step 'replace' needs synonyms", next='name a file: synonyms = "synonyms.tsv"')


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
    if recipe.head.name == "stock" and recipe.head.dropout_samples > 1:
        raise place.inside("head").error("dropout_samples is for heads of ours, not for 'stock'")
