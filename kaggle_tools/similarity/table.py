"""What several models say of the same rows, joined by id: decisions, probabilities where there are any, the truth.

table = join({"roberta": answers_a, "v0007-blend": answers_b})
table = join({"roberta": oof_a, "bert": oof_b})        # Predictions, whose labels become the truth
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import encode_label_sets
from kaggle_tools.predictions import Predictions, encode_labels
from kaggle_tools.search.members import differing_classes
from kaggle_tools.submissions.answers import Answers

Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True, repr=False)
class Table:
    """K models, N rows, C classes.

    Attributes:
        names: K names.
        ids: (N,) String, in the first model's order.
        classes: C class names.
        task: ``single_label`` or ``multi_label``.
        decisions: (K, N) class codes; (K, N, C) bool for ``multi_label``.
        probs: (K, N, C) float32; rows of models without probabilities are NaN.
        with_probs: (K,) bool: which models have probabilities; the others hold labels.
        truth: (N,) class codes or (N, C) bool, where known.
    """

    names: tuple[str, ...]
    ids: pl.Series
    classes: tuple[str, ...]
    task: str
    decisions: Codes | NDArray[np.bool_]
    probs: NDArray[np.float32]
    with_probs: NDArray[np.bool_]
    truth: Codes | NDArray[np.bool_] | None = None


def join(members: Mapping[str, Answers | Predictions], truth: Predictions | None = None) -> Table:
    """Put models side by side, joined by id.

    Args:
        members: Answers or predictions by name. The classes of files read without a competition may be in any order.
        truth: Predictions with labels of the same rows; None takes the labels of the first member that has any.

    Raises:
        UserError: Fewer than two members, an id twice or empty, ids, classes or tasks that differ (names the pair).
    """
    if len(members) < 2:
        raise UserError(
            f"{len(members)} to compare" if members else "nothing to compare",
            expected="two or more runs, versions or files",
        )
    answers = {name: _as_answers(name, one) for name, one in members.items()}
    base, first = next(iter(answers.items()))
    names, classes = tuple(answers), _classes(answers)
    width = () if first.task == "single_label" else (len(classes),)
    kind = np.bool_ if width else np.int8 if len(classes) <= 127 else np.int16
    decisions = np.empty((len(names), len(first), *width), kind)
    probs = np.full((len(names), len(first), len(classes)), np.nan, np.float32)
    for k, (name, one) in enumerate(answers.items()):
        if one.task != first.task:
            raise UserError(f"'{name}' is {one.task}, '{base}' is {first.task}")
        rows = _rows(base, first, name, one)
        if one.probs is not None:
            probs[k] = _taken(one.in_order(classes), rows)
        decisions[k] = _taken(one.decisions(classes), rows)
    return Table(
        names=names,
        ids=first.ids,
        classes=classes,
        task=first.task,
        decisions=decisions,
        probs=probs,
        with_probs=np.array([one.probs is not None for one in answers.values()]),
        truth=_truth(members, truth, first, classes),
    )


def _as_answers(name: str, member: Answers | Predictions) -> Answers:
    if isinstance(member, Predictions):
        if member.meta.get("hard_labels") == "true":
            return Answers(name, Path(name), member.ids, member.classes, member.task, labels=member.predicted)
        return Answers(name, Path(name), member.ids, member.classes, member.task, probs=member.probs)
    twice = member.ids.filter(member.ids.is_duplicated()).unique(maintain_order=True)
    if len(twice):
        raise UserError(f"{len(twice):,} ids occur more than once", where=member.path, first=", ".join(twice.head(5)))
    empty = int((member.ids == "").sum())
    if empty:
        raise UserError(f"{empty:,} rows have no id", where=member.path)
    return member


def _classes(answers: Mapping[str, Answers]) -> tuple[str, ...]:
    """Of those with probabilities; a file of labels may lack a class that it never says."""
    named = {name: one.classes for name, one in answers.items() if one.probs is not None}
    if not named:
        everything = {c: None for one in answers.values() for c in one.classes}
        return tuple(everything)
    base, classes = next(iter(named.items()))
    for name, one in answers.items():
        own = set(one.classes)
        if (one.probs is not None and own != set(classes)) or not own <= set(classes):
            raise UserError(
                differing_classes(f"'{name}'", one.classes, f"'{base}'", classes),
                next="labels and probabilities may be compared, but they must name the same classes",
            )
    return classes


def _rows(base: str, first: Answers, name: str, other: Answers) -> NDArray[np.int64] | None:
    """Where the first one's rows stand in the other; None where they are in the same order."""
    if first.ids.equals(other.ids, check_names=False):
        return None
    place = pl.DataFrame({"id": other.ids, "row": np.arange(len(other))})
    found = pl.DataFrame({"id": first.ids}).join(place, on="id", how="left", maintain_order="left")["row"]
    missing = first.ids.filter(found.is_null())
    if len(missing) or len(other) != len(first):
        extra = other.ids.filter(~other.ids.is_in(first.ids.implode()))
        raise UserError(
            f"'{name}' and '{base}' are not about the same rows: {len(missing):,} ids missing, "
            f"{len(extra):,} unexpected",
            missing=", ".join(missing.head(5)) or "none",
            unexpected=", ".join(extra.head(5)) or "none",
            next="compare test with test (--on test) and out-of-fold with out-of-fold (--on oof)",
        )
    return found.to_numpy()


def _taken(values: NDArray[Any], rows: NDArray[np.int64] | None) -> NDArray[Any]:
    return values if rows is None else values[rows]


def _truth(
    members: Mapping[str, Answers | Predictions], given: Predictions | None, first: Answers, classes: tuple[str, ...]
) -> Codes | NDArray[np.bool_] | None:
    labelled = [one for one in members.values() if isinstance(one, Predictions) and one.labels is not None]
    source = given if given is not None and given.labels is not None else next(iter(labelled), None)
    if source is None:
        return None
    aligned = source if source.ids.equals(first.ids, check_names=False) else source.align(first.ids)
    assert aligned.labels is not None
    if first.task == "multi_label":
        return encode_label_sets(aligned.labels, classes)
    return encode_labels(aligned.labels, classes)
