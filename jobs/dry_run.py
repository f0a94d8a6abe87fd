"""What a scoring job would take, from a sample of its own rows: time, disk, memory. Writes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil

from jobs.resolve import Inputs
from jobs.runner.local import read_texts
from kaggle_tools.tables import index_file, read_sample
from models.inference.device import peak_memory
from models.inference.scorer import Scorer

SAMPLE_SECONDS = 8.0
_FIRST_ROWS, _MAX_ROWS = 64, 65536
# A float32 probability compresses little; an id takes about this much beside it.
_BYTES_PER_ID = 12


@dataclass(frozen=True)
class Forecast:
    """What to expect.

    Attributes:
        n_rows: Rows of the whole job.
        sample_rows: Rows that were scored to find out.
        rows_per_s: Rate of the slower of preparing and inference, which overlap.
        seconds: For the whole job.
        tokens_per_row: Mean over the sample.
        distinct_share: Distinct texts a row, in [0, 1].
        truncated_share: Rows longer than a model's limit, in [0, 1].
        disk_bytes: Parts and output together.
        memory_bytes: Host memory of this process.
        device_bytes: Device memory; 0 on a CPU.
    """

    n_rows: int
    sample_rows: int
    rows_per_s: float
    seconds: float
    tokens_per_row: float
    distinct_share: float
    truncated_share: float
    disk_bytes: int
    memory_bytes: int
    device_bytes: int


def forecast(inputs: Inputs, scorer: Scorer, limit: int | None) -> Forecast:
    """Index the files, score growing samples of the first shard until they take some seconds, extrapolate."""
    indexes = [index_file(Path(f.path), f.format, shard_rows=_MAX_ROWS) for f in inputs.files]
    n_rows = sum(index.n_rows for index in indexes)
    n_rows = n_rows if limit is None else min(limit, n_rows)
    columns = [c for c in (inputs.text_column, inputs.pair_column) if c is not None]
    frame = read_sample(indexes[0].shards[0], inputs.files[0].format, columns)
    texts = read_texts(frame, columns)[0].head(n_rows)
    scorer.score(texts.head(_FIRST_ROWS))  # warm-up: memory pools, kernels
    rows = min(_FIRST_ROWS, len(texts))
    while True:
        began = time.perf_counter()
        # Every k-th row, so that a sorted file does not fool us.
        prepared = scorer.prepare(_every(texts, rows))
        stats = scorer.infer(prepared).stats
        elapsed = time.perf_counter() - began
        if elapsed > SAMPLE_SECONDS / 4 or rows == len(texts):
            break
        rows = min(len(texts), max(2 * rows, int(rows * SAMPLE_SECONDS / 2 / max(elapsed, 1e-3))))
    rate = rows / max(stats.prepare_s, stats.infer_s, 1e-9)
    width = 4 * len(scorer.classes)
    return Forecast(
        n_rows=n_rows,
        sample_rows=rows,
        rows_per_s=rate,
        seconds=n_rows / rate,
        tokens_per_row=stats.tokens / max(1, stats.scored * max(1, len(scorer.groups))),
        distinct_share=stats.scored / rows,
        truncated_share=stats.truncated / max(1, stats.scored),
        disk_bytes=n_rows * ((width + _BYTES_PER_ID) + len(scorer.runs) * 2 * width + _BYTES_PER_ID),
        memory_bytes=psutil.Process().memory_info().rss,
        device_bytes=peak_memory(scorer.device),
    )


def _every(texts: pl.Series, rows: int) -> pl.Series:
    return texts.gather_every(max(1, len(texts) // rows)).head(rows)
