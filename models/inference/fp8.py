"""Linear layers in eight bits (e4m3), the rest of the network in bfloat16: `--precision fp8`.

Weights have a scale for each output, activations one for each token, so that a row's score does not depend on the rows
beside it. Products are torch's `_scaled_mm`: hardware from compute capability 8.9 on, an emulation on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.classifier import TextClassifier
from models.inference.compiled import layers

DTYPE = torch.float8_e4m3fn
REST = torch.bfloat16  # of embeddings, norms, attention, heads, and what products give
_LARGEST = torch.finfo(DTYPE).max
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
        out: Tensor = torch._scaled_mm(
            rows, self.weight.t(), scale_a=scale, scale_b=self.scale, bias=self.bias, out_dtype=REST,
            use_fast_accum=True,
        )  # fmt: skip
        return out.view(*inputs.shape[:-1], -1)


def quantise(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(M, K) numbers as (M, K) e4m3 and (M, 1) float32 scales: each row's largest becomes the format's largest."""
    exact = rows.float()
    scale = (exact.abs().amax(-1, keepdim=True) / _LARGEST).clamp(min=1e-12)
    return (exact / scale).clamp(-_LARGEST, _LARGEST).to(DTYPE), scale


def convert(network: TextClassifier) -> int:
    """Put `Fp8Linear` in place of the large linear layers of a network's encoder; gives how many.

    Heads stay in bfloat16: a ten-thousandth of the work, and the last to touch a score. So do embeddings, which are
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
