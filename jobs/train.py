"""`cli train`: k-fold training of one recipe; out-of-fold predictions, a checkpoint a fold, a run that scores.

    cli train recipes/bert-mini.toml
    cli train --encoder FacebookAI/roberta-base --fold 0 --fold 2

The same command goes on with the folds that are not finished; see `jobs.run_folder`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.corpus import with_corpus
from jobs.fold_pieces import fold_piece
from jobs.fold_trainers import Task, TrainOne, fold_trainer
from jobs.holding import hold
from jobs.pseudo_labels import find_teacher, labeller, with_teacher
from jobs.run_folder import Answers, RunFolder
from jobs.seed_members import SeedSpread, mean_of_seeds, seeds_of, spread_of_seeds
from jobs.soft_targets import SoftTargets, with_soft_targets
from jobs.tasks import refuse_for_tags
from jobs.training_rows import TrainingRows, read_training_rows, without_copies
from jobs.wordings import read_wordings, with_wordings
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import check_name, digest, sample_digest
from kaggle_tools.metrics import Metric, evaluate, group_scores, metric_for, score
from kaggle_tools.predictions import Predictions
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
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``…
        force: Train folds again that are finished, and replace a run of other settings.
        replace: Replace a run of other settings; finished folds that fit are kept.
        on_progress: Called after each step and each validation.
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


@dataclass(frozen=True)
class FoldSummary:
    """One finished fold, by one seed.

    Attributes:
        fold: Its number.
        n_rows: Validation rows.
        score: The competition's metric on them.
        seconds: Time that it took to train.
        kept: Epoch that was kept, or with a soup the best; 0 for a linear run.
        history: A dictionary an epoch: epoch, train_loss, valid_loss, score, seconds.
        reused: Whether it was finished before this call.
        micro_batch_size: Rows that went through the network at once; 0 for a linear run.
        halvings: How often memory made it smaller.
        n_pseudo: Rows without a label of their own that it was trained on besides, labelled by a teacher.
        seed: With which it was trained, where each fold is trained with several.
        soup: Epochs whose weights were averaged; empty where one was kept.
    """

    fold: int
    n_rows: int
    score: float
    seconds: float
    kept: int
    history: tuple[dict[str, Any], ...]
    reused: bool
    micro_batch_size: int = 0
    halvings: int = 0
    n_pseudo: int = 0
    seed: int | None = None
    soup: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainResult:
    """What lies in `runs/<name>/` now.

    Attributes:
        run: Name and folder.
        kind: ``transformer`` or ``linear``.
        metric: The competition's metric.
        score: The metric on the out-of-fold predictions of all rows; None while folds are missing.
        folds: Finished folds.
        missing: Numbers of the others; the run is complete when there are none.
        n_rows: Training rows.
        n_null_texts: Texts that were null and counted as empty.
        seconds: Wall time of this call.
        groups: For multi_group each group's accuracy and the metrics of all groups, once the run is complete.
        n_repaired: For token tasks illegal tags of the training table that were repaired.
        n_dropped: Rows that were left out, since their labels are missing or no classes.
        n_copies: Rows whose text another row before them has, where the recipe trains on each text once.
        seeds: What each of several seeds scores alone, once the run is complete; `score` is of their mean.
        flattered_by: Teacher or encoder that told of validation rows' labels, so that `score` is too good; see
            `jobs.distill` and `jobs.pseudo_labels`. None: there is none.
    """

    run: Run
    kind: str
    metric: str
    score: float | None
    folds: tuple[FoldSummary, ...]
    missing: tuple[int, ...]
    n_rows: int
    n_null_texts: int
    seconds: float
    groups: Mapping[str, float] = field(default_factory=dict)
    n_repaired: int = 0
    n_dropped: int = 0
    n_copies: int = 0
    seeds: SeedSpread | None = None
    flattered_by: str | None = None


def run(options: TrainOptions) -> TrainResult:
    """Train the folds of a recipe that are not finished yet; when all are, write the run's OOF predictions.

    Raises:
        UserError: No competition; a training table, labels or folds that do not do; a run of that name with other
            settings, or that another process trains; an unknown metric, or one that is not for the task.
        ModelError: A recipe, encoder or device that cannot be used; a loss that is not a number.
    """
    began = time.perf_counter()
    recipe = read_recipe(options)
    competition = Competition.find(options.start)
    metric = _check_request(competition, recipe, options.device)
    workspace = Workspace(competition.root, competition)
    rows = read_training_rows(competition, recipe, workspace.runs_folder)
    rows = with_corpus(rows, competition, recipe)
    teacher = find_teacher(workspace, competition, recipe, rows, options.device)
    rows = with_teacher(rows, teacher)
    soft = _soft_targets(workspace, competition, recipe, rows, options.device)
    rows = with_soft_targets(rows, soft)
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
    with hold(workspace.jobs / "runs" / recipe.name, f"another process trains run '{recipe.name}'"):
        todo = folder.to_train(asked, force=options.force, replace=options.replace)
        train_one = None
        if todo:
            task = Task(
                recipe,
                competition.task,
                competition.classes,
                rows,
                metric,
                options.device,
                labeller(teacher),
                options.on_progress,
                soft,
                wordings,
            )
            _check_folds(recipe, competition, rows, {fold for fold, _ in todo})
            with _of_recipe(options.recipe):
                train_one = fold_trainer(task)
        # From here on all is known to fit: what a refused recipe would have replaced is still there.
        rows.keep_folds()
        folder.claim(asked, force=options.force, replace=options.replace)
        if train_one is not None:
            for fold, seed in todo:
                inside, outside = _divide(fold, rows, recipe)
                _train_fold(fold, seed, rows, inside, outside, folder, competition, train_one)
        taught_by = (*(teacher.soft.runs if teacher else ()), *(soft.runs if soft else ()))
        flattered_by = _flattered_by(recipe, taught_by, workspace.runs_folder)
        return _conclude(recipe, competition, rows, folder, todo, flattered_by, began)


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


def _check_request(competition: Competition, recipe: Recipe, device: str) -> Metric:
    """What can be told before anything is read or removed; gives the competition's metric."""
    metric = metric_for(competition.metric, competition.task, len(competition.classes))
    if recipe.kind == "linear" and competition.task != "single_label":
        raise UserError("linear runs are for single_label tasks", found=competition.task, next="use a transformer")
    if competition.task == "token":
        refuse_for_tags(recipe)
    if recipe.kind == "transformer":
        from models.inference.device import resolve_device  # imports torch, which a linear run does without

        if recipe.lora.rank:
            from models.lora import require_peft

            require_peft()
        resolve_device(device)
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
    workspace: Workspace, competition: Competition, recipe: Recipe, rows: TrainingRows, device: str
) -> SoftTargets | None:
    if recipe.distill.teacher is None:
        return None
    from jobs.distill import find_soft_targets  # imports the search, which other runs do without

    return find_soft_targets(workspace, competition, recipe, recipe.distill.teacher, rows, device)


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


def _divide(fold: int, rows: TrainingRows, recipe: Recipe) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to validate on and rows to train on; where the recipe says so, each text of these once."""
    inside, outside = np.flatnonzero(rows.folds == fold), np.flatnonzero(rows.folds != fold)
    if recipe.data.duplicates == "once":
        outside = without_copies(rows.texts, outside, inside)
    return inside, outside


def _check_folds(recipe: Recipe, competition: Competition, rows: TrainingRows, folds: set[int]) -> None:
    """Refuse folds that cannot be trained or judged, before any is trained: without rows, of one class in a linear run,
    with validation rows on which the metric is undefined."""
    draw = np.random.default_rng(0)
    for fold in sorted(folds):
        inside, outside = _divide(fold, rows, recipe)
        if not len(inside) or not len(outside):
            raise UserError(f"fold {fold} has {len(inside)} of {len(rows)} rows", next="use more rows: raise --limit")
        if recipe.kind == "linear" and recipe.pseudo_labels.run is None:  # these may bring a class that rows lack
            _check_classes(fold, competition, rows.targets[outside])
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


def _train_fold(
    fold: int,
    seed: int | None,
    rows: TrainingRows,
    inside: NDArray[np.int64],
    outside: NDArray[np.int64],
    folder: RunFolder,
    competition: Competition,
    train_one: TrainOne,
) -> None:
    """Train a fold and keep its predictions of the rows `inside`."""
    began = time.perf_counter()
    trained = train_one(fold, seed, outside, inside, folder.fold(fold, seed))
    about = {
        "seconds": time.perf_counter() - began,
        "kept": trained.kept,
        "history": trained.history,
        "micro_batch_size": trained.micro_batch_size,
        "halvings": trained.halvings,
        "n_pseudo": trained.n_pseudo,
        "soup": trained.soup,
    }
    meta = {"run": folder.run.name, **folder.fingerprints, "training": json.dumps(about)}
    folder.finish_fold(fold, fold_piece(rows, inside, trained.probs, competition, meta), seed)


def _conclude(
    recipe: Recipe,
    competition: Competition,
    rows: TrainingRows,
    folder: RunFolder,
    trained: Sequence[tuple[int, int | None]],
    flattered_by: str | None,
    began: float,
) -> TrainResult:
    """Sum up; with all folds finished and something new among them, write the run's last files."""
    folds = range(recipe.folds.n)
    members = [(fold, seed) for fold in folds for seed in folder.seeds]
    pieces = {member: piece for member in members if (piece := folder.finished(*member)) is not None}
    summaries = tuple(_summary(member, piece, competition, member not in trained) for member, piece in pieces.items())
    missing = tuple(fold for fold in folds if any((fold, seed) not in pieces for seed in folder.seeds))
    total, groups, seeds = None, {}, None
    if not missing:
        means = [mean_of_seeds([pieces[fold, seed] for seed in folder.seeds]) for fold in folds]
        oof = folder.join(means, rows.ids)
        total = score(competition.metric, oof)
        groups = group_scores(oof) if isinstance(oof, Predictions) and oof.task == "multi_group" else {}
        alone = [(seed, [pieces[fold, seed] for fold in folds]) for seed in folder.seeds if seed is not None]
        seeds = spread_of_seeds(competition.metric, [(seed, folder.join(its, rows.ids)) for seed, its in alone])
        if folder.run.info is None:
            by_fold = [score(competition.metric, piece) for piece in means]
            about = _about(recipe, competition, rows, total, by_fold, summaries, flattered_by)
            more = {"groups": groups} if groups else {}
            folder.finish(oof, about | more | ({"seeds": dataclasses.asdict(seeds)} if seeds else {}))
    return TrainResult(
        run=folder.run,
        kind=recipe.kind,
        metric=competition.metric,
        score=total,
        folds=summaries,
        missing=missing,
        n_rows=len(rows),
        n_null_texts=rows.n_null_texts,
        n_repaired=rows.n_repaired,
        n_dropped=rows.n_dropped,
        n_copies=len(rows) - rows.texts.n_unique() if recipe.data.duplicates == "once" else 0,
        seconds=time.perf_counter() - began,
        groups=groups,
        seeds=seeds,
        flattered_by=flattered_by,
    )


def _flattered_by(recipe: Recipe, taught_by: Sequence[Run], runs_folder: Path) -> str | None:
    """Who tells of validation rows' labels: a teacher's models of other folds, whoever taught a teacher so, or an
    encoder that a run of this workspace trained."""
    encoder = recipe.encoder.path
    if encoder is not None and Path(encoder).is_dir() and Path(encoder).resolve().is_relative_to(runs_folder.resolve()):
        return encoder
    distill, pseudo = recipe.distill, recipe.pseudo_labels
    if distill.teacher is not None and distill.source == "oof":
        return distill.teacher
    if pseudo.run is not None and pseudo.source == "predictions":
        return pseudo.run
    return next((name for run in taught_by if (name := (run.info or {}).get("flattered_by"))), None)


def _summary(member: tuple[int, int | None], piece: Answers, competition: Competition, reused: bool) -> FoldSummary:
    training = json.loads(piece.meta["training"])
    return FoldSummary(
        fold=member[0],
        seed=member[1],
        n_rows=len(piece),
        score=score(competition.metric, piece),
        seconds=training["seconds"],
        kept=training["kept"],
        history=tuple(training["history"]),
        reused=reused,
        micro_batch_size=training.get("micro_batch_size", 0),
        halvings=training.get("halvings", 0),
        n_pseudo=training.get("n_pseudo", 0),
        soup=tuple(training.get("soup", ())),
    )


def _about(
    recipe: Recipe,
    competition: Competition,
    rows: TrainingRows,
    total: float,
    fold_scores: list[float],
    summaries: tuple[FoldSummary, ...],
    flattered_by: str | None,
) -> dict[str, Any]:
    """What `run.json` says."""
    train = competition.path(competition.train)
    assert train is not None  # its rows were read
    separator = {"multi_label": "|", "multi_group": "|", "token": " "}.get(competition.task)
    names = rows.labels.str.split(separator).explode() if separator else rows.labels
    counts = dict(names.alias("label").value_counts().iter_rows())
    return {
        "kind": recipe.kind,
        "name": recipe.name,
        "task": competition.task,
        "classes": list(competition.classes),
        "metric": competition.metric,
        "text_columns": list(competition.text_columns),
        "train": sample_digest(train),
        "score": total,
        "fold_scores": fold_scores,
        "folds": [dataclasses.asdict(summary) for summary in summaries],
        "n_oof": len(rows),
        "flattered_by": flattered_by,
        "class_counts": {name: counts.get(name, 0) for name in competition.classes},
        "n_null_texts": rows.n_null_texts,
        "n_repaired_tags": rows.n_repaired,
        "n_dropped": rows.n_dropped,
        "seconds": sum(summary.seconds for summary in summaries),
    }
