"""How far a fast number format may stray from float32, and what the gate measured. Plain data: no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GateBounds:
    """How far a format may stray from float32 on the sample.

    Attributes:
        flips: Share of rows that are decided otherwise, in [0, 1]; see `GateReport`.
        difference: Largest change of a probability, in [0, 1].
    """

    flips: float = 0.01
    difference: float = 0.05


@dataclass(frozen=True)
class GateReport:
    """What the gate measured; the worst run counts.

    Attributes:
        precision: The format that was tried.
        rows: Rows in the sample.
        flips: Share of rows (of label groups or tags: of decisions) whose most probable class differs from float32;
            for multi_label of rows with another set of labels; of a regression of outputs on the other side of their
            mean.
        difference: Largest difference of a probability; of a regression, of the logistic function of its outputs, less
            their mean, over their standard deviation.
        passed: Whether both stayed within the bounds; never where the format gives NaN or lacks an operation: then
            both are 1.
    """

    precision: str
    rows: int
    flips: float
    difference: float
    passed: bool
