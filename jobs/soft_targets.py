"""What a teacher says of the rows of a run; made by `jobs.distill`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.pseudo_labels import PseudoRows
from jobs.training_rows import TrainingRows
from jobs.workspace import Run
from kaggle_tools.files import digest


@dataclass(frozen=True)
class SoftTargets:
    """What a teacher says. It can be sent to another process.

    Attributes:
        probs: (N, C) float32 out-of-fold probabilities of the training rows, in their order; NaN where a row is not
            taught.
        extra: Fold, and device of a teacher's checkpoints, to test rows with (M, C) float32 probabilities of them.
            Their targets are the teacher's decisions, which no loss of labels counts. None where test rows are not
            taught.
        fingerprint: Of all that is taught.
        runs: That the teacher is made of; none for a file.
    """

    probs: NDArray[np.float32]
    extra: Callable[[int, str], tuple[PseudoRows, NDArray[np.float32]]] | None
    fingerprint: str
    runs: tuple[Run, ...] = ()


def with_soft_targets(rows: TrainingRows, soft: SoftTargets | None) -> TrainingRows:
    """The same rows with a fingerprint that tells of the teacher."""
    if soft is None:
        return rows
    return dataclasses.replace(rows, fingerprint=digest(rows.fingerprint, soft.fingerprint))
