"""The GELU of a feed-forward block in the epilogue of the product before it, where layers are compiled.

torch.compile leaves matrix products to cuBLAS, so that between the two products of a block their widest tensor is
written, read, and written once more: two fifths of all that a layer moves besides its products (`benchmarks/gpu.md`).
cuBLASLt applies GELU before it writes. It has the form with a hyperbolic tangent, up to 5e-4 away from the one with the
error function. Beside the rounding of bfloat16 that is not seen (docs/decisions/0019); finer formats keep their own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation, GELUTanh, NewGELUActivation

from models.classifier import TextClassifier

_GELUS = (GELUActivation, GELUTanh, NewGELUActivation, nn.GELU)
# A product and the activation behind it, as architectures name them in the module that calls one after the other.
_PLACES = (("dense", "intermediate_act_fn"), ("lin1", "activation"), ("ffn", "activation"))


class GeluLinear(nn.Module):
    """A linear layer and its GELU: one operator where torch compiles them, elsewhere as they were.

    Args:
        linear: With a bias.
        activation: Behind it.
    """

    def __init__(self, linear: nn.Linear, activation: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.activation = activation

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, N) from (…, K)."""
        if not torch.compiler.is_compiling():
            return self.activation(self.linear(inputs))  # type: ignore[no-any-return]
        flat = inputs.flatten(0, -2)
        out: Tensor = torch._addmm_activation(self.linear.bias, flat, self.linear.weight.t(), use_gelu=True)
        return out.view(*inputs.shape[:-1], -1)


def wants_fusing(network: TextClassifier) -> bool:
    """Where the epilogue is there, and its form of GELU no coarser than the number format."""
    parameter = next(network.parameters())
    return parameter.device.type == "cuda" and parameter.dtype == torch.bfloat16


def fuse(network: TextClassifier) -> int:
    """Let feed-forward blocks be computed so in what is compiled from now on; gives how many."""
    found = 0
    for parent in list(network.encoder.modules()):
        for first, second in _PLACES:
            linear, activation = getattr(parent, first, None), getattr(parent, second, None)
            if isinstance(linear, nn.Linear) and linear.bias is not None and isinstance(activation, _GELUS):
                setattr(parent, first, GeluLinear(linear, activation))
                setattr(parent, second, nn.Identity())
                found += 1
    return found


def undo(network: TextClassifier) -> None:
    """The way back from `fuse`."""
    for parent in list(network.encoder.modules()):
        for first, second in _PLACES:
            both = getattr(parent, first, None)
            if isinstance(both, GeluLinear):
                setattr(parent, first, both.linear)
                setattr(parent, second, both.activation)
