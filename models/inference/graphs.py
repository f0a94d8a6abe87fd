"""Batches of frequent shapes as recorded graphs: one launch for hundreds, where Python is slower than the device.

    graphs = Graphs(record_cuda)
    logits = graphs.run(forward, (input_ids,))      # the same bits as forward(input_ids)

A shape is recorded when it comes for the third time, and what the recording gives is compared with what was computed
before it is used. Inputs are copied into the recording; outputs are its own and stand until it is run again. Nothing
here is needed: whatever fails, the plain call works.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from models.inference.device import DEFAULTS

Forward = Callable[..., Sequence[Tensor]]
Shape = tuple[tuple[int, ...], ...]

AT_MOST = 64  # graphs at a time: the lengths of most rows. They share the memory of the largest.
_AFTER = 2  # times that a shape is computed as it is
_REMEMBERED = 4096  # shapes that are counted
# A batch that takes the device longer leaves Python time enough to launch the next one.
_LAUNCHES_MATTER_S = 0.01


class Recording(Protocol):
    """A computation with inputs of one shape."""

    def run(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """What it gives for other inputs of that shape."""


class Graphs:
    """The recordings of some networks.

    Args:
        record: Makes a recording of a computation, for inputs such as these.
        at_most: Recordings that are kept; the one that was not used for longest goes first.
    """

    def __init__(self, record: Callable[[Forward, Sequence[Tensor]], Recording], at_most: int = AT_MOST) -> None:
        self._record = record
        self._at_most = at_most
        self._seen: dict[Shape, int] = {}
        self._kept: OrderedDict[Shape, Recording] = OrderedDict()
        self._works = True

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Those that are recorded, the one used last at the end."""
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
            self._kept.move_to_end(shape)
            return recording.run(inputs)
        found = forward(*inputs)
        if len(self._seen) > _REMEMBERED:  # most came once: left-over rows of a length
            self._seen.clear()
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if self._works and self._seen[shape] > _AFTER:
            self._keep(shape, forward, inputs, found)
        return found

    def clear(self) -> None:
        """Give all memory back: it is short, or the networks are others now."""
        self._kept.clear()
        self._seen.clear()

    def _keep(self, shape: Shape, forward: Forward, inputs: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
        """Record, and never again where that fails or gives other bits."""
        try:
            recording = self._record(forward, inputs)
            found = recording.run(inputs)
            self._works = all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        except RuntimeError:  # out of memory for a second set of activations, or something that cannot be recorded
            self._works = False
        if not self._works:
            self.clear()
            return
        while len(self._kept) >= self._at_most:
            self._kept.popitem(last=False)
        self._kept[shape] = recording


def graphs_for(device: torch.device, flop_per_batch: float) -> Graphs | None:
    """Where launching could take longer than computing: on CUDA, for batches of few operations in one network."""
    if device.type != "cuda" or flop_per_batch > _LAUNCHES_MATTER_S * DEFAULTS["cuda"].flops:
        return None
    return Graphs(CudaRecording)


class CudaRecording:
    """A CUDA graph; all of them share one pool of memory, since they run one after the other."""

    _pool: Any = None

    def __init__(self, forward: Forward, inputs: Sequence[Tensor]) -> None:
        if CudaRecording._pool is None:
            CudaRecording._pool = torch.cuda.graph_pool_handle()
        self._inputs = [part.clone() for part in inputs]
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may allocate and copy meanwhile: what they do does not belong to the graph.
        with torch.cuda.graph(self._graph, pool=CudaRecording._pool, capture_error_mode="thread_local"):
            self._outputs = list(forward(*self._inputs))

    def run(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Copies the inputs, and waits for nothing."""
        for own, part in zip(self._inputs, inputs, strict=True):
            own.copy_(part)
        self._graph.replay()
        return self._outputs
