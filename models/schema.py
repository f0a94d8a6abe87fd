"""A TOML table as a frozen dataclass, read strictly: unknown keys, wrong types and values out of bounds are errors.

The dataclass is the schema: a key exists if a field exists, its annotation is its type and, through `Between`, its
range. What a function accepts is read from its signature. Knows nothing of what the values mean.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import ModelError, did_you_mean

_LARGEST = 2**31 - 1  # of whole numbers without a bound of their own: no size, count or length is larger


@dataclass(frozen=True)
class Between:
    """Closed range of a number, in an annotation: ``Annotated[float, Between(0, 1)]``."""

    low: float
    high: float = float("inf")


@dataclass(frozen=True)
class Place:
    """Where a value stands, for errors: a file and the section in it."""

    file: str
    section: str = ""

    def inside(self, key: str) -> Place:
        """The section `key` of this section."""
        return Place(self.file, f"{self.section}.{key}".strip("."))

    def error(self, problem: str, **details: Any) -> ModelError:
        """An error that names the place."""
        return ModelError(f"[{self.section}] {problem}" if self.section else problem, where=self.file, **details)


def read_table(cls: type[Any], raw: Mapping[str, Any], place: Place) -> Any:
    """A table as its dataclass. One with a field `options` takes keys that it does not know there, unchecked.

    Raises:
        ModelError: Unknown key, wrong type, value out of range.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    open_ended = "options" in hints
    values: dict[str, Any] = {"options": {}} if open_ended else {}
    known = [name for name in hints if name != "options"]
    for key, value in raw.items():
        if key in known:
            values[key] = _checked(value, hints[key], key, place)
        elif open_ended:
            values["options"][key] = value
        else:
            raise place.error(f"unknown key '{key}'", next=did_you_mean(key, known))
    return cls(**values)


def check_options(function: Callable[..., Any], options: Mapping[str, Any], place: Place) -> None:
    """Compare options with the keyword-only parameters of the function that takes them.

    Raises:
        ModelError: Unknown option, wrong type, value out of range.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for key, value in options.items():
        if key not in known:
            raise place.error(f"unknown key '{key}'", next=did_you_mean(key, known))
        _checked(value, hints[key], key, place)


def to_toml(table: Mapping[str, Any], section: str = "") -> str:
    """The inverse of `read_table` for `dataclasses.asdict`: None and empty tables are left out."""
    flat = {**{k: v for k, v in table.items() if k != "options"}, **table.get("options", {})}
    lines = [f"{k} = {_literal(v)}" for k, v in flat.items() if v is not None and not isinstance(v, dict)]
    blocks = ["\n".join([f"[{section}]"] * bool(section) + lines) + "\n"] if lines else []
    blocks += [to_toml(v, f"{section}.{k}".strip(".")) for k, v in flat.items() if isinstance(v, dict)]
    return "\n".join(block for block in blocks if block)


def _checked(value: Any, hint: Any, key: str, place: Place) -> Any:
    """`value` as `hint` asks: an int serves as a float, a list as a tuple."""
    hint, bounds = _unwrapped(hint)
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return read_table(typing.cast("type[Any]", hint), value, place.inside(key))
    if origin is Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise place.error(f"{key} cannot be {value!r}", next=did_you_mean(str(value), choices))
    if origin is tuple and isinstance(value, list):
        return tuple(_checked(item, typing.get_args(hint)[0], key, place) for item in value)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if type(value) is not (origin or hint):
        raise place.error(f"{key} must be {_in_words(hint)}", found=repr(value))
    if hint is float and not math.isfinite(value):
        raise place.error(f"{key} is out of range", found=value, expected="a finite number")
    if hint is int and (bounds is None or bounds.high == math.inf):
        bounds = Between(-_LARGEST if bounds is None else bounds.low, _LARGEST)
    if bounds is not None and not bounds.low <= value <= bounds.high:
        limit = f"at least {bounds.low}" if bounds.high == math.inf else f"{bounds.low} to {bounds.high}"
        raise place.error(f"{key} is out of range", found=value, expected=limit)
    return value


def _unwrapped(hint: Any) -> tuple[Any, Between | None]:
    """``Annotated[int | None, Between(1)]`` as ``(int, Between(1))``; TOML has no null, so None needs no check."""
    bounds = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, bounds = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not types.NoneType)
    return hint, bounds


def _in_words(hint: Any) -> str:
    if dataclasses.is_dataclass(hint) or typing.get_origin(hint) is dict:
        return "a section"
    if typing.get_origin(hint) is tuple:
        return "a list"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[hint]


def _literal(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    # JSON strings, numbers and booleans are TOML, except for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
