"""Half precision in training: which format a recipe means, autocast, and the factor on the loss that fp16 needs.

Weights, their gradients and the optimizer stay float32; what autocast rounds is what passes through the layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm

from models.inference.device import PRECISIONS, resolve_precision

# Width of an encoder from which on a CPU trains half as fast again in bf16; below, copying weights eats the gain.
_WIDE = 256

_FIRST_SCALE = 2.0**16
_GOOD_STEPS = 2000


@dataclass
class HalfPrecision:
    """How a network computes in training.

    fp16 has no numbers below 6e-8, where many gradients of activations are: there the loss is multiplied by a factor,
    which is taken out of the weights' gradients (Micikevicius et al. 2018). A step that overflows is made again with
    half of it; after 2,000 good steps it is doubled.

    Attributes:
        dtype: Of autocast; None: float32 throughout.
        scale: Factor on the loss, a power of two, so that it costs no digit; 1 but for fp16.
        good: Steps since it changed.
    """

    dtype: torch.dtype | None = None
    scale: float = 1.0
    good: int = 0

    @classmethod
    def of(cls, precision: str, device: torch.device, config: Any) -> Self:
        """What a recipe means on a device.

        ``auto`` means half precision where hardware has it and it pays: on a GPU, and on a CPU for wide encoders.

        Args:
            precision: Of the recipe.
            device: Where the network trains.
            config: Of the encoder.

        Raises:
            ModelError: A format that this device has no hardware for.
        """
        wide = config.num_hidden_layers > 0 and config.hidden_size >= _WIDE
        pays = precision != "auto" or device.type == "cuda" or wide
        name = resolve_precision(precision, device) if pays else "fp32"
        return cls(None if name == "fp32" else PRECISIONS[name], _FIRST_SCALE if name == "fp16" else 1.0)

    def autocast(self, device: torch.device) -> Any:
        """A context for the forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(device.type, dtype=self.dtype)

    def backward(self, loss: Tensor) -> None:
        """Add `scale` times the loss's gradient to the parameters'."""
        (loss * self.scale if self.scale != 1 else loss).backward()

    def settle(self, parameters: Iterable[Parameter]) -> bool:
        """Take the factor out of the gradients, once a step has all of them.

        Returns:
            Whether that was it. False: they overflowed, and are to be made again, with half the factor. Gradients
            that are no numbers without any factor are left so.
        """
        if self.dtype is not torch.float16:
            return True
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.scale > 1 and not bool(torch.isfinite(get_total_norm(gradients))):
            self.scale, self.good = self.scale / 2, 0
            return False
        for gradient in gradients:
            gradient.div_(self.scale)
        self.good += 1
        if self.good == _GOOD_STEPS:
            self.scale, self.good = self.scale * 2, 0
        return True
