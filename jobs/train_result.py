"""What training a run came to: its folds summed up and, once all are finished, the run's last files.

Knows nothing of how folds are trained: what it tells is what lies in the run's folder.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.run_folder import Answers, RunFolder
from jobs.seed_members import SeedSpread, mean_of_seeds, spread_of_seeds
from jobs.training_rows import TrainingRows
from jobs.workspace import Run
from kaggle_tools.competition import Competition
from kaggle_tools.files import sample_digest
from kaggle_tools.metrics import group_scores, score
from kaggle_tools.predictions import Predictions
from models.recipe import Recipe


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


def conclude(
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
