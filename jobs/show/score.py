"""How scoring jobs are shown: the table at the end, a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from jobs.performance import Performance
from jobs.score_options import ScoreResult
from jobs.show.output import count, duration, flop_rate, short_path, size, stderr

if TYPE_CHECKING:
    from jobs.dry_run import Forecast

_LEAST_SECONDS = 0.05  # of a stage that is worth a word
_BOTTLENECKS = {
    "start": "start: Python and its libraries; a larger table makes it small",
    "load": "load: reading the models; a larger table makes it small",
    "plan": "plan: looking through the input",
    "gate": "gate: trying the number format, compiling; --precision fp32 and --compile off need none",
    "read": "read: the input; Parquet or an uncompressed file is read faster",
    "prepare": "prepare: cleaning and tokenising",
    "infer": "infer: the networks",
    "write": "write: the disk",
    "finish": "finish: writing the output",
}


def render_score(result: ScoreResult, console: Console) -> None:
    """Where everything is, and what it took."""
    totals = result.totals
    rows = int(totals["rows"])
    if result.was_complete:
        console.print(f"job {result.job} was complete already", markup=False)
    grid = Table.grid(padding=(0, 2))
    grid.add_row("rows", f"{rows:,}" + (f" ({result.resumed_rows:,} from before)" if result.resumed_rows else ""))
    if not result.was_complete:
        grid.add_row("time", duration(result.seconds))
    grid.add_row(
        "texts scored", f"{int(totals['scored']):,} ({1 - totals['scored'] / max(rows, 1):.1%} were duplicates)"
    )
    if totals["tokens"]:
        grid.add_row(
            "tokens",
            f"{count(totals['tokens'])}, padding {_share(totals['padding'], totals['computed_tokens'])}"
            + (", read by nanotoken" if totals.get("faster_tokens", 0) == totals["tokens"] else ""),
        )
        share = f" ({totals['truncated'] / (totals['scored'] * result.tokenizers):.1%})" if result.tokenizers else ""
        lost = f"{int(totals['truncated']):,} texts{share} lost {count(totals['lost'])} tokens"
        grid.add_row("truncated", lost if totals["truncated"] else "none")
    if totals.get("rescued"):
        grid.add_row("entities", f"{int(totals['rescued']):,} texts were cut around their entities, which kept them")
    if result.performance is not None and result.performance.rows:
        _add_performance(grid, result.performance)
    if totals["null_texts"]:
        grid.add_row("empty", f"{int(totals['null_texts']):,} rows without text were scored as empty text")
    if totals["replaced"]:
        grid.add_row("broken bytes", f"{int(totals['replaced']):,} characters were replaced by U+FFFD")
    if totals["set_aside"]:
        grid.add_row("set aside", f"{int(totals['set_aside']):,} bad rows; see `cli jobs show {result.job}`")
    by = " with OpenVINO" if result.backend == "openvino" else ""
    grid.add_row("precision", result.precision + by + _gate_words(result))
    grid.add_row("output", short_path(result.output))
    for path in result.predictions.values():
        grid.add_row("predictions", short_path(path))
    if result.submission:
        grid.add_row("submission", f"submissions/{result.submission}/submission.csv")
    console.print(grid)


def _add_performance(grid: Table, found: Performance) -> None:
    """How fast, how near to what the device can do, what it waited for, and memory."""
    rates = [f"{count(found.rows_per_s)} rows/s"]
    if found.flop_per_s:
        rates += [f"{count(found.tokens_per_s)} tokens/s", flop_rate(found.flop_per_s)]
    if found.utilisation is not None:
        rates[-1] += f", {found.utilisation:.0%} of the ceiling"
    grid.add_row("rate", ", ".join(rates))
    grid.add_row("seconds", _seconds(found.stage_seconds))
    grid.add_row("bottleneck", _BOTTLENECKS.get(found.bottleneck, found.bottleneck))
    device = f", {size(found.peak_device_memory)} on the device" if found.peak_device_memory else ""
    grid.add_row("peak memory", size(found.peak_memory) + device)


def render_sources(parameters: Mapping[str, tuple[object, str]]) -> None:
    """`--verbose`, before the work: each option and where its value came from."""
    for name, (value, source) in parameters.items():
        stderr().print(f"{name} = {value!r} (from {source})", markup=False)


def render_settings(result: ScoreResult) -> None:
    """`--verbose`, after it: what was concluded from `competition.toml` and the input."""
    for setting in result.settings:
        stderr().print(f"{setting.name} = {setting.value} (from {setting.source})", markup=False)


def render_forecast(forecast: Forecast, console: Console) -> None:
    """What the job would take."""
    grid = Table.grid(padding=(0, 2))
    grid.add_row("rows", f"{forecast.n_rows:,} (measured on {forecast.sample_rows:,} of them)")
    grid.add_row("time", f"{duration(forecast.seconds)} at {count(forecast.rows_per_s)} rows/s, {forecast.precision}")
    grid.add_row("seconds", _seconds(forecast.stage_seconds))
    if forecast.tokens_per_row:
        grid.add_row("tokens", f"{forecast.tokens_per_row:.1f} a text; {forecast.truncated_share:.1%} truncated")
    grid.add_row("distinct texts", f"{forecast.distinct_share:.1%}")
    grid.add_row("disk", size(forecast.disk_bytes))
    device = f", {size(forecast.device_bytes)} on the device" if forecast.device_bytes else ""
    grid.add_row("memory", size(forecast.memory_bytes) + device)
    console.print(grid)


def _seconds(stages: Mapping[str, float]) -> str:
    """``load 1.2, infer 30.4``: the stages that took any time worth a word."""
    return ", ".join(f"{name} {spent:.1f}" for name, spent in stages.items() if spent >= _LEAST_SECONDS) or "none"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "0%"


def _gate_words(result: ScoreResult) -> str:
    gate = result.gate
    if gate is None:
        return ""
    verdict = "" if gate.passed else f" ({gate.precision} refused by the gate)"
    measured = f"{gate.flips:.2%} flips, {gate.difference:.4f} off"
    return f"{verdict}; {gate.precision} against fp32 on {gate.rows} rows: {measured}"
