"""What decides the last digits of a job's scores: format, backend, device, threads, compiled layers. Agreed, then kept.

`precision.json` holds it, so that a job goes on as it began, under whichever engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from jobs.compiling import Asked, decide
from jobs.runner.decided import FILE, measured
from jobs.runner.local import Watch
from jobs.runner.plan import Plan
from jobs.runner.reading import texts_of
from kaggle_tools.errors import UserError
from models.errors import ModelError
from models.inference.bounds import GateBounds, GateReport
from models.inference.choice import choose_backend
from models.inference.gate import (
    SAMPLE_ROWS,
    calibration_texts,
    sample_positions,
    try_precision,
)
from models.inference.scorer import Scorer

if TYPE_CHECKING:
    from jobs.runner.engines import Engine
    from jobs.runner.worker import Work

_CALIBRATION_SHARDS = 4
# Times the gate's sample: a shorter table is scored in float32 before a format of half the time has paid for the gate.
_WORTH_JUDGING = 4


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``, ``fp8`` or ``int8``.
        bounds: How far it may stray from float32.
        threads: Of each worker's networks on a CPU; None: as the job began, or the engine's own.
        compile: ``auto``, ``on`` or ``off``.
        backend: ``auto``, ``torch`` or ``openvino``.
    """

    precision: str
    bounds: GateBounds
    threads: int | None
    compile: Asked = "auto"
    backend: str = "auto"


@dataclass(frozen=True)
class Numerics:
    """What was agreed.

    Attributes:
        precision: ``fp32``, ``bf16``, ``fp16``, ``fp8`` or ``int8``.
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: Of each worker on a CPU; None where it is not known or does not matter.
        gate: What was measured, where it was.
        compiled: Whether torch compiles the networks' layers.
        backend: ``torch`` or ``openvino``.
    """

    precision: str
    device: str
    threads: int | None
    gate: GateReport | None
    compiled: bool = False
    backend: str = "torch"

    def apply(self, work: Work) -> None:
        """Let this process's Scorer compute so."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        work.scorer.set_precision(self.precision, self.backend, work.calibration(self.precision))
        if work.scorer.compiled != self.compiled:
            work.scorer.set_compiled(self.compiled)


def agree(work: Work, wanted: Wanted, engine: Engine, watch: Watch) -> Numerics:
    """The numerics of this job: as decided when it began, else as the gate finds now.

    Raises:
        UserError: A format that was asked for by name strays too far from float32.
        ModelError: A format that the device has no hardware for; a format or backend that is not installed.
    """
    decided = work.job.store.read(FILE)
    if decided is not None:
        return _as_begun(decided, work, wanted, engine, watch)
    device, precision = engine.resolve(wanted.precision, work.scorer)
    if wanted.precision == "auto" and work.job.plan.n_rows < _WORTH_JUDGING * SAMPLE_ROWS[device]:
        precision = "fp32"
    threads = _threads(None, wanted, device, engine, watch)
    backend = engine.backend(work, wanted.backend, precision, threads, watch)
    gate = None
    if precision != "fp32" and work.scorer.flop_per_token > 0:
        gate = engine.gate(work, precision, backend, wanted.bounds)
        if gate is not None and not gate.passed:
            _refuse(gate, wanted, watch)
    if precision != "fp32" and (gate is None or not gate.passed):
        precision, backend = "fp32", "openvino" if wanted.backend == "openvino" else "torch"
    compiled = decide(work, wanted.compile, watch, engine.n_devices)
    found = Numerics(precision, device, threads, gate, compiled, backend)
    work.job.store.write(FILE, {**vars(found), "gate": vars(gate) if gate else None})
    if work.job.store.shared is not None:  # where another process may have been first: what it decided counts
        return agree(work, wanted, engine, watch)
    return found


def _as_begun(decided: Mapping[str, Any], work: Work, wanted: Wanted, engine: Engine, watch: Watch) -> Numerics:
    """As the job began, so far as this device can."""
    begun = decided.get("backend", "torch")
    try:
        device, precision = engine.resolve(decided["precision"], work.scorer)
        backend = engine.backend(work, begun, precision, None, watch)
    except ModelError:  # another device, or what is not installed any more
        device, precision = engine.resolve("fp32", work.scorer)
        backend = "torch"
    then = (decided["device"], decided["precision"], begun)
    if then != (device, precision, backend):
        told = [_told(*then), _told(device, precision, backend)]
        watch.note(f"begun on {told[0]}, resumed on {told[1]}: last digits may differ")
    gate = GateReport(**decided["gate"]) if decided["gate"] else None
    threads = _threads(decided.get("threads"), wanted, device, engine, watch)
    compiled = decided.get("compiled", False) and decided["device"] == device
    if compiled and wanted.compile == "off":
        watch.note("begun with compiled layers, resumed with eager ones: last digits may differ")
    if wanted.compile == "on" and not decided.get("compiled", False):
        watch.note("begun with eager layers: going on so, --compile on changes nothing")
    return Numerics(precision, device, threads, gate, compiled and wanted.compile != "off", backend)


def _told(device: str, precision: str, backend: str) -> str:
    return f"{device} in {precision}" + (" with OpenVINO" if backend == "openvino" else "")


def measure_gate(plan: Plan, precision: str, backend: str, bounds: GateBounds, scorer: Scorer) -> GateReport | None:
    """Try `precision` on rows of the first shard; None where they tell nothing, or none is left: then float32 it is."""
    texts = texts_of(plan, plan.tasks[0])
    if not len(texts):
        return None
    scorer.set_precision("fp32")
    sample = texts.gather(sample_positions(len(texts), SAMPLE_ROWS[scorer.device.type]))
    calibration = calibration_of(plan, scorer.device.type) if precision == "int8" else ()
    how = {} if backend == "torch" else {"backend": backend, "calibration": calibration}
    return try_precision(scorer, precision, sample.to_list(), bounds, **how)


def calibration_of(plan: Plan, device_type: str) -> tuple[str, ...]:
    """Texts that int8 is calibrated on in this job: always the same, so that each worker quantises alike.

    From shards all over the input; of a compressed file from its beginning, which alone can be read at once.
    """
    first = texts_of(plan, plan.tasks[0])
    spread = {plan.tasks[k * len(plan.tasks) // _CALIBRATION_SHARDS].index for k in range(1, _CALIBRATION_SHARDS)} - {0}
    others = [plan.tasks[index] for index in sorted(spread)]
    quick = [task for task in others if not any(plan.request.inputs[p.file].format.compression for p in task.pieces)]
    texts = pl.concat([first, *(texts_of(plan, task) for task in quick)])
    judged = set(sample_positions(len(first), SAMPLE_ROWS[device_type]))
    return tuple(calibration_texts(texts.fill_null(""), judged))


def choose_for_job(plan: Plan, precision: str, scorer: Scorer, threads: int | None, watch: Watch) -> str:
    """The backend that is faster on rows of the first shard, computing with so many threads."""
    texts = texts_of(plan, plan.tasks[0])
    sample = texts.gather(sample_positions(len(texts), SAMPLE_ROWS[scorer.device.type])) if len(texts) else texts
    own = torch.get_num_threads()
    torch.set_num_threads(threads or own)
    try:
        choice = choose_backend(scorer, precision, sample, plan.n_rows)
    finally:
        torch.set_num_threads(own)
    if choice.note is not None:
        watch.note(choice.note)
    return choice.backend


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
        watch.note(f"{gate.precision} strays from float32 ({measured(gate)}): going on in fp32")
        return
    raise UserError(
        f"{gate.precision} strays too far from float32 on this input",
        found=measured(gate),
        expected=f"at most {wanted.bounds.flips:.2%} and {wanted.bounds.difference:.4f}",
        next="--precision fp32, or wider bounds with --max-flips and --max-difference",
    )
