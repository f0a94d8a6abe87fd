"""What to do when a device runs out of memory: work with less at a time, or say it.

until_it_fits(partial(score, rows, budget), partial(budget.halve, longest), device)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from models.errors import ModelError

Result = TypeVar("Result")

_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
    "MPS backend out of memory",
)


def is_out_of_memory(exc: Exception) -> bool:
    """Whether an error of torch says that a device has no memory left."""
    return isinstance(exc, torch.OutOfMemoryError) or any(sign in str(exc) for sign in _SIGNS)


def until_it_fits(work: Callable[[], Result], shrink: Callable[[], None], device: torch.device) -> Result:
    """What `work` gives; where memory runs out it is begun again, each time after `shrink`.

    Args:
        work: Keeps nothing when it fails.
        shrink: Makes it smaller, or raises where that cannot be.
        device: Gives what it holds in reserve back before the next attempt.
    """
    while True:
        try:
            return work()
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
        # Out here, since the error holds on to the frames in which it came, and these to their tensors.
        shrink()
        release(device)


def release(device: torch.device) -> None:
    """Give back what the allocator holds in reserve."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def memory_told(what: str, advice: str) -> Iterator[None]:
    """Tell a person where memory runs out for something that smaller batches do not make smaller.

    Args:
        what: Needs the memory.
        advice: What to do next.

    Raises:
        ModelError: In place of torch's error.
    """
    try:
        yield
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        raise ModelError(f"out of memory for {what}, whatever the size of a batch", next=advice) from exc
