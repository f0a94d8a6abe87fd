"""Linear layers in eight bits (e4m3), the rest of the network in bfloat16: `--precision fp8`.

Weights have a scale for each output, activations one for each token, so that a row's score does not depend on the rows
beside it. Products are torch's `_scaled_mm` on CUDA, in hardware from compute capability 8.9 on; elsewhere a stand-in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.classifier import TextClassifier
from models.inference.compiled import layers

DTYPE = torch.float8_e4m3fn
REST = torch.bfloat16  # of embeddings, norms, attention, heads, and what products give
# A linear layer of fewer inputs or outputs is no faster for it. The kernels take multiples of 16.
_LEAST_WIDTH, _MULTIPLE = 256, 16


class Fp8Linear(nn.Module):
    """A linear layer with weights in eight bits, that makes its inputs so, token by token.

    Args:
        linear: The layer that it stands for, K inputs and N outputs; bfloat16 or finer.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantise(linear.weight.detach())
        self.weight = nn.Buffer(weight)  # (N, K) e4m3
        self.scale = nn.Buffer(scale.t().contiguous())  # (1, N) float32
        self.bias = None if linear.bias is None else nn.Buffer(linear.bias.detach().to(REST))

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, N) bfloat16 from (…, K) bfloat16."""
        rows, scale = quantise(inputs.flatten(0, -2))
        multiply = _multiply if inputs.device.type == "cuda" else _multiply_exactly
        return multiply(rows, scale, self.weight, self.scale, self.bias).view(*inputs.shape[:-1], -1)


def _multiply(rows: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """(M, N) bfloat16 from (M, K) e4m3 with (M, 1) scales and (N, K) e4m3 with (1, N) scales."""
    product: Tensor = torch._scaled_mm(
        rows, weight.t(), scale_a=scale, scale_b=weight_scale, bias=bias, out_dtype=REST, use_fast_accum=True
    )
    return product


def _multiply_exactly(rows: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """The same in float32: not every torch has scales for each row on a CPU."""
    product: Tensor = rows.float() @ weight.float().t() * scale * weight_scale
    return (product if bias is None else product + bias.float()).to(REST)


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(M, K) numbers as (M, K) e4m3 and (M, 1) float32 scales: each row's largest becomes the format's largest."""
    largest = torch.finfo(DTYPE).max  # here: of a module's own number torch.compile makes a float64 variable
    exact = rows.float()
    scale = (exact.abs().amax(-1, keepdim=True) / largest).clamp(min=1e-12)
    return (exact / scale).clamp(-largest, largest).to(DTYPE), scale


def convert(network: TextClassifier) -> int:
    """Put `Fp8Linear` in place of the large linear layers of a network's encoder; gives how many.

    Heads stay finer: a ten-thousandth of the work, and the last to touch a score. So do embeddings, which are
    looked up, and poolers, which see one token a row. The way back is to load the weights again.

    Args:
        network: On its device, in bfloat16.
    """
    parents = {parent for layer in layers(network) for parent in layer.modules()}
    found = [
        (parent, name, child)
        for parent in parents
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and _worth_it(child)
    ]
    for parent, name, child in found:
        setattr(parent, name, Fp8Linear(child))
    return len(found)


def _worth_it(linear: nn.Linear) -> bool:
    widths = (linear.in_features, linear.out_features)
    return min(widths) >= _LEAST_WIDTH and not any(width % _MULTIPLE for width in widths)
