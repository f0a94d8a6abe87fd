"""`cli train`: k-fold training of one recipe; out-of-fold predictions, a checkpoint a fold, a run that scores.

    cli train recipes/bert-mini.toml
    cli train --encoder FacebookAI/roberta-base --fold 0 --fold 2
    cli train recipes/roberta-base.toml --device cuda:all       # a process for each GPU: see jobs.fold_workers

The same command goes on with the folds that are not finished; see `jobs.run_folder`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.corpus import with_corpus
from jobs.fold_trainers import Task, fold_trainer, make_shared
from jobs.holding import hold
from jobs.one_fold import divide, train_fold
from jobs.pretrain import who_saw_labels
from jobs.pseudo_labels import find_teacher, labeller, with_teacher
from jobs.run_folder import RunFolder
from jobs.seed_members import seeds_of
from jobs.soft_targets import SoftTargets, with_soft_targets
from jobs.tasks import refuse_for_tags, refuse_without_tags
from jobs.train_result import TrainResult, conclude
from jobs.training_rows import TrainingRows, read_training_rows
from jobs.wordings import read_wordings, with_wordings
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import check_name, digest
from kaggle_tools.metrics import Metric, evaluate, metric_for
from models.errors import ModelError
from models.hub import fingerprint, local_folder
from models.recipe import EncoderOptions, Recipe, check_recipe, check_values, load_recipe
from models.schema import Place
from models.text.augmentation import read_synonyms
from models.text.segment import read_words
from models.training.progress import OnProgress


@dataclass(frozen=True)
class TrainOptions:
    """What to train.

    Attributes:
        recipe: A recipe file; or None with `encoder`.
        encoder: Directory or Hub id, fine-tuned with the default settings; or None with `recipe`.
        name: Of the run; None: the recipe's.
        folds: Train these only; empty: all.
        limit: Use so many training rows, drawn at random; overrides the recipe.
        seed: Overrides the recipe.
        seeds: Train each fold with so many seeds, from the recipe's `seed` on; overrides the recipe.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``…; several: ``cuda:0,cuda:1`` or ``cuda:all``.
        workers: Processes that share out the folds, at most; None: one, or one a named device. A linear run has one.
        force: Train folds again that are finished, and replace a run of other settings.
        replace: Replace a run of other settings; finished folds that fit are kept.
        on_progress: Called after each step and each validation; by several workers a few times a second.
        on_note: Called with what is worth knowing.
        start: Folder from which the competition is looked for upward; None: the working directory.
    """

    recipe: Path | None = None
    encoder: str | None = None
    name: str | None = None
    folds: tuple[int, ...] = ()
    limit: int | None = None
    seed: int | None = None
    device: str = "auto"
    force: bool = False
    on_progress: OnProgress | None = None
    start: Path | None = None
    replace: bool = False
    seeds: int | None = None
    workers: int | None = None
    on_note: Callable[[str], None] = lambda _: None


def run(options: TrainOptions) -> TrainResult:
    """Train the folds of a recipe that are not finished yet; when all are, write the run's OOF predictions.

    Raises:
        UserError: No competition; a training table, labels or folds that do not do; a run of that name with other
            settings, or that another process trains; an unknown metric, or one that is not for the task.
        ModelError: A recipe, encoder or device that cannot be used; a loss that is not a number.
        Interrupted: After SIGINT or SIGTERM, where several workers train.
    """
    began = time.perf_counter()
    recipe = read_recipe(options)
    competition = Competition.find(options.start)
    metric = _check_request(competition, recipe)
    devices = _devices(recipe, options)
    workspace = Workspace(competition.root, competition)
    rows = read_training_rows(competition, recipe, workspace.runs_folder)
    if rows.uneven is not None:
        options.on_note(rows.uneven)
    rows = with_corpus(rows, competition, recipe)
    teacher = find_teacher(workspace, competition, recipe, rows)
    rows = with_teacher(rows, teacher)
    soft = _soft_targets(workspace, competition, recipe, rows)
    rows = with_soft_targets(rows, soft)
    taught_by = (*(teacher.soft.runs if teacher else ()), *(soft.runs if soft else ()))
    _tell_of_teachers(competition, recipe, taught_by, options.on_note)
    wordings = read_wordings(competition, recipe, rows)
    rows = with_wordings(rows, wordings)
    folder = RunFolder(
        run=Run(recipe.name, workspace.runs_folder / recipe.name),
        recipe=recipe.to_toml(),
        fingerprints={"recipe": _fingerprint(recipe), "data": rows.fingerprint},
        n_folds=recipe.folds.n,
        of_tags=competition.task == "token",
        seeds=seeds_of(recipe),
    )
    asked = _folds_to_train(options.folds, recipe.folds.n)
    # Two that write one checkpoint's files would leave a mixture of both.
    held = workspace.jobs / "runs" / recipe.name
    with hold(held, f"another process trains run '{recipe.name}'"):
        todo = folder.to_train(asked, force=options.force, replace=options.replace)
        train = None
        if todo:
            task = Task(
                recipe,
                competition.task,
                competition.classes,
                rows,
                metric,
                devices[0],
                labeller(teacher),
                options.on_progress,
                soft,
                wordings,
            )
            with _of_recipe(options.recipe):
                _check_folds(recipe, competition, rows, {fold for fold, _ in todo})
                train = _trainer(task, folder, competition, todo, devices, held, options)
        # From here on all is known to fit: what a refused recipe would have replaced is still there.
        rows.keep_folds()
        folder.claim(asked, force=options.force, replace=options.replace)
        if train is not None:
            train()
        flattered_by = _flattered_by(recipe, taught_by, workspace.runs_folder)
        return conclude(recipe, competition, rows, folder, todo, flattered_by, began)


def read_recipe(options: TrainOptions) -> Recipe:
    """The recipe that is asked for, overrides applied.

    Raises:
        UserError: Neither or both of recipe and encoder, or a name that cannot be a folder's.
        ModelError: The recipe is not valid.
    """
    if (options.recipe is None) == (options.encoder is None):
        raise UserError(
            "name either a recipe file or an --encoder",
            next="`cli train recipes/bert-mini.toml`, or `cli train --encoder FacebookAI/roberta-base`",
        )
    if options.recipe is not None:
        recipe = load_recipe(options.recipe)
    else:
        encoder = str(options.encoder)
        recipe = Recipe(name=Path(encoder).name, encoder=EncoderOptions(path=encoder))
    if options.name is not None:
        recipe = dataclasses.replace(recipe, name=options.name)
    if options.seed is not None:
        recipe = dataclasses.replace(recipe, seed=options.seed, seeds=())
    if options.seeds is not None:
        recipe = dataclasses.replace(recipe, seeds=_seeds_from(recipe.seed, options.seeds))
    if options.limit is not None:
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, limit=options.limit))
    check_name(recipe.name, "run name")
    place = Place(str(options.recipe or "command line"))
    check_values(recipe, place)
    check_recipe(recipe, place)
    return recipe


def _seeds_from(first: int, n: int) -> tuple[int, ...]:
    """So many seeds; of one there is no list, so that its run is that of a recipe without any."""
    return tuple(range(first, first + n)) if n > 1 else ()


def _trainer(
    task: Task,
    folder: RunFolder,
    competition: Competition,
    todo: Sequence[tuple[int, int | None]],
    devices: Sequence[str],
    held: Path,
    options: TrainOptions,
) -> Callable[[], None]:
    """What trains the folds `todo`, here or by workers; what they share is made, and nothing is written yet."""
    if len(devices) == 1:
        if task.recipe.kind == "transformer" and len(todo) > 1:
            _tell_of_idle_gpus(options)
        train_one = fold_trainer(task)

        def train() -> None:
            for fold, seed in todo:
                train_fold(fold, seed, task.rows, task.recipe, folder, competition, train_one)

        return train
    from jobs.fold_workers import FoldDuty, train_by_workers  # imports torch

    duty = FoldDuty.of(task, make_shared(task), folder, competition, todo, _threads(devices))
    return partial(train_by_workers, duty, devices, held, task.on_progress, options.on_note)


def _devices(recipe: Recipe, options: TrainOptions) -> tuple[str, ...]:
    """Of each worker: no more than the recipe has folds and seeds, whichever of them are to be trained now.

    By that a run which is resumed has as many threads a worker as before, and so the same last digits.
    """
    if recipe.kind == "linear":
        return (options.device,)
    from jobs.runner.places import devices_of_workers  # imports torch, which a linear run does without
    from models.inference.device import resolve_device

    devices = devices_of_workers(options.device, options.workers)[: recipe.folds.n * len(seeds_of(recipe))]
    for device in dict.fromkeys(devices):
        resolve_device(device)
    return devices


def _tell_of_idle_gpus(options: TrainOptions) -> None:
    from jobs.runner.places import idle_gpus  # imports torch

    if idle := idle_gpus(options.device, options.workers):
        options.on_note(idle)


def _threads(devices: Sequence[str]) -> int | None:
    """Of each worker: on a CPU those of this process, divided."""
    import torch

    from models.inference.device import resolve_device

    return max(1, torch.get_num_threads() // len(devices)) if resolve_device(devices[0]).type == "cpu" else None


def _check_request(competition: Competition, recipe: Recipe) -> Metric:
    """What can be told before anything is read or removed; gives the competition's metric."""
    metric = metric_for(competition.metric, competition.task, len(competition.classes))
    if recipe.kind == "linear" and competition.task != "single_label":
        raise UserError("linear runs are for single_label tasks", found=competition.task, next="use a transformer")
    (refuse_for_tags if competition.task == "token" else refuse_without_tags)(recipe)
    if recipe.kind == "transformer" and recipe.lora.rank:
        from models.lora import require_peft

        require_peft()
    return metric


@contextmanager
def _of_recipe(path: Path | None) -> Iterator[None]:
    """Errors of parts that do not fit together say where the recipe is."""
    try:
        yield
    except ModelError as exc:
        exc.details = {"where": str(path or "command line"), **exc.details}
        raise


def _soft_targets(
    workspace: Workspace, competition: Competition, recipe: Recipe, rows: TrainingRows
) -> SoftTargets | None:
    if recipe.distill.teacher is None:
        return None
    from jobs.distill import find_soft_targets  # imports the search, which other runs do without

    return find_soft_targets(workspace, competition, recipe, recipe.distill.teacher, rows)


def _tell_of_teachers(
    competition: Competition, recipe: Recipe, runs: Sequence[Run], note: Callable[[str], None]
) -> None:
    if not runs:
        return
    from jobs.teachers import notes_on  # imports the search, which other runs do without

    pseudo, distill = recipe.pseudo_labels, recipe.distill
    table = None
    if pseudo.run is not None and pseudo.source == "predictions":
        table = competition.path(pseudo.table or competition.test)
    elif distill.test and distill.source == "oof":
        table = competition.path(competition.test)
    for what in notes_on(competition, runs, table):
        note(what)


def _fingerprint(recipe: Recipe) -> str:
    """Of everything but the name; what files that it names hold may change while their names stay.

    The list of seeds is left out: a seed that is added trains its folds, and those of the others stay.
    """
    parts = [dataclasses.replace(recipe, name="", seeds=()).to_toml()]
    parts.append(fingerprint(local_folder(recipe.encoder.path)) if recipe.encoder.path else "")
    if recipe.augmentation.copies and recipe.augmentation.synonyms is not None:
        parts.append(digest(read_synonyms(Path(recipe.augmentation.synonyms))))
    if recipe.words.name != "none" and recipe.words.file is not None:
        parts.append(digest(read_words(Path(recipe.words.file))))
    return digest(*parts)


def _folds_to_train(asked: Sequence[int], n: int) -> list[int]:
    for fold in asked:
        if not 0 <= fold < n:
            raise UserError(f"no fold {fold}", expected=f"0 to {n - 1}: the recipe has {n} folds")
    return sorted(set(asked)) or list(range(n))


def _check_folds(recipe: Recipe, competition: Competition, rows: TrainingRows, folds: set[int]) -> None:
    """Refuse folds that cannot be trained or judged, before any is trained: without rows, or rows of which none has
    weight, of one class in a linear run, with validation rows on which the metric is undefined."""
    draw = np.random.default_rng(0)
    for fold in sorted(folds):
        inside, outside = divide(fold, rows, recipe)
        if not len(inside) or not len(outside):
            raise UserError(f"fold {fold} has {len(inside)} of {len(rows)} rows", next="use more rows: raise --limit")
        if recipe.kind == "linear" and recipe.pseudo_labels.run is None:  # these may bring a class that rows lack
            _check_classes(fold, competition, rows.targets[outside])
        if recipe.kind == "transformer" and recipe.pseudo_labels.run is None and recipe.distill.teacher is None:
            _check_weights(fold, competition, recipe, rows.targets[outside])
        if competition.task not in ("single_label", "multi_label"):
            continue
        probs = draw.dirichlet(np.ones(len(competition.classes)), len(inside))  # any will do: labels make it undefined
        try:
            evaluate(competition.metric, rows.targets[inside], probs)
        except UserError as exc:
            raise UserError(
                f"{exc.summary}, in fold {fold}",
                where=f"{competition.train}: the {len(inside):,} rows that fold {fold} is validated on",
                next='stratified folds (kind = "stratified" under [folds]), or fewer: a smaller n',
            ) from exc


def _check_classes(fold: int, competition: Competition, codes: NDArray[np.int64]) -> None:
    if len(seen := np.unique(codes)) == 1:
        raise UserError(
            f"all {len(codes):,} rows that fold {fold} is trained on are of one class, "
            f"'{competition.classes[int(seen[0])]}'",
            where=competition.train,
            expected="two classes or more, for a linear model",
            next='more rows, or stratified folds (kind = "stratified" or "stratified_group" under [folds])',
        )


def _check_weights(fold: int, competition: Competition, recipe: Recipe, targets: NDArray[np.generic]) -> None:
    from models.training.sources import has_weight  # imports torch

    if not has_weight(recipe, targets, competition.task, competition.classes):
        raise UserError(
            f"by the weights under [loss] none of the {len(targets):,} rows that fold {fold} is trained on counts",
            where=competition.train,
            next="weights above 0 for the classes that they have, or stratified folds",
        )


def _flattered_by(recipe: Recipe, taught_by: Sequence[Run], runs_folder: Path) -> str | None:
    """Who tells of validation rows' labels: a teacher's models of other folds, whoever taught a teacher so, or an
    encoder that comes from a run of this workspace."""
    if (encoder := who_saw_labels(recipe.encoder.path, runs_folder)) is not None:
        return encoder
    distill, pseudo = recipe.distill, recipe.pseudo_labels
    if distill.teacher is not None and distill.source == "oof":
        return distill.teacher
    if pseudo.run is not None and pseudo.source == "predictions":
        return pseudo.run
    return next((name for run in taught_by if (name := (run.info or {}).get("flattered_by"))), None)
