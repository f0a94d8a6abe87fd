"""`competition.toml`: what the table columns mean and how answers are scored. Found from a folder upward, like `.git`.

    competition = Competition.find()          # walks up from the working directory
    competition.path(competition.test)        # files are named relative to competition.toml

Knows nothing of models or of how the file came about; `inspect.py` concludes its content from the data files.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kaggle_tools.bio import check_tags
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import write_atomically
from kaggle_tools.label_groups import flat_classes

FILE_NAME = "competition.toml"

Task = Literal["single_label", "multi_label", "multi_group", "token"]
SubmissionFormat = Literal["labels", "probabilities"]
EncodingErrors = Literal["strict", "replace"]

TASKS: tuple[str, ...] = ("single_label", "multi_label", "multi_group", "token")
SUBMISSION_FORMATS: tuple[str, ...] = ("labels", "probabilities")


@dataclass(frozen=True)
class Competition:
    """The facts of one competition.

    Attributes:
        root: Folder of `competition.toml`; all files below are relative to it.
        name: Free text.
        slug: The competition's name in its Kaggle address, or None.
        task: ``single_label`` (one class a row), ``multi_label`` (labels joined by ``|``) ``multi_group`` (one class in
            each of several label columns) or ``token`` (a BIO tag for each word: text and labels are words and tags
            separated by single blanks).
        metric: Name in `kaggle_tools.metrics.METRICS`.
        id_column: Id column of train and test; None where the rows have none.
        text_column: The text that is classified.
        label_column: Label column of train; None for ``multi_group``.
        classes: Class names in order. Every probability column of this workspace has this order. For ``multi_group``
            they follow from `label_groups` and are called ``<group>:<class>``.
        train: Training table, or None.
        test: Test table, or None.
        sample_submission: A submission with the right ids and columns, or None.
        submission_format: ``labels`` (one label column) or ``probabilities`` (one column a class).
        submission_id: Id column of the sample submission; differs from `id_column` where test and sample disagree.
        submission_columns: Columns beside the id: the label column, or one a class.
        encoding: Text encoding of train and test, a Python codec name.
        encoding_errors: ``strict``, or ``replace`` where the files have bytes outside their encoding.
        test_id_column: Id column of test where it is called otherwise than in train; read `test_id`.
        test_text_column: Text column of test where it is called otherwise than in train; read `test_text`.
        pair_column: The second text column where a row is a pair of texts; None where it is one text.
        test_pair_column: That of test where it is called otherwise than in train; read `test_pair`.
        test_encoding: Encoding of test where it is another than that of train; read `encoding_of`.
        test_encoding_errors: The same for `encoding_errors`.
        label_groups: Label column of train → its classes in order; for ``multi_group``, in the file a section
            ``[label_groups]`` with a line a group.
    """

    root: Path
    name: str
    task: Task
    metric: str
    text_column: str
    classes: tuple[str, ...]
    id_column: str | None = "id"
    label_column: str | None = "label"
    slug: str | None = None
    train: str | None = None
    test: str | None = None
    sample_submission: str | None = None
    submission_format: SubmissionFormat = "probabilities"
    submission_id: str | None = None
    submission_columns: tuple[str, ...] = field(default=())
    encoding: str = "utf-8"
    encoding_errors: EncodingErrors = "strict"
    test_id_column: str | None = None
    test_text_column: str | None = None
    pair_column: str | None = None
    test_pair_column: str | None = None
    test_encoding: str | None = None
    test_encoding_errors: EncodingErrors | None = None
    label_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Label columns of train; one unless the task is ``multi_group``."""
        return tuple(self.label_groups) or (() if self.label_column is None else (self.label_column,))

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns of train that are a row's text: one, or the two of a pair."""
        return (self.text_column,) if self.pair_column is None else (self.text_column, self.pair_column)

    @property
    def test_id(self) -> str | None:
        """Id column of test; None where its rows have none."""
        return self.test_id_column or self.id_column

    @property
    def test_text(self) -> str:
        """Text column of test."""
        return self.test_text_column or self.text_column

    @property
    def test_pair(self) -> str | None:
        """Second text column of test; None where a row is one text."""
        return self.test_pair_column or self.pair_column

    def encoding_of(self, path: Path) -> tuple[str, EncodingErrors]:
        """Encoding and how bytes outside it are met, for a file of the competition; any other is read like train."""
        if path.resolve() == self.path(self.test):
            return self.test_encoding or self.encoding, self.test_encoding_errors or self.encoding_errors
        return self.encoding, self.encoding_errors

    def path(self, name: str | None) -> Path | None:
        """A file of the competition as an absolute path; None stays None."""
        return None if name is None else (self.root / name).resolve()

    @classmethod
    def find(cls, start: Path | None = None) -> Competition:
        """Load the nearest `competition.toml` from `start` (default: the working directory) upward.

        Raises:
            UserError: No file found, or the file is not valid.
        """
        competition = cls.find_or_none(start)
        if competition is None:
            raise UserError(
                f"no {FILE_NAME} here or in any folder above",
                where=(start or Path.cwd()).resolve(),
                next="write one with `cli init --train train.csv --test test.csv --sample sample_submission.csv`",
            )
        return competition

    @classmethod
    def find_or_none(cls, start: Path | None = None) -> Competition | None:
        """Like `find`, but None where there is no file."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / FILE_NAME).is_file():
                return cls.load(folder / FILE_NAME)
        return None

    @classmethod
    def load(cls, path: Path) -> Competition:
        """Read and check one `competition.toml`.

        Raises:
            UserError: Not TOML, an unknown or missing key, a value of the wrong type or outside its choices, one column
                for two things, ids called as a column of predictions is, a metric that is unknown or not for this task.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise UserError(f"{path.name} is not valid TOML: {exc}", where=path) from exc
        known = [f.name for f in dataclasses.fields(cls) if f.name != "root"]
        values: dict[str, Any] = {"id_column": None, "label_column": None}
        for key, value in raw.items():
            if key not in known:
                raise UserError(f"unknown key '{key}'", where=path, next=did_you_mean(key, known))
            values[key] = _checked(key, value, path)
        _take_groups(values, path)
        missing = [k for k in ("name", "task", "metric", "text_column", "classes") if k not in values]
        if missing:
            raise UserError(
                f"key missing: {', '.join(missing)}", where=path, next="write it again with `cli init --force`"
            )
        _check_metric(values, path)
        with _located(path):
            labels = tuple(values.get("label_groups", ())) or (values["label_column"],)
            check_columns((values["text_column"], values.get("pair_column")), labels)
            check_id_columns((values["id_column"], values.get("test_id_column")), values["classes"])
            _check_test_pair(values)
        if values["task"] == "token":
            with _located(path):
                check_tags(values["classes"])
        return cls(root=path.parent.resolve(), **values)

    def save(self, path: Path) -> None:
        """Write as TOML; absent values are left out."""
        lines = []
        left_out = ("root", "label_groups", *(("classes",) if self.label_groups else ()))
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name not in left_out and value is not None:
                lines.append(f"{f.name} = {_toml(value)}")
        if self.label_groups:  # a section ends the keys above it
            groups = [f"{_toml(name)} = {_toml(classes)}" for name, classes in self.label_groups.items()]
            lines += ["", "[label_groups]", *groups]
        with write_atomically(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_columns(texts: Iterable[str | None], labels: Iterable[str | None]) -> None:
    """Raises `UserError` where one column is two of text, second text and label: a model would read its answers."""
    names = [name for name in (*texts, *labels) if name is not None]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"column '{name}' cannot be two things at once",
                found="text_column, pair_column and label_column (or [label_groups]) name it more than once",
                next="name the text and the label apart",
            )


def check_id_columns(names: Iterable[str | None], classes: Iterable[str]) -> None:
    """Raises `UserError` where a column of ids is called as a column of `Predictions` is: none could be written."""
    taken = {"label", "fold", *(f"prob_{one}" for one in classes)}
    for name in names:
        if name in taken:
            raise UserError(
                f"the id column cannot be called '{name}', as a column of predictions is",
                next="rename it in the table, or leave it out: rows are then known by their number",
            )


_CHOICES: dict[str, tuple[str, ...]] = {
    "task": TASKS,
    "submission_format": SUBMISSION_FORMATS,
    "encoding_errors": ("strict", "replace"),
    "test_encoding_errors": ("strict", "replace"),
}
_LISTS = ("classes", "submission_columns")


def _take_groups(values: dict[str, Any], path: Path) -> None:
    """The classes of label groups, which go with the task ``multi_group`` and only with it."""
    grouped, groups = values.get("task") == "multi_group", values.get("label_groups", {})
    if grouped != bool(groups):
        what = "task 'multi_group' needs" if grouped else f"task '{values.get('task')}' has no use for"
        example = '[label_groups] with a line a label column, such as sentiment = ["negative", "positive"]'
        raise UserError(f"{what} label_groups", where=path, next=f"write {example}" if grouped else "leave it out")
    if not grouped:
        return
    with _located(path):
        classes = flat_classes(groups)
    if values.setdefault("classes", classes) != classes:
        raise UserError("'classes' follow from [label_groups]", where=path, next="leave 'classes' out")
    if values.get("label_column") is not None:
        raise UserError(
            "'label_column' beside [label_groups], which names the columns", where=path, next="leave it out"
        )


def _checked(key: str, value: object, path: Path) -> object:
    if key == "label_groups":
        if not isinstance(value, dict):
            raise UserError("'label_groups' must be a section", where=path, found=repr(value))
        return {group: _checked("classes", classes, path) for group, classes in value.items()}
    if key in _LISTS:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"'{key}' must be a list of strings", where=path, found=repr(value))
        if len(set(value)) != len(value):
            raise UserError(f"'{key}' names something twice", where=path, found=", ".join(value))
        if key == "classes" and "" in value:
            raise UserError("'classes' has an empty name", where=path, found=repr(value))
        return tuple(value)
    if not isinstance(value, str):
        raise UserError(f"'{key}' must be a string", where=path, found=repr(value))
    if key in _CHOICES and value not in _CHOICES[key]:
        raise UserError(f"'{key}' cannot be '{value}'", where=path, next=did_you_mean(value, _CHOICES[key]))
    return value


def _check_metric(values: dict[str, Any], path: Path) -> None:
    """A metric by any of its spellings, which must serve the task and the number of classes."""
    from kaggle_tools.metrics import metric_for

    with _located(path):
        metric_for(values["metric"], values["task"], len(values["classes"]))


def _check_test_pair(values: dict[str, Any]) -> None:
    """Two texts a row of test are two different columns, and train has two as well."""
    pair, test_pair = values.get("pair_column"), values.get("test_pair_column")
    if pair is None and test_pair is not None:
        raise UserError(
            f"test_pair_column = '{test_pair}' without pair_column: test would have pairs, and train single texts",
            next="name the second text of train as pair_column, or leave test_pair_column out",
        )
    check_columns((values.get("test_text_column") or values["text_column"], test_pair or pair), ())


@contextmanager
def _located(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError as exc:
        exc.details["where"] = str(path)
        raise


def _toml(value: str | tuple[str, ...]) -> str:
    import json

    # A JSON string is a TOML basic string as long as nothing but the two escapes they share is used.
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
