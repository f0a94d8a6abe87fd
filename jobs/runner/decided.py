"""What a job's `precision.json` says against what is asked for now. Needs no torch; see `jobs.runner.numerics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError
from models.inference.bounds import GateBounds, GateReport

if TYPE_CHECKING:
    from jobs.compiling import Asked
    from jobs.runner.local import Watch

FILE = "precision.json"


def check_shares(bounds: GateBounds) -> None:
    """Refuse bounds that bound nothing.

    Raises:
        UserError: No number, or one outside [0, 1].
    """
    for option, value in (("--max-flips", bounds.flips), ("--max-difference", bounds.difference)):
        if not 0 <= value <= 1:
            raise UserError(f"{option} is {value:g}", expected="a share between 0 and 1")


def tell_of_layers(store: JobStore, asked: Asked, watch: Watch) -> None:
    """Say so where a complete job was computed with other layers than are asked for now; they are no part of its id."""
    compiled = (store.read(FILE) or {}).get("compiled", False)
    if asked == ("off" if compiled else "on"):
        kind = "compiled" if compiled else "eager"
        watch.note(f"the scores were computed before, with {kind} layers: --compile {asked} changes nothing")


def check_bounds(store: JobStore, bounds: GateBounds) -> None:
    """Refuse parts in a format that strayed further, when the job began, than is allowed now.

    Raises:
        UserError: They did.
    """
    decided = store.read(FILE)
    if decided is None or decided["gate"] is None or decided["precision"] == "fp32":
        return
    gate = GateReport(**decided["gate"])
    if gate.flips > bounds.flips or gate.difference > bounds.difference:
        raise UserError(
            f"job {store.id} was begun in {gate.precision}, which strays from float32 by more than is allowed now",
            found=measured(gate),
            expected=f"at most {bounds.flips:.2%} and {bounds.difference:.4f}",
            next="--precision fp32, or the bounds that it was begun with",
        )


def measured(gate: GateReport) -> str:
    """In words."""
    return f"{gate.flips:.2%} labels flipped, probabilities up to {gate.difference:.4f} off on {gate.rows} rows"
