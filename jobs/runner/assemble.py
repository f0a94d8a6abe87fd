"""What is made of a job's parts: the output with the mean over runs, each run's predictions (`jobs.runner.joining`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from jobs.runner.joining import JoinedFile
from jobs.runner.local import TEXT, part_column
from jobs.runner.plan import Plan
from kaggle_tools.bio import entities, legal_tags
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import PREFIX, SCHEMA_VERSION, likeliest
from kaggle_tools.remote import Place
from kaggle_tools.tag_predictions import TagPredictions, prob_columns, read_prob_columns
from kaggle_tools.tag_rows import split_words
from models.inference.scores import column_names, mean_probabilities


def output_file(
    plan: Plan, path: Place, *, task: str, each: bool, placing: Callable[[], None] = lambda: None
) -> JoinedFile:
    """All rows with the mean over runs: id, ``label`` (the likeliest class), ``prob_<class>`` float32.

    Of a regression id and ``score``, or a ``score_<name>`` for each of its outputs. Where words have tags, the label is
    all of a row's tags, ``entities`` a JSON list, and probabilities are lists, which CSV leaves out.

    Args:
        plan: The job's plan.
        path: ``.parquet``, ``.csv`` or ``.jsonl``.
        task: ``single_label``, ``multi_label`` (labels of at least one half, joined by ``|``), ``multi_group``,
            ``token`` or ``regression``.
        each: Also write each run's own columns, ``<run>/prob_<class>``.
        placing: See `JoinedFile`.
    """
    about = {"runs": ",".join(plan.request.models)}
    return JoinedFile(path, lambda part: _mean_frame(part, plan, task, each), _metadata(plan, task, about), placing)


def predictions_file(
    plan: Plan, run: str, path: Path, *, task: str, precision: str, placing: Callable[[], None] = lambda: None
) -> JoinedFile:
    """One run's rows as a Predictions file (see `kaggle_tools.predictions`)."""
    about = {"run": run, "model": ",".join(plan.request.models[run]), "precision": precision}
    renames = {part_column(run, name): PREFIX + name for name in plan.request.classes}

    def columns(part: pl.DataFrame) -> pl.DataFrame:
        return part.select(part.columns[0], *renames).rename(renames)

    return JoinedFile(path, columns, _metadata(plan, task, about), placing)


def check_id_column(name: str | None, runs: Iterable[str], classes: Sequence[str], task: str) -> None:
    """Fail before anything is scored where the id column is called as a column beside it will be.

    Args:
        name: None where rows are numbered.
        runs: That score the table.
        classes: Of the probabilities.
        task: As `output_file` has it.

    Raises:
        UserError: It is.
    """
    names = column_names(classes, task)
    taken = {*names, *(f"{run}/{one}" for run in runs for one in names)}
    if task != "regression":
        taken |= {"label", "fold"}  # the second in predictions of runs
    if task == "token":
        taken |= {TEXT, "entities"}
    if name in taken:
        raise UserError(
            f"the id column is called '{name}', as a column of the scores is",
            next="rename it in the table, name another with --id, or number the rows with --no-id",
        )


def _mean_tags(frame: pl.DataFrame, plan: Plan, each: bool) -> pl.DataFrame:
    """Where words have tags: ``text``, ``label`` (tags joined by blanks), ``entities`` (JSON), list columns."""
    classes = plan.request.classes
    found = [read_prob_columns(frame, [part_column(run, name) for name in classes]) for run in plan.request.models]
    offsets, probs = found[0][0], mean_probabilities([probs for _, probs in found])
    mean = TagPredictions(frame.to_series(0), classes, offsets, probs, legal_tags(probs, offsets, classes))
    rows = zip(split_words(frame[TEXT]), mean.tags, strict=True)
    columns = [
        frame.to_series(0),
        frame[TEXT],
        mean.predicted,
        pl.Series("entities", [_entities(*row) for row in rows]),
    ]
    columns += prob_columns(probs, offsets, [PREFIX + name for name in classes])
    return pl.DataFrame(columns + (frame.get_columns()[2:] if each else []))


def _entities(words: list[str], tags: list[str]) -> str:
    """A JSON list of objects: type, first word (from 0), word after the last, and the words joined by blanks."""
    found = [
        {"type": kind, "start": start, "end": end, "text": " ".join(words[start:end])}
        for kind, start, end in entities(tags)
    ]
    return json.dumps(found, ensure_ascii=False)


def _mean_frame(frame: pl.DataFrame, plan: Plan, task: str, each: bool) -> pl.DataFrame:
    if task == "token":
        return _mean_tags(frame, plan, each)
    classes = plan.request.classes
    probs = mean_probabilities(
        [frame.select(part_column(run, name) for name in classes).to_numpy() for run in plan.request.models]
    )
    columns, names = [frame.to_series(0)], column_names(classes, task)
    if task != "regression":
        columns.append(likeliest(probs, classes, task))
    columns += [pl.Series(name, probs[:, i]) for i, name in enumerate(names)]
    for run in plan.request.models if each else ():
        columns += [
            frame[part_column(run, one)].alias(f"{run}/{name}") for one, name in zip(classes, names, strict=True)
        ]
    return pl.DataFrame(columns)


def _metadata(plan: Plan, task: str, about: Mapping[str, str]) -> str:
    content = {
        "version": SCHEMA_VERSION,
        "task": task,
        "classes": list(plan.request.classes),
        "job": plan.id,
        "input": ",".join(f.sample for f in plan.request.inputs),
        **about,
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True)
