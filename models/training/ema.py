"""An exponential moving average of the weights: what is validated and kept in place of the last step's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Ema:
    """The average a ← d·a + (1 − d)·w after each step, with d = min(decay, (1 + t) / (10 + t)) at step t.

    The rising d lets the first steps' random weights be forgotten: short runs would otherwise keep them.

    Args:
        network: Its parameters are averaged; buffers are taken as they are.
        decay: In [0, 1); None: no average, and every method does nothing.
        fixed: Names of parameters that never train, which are left out.
    """

    def __init__(self, network: nn.Module, decay: float | None, fixed: frozenset[str] = frozenset()) -> None:
        trained = [p for name, p in network.named_parameters() if name not in fixed]
        self._parameters = trained if decay is not None else []
        self._averages = [p.detach().clone() for p in self._parameters]
        self._decay = decay or 0.0
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimizer."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        if self._parameters:
            torch._foreach_lerp_(self._averages, [p.detach() for p in self._parameters], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the average inside, and exactly its own weights again after."""
        own = [p.detach().clone() for p in self._parameters]
        self.put()
        try:
            yield
        finally:
            _copy(own, self._parameters)

    def put(self) -> None:
        """The network has the average from now on."""
        _copy(self._averages, self._parameters)


@torch.no_grad()
def _copy(sources: list[torch.Tensor], targets: list[nn.Parameter]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
