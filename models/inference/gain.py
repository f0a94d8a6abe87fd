"""What compiled layers are worth on the user's own rows: measured against the eager ones, turn by turn."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from models.inference.groups import NetworkGroup
from models.inference.scorer import Scorer
from models.inference.shards import Prepared

_ROUNDS = 3
WORTH_IT = 1.03  # less is what two runs of the same differ by


@dataclass(frozen=True)
class CompileTrial:
    """What was found.

    Attributes:
        gain: Seconds of the eager layers over those of the compiled ones, on the same batches; 0 where nothing could be
            compiled.
        seconds: What compiling took.
        difference: Largest difference of a probability between the two.
        rows: Rows that were scored by both.
    """

    gain: float
    seconds: float
    difference: float
    rows: int

    @property
    def pays(self) -> bool:
        """Whether the compiled layers are faster by more than chance."""
        return self.gain >= WORTH_IT


def try_compiled(scorer: Scorer, sample: Sequence[str | None] | pl.Series) -> CompileTrial:
    """Compile, score `sample` by both kinds of layers, and keep the faster.

    Args:
        scorer: With eager layers, in the precision of the job. Afterwards compiled where that pays.
        sample: Texts of the user's own input, enough to fill batches.
    """
    with _without_graphs(scorer):
        return _try(scorer, scorer.prepare(sample), len(sample))


@contextmanager
def _without_graphs(scorer: Scorer) -> Iterator[None]:
    """What is recorded is computed as it was recorded, whoever's turn it is."""
    kept = [(group, group.graphs) for group in scorer.groups if isinstance(group, NetworkGroup)]
    for group, _ in kept:
        group.graphs = None
    try:
        yield
    finally:
        for group, graphs in kept:
            group.graphs = graphs


def _try(scorer: Scorer, prepared: Prepared, n_rows: int) -> CompileTrial:
    eager = scorer.infer(prepared)  # shapes and memory are known to both after this
    began = time.perf_counter()
    scorer.set_compiled(True)
    seconds = time.perf_counter() - began
    if not scorer.compiled:
        return CompileTrial(0.0, seconds, 0.0, n_rows)
    compiled = scorer.infer(prepared)
    best = {"eager": float("inf"), "compiled": float("inf")}
    for _ in range(_ROUNDS):
        with torch.compiler.set_stance("force_eager"):
            best["eager"] = min(best["eager"], scorer.infer(prepared).stats.infer_s)
        best["compiled"] = min(best["compiled"], scorer.infer(prepared).stats.infer_s)
    difference = max(float(np.abs(eager.probs[run] - compiled.probs[run]).max()) for run in scorer.runs)
    trial = CompileTrial(best["eager"] / best["compiled"], seconds, difference, n_rows)
    if not trial.pays:
        scorer.set_compiled(False)
    return trial
