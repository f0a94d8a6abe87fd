"""A joint decoder on disk: JSON. Floats are written by `repr`, so they come back as the same bits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.search.joint import METRICS, JointDecoder

VERSION = 1
_KEPT = tuple(field.name for field in dataclasses.fields(JointDecoder) if field.name != "held_out")


def save(decoder: JointDecoder, path: Path) -> None:
    """Write as JSON; the file appears whole or not at all."""
    kept = dataclasses.asdict(dataclasses.replace(decoder, held_out=None))
    content = {"version": VERSION, "kind": "joint_decoder", **{name: kept[name] for name in _KEPT}}
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def is_decoder(path: Path) -> bool:
    """Whether a file says that it is a decoder, whole or damaged; not one that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and content.get("kind") == "joint_decoder"


def load(path: Path) -> JointDecoder:
    """Read what `save` wrote.

    Raises:
        UserError: No such file, not JSON, not a joint decoder, another version, or tables that do not fit the sizes.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise UserError("no such joint decoder", where=path) from exc
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as exc:
        raise UserError(f"not a joint decoder, or damaged: {exc}", where=path) from exc
    if not isinstance(content, dict) or content.pop("kind", None) != "joint_decoder":
        raise UserError("not a joint decoder", where=path)
    if content.pop("version", None) != VERSION:
        raise UserError("a joint decoder of another version", where=path, expected=VERSION, next="fit it again")
    content = {"gain_interval": None, "classes": []} | content  # files of older versions lack them
    if sorted(content) != sorted(_KEPT):
        raise UserError("a joint decoder that is damaged", where=path, expected="keys " + ", ".join(_KEPT))
    try:
        return _checked(content)
    except (TypeError, ValueError) as exc:
        raise UserError(f"a joint decoder that is damaged: {exc}", where=path) from exc


def _checked(content: dict[str, Any]) -> JointDecoder:
    sizes = tuple(int(size) for size in content["sizes"])
    tables = [np.array(table, np.float64) for table in content["tables"]]
    shapes = [(a, b) for place, a in enumerate(sizes) for b in sizes[place + 1 :]]
    if [table.shape for table in tables] != shapes:
        raise ValueError(f"tables of shapes {[table.shape for table in tables]} for {sizes} classes")
    numbers: dict[str, Any] = {
        name: float(content[name]) for name in ("strength", "score_alone", "score", "honest", "seconds")
    }
    low_high = content["gain_interval"]
    interval = None if low_high is None else (float(low_high[0]), float(low_high[1]))
    finite = [*numbers.values(), *(interval or ())]
    if not (all(np.isfinite(table).all() for table in tables) and np.isfinite(finite).all()):
        raise ValueError("a number is not finite")
    if content["metric"] not in METRICS:
        raise ValueError(f"unknown metric {content['metric']!r}")
    classes = tuple(map(str, content["classes"]))
    if classes and len(classes) != sum(sizes):
        raise ValueError(f"{len(classes)} names for {sizes} classes")
    frozen = tuple(tuple(map(tuple, table.tolist())) for table in tables)
    return JointDecoder(
        sizes=sizes,
        tables=frozen,
        metric=content["metric"],
        gain_interval=interval,
        classes=classes,
        **numbers,
    )
