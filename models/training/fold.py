"""Training of one fold: texts and labels in, validation probabilities and a checkpoint directory out.

Puts together what a recipe names; the loop is in `models.training.epochs`. Knows nothing of tables, folds of other runs
and how progress is shown.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.build import build_classifier, dropouts_of
from models.checkpoint import CheckpointSpec
from models.classifier import TextClassifier
from models.decoder import give_padding
from models.depth import Thaw
from models.disentangled import lighten
from models.errors import ModelError
from models.hub import local_folder
from models.inference.device import resolve_device
from models.known import known_by, refuse_other_inputs
from models.lora import merge_lora
from models.memory import memory_told
from models.padding import hides_padding
from models.pretrained import load_config, load_tokenizer
from models.recipe import Recipe
from models.saved import save_checkpoint
from models.scratch import train_tokenizer
from models.tagging import align_words
from models.text.entities import add_marks, without_marks
from models.text.forms import ENTITY_FORMS
from models.text.pairs import SEPARATOR, split_text
from models.training.adversary import ADVERSARIES
from models.training.batches import Rows, tokenise
from models.training.epochs import Diverged, Loop, Metric, train_before, train_epochs
from models.training.half import HalfPrecision
from models.training.optimizer import make_optimizer
from models.training.progress import FoldResult, OnProgress
from models.training.samplers import SAMPLERS
from models.training.sources import FoldRows, augmented, check_source, make_source, marked
from models.training.step import MORE_ROOM, Adversary
from models.training.tags import tag_and_judge
from models.training.unilm import Generator
from models.trim import trim_tokenizer
from models.vectors.make import place_vectors
from models.vectors.words import Lexicon
from models.words import WordVectors


def make_tokenizer(recipe: Recipe, texts: Sequence[str]) -> Any:
    """The tokenizer of a run, the same in all its folds.

    For an encoder from scratch it is learnt from all training texts, those of each fold's validation rows included:
    that uses text without its labels, as a pretrained vocabulary does, and leaks no answer.

    Args:
        recipe: Encoder and max_length are read.
        texts: Cleaned texts of all training rows.

    Raises:
        ModelError: The encoder has no tokenizer, or one that cannot be trimmed as the recipe asks.
    """
    entities = recipe.data.form in ENTITY_FORMS
    bare = [without_marks(text) for text in texts] if entities else texts
    sides = [side for text in bare for side in split_text(text)]
    if recipe.encoder.scratch is not None:
        tokenizer: Any = train_tokenizer(sides, recipe.encoder.scratch, recipe.data.max_length)
    else:
        tokenizer = load_tokenizer(str(recipe.encoder.path))
        give_padding(tokenizer, load_config(local_folder(str(recipe.encoder.path))))
        if recipe.encoder.vocabulary == "used":
            tokenizer = trim_tokenizer(tokenizer, sides)
    if entities:
        add_marks(tokenizer)
    return tokenizer


def check_fold(
    recipe: Recipe,
    classes: Sequence[str],
    texts: Sequence[str],
    labels: NDArray[Any],
    tokenizer: Any,
    *,
    task: str,
    device: str = "auto",
    vectors: NDArray[np.float32] | None = None,
    lexicon: Lexicon | None = None,
) -> None:
    """Put a recipe's parts together once and drop them, so that what does not fit is told before a fold is begun.

    Args:
        recipe, classes, tokenizer, task, device, vectors, lexicon: As `train_fold` gets them.
        texts: Cleaned texts of all training rows.
        labels: Of these, as `train_fold` gets them.

    Raises:
        ModelError: The recipe does not fit the encoder, the task or the rows.
    """
    rows = FoldRows(list(texts), labels, tuple(map(str, range(len(texts)))), np.ones(len(texts), bool), None)
    with torch.random.fork_rng(devices=[]):
        with memory_told("the network itself", MORE_ROOM):
            network = _build(recipe, classes, tokenizer, task, vectors, lexicon)
        _check_r_drop(recipe.training.r_drop, network)
        if recipe.training.gradient_checkpointing:
            _checkpoint_activations(network)
        HalfPrecision.fitting(recipe.training.precision, resolve_device(device), network)
        make_optimizer(network, recipe.training)
        Thaw(network, 1, recipe.training.unfreeze)
    check_source(recipe, tokenizer, rows, task, tuple(classes))


def train_fold(
    recipe: Recipe,
    classes: Sequence[str],
    train_texts: Sequence[str],
    train_labels: NDArray[Any],
    valid_texts: Sequence[str],
    valid_labels: NDArray[Any],
    tokenizer: Any,
    *,
    folder: Path,
    train_ids: Sequence[str] | None = None,
    fold: int = 0,
    on_progress: OnProgress | None = None,
    metric: Metric | None = None,
    greater_is_better: bool = True,
    device: str = "auto",
    task: str | None = None,
    teacher_probs: NDArray[np.float32] | None = None,
    n_labelled: int | None = None,
    n_before: int = 0,
    vectors: NDArray[np.float32] | None = None,
    lexicon: Lexicon | None = None,
) -> FoldResult:
    """Train a classifier on some rows, validate it on others after each epoch, and save the epoch that is kept.

    Nothing but the arguments decides the outcome: on a CPU the same call gives the same bytes (with as many threads),
    on a GPU the same up to rounding. The global random state is left as it was.

    Args:
        recipe: What to build and how to train it.
        classes: C class names.
        train_texts: Cleaned texts, those with pseudo-labels among them.
        train_labels: (N,) int64 classes for single_label, (N, C) of 0 and 1 for multi_label, (N, G) int64 classes of
            each group for multi_group, (N, W) int64 tags of the words, -100 after a row's last, for token.
        valid_texts: Cleaned texts of the rows that the model does not see.
        valid_labels: As `train_labels`.
        tokenizer: As `make_tokenizer` gives it.
        folder: Where the checkpoint goes; replaced where it exists.
        train_ids: (N,) what errors call the training rows; None: their numbers from 0.
        fold: Told in progress.
        on_progress: Called after each step and each validation.
        metric: (probs (N, C), labels) to a score; without one the validation loss decides which epoch is best.
        greater_is_better: Direction of `metric`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``…
        task: None: single_label or multi_label, by the shape of the labels.
        teacher_probs: (N, C) what a teacher says of the training rows, for `[distill]`; NaN in rows that are not
            taught; None: no teacher.
        n_labelled: The labels of so many of the first training rows count; the others' are known to samplers alone.
            None: all. For use with a teacher.
        n_before: So many of the last training rows are trained on before the others, and alone, for as many epochs as
            `[pseudo_labels]` says.
        vectors: (V, D) as `make_vectors` gives them: where the embeddings begin; None: at random.
        lexicon: As `make_lexicon` gives it; None: the recipe wants no words.

    Raises:
        Diverged: The loss, a gradient or an output is no number. The best epoch before that, if any, is saved.
        ModelError: The recipe does not fit the encoder or task, or memory is short; no checkpoint is left.
    """
    began = time.perf_counter()
    where = resolve_device(device)
    task = task or ("single_label" if train_labels.ndim == 1 else "multi_label")
    names = tuple(train_ids) if train_ids is not None else tuple(f"row {i}" for i in range(len(train_texts)))
    pair = len(train_texts) > 0 and SEPARATOR in train_texts[0]
    labelled = np.arange(len(train_texts)) < (len(train_texts) if n_labelled is None else n_labelled)
    every = FoldRows(list(train_texts), train_labels, names, labelled, teacher_probs)
    n_first = len(train_texts) - n_before
    rows = augmented(recipe, every.part(slice(n_first)))
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        with memory_told("the network itself", MORE_ROOM):
            network = _build(recipe, classes, tokenizer, task, vectors, lexicon).to(where)
        if recipe.training.gradient_checkpointing:
            _checkpoint_activations(network)
        source = make_source(recipe, network, tokenizer, rows, task, tuple(classes), where)
        valid = tokenise(tokenizer, [] if task == "token" else valid_texts, recipe.data.max_length, recipe.data.form)
        for tokenised in (source.rows, valid):
            _refuse_unknown(network, tokenised)
        tag = None
        if task == "token":
            words = align_words(tokenizer, valid_texts, recipe.data.max_length)
            tag = partial(tag_and_judge, source, words, valid_labels, min(recipe.training.batch_size, 64))
        loop = Loop(
            options=recipe.training,
            source=source,
            weights=_row_weights(recipe, rows, task, classes),
            row_names=rows.names,
            valid=valid,
            valid_labels=valid_labels,
            adversary=_adversary(recipe),
            adversary_start=recipe.adversary.start_epoch,
            generator=np.random.default_rng(recipe.seed),
            fold=fold,
            on_progress=on_progress or (lambda _: None),
            metric=metric,
            sign=1.0 if greater_is_better else -1.0,
            tag=tag,
        )
        if n_before:
            before = every.part(slice(n_first, None))
            stage = dataclasses.replace(
                loop,
                options=dataclasses.replace(recipe.training, epochs=recipe.pseudo_labels.epochs),
                source=make_source(recipe, network, tokenizer, before, task, tuple(classes), where),
                weights=_row_weights(recipe, before, task, classes),
                row_names=before.names,
                generator=np.random.default_rng([recipe.seed, 2]),
            )
            train_before(stage)
        try:
            trained = train_epochs(loop)
        except Diverged as exc:
            merge_lora(network)
            if exc.kept:
                save_checkpoint(folder, network, tokenizer, _spec(recipe, network, classes, task, exc.score, pair))
                exc.details["kept"] = f"epoch {exc.kept}, in {folder}"
            raise
    merge_lora(network)
    save_checkpoint(folder, network, tokenizer, _spec(recipe, network, classes, task, trained.score, pair))
    seconds = time.perf_counter() - began
    micro = loop.source.micro
    return FoldResult(
        trained.probs, trained.history, trained.kept, trained.score, seconds, micro.size, micro.halvings, trained.soup
    )


def _build(
    recipe: Recipe,
    classes: Sequence[str],
    tokenizer: Any,
    task: str,
    vectors: NDArray[np.float32] | None,
    lexicon: Lexicon | None,
) -> TextClassifier:
    """The network as training begins with it, on the CPU."""
    network = build_classifier(recipe, classes, tokenizer, task, _word_vectors(lexicon, tokenizer))
    place_vectors(network.body, vectors)
    refuse_other_inputs(network, tokenizer)
    lighten(network)
    network.pads = hides_padding(network.eval(), tokenizer.pad_token_id or 0, recipe.data.max_length)
    if recipe.contrast.generate:
        if not network.pads:
            raise ModelError(
                f"[contrast] generate needs masks, and those of a {network.body.config.model_type} do not hide tokens",
                next="generate = 0",
            )
        embeddings = network.body.get_input_embeddings()
        network.generator = Generator(embeddings.embedding_dim, embeddings.num_embeddings)
    return network


def _refuse_unknown(network: TextClassifier, rows: Rows) -> None:
    """Refuse rows with tokens, or types of tokens, that the network has no embedding for."""
    known = known_by(network)
    for i, ids in enumerate(rows.ids):
        fault = known.fault(ids, None if rows.types is None else rows.types[i])
        if fault is not None:
            raise ModelError(f"the encoder {fault[1]}", where=network.body.name_or_path, next=fault[2])


def _check_r_drop(weight: float, network: TextClassifier) -> None:
    shares = [
        share for module in network.modules() for share in (*dropouts_of(module), getattr(module, "layerdrop", 0))
    ]
    if weight and not any(shares):
        raise ModelError(
            f"[training] r_drop = {weight:g}, but neither encoder nor head drops anything: both passes are the same",
            next="dropout = 0.1 under [training] or [head], or leave r_drop out",
        )


def _word_vectors(lexicon: Lexicon | None, tokenizer: Any) -> WordVectors | None:
    if lexicon is None:
        return None
    return WordVectors.of(lexicon.spellings, torch.from_numpy(lexicon.vectors), len(tokenizer))


def _row_weights(recipe: Recipe, rows: FoldRows, task: str, classes: Sequence[str]) -> NDArray[np.float64] | None:
    """(N,) by which an epoch draws the rows; None: each once."""
    return SAMPLERS[recipe.sampler.name](marked(rows.labels, task, classes), **recipe.sampler.options)


def _adversary(recipe: Recipe) -> Adversary | None:
    options = recipe.adversary
    return None if options.name == "none" else partial(ADVERSARIES[options.name], **options.options)


def _spec(
    recipe: Recipe, network: TextClassifier, classes: Sequence[str], task: str, score: float | None, pair: bool
) -> CheckpointSpec:
    return CheckpointSpec(
        kind="transformer",
        classes=tuple(classes),
        task=task,
        max_length=recipe.data.max_length,
        cleaning=recipe.data.cleaning,
        head=recipe.head.name,
        head_options=recipe.head.options,
        score=score,
        form=recipe.data.form,
        pair=pair,
        words=network.words is not None,
    )


def _checkpoint_activations(network: TextClassifier) -> None:
    body = network.body
    if not body.supports_gradient_checkpointing:
        raise ModelError("this encoder has no gradient_checkpointing", next="leave it out of [training]")
    renamed = hasattr(body, "activation_checkpointing_enable")  # in transformers 5.23
    getattr(body, "activation_checkpointing_enable" if renamed else "gradient_checkpointing_enable")()
