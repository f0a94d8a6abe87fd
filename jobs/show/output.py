"""Where words go: data to stdout, everything else to stderr; `--json` and `--quiet` in one place."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from kaggle_tools.remote import Place

Result = TypeVar("Result")


def stdout() -> Console:
    """The console for data."""
    return _console(stderr=False)


def stderr() -> Console:
    """The console for everything else."""
    return _console(stderr=True)


def emit(
    result: Result,
    render: Callable[[Result, Console], None],
    *,
    as_json: bool,
    quiet: bool,
    on_stderr: bool = False,
) -> None:
    """Show a command's result: as JSON on stdout, as text, or (quiet) not at all.

    Args:
        result: What the command gives.
        render: Shows it as text.
        as_json: As JSON instead.
        quiet: Show no text.
        on_stderr: Show it there, since a table has gone to stdout.
    """
    if as_json:
        stream = sys.stderr if on_stderr else sys.stdout
        stream.write(json.dumps(to_json(result), ensure_ascii=False, indent=2) + "\n")
    elif not quiet:
        render(result, stderr() if on_stderr else stdout())


def to_json(value: Any) -> Any:
    """Frozen results as plain JSON values: dataclasses as objects, paths as strings, infinity and NaN as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)


def short_path(path: Place) -> str:
    """Relative to the working directory where it lies below it."""
    below = isinstance(path, Path) and path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd())) if isinstance(path, Path) and below else str(path)


def count(number: float) -> str:
    """``12,345`` below a million, then ``1.2M``, ``3.4G``, ``5.6T``."""
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:,.1f}{suffix}"
    return f"{number:,.0f}"


def flop_rate(flop_per_s: float) -> str:
    """``75.7 GFLOP/s``."""
    number = count(flop_per_s)
    return f"{number[:-1]} {number[-1]}FLOP/s" if number[-1].isalpha() else f"{number} FLOP/s"


def size(n_bytes: float) -> str:
    """Bytes as ``1.2 GB``."""
    for limit, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= limit:
            return f"{n_bytes / limit:.1f} {suffix}"
    return f"{n_bytes:.0f} B"


def cut(text: str, width: int) -> str:
    """Text in so many columns of a terminal, an ellipsis where some of it is left out."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def signed(value: float) -> str:
    """``+0.00123``; never ``-0.00000``."""
    return f"{round(value, 5) + 0.0:+.5f}"


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 20 s``, ``5 h 12 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _console(*, stderr: bool) -> Console:
    # Off a terminal lines are not wrapped: a log or a pipe gets each sentence whole.
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else int(os.environ.get("COLUMNS", "160"))
    # Without markup: names of classes and files may have brackets, which are no styles.
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=not stream.isatty(), width=width)
