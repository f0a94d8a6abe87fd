"""What decides the last digits of a job's scores: number format, kind of device, threads. Agreed once, then kept.

`precision.json` holds it, so that a job goes on as it began, under whichever engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.compiling import Asked, decide
from jobs.runner.local import Watch, read_texts
from jobs.runner.plan import Plan
from jobs.runner.store import JobStore
from kaggle_tools.errors import UserError
from kaggle_tools.tables import read_sample
from models.errors import ModelError
from models.inference.gate import SAMPLE_ROWS, GateBounds, GateReport, sample_positions, try_precision
from models.inference.scorer import Scorer

if TYPE_CHECKING:
    from jobs.runner.engines import Engine
    from jobs.runner.worker import Work

FILE = "precision.json"


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``fp8``.
        bounds: How far it may stray from float32.
        threads: Of each worker's networks on a CPU; None: as the job began, or the engine's own.
        compile: ``auto``, ``on`` or ``off``.
    """

    precision: str
    bounds: GateBounds
    threads: int | None
    compile: Asked = "auto"


@dataclass(frozen=True)
class Numerics:
    """What was agreed.

    Attributes:
        precision: ``fp32``, ``bf16``, ``fp16`` or ``fp8``.
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: Of each worker on a CPU; None where it is not known or does not matter.
        gate: What was measured, where it was.
        compiled: Whether torch compiles the networks' layers.
    """

    precision: str
    device: str
    threads: int | None
    gate: GateReport | None
    compiled: bool = False


def agree(work: Work, wanted: Wanted, engine: Engine, watch: Watch) -> Numerics:
    """The numerics of this job: as decided when it began, else as the gate finds now.

    Raises:
        UserError: A format that was asked for by name strays too far from float32.
        ModelError: A format that the device has no hardware for.
    """
    decided = work.job.store.read(FILE)
    try:
        device, precision = engine.resolve(wanted.precision if decided is None else decided["precision"], work.scorer)
    except ModelError:
        if decided is None:
            raise
        device, precision = engine.resolve("fp32", work.scorer)
    if decided is not None:
        if decided["device"] != device:
            begun = f"begun on {decided['device']} in {decided['precision']}, resumed on {device} in {precision}"
            watch.note(f"{begun}: last digits may differ")
        gate = GateReport(**decided["gate"]) if decided["gate"] else None
        threads = _threads(decided.get("threads"), wanted, device, engine, watch)
        compiled = decided.get("compiled", False) and decided["device"] == device
        if compiled and wanted.compile == "off":
            watch.note("begun with compiled layers, resumed with eager ones: last digits may differ")
        return Numerics(precision, device, threads, gate, compiled and wanted.compile != "off")
    gate = None
    if precision != "fp32" and work.scorer.flop_per_token > 0:
        gate = engine.gate(work, precision, wanted.bounds)
        if gate is not None and not gate.passed:
            _refuse(gate, wanted, watch)
    precision = precision if gate is not None and gate.passed else "fp32"
    compiled = decide(work, wanted.compile, watch)
    found = Numerics(precision, device, _threads(None, wanted, device, engine, watch), gate, compiled)
    work.job.store.write(FILE, {**vars(found), "gate": vars(gate) if gate else None})
    return found


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
            found=_measured(gate),
            expected=f"at most {bounds.flips:.2%} and {bounds.difference:.4f}",
            next="--precision fp32, or the bounds that it was begun with",
        )


def measure_gate(plan: Plan, precision: str, bounds: GateBounds, scorer: Scorer) -> GateReport | None:
    """Try `precision` on rows of the first shard; None where all of them were set aside: then float32 it is."""
    request = plan.request
    frame = read_sample(plan.tasks[0].shard, request.inputs[0].format, request.text_columns)
    sample, _ = read_texts(frame, request.text_columns)
    if not len(sample):
        return None
    sample = sample.gather(sample_positions(len(sample), SAMPLE_ROWS[scorer.device.type]))
    return try_precision(scorer, precision, sample.to_list(), bounds)


def _threads(begun_with: int | None, wanted: Wanted, device: str, engine: Engine, watch: Watch) -> int | None:
    """On a CPU: as asked for, else as the job began. How a product is cut between threads moves its last digits."""
    if device != "cpu":
        return None
    own = wanted.threads or engine.default_threads
    if begun_with is None or begun_with == own:
        return own
    if wanted.threads is not None:
        watch.note(f"begun with {begun_with} threads a worker, resumed with {own}: last digits may differ")
        return own
    watch.note(f"begun with {begun_with} threads a worker: going on so, for the same bytes (--threads changes it)")
    return begun_with


def _refuse(gate: GateReport, wanted: Wanted, watch: Watch) -> None:
    if wanted.precision == "auto":
        watch.note(f"{gate.precision} strays from float32 ({_measured(gate)}): going on in fp32")
        return
    raise UserError(
        f"{gate.precision} strays too far from float32 on this input",
        found=_measured(gate),
        expected=f"at most {wanted.bounds.flips:.2%} and {wanted.bounds.difference:.4f}",
        next="--precision fp32, or wider bounds with --max-flips and --max-difference",
    )


def _measured(gate: GateReport) -> str:
    return f"{gate.flips:.2%} labels flipped, probabilities up to {gate.difference:.4f} off on {gate.rows} rows"
