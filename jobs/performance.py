"""How fast a job went and what held it up: counted while it runs, told when it ends.

tally = Tally(watch)
with tally.stage("load"): ...
run_shards(plan, store, scorer, tally)
tally.performance(...)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.machine import peak_memory as peak_host_memory
from models.inference.shards import ShardStats

if TYPE_CHECKING:
    from jobs.runner.local import Watch


@dataclass(frozen=True)
class Performance:
    """What one call scored, how fast, and what it waited for.

    Attributes:
        rows: Rows that this call scored; those committed before are not among them.
        seconds: From the first shard to the last.
        rows_per_s: Of that time.
        tokens_per_s: Token ids of distinct texts, special tokens included, of that time; summed over tokenizers.
        flop_per_s: Operations of the networks over the seconds that inference worked.
        ceiling: The device's own rate of matrix products in this precision, FLOP/s, as `cli doctor --measure` found it;
            None where it never did.
        utilisation: `flop_per_s` over `ceiling`, known as MFU; None where there is none.
        padding_share: Of the computed tokens, in [0, 1].
        duplicate_share: Rows whose text another row of their shard has, in [0, 1].
        truncated_share: Distinct texts that lost tokens, in [0, 1]; the mean over tokenizers.
        stage_seconds: Stage → seconds that it worked: start (imports), load (models, input), plan, gate; read, prepare,
            infer and write, which overlap; finish (the output and the runs' predictions).
        bottleneck: The stage that worked longest.
        cpu_seconds: Processor seconds of this process, all cores together, from the first shard to the end.
        peak_memory: Most resident host memory of this process so far, bytes.
        peak_device_memory: Most device memory of this process, bytes; 0 on a CPU, and where other processes compute.
    """

    rows: int
    seconds: float
    rows_per_s: float
    tokens_per_s: float
    flop_per_s: float
    ceiling: float | None
    utilisation: float | None
    padding_share: float
    duplicate_share: float
    truncated_share: float
    stage_seconds: Mapping[str, float]
    bottleneck: str
    cpu_seconds: float
    peak_memory: int
    peak_device_memory: int


@dataclass
class Tally:
    """A watch that passes everything on and adds it up."""

    inner: Watch
    seconds: dict[str, float] = field(default_factory=dict)
    sums: ShardStats = field(default_factory=ShardStats)
    _began: float = 0.0
    _cpu_began: float = 0.0
    _ended: float = 0.0

    def note(self, text: str) -> None:
        """Pass on."""
        self.inner.note(text)

    def started(self, n_rows: int, rows_done: int, ceiling: float) -> None:
        """Pass on; the clock runs."""
        self._began = self._ended = time.perf_counter()
        self._cpu_began = time.process_time()
        self.inner.started(n_rows, rows_done, ceiling)

    def advanced(self, rows: float) -> None:
        """Pass on."""
        self.inner.advanced(rows)

    def committed(self, stats: ShardStats, seconds: dict[str, float]) -> None:
        """Pass on and add up."""
        for name in vars(stats):
            setattr(self.sums, name, getattr(self.sums, name) + getattr(stats, name))
        for stage, spent in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        self._ended = time.perf_counter()
        self.inner.committed(stats, seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of the body to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def performance(self, *, ceiling: float | None, n_tokenizers: int, peak_device_memory: int) -> Performance:
        """All of it as figures.

        Args:
            ceiling: FLOP/s of the device, or None.
            n_tokenizers: Tokenisations a text.
            peak_device_memory: Bytes.
        """
        sums, elapsed = self.sums, self._ended - self._began
        infer = self.seconds.get("infer", 0.0)
        rate = sums.flop / infer if infer else 0.0
        return Performance(
            rows=sums.rows,
            seconds=elapsed,
            rows_per_s=_ratio(sums.rows, elapsed),
            tokens_per_s=_ratio(sums.tokens, elapsed),
            flop_per_s=rate,
            ceiling=ceiling,
            utilisation=rate / ceiling if ceiling and rate else None,
            padding_share=_ratio(sums.padding, sums.computed_tokens),
            duplicate_share=1 - sums.scored / sums.rows if sums.rows else 0.0,
            truncated_share=_ratio(sums.truncated, sums.scored * n_tokenizers),
            stage_seconds=dict(self.seconds),
            bottleneck=max(self.seconds, key=lambda name: self.seconds[name], default=""),
            cpu_seconds=time.process_time() - self._cpu_began,
            peak_memory=peak_host_memory(),
            peak_device_memory=peak_device_memory,
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
