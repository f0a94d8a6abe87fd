"""The product that gives the logits in float32, whatever the network computes in.

A logit in bfloat16 has eight bits: of 1,500 texts' logits half were another's, too (benchmarks/LOG.md). Probabilities
of a class then tie, and so do a reranker's scores. What the network rounded before is as much again, so that scores are
hardly nearer to those of float32; but rows are told apart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn


def name_of_last(network: nn.Module, compute: Callable[[], Tensor]) -> str | None:
    """Name of the linear layer whose outputs a network's logits are; None where more is done to them.

    Args:
        network: Any.
        compute: A forward pass of it.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs[name] = output

    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in linear]
    try:
        logits = compute()
    finally:
        for hook in hooks:
            hook.remove()
    return next((name for name, output in outputs.items() if output is logits), None)


def compute_exactly(network: nn.Module, name: str) -> None:
    """Let this linear layer of a network compute in float32 from now on, and give that."""
    linear = network.get_submodule(name)
    assert isinstance(linear, nn.Linear)
    vars(linear.float())["forward"] = partial(_multiply, linear)


def _multiply(linear: nn.Linear, inputs: Tensor) -> Tensor:
    # Moved to a device, the weights have the others' format again.
    bias = None if linear.bias is None else linear.bias.float()
    return nn.functional.linear(inputs.float(), linear.weight.float(), bias)
