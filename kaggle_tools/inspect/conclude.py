"""The order of the conclusions, and the competition that they make."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from kaggle_tools.competition import Competition, SubmissionFormat, Task, check_columns, check_id_columns
from kaggle_tools.errors import UserError
from kaggle_tools.inspect import answers, columns, findings
from kaggle_tools.inspect.files import File, read_file
from kaggle_tools.label_groups import flat_classes


@dataclass(frozen=True)
class Overrides:
    """What the user says himself; None, or an empty tuple, leaves it to the files.

    Attributes:
        name: Of the competition; default: the folder's name.
        slug: Its name in its Kaggle address.
        task: ``single_label``, ``multi_label`` or ``multi_group``, or what has one label a row as well: ``pair``,
            ``relation``.
        metric: A name or alias in `kaggle_tools.metrics`.
        id_column: Of test, or of train where there is no test.
        text_column: Of train and test.
        label_column: Of train.
        classes: In order.
        encoding: Of the files that are not UTF-8.
        submission_format: ``labels`` or ``probabilities``.
        label_columns: Several of train, a label group each: then the task is ``multi_group``.
        pair_column: The second text of a row, of train and test.
    """

    name: str | None = None
    slug: str | None = None
    task: str | None = None
    metric: str | None = None
    id_column: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    classes: tuple[str, ...] = ()
    encoding: str | None = None
    submission_format: str | None = None
    label_columns: tuple[str, ...] = ()
    pair_column: str | None = None


@dataclass(frozen=True)
class Reason:
    """One conclusion: a key of `competition.toml`, its value as people read it, and why."""

    key: str
    value: str
    why: str


@dataclass(frozen=True)
class Conclusions:
    """What the files told.

    Attributes:
        competition: Not yet saved.
        reasons: One for each conclusion.
        findings: Sentences: counts of classes, duplicates, empty texts, ids and labels that do not match.
    """

    competition: Competition
    reasons: tuple[Reason, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class _Files:
    """The files that were given."""

    train: File | None
    test: File | None
    sample: File | None


@dataclass(frozen=True)
class _Answers:
    """What is predicted, how it is handed in and how it is scored."""

    task: Task
    classes: tuple[str, ...]
    submission_format: SubmissionFormat
    metric: str
    submission_columns: tuple[str, ...]
    label_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Columns:
    """Names of the columns in each file; None where the file or the column does not exist."""

    train_id: str | None
    test_id: str | None
    submission_id: str | None
    label: str | None
    train_text: str | None
    test_text: str | None
    pair: str | None


def conclude(
    train: Path | None,
    test: Path | None,
    sample: Path | None,
    *,
    root: Path,
    overrides: Overrides | None = None,
) -> Conclusions:
    """Look at the files and say what the competition is.

    Args:
        train: Table with labels.
        test: Table to predict.
        sample: Sample submission.
        root: Folder of the future `competition.toml`; file names become relative to it.
        overrides: What is known already.

    Raises:
        UserError: Neither train nor test given, a file cannot be read, or the files do not tell what is needed; lists
            the candidates and the flag to give.
    """
    if train is None and test is None:
        raise UserError("nothing to look at", next="give --train FILE, --test FILE, or both, and --sample FILE")
    asked = overrides or Overrides()
    files = _Files(*(None if path is None else read_file(path, asked.encoding) for path in (train, test, sample)))
    if files.sample is not None and files.sample.encoding != "utf-8":
        name = files.sample.encoding
        raise UserError(
            "the sample submission is not UTF-8, as submissions are written", where=files.sample.path, found=name,
            next=f"convert the file: iconv -f {name} -t UTF-8 FILE > NEW_FILE",
        )  # fmt: skip
    reasons = [
        Reason(f"encoding of {role}", file.encoding, file.why)
        for role, file in (("train", files.train), ("test", files.test))
        if file is not None and file.why
    ]
    found = _find_columns(files, asked, reasons)
    answer = _find_answers(files, found, asked, reasons)
    competition = _competition(files, found, answer, asked, root)
    return Conclusions(competition, tuple(reasons), findings.find(competition, files.train, files.test, files.sample))


def _find_columns(files: _Files, asked: Overrides, reasons: list[Reason]) -> _Columns:
    """Ids first, for what is an id is neither label nor text; then the label, which is no text."""
    train_id, test_id, submission_id = _find_ids(files, asked, reasons)
    ids = {name for name in (train_id, test_id) if name is not None}
    label = None
    labels = set(asked.label_columns)
    if labels:
        reasons.append(Reason("label_groups", ", ".join(asked.label_columns), "asked for"))
    elif files.train is not None:
        answers_asked = [name for name in files.sample.columns if name != submission_id] if files.sample else []
        texts = {asked.text_column} if asked.text_column else set()
        choice = columns.label_column(files.train, files.test, answers_asked, ids | texts, asked.label_column)
        label = choice.column
        reasons.append(Reason("label_column", _shown(label), choice.why))
    others = ids | labels | ({label} if label else set())
    pair = _find_pair(files, others, asked, reasons)
    if pair is not None and asked.text_column is None and pair[0] is not None:
        reasons.append(Reason("text_column", pair[0], "called like the first text of a pair"))
        train_text: str | None = pair[0]
        test_text: str | None = pair[0]
    else:
        train_text, test_text = _find_texts(files, others | ({pair[1]} if pair else set()), asked, reasons)
    if files.train is not None and label is not None and train_text is not None and not asked.label_column:
        columns.check_header(files.train, label, train_text)
    return _Columns(train_id, test_id, submission_id, label, train_text, test_text, pair[1] if pair else None)


def _find_pair(files: _Files, skip: set[str], asked: Overrides, reasons: list[Reason]) -> tuple[str | None, str] | None:
    """Both text columns where a row is a pair of texts; of these the first is None where it is still to be found."""
    given = [file for file in (files.train, files.test) if file is not None]
    if asked.pair_column is not None:
        reasons.append(Reason("pair_column", columns.asked_pair(given, asked.pair_column), "asked for"))
        return asked.text_column, asked.pair_column
    found = columns.pair_columns(given, skip) if asked.text_column is None else None
    if found is not None:
        reasons.append(
            Reason("pair_column", found[1], f"a second text beside '{found[0]}'; --text alone says otherwise")
        )
    elif asked.task == "pair":
        raise UserError(
            "no two columns are called like the two texts of a pair", found=", ".join(given[0].columns),
            next="name both: --text COLUMN --pair COLUMN",
        )  # fmt: skip
    return found


def _find_ids(files: _Files, asked: Overrides, reasons: list[Reason]) -> tuple[str | None, str | None, str | None]:
    """Id columns of train, test and sample."""
    of_sample = of_test = of_train = columns.Choice(None, "no such file")
    for_test = _asked_of(files.test, files.train, asked.id_column)
    if files.sample is not None:
        of_sample, of_test = columns.submission_id(files.sample, files.test, for_test)
        reasons.append(Reason("submission_id", _shown(of_sample.column), of_sample.why))
    elif files.test is not None:
        of_test = columns.own_id(files.test, for_test)
    if files.test is not None:
        reasons.append(Reason("id_column of test", _shown(of_test.column), of_test.why))
    if files.train is not None:
        of_train = columns.train_id(files.train, of_test.column, _asked_of(files.train, files.test, asked.id_column))
        reasons.append(Reason("id_column of train", _shown(of_train.column), of_train.why))
    return of_train.column, of_test.column, of_sample.column


def _find_texts(
    files: _Files, skip: set[str], asked: Overrides, reasons: list[Reason]
) -> tuple[str | None, str | None]:
    """Text columns of train and test. Test decides where there is one: it has fewer columns of other things."""
    of_train = of_test = columns.Choice(None, "no such file")
    if files.test is not None:
        of_test = columns.text_column(files.test, skip, _asked_of(files.test, files.train, asked.text_column))
        reasons.append(Reason("text_column of test", _shown(of_test.column), of_test.why))
    if files.train is not None:
        if of_test.column in files.train.columns:
            of_train = columns.Choice(of_test.column, "called as in test")
        else:
            of_train = columns.text_column(files.train, skip, _asked_of(files.train, files.test, asked.text_column))
        reasons.append(Reason("text_column of train", _shown(of_train.column), of_train.why))
    return of_train.column, of_test.column


def _asked_of(file: File | None, other: File | None, name: str | None) -> str | None:
    """The column that was asked for, unless it is meant for the other file, which alone has it."""
    meant_for_other = file is not None and other is not None and name not in file.columns and name in other.columns
    return None if meant_for_other else name


def _find_answers(files: _Files, found: _Columns, asked: Overrides, reasons: list[Reason]) -> _Answers:
    labels = files.train.frame[found.label] if files.train and found.label else None
    values = (
        {}
        if files.sample is None
        else {name: files.sample.frame[name] for name in files.sample.columns if name != found.submission_id}
    )
    if asked.label_columns:
        return _find_groups(files, values, asked, reasons)
    task, why_task = answers.conclude_task(labels, asked.task)
    if found.pair is not None:
        why_task += ", for each pair of texts"
    classes, why_classes = answers.conclude_classes(labels, task, values, asked.classes)
    if task == "token":
        classes = answers.bio_classes(classes)
    form, why_form = answers.conclude_format(
        values,
        classes,
        asked.submission_format or ("labels" if task == "token" else None),
        asked.metric if task == "single_label" else None,
    )
    metric, why_metric = answers.conclude_metric(labels, task, len(classes), form, len(values), asked.metric)
    reasons += [
        Reason("task", task, why_task),
        Reason("classes", ", ".join(classes), why_classes),
        Reason("submission_format", form, why_form),
        Reason("metric", metric, why_metric),
    ]
    return _Answers(task, classes, form, metric, tuple(values))


def _find_groups(files: _Files, values: dict[str, pl.Series], asked: Overrides, reasons: list[Reason]) -> _Answers:
    """The same for several label columns."""
    if files.train is None or len(asked.label_columns) < 2:
        raise UserError("label groups are looked up in train: two columns or more", next="give --train FILE")
    if asked.task not in (None, "multi_group"):
        raise UserError(f"task '{asked.task}' has one label column", found=", ".join(asked.label_columns))
    groups, why_groups = answers.conclude_groups(files.train, asked.label_columns)
    fractions = [name for name in groups if name in values and answers.holds_fractions(values[name])]
    if fractions:
        raise UserError(
            f"the sample has a probability in column '{fractions[0]}', where a label group has one of its classes",
            expected=", ".join(groups[fractions[0]]),
            next=f"if each column says whether a label holds: {columns.JOIN_LABELS}",
        )
    form = asked.submission_format or ("probabilities" if len(values) > len(groups) else "labels")
    for name in [name for name in groups if name in values and form == "labels"]:
        answers.refuse_other_spelling(name, values[name], groups[name])
    classes = flat_classes(groups)
    metric, why_metric = answers.conclude_group_metric(asked.metric)
    reasons += [
        Reason("task", "multi_group", "several label columns"),
        Reason("classes", ", ".join(classes), why_groups),
        Reason("submission_format", form, "asked for" if asked.submission_format else "a column a group, or a class"),
        Reason("metric", metric, why_metric),
    ]
    checked_form, _ = answers.conclude_format({}, classes, form)
    return _Answers("multi_group", classes, checked_form, metric, tuple(values), groups)


def _competition(files: _Files, found: _Columns, answer: _Answers, asked: Overrides, root: Path) -> Competition:
    """What train and test share is said once; the ``test_`` keys hold what test has otherwise."""
    first = files.train or files.test
    text = found.train_text or found.test_text
    assert first is not None  # `conclude` was given one of them
    assert text is not None  # `columns.text_column` finds one or raises
    for name in (found.train_text, found.test_text):
        check_columns((name, found.pair), tuple(answer.label_groups) or (found.label,))
    check_id_columns((found.train_id, found.test_id), answer.classes)
    id_column = found.train_id if files.train else found.test_id
    return Competition(
        root=root.resolve(),
        name=asked.name or root.resolve().name,
        slug=asked.slug,
        task=answer.task,
        metric=answer.metric,
        id_column=id_column,
        text_column=text,
        label_column=found.label,
        pair_column=found.pair,
        classes=answer.classes,
        train=_relative(files.train, root),
        test=_relative(files.test, root),
        sample_submission=_relative(files.sample, root),
        submission_format=answer.submission_format,
        submission_id=found.submission_id,
        submission_columns=answer.submission_columns,
        encoding=first.encoding,
        encoding_errors=first.encoding_errors,
        test_id_column=None if found.test_id == id_column else found.test_id,
        test_text_column=None if found.test_text == text else found.test_text,
        test_encoding=None if not files.test or files.test.encoding == first.encoding else files.test.encoding,
        test_encoding_errors=None
        if not files.test or files.test.encoding_errors == first.encoding_errors
        else files.test.encoding_errors,
        label_groups=answer.label_groups,
    )


def _relative(file: File | None, root: Path) -> str | None:
    return None if file is None else Path(os.path.relpath(file.path.resolve(), root.resolve())).as_posix()


def _shown(column: str | None) -> str:
    return "none" if column is None else column
