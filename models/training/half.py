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

from models.classifier import TextClassifier
from models.errors import ModelError
from models.inference.device import PRECISIONS, resolve_precision
from models.padding import end_text, made_up_row

# Width of an encoder from which on a CPU trains half as fast again in bf16; below, copying weights eats the gain.
_WIDE = 256

_FIRST_SCALE = 2.0**16
_GOOD_STEPS = 2000
_ADVICE = "precision = 'auto' under [training]"
_ROW = 4  # tokens of a row that is made up


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
        text = config.get_text_config()
        wide = getattr(text, "num_hidden_layers", 0) > 0 and getattr(text, "hidden_size", 0) >= _WIDE
        pays = precision != "auto" or device.type == "cuda" or wide
        try:
            name = resolve_precision(precision, device) if pays else "fp32"
        except ModelError as exc:  # its advice is of an option that training has not
            raise ModelError(exc.summary, next=_ADVICE) from exc
        return cls(None if name == "fp32" else PRECISIONS[name], _FIRST_SCALE if name == "fp16" else 1.0)

    @classmethod
    def fitting(cls, precision: str, device: torch.device, network: TextClassifier) -> Self:
        """The same for a network, wherever it is now; ``auto`` is float32 where it cannot be computed in less.

        Raises:
            ModelError: As `of`; or a format by name that the network cannot be computed in.
        """
        half = cls.of(precision, device, network.body.config)
        if half.dtype is None or _computes(network, half):
            return half
        if precision == "auto":
            return cls()
        raise ModelError(
            f"a {network.body.config.model_type} cannot be computed in {precision}: transformers mixes formats there",
            next=_ADVICE,
        )

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


@torch.no_grad()
def _computes(network: TextClassifier, half: HalfPrecision) -> bool:
    """Whether a made-up row goes through: DeBERTa's first version fills scores in bf16 with the least float32."""
    ids = made_up_row(network, network.body.config.pad_token_id or 0, _ROW)
    end_text(network, ids)
    types = None if network.form == "joined" else (torch.arange(_ROW, device=ids.device) // 2).unsqueeze(0)
    training = network.training
    network.eval()
    try:
        with half.autocast(ids.device):
            network(ids, None, types)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return False
    finally:
        network.train(training)
    return True
