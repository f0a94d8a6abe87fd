"""What `cli score` is asked for, and what it gives. Plain data: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.performance import Performance
from jobs.resolve import InputOptions, Inputs, Setting
from jobs.runner.engine_options import EngineOptions
from kaggle_tools.remote import Place, RemoteFile, place
from models.inference.bounds import GateBounds, GateReport

if TYPE_CHECKING:
    from jobs.compiling import Asked


@dataclass(frozen=True)
class ScoreOptions:
    """What `cli score` was asked for; see its help for each. `argv` is how it was called, for `cli jobs resume`.

    `called` is when, by `time.perf_counter`, so that imports are counted; None: when `run` is.
    """

    input: InputOptions
    models: tuple[str, ...] = ()
    output: Place | None = None
    on_bad_row: Literal["fail", "set-aside"] = "fail"
    device: str = "auto"
    engine: EngineOptions = field(default_factory=EngineOptions)
    parts: RemoteFile | None = None
    threads: int | None = None
    precision: str = "auto"
    backend: str = "auto"
    bounds: GateBounds = field(default_factory=GateBounds)
    compile: Asked = "auto"
    max_length: int | None = None
    tokenizer: Literal["auto", "stock"] = "auto"
    token_budget: int | None = None
    shard_rows: int | None = None
    limit: int | None = None
    each: bool = False
    submission: bool = True
    name: str | None = None
    force: bool = False
    metrics_file: Path | None = None
    argv: tuple[str, ...] = ()
    called: float | None = None


@dataclass(frozen=True)
class ScoreResult:
    """What a finished job left behind.

    Attributes:
        job: The job's id.
        output: The table with all rows.
        predictions: Run name → its Predictions file.
        submission: Title of the submission version, such as ``v0001-mean``.
        was_complete: Whether nothing had to be scored, since the same request was complete before.
        resumed_rows: Rows that were committed by an earlier process.
        totals: Sums over all parts: rows, scored, tokens, truncated, lost, null_texts, set_aside, …
        tokenizers: Tokenisations a text, over which tokens and truncated texts are summed; 0 where an older version
            scored.
        gate: What the precision gate measured, where it was asked.
        precision: Number format used.
        backend: Who computed: ``torch`` or ``openvino``.
        settings: Where inputs and columns came from.
        seconds: Wall time of this call.
        performance: How fast the call went that completed the job; None where an older version did.
    """

    job: str
    output: Place
    predictions: Mapping[str, Path]
    submission: str | None
    was_complete: bool
    resumed_rows: int
    totals: Mapping[str, float]
    tokenizers: int
    gate: GateReport | None
    precision: str
    backend: str
    settings: tuple[Setting, ...]
    seconds: float
    performance: Performance | None


def result_of(raw: Mapping[str, Any], inputs: Inputs, *, was_complete: bool, seconds: float) -> ScoreResult:
    """What `result.json` says."""
    return ScoreResult(
        job=raw["job"],
        output=place(raw["output"]),
        predictions={name: Path(path) for name, path in raw["predictions"].items()},
        submission=raw["submission"],
        was_complete=was_complete,
        resumed_rows=raw["resumed_rows"],
        totals=raw["totals"],
        tokenizers=raw.get("tokenizers", 0),
        gate=GateReport(**raw["gate"]) if raw["gate"] else None,
        precision=raw["precision"],
        backend=raw.get("backend", "torch"),
        settings=inputs.settings,
        seconds=seconds,
        performance=Performance(**raw["performance"]) if raw.get("performance") else None,
    )
