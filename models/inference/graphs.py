"""Batches of frequent shapes as recorded graphs: one launch for hundreds, where Python is slower than the device.

    graphs = Graphs(CudaRecorder)
    logits = graphs.run(forward, (input_ids,))      # the same bits as forward(input_ids)

A shape is recorded once it came often enough to come often again, and what the recording gives is compared with what
was computed before it is used. Inputs are copied into the recording; outputs are its own and stand until it is run
again. Nothing here is needed: whatever fails, the plain call works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor

from models.inference.device import DEFAULTS

Forward = Callable[..., Sequence[Tensor]]
Shape = tuple[tuple[int, ...], ...]

# Graphs at a time: the lengths of most rows. They share the memory of the largest. None makes room for another: lengths
# come one after the other in each shard, so that the one that would go is the one that comes next.
AT_MOST = 64
# Times that a shape is computed as it is. Recording takes as long as some launches, and a replay saves less than one: a
# job of a million rows, whose shapes come ten times each, is not to pay for what only a longer one wins back.
AFTER = 16
_REMEMBERED = 4096  # shapes that are counted
# A batch that takes the device longer leaves Python time enough to launch the next one.
_LAUNCHES_MATTER_S = 0.01


class Recording(Protocol):
    """A computation with inputs of one shape."""

    outputs: Sequence[Tensor]

    def run(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """`outputs`, filled with what it gives for other inputs of that shape."""


Record = Callable[[Forward, Sequence[Tensor]], Recording]


class Graphs:
    """The recordings of some networks.

    Args:
        recorder: Makes what records a computation for inputs such as these. It is asked anew after `clear`.
        at_most: Recordings that are kept.
        after: Times that a shape is computed as it is.
    """

    def __init__(self, recorder: Callable[[], Record], at_most: int = AT_MOST, after: int = AFTER) -> None:
        self.after = after
        self._recorder = recorder
        self._record = recorder()
        self._at_most = at_most
        self._seen: dict[Shape, int] = {}
        self._kept: dict[Shape, Recording] = {}
        self._works = True

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Those that are recorded."""
        return tuple(self._kept)

    def run(self, forward: Forward, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """``forward(*inputs)``, recorded where that was asked for often enough.

        Args:
            forward: Always the same computation, which waits for no device.
            inputs: Tensors; what they hold may change, and shapes.
        """
        shape = tuple(tuple(part.shape) for part in inputs)
        recording = self._kept.get(shape)
        if recording is not None:
            return recording.run(inputs)
        found = forward(*inputs)
        if self._works and len(self._kept) < self._at_most:
            if len(self._seen) > _REMEMBERED:  # most came once: left-over rows of a length
                self._seen.clear()
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] > self.after:
                self._keep(shape, forward, inputs, found)
        return found

    def clear(self) -> None:
        """Give all memory back: it is short, or the networks are others now."""
        self._kept.clear()
        self._seen.clear()
        self._record = self._recorder()

    def _keep(self, shape: Shape, forward: Forward, inputs: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
        """Record, and never again where that fails or gives other bits."""
        try:
            recording = self._record(forward, inputs)
            for part in recording.outputs:
                part.fill_(torch.nan)  # what it does not compute is not taken for its answer
            found = recording.run(inputs)
            self._works = all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        except RuntimeError:  # out of memory for a second set of activations, or something that cannot be recorded
            self._works = False
        if self._works:
            self._kept[shape] = recording
        else:
            self.clear()


def graphs_for(device: torch.device, flop_per_batch: float) -> Graphs | None:
    """Where launching could take longer than computing: on CUDA, for batches of few operations in one network."""
    if device.type != "cuda" or flop_per_batch > _LAUNCHES_MATTER_S * DEFAULTS["cuda"].flops:
        return None
    return Graphs(CudaRecorder)


class CudaRecorder:
    """Makes CUDA graphs that share one pool of memory, since they run one after the other."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, forward: Forward, inputs: Sequence[Tensor]) -> CudaRecording:
        """Record on the inputs' device, whichever is the current one."""
        device = inputs[0].device
        if self._stream is None:
            self._pool, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)
        with torch.cuda.device(device):
            try:
                return CudaRecording(forward, inputs, self._pool, self._stream)
            except RuntimeError:
                with suppress(RuntimeError):  # memory would go on coming from its pool
                    torch._C._cuda_endAllocateToPool(device.index or 0, self._pool)
                raise


class CudaRecording:
    """A CUDA graph.

    Not made by `torch.cuda.graph`, which waits for the device and gives all memory back before each one.
    """

    def __init__(self, forward: Forward, inputs: Sequence[Tensor], pool: Any, stream: torch.cuda.Stream) -> None:
        self._inputs = [part.clone() for part in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            # Other threads may allocate and copy meanwhile: what they do does not belong to the graph.
            self._graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self.outputs: Sequence[Tensor] = list(forward(*self._inputs))
            finally:
                self._graph.capture_end()

    def run(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Copies the inputs, and waits for nothing."""
        for own, part in zip(self._inputs, inputs, strict=True):
            own.copy_(part)
        self._graph.replay()
        return self.outputs
