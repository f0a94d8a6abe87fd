"""How a fold of each kind of run is trained: what all folds share is made once, then each gives its probabilities."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs.pseudo_labels import Labeller, PseudoRows
from jobs.soft_targets import SoftTargets
from jobs.training_rows import TrainingRows
from jobs.wordings import Wordings
from kaggle_tools.bio import legal_tags
from kaggle_tools.label_groups import split_probs
from kaggle_tools.metrics import Metric, evaluate, evaluate_groups, evaluate_tags
from models.recipe import Recipe
from models.tagged import Tagged
from models.training.progress import OnProgress, Progress

if TYPE_CHECKING:
    from models.vectors.words import Lexicon


@dataclass(frozen=True)
class Task:
    """What is trained, on what, judged how.

    Attributes:
        recipe: Of the run.
        task: ``single_label``, ``multi_label``, ``multi_group`` or ``token``.
        classes: C class names.
        rows: All training rows.
        metric: Of the competition.
        device: Name of the device; linear runs have no use for it.
        pseudo: Fold and device to rows with pseudo-labels; they are trained on and never validated.
        on_progress: Called after each step and each validation.
        soft: What a teacher says of the rows, for `[distill]`; None: no teacher.
        wordings: Of training rows, made elsewhere; None: there are none.
    """

    recipe: Recipe
    task: str
    classes: tuple[str, ...]
    rows: TrainingRows
    metric: Metric
    device: str
    pseudo: Labeller
    on_progress: OnProgress | None
    soft: SoftTargets | None = None
    wordings: Wordings | None = None


@dataclass(frozen=True)
class Trained:
    """What training a fold gave.

    Attributes:
        probs: (n, C) float32 validation probabilities; for token tasks the tags of the validation rows.
        kept: Epoch that was kept; 0 for a linear run.
        history: A dictionary an epoch.
        micro_batch_size: Rows that went through the network at once; 0 for a linear run.
        halvings: How often memory made it smaller.
        n_pseudo: Rows without a label of their own.
        soup: Epochs whose weights were averaged; empty where one was kept.
    """

    probs: NDArray[np.float32] | Tagged
    kept: int = 0
    history: tuple[dict[str, Any], ...] = ()
    micro_batch_size: int = 0
    halvings: int = 0
    n_pseudo: int = 0
    soup: tuple[int, ...] = ()


# (fold, seed or None for the recipe's, rows to train on, rows to validate on, folder of the checkpoint)
TrainOne = Callable[[int, int | None, NDArray[np.int64], NDArray[np.int64], Path], Trained]


@dataclass(frozen=True)
class Shared:
    """What all folds of a transformer have in common, learnt from texts without their labels.

    Attributes:
        tokenizer: As `make_tokenizer` gives it.
        vectors: (V, D) where the embeddings begin; None: at random.
        lexicon: Words that a head reads beside the tokens; None: the recipe wants none.
    """

    tokenizer: Any
    vectors: NDArray[np.float32] | None
    lexicon: Lexicon | None


def fold_trainer(task: Task) -> TrainOne:
    """A function that trains one fold; tokenizer or vectorizer are made here, once for all of them.

    Raises:
        ModelError: The recipe does not fit the encoder, the task or the rows; nothing is written before that is known.
    """
    return _linear_trainer(task) if task.recipe.kind == "linear" else transformer_trainer(task, make_shared(task))


def make_shared(task: Task) -> Shared:
    """What the folds of a transformer share. Raises as `fold_trainer`."""
    from models.training.fold import check_fold, make_tokenizer
    from models.vectors.make import make_vectors
    from models.vectors.words import make_lexicon

    texts = task.rows.texts.to_list()
    tokenizer = make_tokenizer(task.recipe, task.rows.corpus or texts)
    vectors = make_vectors(task.recipe, task.rows.corpus, tokenizer)
    lexicon = make_lexicon(task.recipe, task.rows.corpus, tokenizer)
    check_fold(
        task.recipe, task.classes, texts, task.rows.targets, tokenizer, task=task.task, device=task.device,
        vectors=vectors, lexicon=lexicon,
    )  # fmt: skip
    return Shared(tokenizer, vectors, lexicon)


def judge(task: Task, probs: NDArray[np.float32] | Tagged, labels: NDArray[Any]) -> float:
    """The competition's metric of (n, C) probabilities, or tags, and labels as training has them."""
    if isinstance(probs, Tagged):
        lengths = (labels >= 0).sum(axis=1)
        truth = [[task.classes[code] for code in row[:n]] for row, n in zip(labels, lengths, strict=True)]
        return evaluate_tags(task.metric.name, truth, tags_of(probs, task.classes))
    if task.task == "multi_group":
        return evaluate_groups(task.metric.name, labels, split_probs(probs, task.classes))
    return evaluate(task.metric.name, labels, probs)


def tags_of(tagged: Tagged, classes: tuple[str, ...]) -> list[list[str]]:
    """For each row its best legal tags, as scoring takes them."""
    names = [classes[code] for code in legal_tags(tagged.probs, tagged.offsets, classes)]
    return [names[a:b] for a, b in zip(tagged.offsets[:-1], tagged.offsets[1:], strict=True)]


def transformer_trainer(task: Task, shared: Shared) -> TrainOne:
    """A function that trains one fold of a transformer, with what was made for all of them, here or elsewhere."""
    from models.training.fold import train_fold

    texts, targets = task.rows.texts.to_list(), task.rows.targets
    pseudo = lru_cache(1)(task.pseudo)  # the seeds of a fold come one after the other
    taught_rows = None
    if task.soft is not None and task.soft.extra is not None:
        taught_rows = cache(task.soft.extra)  # several seeds of a fold ask for the same

    def train_one(
        fold: int, seed: int | None, train: NDArray[np.int64], valid: NDArray[np.int64], folder: Path
    ) -> Trained:
        soft = task.soft
        extra, taught = pseudo(fold, task.device) or _no_rows(targets), None
        worded = Wordings(train[:0], ()) if task.wordings is None else task.wordings.of(train)
        own = np.concatenate([train, worded.rows])  # a wording is taught, and counts, as its row
        if soft is not None:
            more, probs = (extra, soft.probs[:0]) if taught_rows is None else taught_rows(fold, task.device)
            extra, taught = more, np.concatenate([soft.probs[own], probs])
        result = train_fold(
            task.recipe if seed is None else dataclasses.replace(task.recipe, seed=seed),
            task.classes,
            [*(texts[i] for i in train), *worded.texts, *extra.texts],
            np.concatenate([targets[own], extra.targets]),
            [texts[i] for i in valid],
            targets[valid],
            shared.tokenizer,
            folder=folder,
            train_ids=[*task.rows.ids.gather(own), *extra.names],
            fold=fold,
            on_progress=_telling_seed(task.on_progress, seed),
            metric=partial(judge, task),
            greater_is_better=task.metric.greater_is_better,
            device=task.device,
            task=task.task,
            teacher_probs=taught,
            n_labelled=None if soft is None else len(own),
            n_before=len(extra.texts) if task.recipe.pseudo_labels.stage == "before" else 0,
            vectors=shared.vectors,
            lexicon=shared.lexicon,
        )
        history = tuple(map(dataclasses.asdict, result.history))
        return Trained(
            result.valid_probs, result.kept, history, result.micro_batch_size, result.halvings, len(extra.texts),
            result.soup,
        )  # fmt: skip

    return train_one


def _linear_trainer(task: Task) -> TrainOne:
    from scipy.sparse import csr_matrix, vstack
    from scipy.special import softmax

    from models.linear import LinearModel, fit_vectorizer, split_options

    texts, targets = task.rows.texts.to_list(), task.rows.targets
    of_vectorizer, of_classifier = split_options(task.recipe.linear)
    vectorizer = fit_vectorizer(texts, **of_vectorizer)
    features = vectorizer.transform(texts)

    def train_one(
        fold: int, seed: int | None, train: NDArray[np.int64], valid: NDArray[np.int64], folder: Path
    ) -> Trained:
        assert seed is None  # a recipe with seeds is refused: there is nothing to draw
        extra = task.pseudo(fold, task.device) or _no_rows(targets)
        seen = csr_matrix(vstack([features[train], vectorizer.transform(list(extra.texts))]))
        codes = np.concatenate([targets[train], extra.targets])
        model = LinearModel.fit(vectorizer, seen, codes, task.classes, **of_classifier)
        probs = softmax(model.logits(features[valid]), axis=1).astype(np.float32)
        value = evaluate(task.metric.name, targets[valid], probs)
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted call left
        model.save(folder, cleaning=task.recipe.data.cleaning, score=value)
        if task.on_progress is not None:
            task.on_progress(Progress(fold, epoch=1, epochs=1, step=1, n_steps=1, loss=None, score=value))
        return Trained(probs, n_pseudo=len(extra.texts))

    return train_one


def _telling_seed(on_progress: OnProgress | None, seed: int | None) -> OnProgress | None:
    """The same, told which of several seeds a step is of."""
    if on_progress is None or seed is None:
        return on_progress
    tell = on_progress
    return lambda step: tell(dataclasses.replace(step, seed=seed))


def _no_rows(targets: NDArray[Any]) -> PseudoRows:
    return PseudoRows((), (), targets[:0])
