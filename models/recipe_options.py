"""A recipe and its sections, one dataclass each: every key with its type, range, default and meaning.

`models.recipe` reads one from a file and checks whether its parts fit together. Adding an option is adding a field.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from models.schema import Between, to_toml
from models.text.forms import Form
from models.text.segment import Chinese


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
        new_words: So many Chinese words at most, found in the texts (`models.text.new_words`), become tokens beside
            these; 0: each character is a token.
        topics: So many of the most frequent topics (``#…#``, ``#…``) become tokens.
    """

    architecture: Literal["bert"] = "bert"
    layers: Annotated[int, Between(0, 1_000)] = 2
    hidden: Annotated[int, Between(1, 65_536)] = 128
    heads: Annotated[int, Between(1, 65_536)] = 2
    intermediate: Annotated[int, Between(1, 1_000_000)] = 512
    vocab_size: Annotated[int, Between(16, 10_000_000)] = 8000
    min_frequency: Annotated[int, Between(1)] = 2
    lowercase: bool = True
    new_words: Annotated[int, Between(0)] = 0
    topics: Annotated[int, Between(0)] = 0


@dataclass(frozen=True)
class VectorOptions:
    """`[encoder.vectors]`: where the embeddings of an encoder from scratch begin.

    Attributes:
        name: ``none`` (at random) or a name in `models.vectors.VECTORS`, learnt from the texts of train and test.
        options: Keyword arguments of its function, such as ``window``.
    """

    name: str = "none"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderOptions:
    """`[encoder]`: exactly one of the two.

    Attributes:
        path: Local directory (relative to the working directory) or Hub id of a pretrained encoder.
        scratch: An encoder made for this run.
        reinit_layers: With `path`: so many of the top layers get new random weights.
        vocabulary: With `path`: ``used`` leaves out the tokens that no text of train and test uses (`models.trim`).
        vectors: With `scratch`.
    """

    path: str | None = None
    scratch: ScratchOptions | None = None
    reinit_layers: Annotated[int, Between(0)] = 0
    vocabulary: Literal["full", "used"] = "full"
    vectors: VectorOptions = VectorOptions()


@dataclass(frozen=True)
class LoraOptions:
    """`[lora]`: low-rank updates of a pretrained encoder's linear layers are trained in place of its weights.

    Attributes:
        rank: Of the updates; 0: all weights train.
        alpha: The updates count ``alpha / rank`` times.
        dropout: Of what goes into them.
        targets: Last parts of the names of linear layers, such as ``q_proj``; empty: all of the encoder's.
    """

    rank: Annotated[int, Between(0, 65_536)] = 0
    alpha: Annotated[int, Between(1)] = 16
    dropout: Annotated[float, Between(0.0, 0.95)] = 0.05
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataOptions:
    """`[data]`.

    Attributes:
        max_length: Tokens a row at most, special tokens included.
        cleaning: Names in `models.text.cleaning.STEPS`, applied in order.
        limit: Train on so many rows, drawn at random by `seed`; None for all.
        form: See `models.text.forms`: how a row's text, its pair of texts or its entities reach the network.
        illegal_tags: For token tasks, of an ``I-`` that goes on no entity: ``repair`` makes it a ``B-`` and counts,
            ``reject`` stops and tells where.
        invalid_labels: Of a row whose label is missing or no class: ``reject`` stops and tells where, ``drop`` leaves
            the row out, of training and validation, and counts.
        duplicates: ``once``: of rows with one text a fold trains on the first alone, and on none whose text stands in
            its validation rows; each still gets its out-of-fold prediction. ``keep``: on all.
    """

    max_length: Annotated[int, Between(4, 1_000_000)] = 128
    cleaning: tuple[str, ...] = ()
    limit: Annotated[int | None, Between(1)] = None
    form: Form = "joined"
    illegal_tags: Literal["repair", "reject"] = "repair"
    invalid_labels: Literal["reject", "drop"] = "reject"
    duplicates: Literal["keep", "once"] = "keep"


@dataclass(frozen=True)
class FoldOptions:
    """`[folds]`: how training rows are divided. All runs of a workspace share one division.

    Attributes:
        n: Number of folds.
        kind: ``stratified`` (by label), ``group`` (a group stays together), ``stratified_group`` (both) or ``random``.
            A fold that a huge group makes much larger than its share is told.
        group_column: Column of the training table; for the two group kinds.
        seed: Of the division; independent of the run's seed.
    """

    n: Annotated[int, Between(2)] = 5
    kind: Literal["stratified", "group", "stratified_group", "random"] = "stratified"
    group_column: str | None = None
    seed: Annotated[int, Between(0, 2**32 - 1)] = 42  # as far as scikit-learn's go


@dataclass(frozen=True)
class HeadOptions:
    """`[head]`.

    Attributes:
        name: ``stock`` (the architecture's own, so that stock transformers loads it) or a name in `models.heads.HEADS`.
        options: Keyword arguments of the head's function, such as ``dropout``.
        dropout_samples: Draws of dropout in training whose logits are averaged; not for ``stock``,
            ``linked``, ``tags``, ``crf`` and ``cosine``.
    """

    name: str = "stock"
    options: dict[str, Any] = field(default_factory=dict)
    dropout_samples: Annotated[int, Between(1, 1_000)] = 1


@dataclass(frozen=True)
class WordOptions:
    """`[words]`: vectors of the words that tokens are part of stand beside the tokens' own, for the head to read.

    Attributes:
        name: ``none``, or a name in `models.vectors.VECTORS`: how the vectors are learnt from the texts of train and
            test, before they train on with the head.
        size: Width of a vector.
        most: So many words, the most frequent ones.
        chinese: How runs of Chinese characters are cut into words: ``discovered`` in the texts themselves, by a
            ``list``, by ``jieba`` (package rjieba), or not at all (``characters``).
        file: Of words, for ``list``: a line a word, with its frequency where known.
        options: Keyword arguments of the function that learns, such as ``window``.
    """

    name: str = "none"
    size: Annotated[int, Between(1, 65_536)] = 100
    most: Annotated[int, Between(1)] = 20000
    chinese: Chinese = "discovered"
    file: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LossOptions:
    """`[loss]`.

    Attributes:
        name: A name in `models.losses.LOSSES`, or ``auto``: cross_entropy for one label a row, bce for several.
        class_weights: ``balanced`` weighs a class by the inverse of its share among the training rows.
        alpha: Weights of the classes in their order, in place of `class_weights`; empty: as that says.
        group_weights: Of the label groups' losses in their sum, for multi_group; empty: each counts the same.
        options: Keyword arguments of the loss function, such as ``label_smoothing``.
    """

    name: str = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    alpha: tuple[float, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    group_weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class ContrastOptions:
    """`[contrast]`: texts that say the same are drawn together, all others of a batch apart; for heads that compare.

    Attributes:
        weight: Of this loss beside that of the labels; 0: none.
        scale: Cosines are multiplied by it before the softmax.
        positive: Class of the pairs that say the same; None: the last class.
        alone: Only this loss trains the encoder; that of the labels the head alone, as in SimBERT.
        generate: Weight of writing each text of such a pair from the other, the rest of SimBERT; 0: none.
    """

    weight: Annotated[float, Between(0.0)] = 0.0
    scale: Annotated[float, Between(0.1)] = 30.0
    positive: str | None = None
    alone: bool = False
    generate: Annotated[float, Between(0.0)] = 0.0


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
        table: Table of other wordings of training rows, made elsewhere, such as by translating there and back: ids and
            texts under the names that they have in the training table. Relative to competition.toml.
    """

    steps: tuple[str, ...] = ("delete", "swap")
    copies: Annotated[int, Between(0, 1_000)] = 0
    rate: Annotated[float, Between(0.0, 1.0)] = 0.1
    synonyms: str | None = None
    table: str | None = None


@dataclass(frozen=True)
class PseudoLabelOptions:
    """`[pseudo_labels]`: texts without labels join the training rows of a fold, labelled by a teacher where it is sure.

    Attributes:
        run: Name of the run that labels, or of a recipe in `blends/` or how that begins: the mean of several runs with
            its class weights decides then. None: no pseudo-labels.
        table: Table of texts, relative to competition.toml; None: the competition's test table.
        source: ``fold``: each fold is taught by the runs' checkpoints of the same fold, which saw none of the fold's
            validation rows either; ``predictions``: by `runs/<run>/predictions/<table>.parquet`, the mean of all folds.
        threshold: Confidence that a text needs: its most probable class's probability, or for several labels the least
            sure of its decisions.
        stage: ``mixed``: they are trained on among the other rows; ``before``: alone, before the labelled rows, which
            the network is then fine-tuned on with an optimizer and a schedule that begin anew.
        epochs: Of that stage.
    """

    run: str | None = None
    table: str | None = None
    source: Literal["fold", "predictions"] = "fold"
    threshold: Annotated[float, Between(0.5, 1.0)] = 0.9
    stage: Literal["mixed", "before"] = "mixed"
    epochs: Annotated[int, Between(1)] = 1


@dataclass(frozen=True)
class DistillOptions:
    """`[distill]`: a teacher's probabilities are learnt beside the labels.

    Attributes:
        teacher: A run, a recipe in `blends/` or the beginning of its name, or a predictions file of ours relative to
            competition.toml; its out-of-fold probabilities are taught. None: no teacher.
        temperature: The logits of both sides are divided by it: above 1, small probabilities tell more.
        alpha: Share of the teacher in the loss; the rest is that of the labels.
        test: Test rows, which have no label, are taught as well.
        source: ``oof``: training rows are taught by out-of-fold probabilities, test rows by the mean of the teacher's
            folds; the student's out-of-fold score flatters then. ``fold``: test rows alone are taught, by the teacher's
            checkpoints of the same fold, and nothing leaks.
    """

    teacher: str | None = None
    temperature: Annotated[float, Between(0.1, 100.0)] = 2.0
    alpha: Annotated[float, Between(0.0, 1.0)] = 0.5
    test: bool = False
    source: Literal["oof", "fold"] = "oof"


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
        max_grad_norm: Gradients are clipped to this norm; 0: they are not clipped.
        dropout: Of the encoder's hidden states, also those within a layer, and attention, whatever its configuration
            calls them; refused where it reaches none. Whole layers are dropped as that says. None: all as it says.
        precision: ``auto`` is bf16 where the device has it and it pays (a GPU; a CPU from width 256 on), fp16 on an
            older GPU (Volta, Turing), else fp32.
        keep: Checkpoint of the ``best`` epoch by validation score, or of the ``last``.
        patience: Stop after so many epochs without a better score; None: never.
        gradient_checkpointing: Spend time to save memory.
        layer_decay: The learning rate of each layer is that of the layer above times this; the embeddings' the lowest.
        unfreeze: Share of all steps over which the encoder thaws from its top layer down; 0: all trains from the start.
        ema: Decay of an exponential moving average of the weights, which is then validated and kept; None: no average.
        r_drop: Weight of the symmetric divergence between two passes with different dropout: of the classes'
            probabilities, of tags word by word, with a CRF of its marginals; 0: one pass.
        soup: ``uniform:K`` averages the weights of the K best epochs (with keep = "last": of the last K), ``greedy:K``
            of those among the K best that do not lower the validation score; None: one epoch is kept.
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
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    keep: Literal["best", "last"] = "best"
    patience: Annotated[int | None, Between(1)] = None
    gradient_checkpointing: bool = False
    layer_decay: Annotated[float | None, Between(0.01, 1.0)] = None
    unfreeze: Annotated[float, Between(0.0, 1.0)] = 0.0
    ema: Annotated[float | None, Between(0.0, 0.99999)] = None
    r_drop: Annotated[float, Between(0.0)] = 0.0
    soup: str | None = None


# Sections that only one kind of run has.
TRANSFORMER_SECTIONS = (
    "encoder", "lora", "head", "words", "loss", "contrast", "sampler", "adversary", "augmentation", "distill",
    "training",
)  # fmt: skip
LINEAR_SECTIONS = ("linear",)


@dataclass(frozen=True)
class Recipe:
    """One run as asked.

    Attributes:
        name: Name of the run and of its folder.
        kind: ``transformer``, or ``linear`` (TF-IDF and logistic regression).
        seed: Of weights, order of rows and dropout; also of the rows that a limit draws.
        seeds: Each fold is trained with each of them, and their probabilities are averaged; empty: with `seed` alone.
        encoder, lora, head, words, loss, contrast, sampler, adversary, augmentation, distill, training: For
            ``transformer``.
        data, folds, pseudo_labels: For both.
        linear: Keyword arguments of `models.linear`, for ``linear``.
    """

    name: str
    kind: Literal["transformer", "linear"] = "transformer"
    seed: Annotated[int, Between(0, 2**63 - 1)] = 42
    seeds: tuple[Annotated[int, Between(0, 2**63 - 1)], ...] = ()
    encoder: EncoderOptions = EncoderOptions()
    lora: LoraOptions = LoraOptions()
    data: DataOptions = DataOptions()
    folds: FoldOptions = FoldOptions()
    head: HeadOptions = HeadOptions()
    words: WordOptions = WordOptions()
    loss: LossOptions = LossOptions()
    contrast: ContrastOptions = ContrastOptions()
    sampler: SamplerOptions = SamplerOptions()
    adversary: AdversaryOptions = AdversaryOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    pseudo_labels: PseudoLabelOptions = PseudoLabelOptions()
    distill: DistillOptions = DistillOptions()
    training: TrainingOptions = TrainingOptions()
    linear: dict[str, Any] = field(default_factory=dict)

    @property
    def reads_all_texts(self) -> bool:
        """Whether texts without labels tell more than a vocabulary from scratch: those of the test table serve, too."""
        encoder, scratch = self.encoder, self.encoder.scratch
        found = scratch is not None and (scratch.new_words > 0 or scratch.topics > 0)
        return found or encoder.vocabulary == "used" or {encoder.vectors.name, self.words.name} != {"none"}

    def to_toml(self) -> str:
        """Every value in force, defaults included, as TOML that `load_recipe` reads back to an equal recipe."""
        other = LINEAR_SECTIONS if self.kind == "transformer" else TRANSFORMER_SECTIONS
        return to_toml({key: v for key, v in dataclasses.asdict(self).items() if key not in other})
