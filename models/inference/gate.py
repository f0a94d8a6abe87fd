"""The precision gate: a fast number format must first agree with float32 on a sample of the user's own rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.special import expit

from models.inference.bounds import GateBounds, GateReport
from models.inference.scorer import Scorer
from models.inference.shards import NonFinite
from models.label_groups import group_sizes

_THRESHOLD = 0.5  # from which probability on a row has one of several labels


SAMPLE_ROWS = {"cpu": 128, "cuda": 1024, "mps": 256}
LEAST_ROWS = 100  # fewer cannot show that less than one row in a hundred is decided otherwise
CALIBRATION_ROWS = 128


def sample_positions(n_rows: int, at_most: int) -> list[int]:
    """Positions of a sample, evenly over `n_rows` rows."""
    places = np.linspace(0, n_rows - 1, min(n_rows, at_most))
    return [int(place) for place in places]


def calibration_texts(texts: pl.Series, judged: Collection[int]) -> pl.Series:
    """Those of N texts that int8 is calibrated on: evenly, and none that the gate judges, where there are enough.

    Args:
        texts: (N,) String.
        judged: Positions of the gate's sample among them.
    """
    others = [row for row in range(len(texts)) if row not in judged]
    pool = others if len(others) >= CALIBRATION_ROWS // 2 else list(range(len(texts)))
    return texts.gather([pool[place] for place in sample_positions(len(pool), CALIBRATION_ROWS)])


def try_precision(
    scorer: Scorer, precision: str, sample: Sequence[str | None] | pl.Series, bounds: GateBounds, **how: Any
) -> GateReport | None:
    """Score `sample` in float32, switch `scorer` to `precision`, score again, compare; go back where it fails.

    None where there is nothing to compare, as in texts without a word that are to be tagged; then nothing is switched.

    Args:
        scorer: In float32. Afterwards in `precision` where that passed, else in float32 again.
        precision: ``bf16``, ``fp16``, ``fp8`` or ``int8``.
        sample: Texts of the user's own input.
        bounds: What is still allowed.
        **how: What `Scorer.set_precision` takes besides: backend, calibration.
    """
    exact = scorer.score(sample)
    if not any(exact[run].size for run in exact):
        return None
    scorer.set_precision(precision, **how)
    try:
        fast = scorer.score(sample)
    except (NonFinite, RuntimeError) as exc:  # numbers too large for the format, or an operation that it lacks
        if isinstance(exc, torch.OutOfMemoryError):
            raise
        scorer.set_precision("fp32")
        return GateReport(precision, len(sample), 1.0, 1.0, passed=False)
    pairs = [_comparable(exact[run], fast[run], scorer) for run in exact]
    flips = max(_flips(one, other, scorer) for one, other in pairs)
    difference = max(float(np.abs(one - other).max()) for one, other in pairs)
    passed = flips <= bounds.flips and difference <= bounds.difference
    if not passed:
        scorer.set_precision("fp32")
    return GateReport(precision, len(sample), flips, difference, passed)


def _comparable(
    exact: NDArray[np.float32], fast: NDArray[np.float32], scorer: Scorer
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both as probabilities: outputs of a regression, which may have any size, by where they lie among the sample's."""
    if scorer.task != "regression":
        return exact, fast
    mean, spread = exact.mean(0), np.maximum(exact.std(0), 1e-6)
    low, high = (expit((outputs - mean) / spread).astype(np.float32) for outputs in (exact, fast))
    return low, high


def _flips(exact: NDArray[np.float32], fast: NDArray[np.float32], scorer: Scorer) -> float:
    if scorer.task in ("multi_label", "regression"):
        return float(((exact >= _THRESHOLD) != (fast >= _THRESHOLD)).any(axis=1).mean())
    return float(np.mean(_decisions(exact, scorer) != _decisions(fast, scorer)))


def _decisions(probs: NDArray[np.float32], scorer: Scorer) -> NDArray[np.int64]:
    """(N,) most probable class of each row, or (N, G) of each label group."""
    if scorer.task != "multi_group":
        return np.asarray(probs.argmax(1))
    ends = np.cumsum(group_sizes(scorer.classes))[:-1]
    return np.stack([part.argmax(1) for part in np.split(probs, ends, axis=1)], axis=1)
