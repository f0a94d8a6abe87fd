"""What a teacher says of the rows of a run: plain arrays, made by `jobs.distill`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.pseudo_labels import PseudoRows
from jobs.training_rows import TrainingRows
from kaggle_tools.files import digest


@dataclass(frozen=True)
class SoftTargets:
    """What a teacher says.

    Attributes:
        probs: (N, C) float32 out-of-fold probabilities of the training rows, in their order.
        extra: Test rows; their targets are the teacher's decisions, which no loss of labels counts. None for none.
        extra_probs: (M, C) float32 probabilities of these.
    """

    probs: NDArray[np.float32]
    extra: PseudoRows | None
    extra_probs: NDArray[np.float32]

    @property
    def fingerprint(self) -> str:
        """Of all that is taught."""
        texts = (self.extra.names, self.extra.texts) if self.extra else ()
        return digest(self.probs.tobytes(), texts, self.extra_probs.tobytes())


def with_soft_targets(rows: TrainingRows, soft: SoftTargets | None) -> TrainingRows:
    """The same rows with a fingerprint that tells of the teacher."""
    if soft is None:
        return rows
    return dataclasses.replace(rows, fingerprint=digest(rows.fingerprint, soft.fingerprint))
