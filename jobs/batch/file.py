"""A batch file, `jobs.toml`, as data. Knows nothing of what was run before.

[parameters]
test = "data/test.csv"

[matrix]
model = ["bert-mini", "linear"]

[steps.train]
cli = "train recipes/{model}.toml"

[steps.score]
needs = ["train"]
cli = "score --input {test}"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError, did_you_mean

Scalar = str | int | float | bool
Words = str | tuple[str, ...]

_TOP_KEYS = ("parameters", "matrix", "steps")
_STEP_KEYS = ("cli", "command", "options", "needs", "inputs", "outputs", "environment", "matrix")
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Step:
    """One step as it stands in the file, placeholders and all.

    Attributes:
        name: Its name.
        words: A command line as one string, or as its words.
        is_cli: Whether it is one of our own commands, ``train …``, or any program.
        options: Long options to append: ``{max-length = 64, each = true}``.
        needs: Names of the steps that come before it.
        inputs: Files and globs that it reads, besides those named in its command line.
        outputs: Files and globs that it writes, besides those that are noticed.
        environment: Variables of its process.
        matrix: Matrix variables of this step alone.
    """

    name: str
    words: Words
    is_cli: bool
    options: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    matrix: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchFile:
    """A batch file.

    Attributes:
        path: Where it is, resolved; its folder is where the steps run.
        parameters: Values for placeholders.
        matrix: Variables with several values each: a step runs once for each combination of those that it uses.
        steps: In the order of the file.
    """

    path: Path
    parameters: Mapping[str, Scalar]
    matrix: Mapping[str, tuple[Scalar, ...]]
    steps: tuple[Step, ...]

    @property
    def folder(self) -> Path:
        """Where the steps run."""
        return self.path.parent


def load(path: Path) -> BatchFile:
    """Read a batch file.

    Raises:
        UserError: No such file, not TOML, unknown keys, values of the wrong kind, a step without a command.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise UserError(f"no file {path.name}", where=path.resolve().parent, next="see `cli run --help`") from exc
    except IsADirectoryError as exc:
        raise UserError(f"{path} is a folder", next="name a batch file in it, or score it with --watch") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UserError(f"not TOML: {exc}", where=path) from exc
    _check_keys(raw, _TOP_KEYS, path, "the file")
    steps = _table(raw, "steps", path)
    if not steps:
        raise UserError("no steps", where=path, expected='a table such as [steps.train] with cli = "train …"')
    return BatchFile(
        path=path.resolve(),
        parameters={name: _scalar(value, path, f"parameters.{name}") for name, value in _parameters(raw, path)},
        matrix=_matrix(_table(raw, "matrix", path), path, "matrix"),
        steps=tuple(_step(name, content, path) for name, content in steps.items()),
    )


def _parameters(raw: Mapping[str, Any], path: Path) -> list[tuple[str, Any]]:
    parameters, matrix = _table(raw, "parameters", path), _table(raw, "matrix", path)
    if both := sorted(parameters.keys() & matrix.keys()):
        raise UserError(f"'{both[0]}' is a parameter and a matrix variable", where=path, next="rename one of them")
    return list(parameters.items())


def _step(name: str, raw: object, path: Path) -> Step:
    where = f"steps.{name}"
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' cannot be a step's name", where=path, expected="letters, digits, '.', '_' and '-'")
    if not isinstance(raw, dict):
        raise _wrong(path, where, raw, 'a table: [steps.train] with cli = "train …"')
    _check_keys(raw, _STEP_KEYS, path, where)
    kinds = [key for key in ("cli", "command") if key in raw]
    if len(kinds) != 1:
        raise UserError(
            f"step '{name}' has {'both cli and command' if kinds else 'no command'}",
            where=path,
            expected='cli = "train recipes/linear.toml" for our own, command = "python prepare.py" for any other',
        )
    return Step(
        name=name,
        words=_words(raw[kinds[0]], path, f"{where}.{kinds[0]}"),
        is_cli=kinds[0] == "cli",
        options={key: _option(value, path, f"{where}.options.{key}") for key, value in _items(raw, "options", path)},
        needs=_texts(raw.get("needs", []), path, f"{where}.needs"),
        inputs=_texts(raw.get("inputs", []), path, f"{where}.inputs"),
        outputs=_texts(raw.get("outputs", []), path, f"{where}.outputs"),
        environment={
            key: str(_scalar(value, path, f"{where}.environment.{key}"))
            for key, value in _items(raw, "environment", path)
        },
        matrix=_matrix(_table(raw, "matrix", path), path, f"{where}.matrix"),
    )


def _check_keys(raw: Mapping[str, Any], known: tuple[str, ...], path: Path, where: str) -> None:
    for key in raw:
        if key not in known:
            raise UserError(f"unknown key '{key}' in {where}", where=path, next=did_you_mean(key, known))


def _table(raw: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise _wrong(path, key, value, "a table")
    return value


def _items(raw: Mapping[str, Any], key: str, path: Path) -> list[tuple[str, Any]]:
    return list(_table(raw, key, path).items())


def _matrix(raw: Mapping[str, Any], path: Path, where: str) -> dict[str, tuple[Scalar, ...]]:
    matrix = {}
    for name, values in raw.items():
        if not isinstance(values, list) or not values:
            raise _wrong(path, f"{where}.{name}", values, 'a list of values, such as ["bert", "linear"]')
        matrix[name] = tuple(_scalar(value, path, f"{where}.{name}") for value in values)
        if len({str(value) for value in values}) < len(values):
            raise UserError(f"a value occurs twice in {where}.{name}", where=path, found=values)
    return matrix


def _words(value: object, path: Path, where: str) -> Words:
    if isinstance(value, list):
        value = _texts(value, path, where)
    elif not isinstance(value, str):
        raise _wrong(path, where, value, "a command line, or a list of its words")
    if not value or (isinstance(value, str) and not value.strip()):
        raise UserError(f"{where} is empty", where=path)
    return value


def _texts(value: object, path: Path, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong(path, where, value, 'a list of texts, such as ["train"]')
    return tuple(value)


def _option(value: object, path: Path, where: str) -> Scalar | tuple[Scalar, ...]:
    if isinstance(value, list):
        return tuple(_scalar(item, path, where) for item in value)
    return _scalar(value, path, where)


def _scalar(value: object, path: Path, where: str) -> Scalar:
    if not isinstance(value, (str, int, float, bool)):
        raise _wrong(path, where, value, "a text, a number, true or false")
    return value


def _wrong(path: Path, where: str, value: object, expected: str) -> UserError:
    return UserError(f"{where} cannot be {value!r}", where=path, expected=expected)
