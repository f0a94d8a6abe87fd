"""Query, key and value of an attention layer by one product instead of three, where layers are compiled.

They read the same input: one product reads it once, leaves less of the device idle in its last wave of tiles, and in
eight bits has it made eight bits once (`benchmarks/gpu.md`). The first of the three that a layer calls computes for
all; the others hand out what it kept for them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.classifier import TextClassifier
from models.inference.disentangled import is_disentangled

# Architectures that call the three one after the other with one input, and how they name them. DeBERTa does where its
# positions are tabulated; stock, it projects them with two of the three.
_KNOWN = {"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}
_PLACES = (
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("q", "k", "v"),
    ("query_proj", "key_proj", "value_proj"),
)
_OUTPUTS = {"weight": 0, "bias": 0, "scale": 1}  # their dimension, in what linear layers of 16 and of 8 bits hold


class Joined(nn.Module):
    """The first of some linear layers with one input; computes the others as well.

    Args:
        layers: All of one kind; the first has N outputs of K inputs.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.widths = [len(_tensors(layer)["weight"]) for layer in layers]
        parts = [_tensors(layer) for layer in layers]
        self.whole = _with(layers[0], {name: torch.cat([p[name] for p in parts], _OUTPUTS[name]) for name in parts[0]})
        self.kept: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, N) from (…, K)."""
        parts: list[Tensor] = list(torch.split(self.whole(inputs), self.widths, dim=-1))
        first, *self.kept = parts
        return first

    def apart(self) -> list[nn.Module]:
        """The layers as they were, in the memory that they share."""
        split = {name: torch.split(part, self.widths, _OUTPUTS[name]) for name, part in _tensors(self.whole).items()}
        return [_with(self.whole, {name: parts[i] for name, parts in split.items()}) for i in range(len(self.widths))]


class Kept(nn.Module):
    """The next of them, whatever its input: it is that of the first."""

    def __init__(self, joined: Joined) -> None:
        super().__init__()
        self._first = (joined,)  # in a tuple, for it stands beside this module and is no part of it

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: ARG002
        """(…, N), once for each pass of the first."""
        (first,) = self._first
        part, *first.kept = first.kept
        return part


def wants_joining(network: TextClassifier) -> bool:
    """Where it pays: on a CPU one wide product takes as long as three (benchmarks/LOG.md)."""
    return next(network.parameters()).device.type == "cuda"


def join(network: TextClassifier) -> int:
    """Let attention layers compute so from now on, where the architecture is known; gives how many."""
    if network.body.config.model_type not in _KNOWN and not is_disentangled(network):
        return 0
    found = 0
    for parent in list(network.encoder.modules()):
        for names in _PLACES:
            layers = [child for name, child in parent.named_children() if name in names]
            if len(layers) < len(names) or len({(type(layer), *_tensors(layer)) for layer in layers}) > 1:
                continue
            joined = Joined(layers)
            for name, module in zip(names, (joined, *(Kept(joined) for _ in names[1:])), strict=True):
                setattr(parent, name, module)
            found += 1
    return found


def undo(network: TextClassifier) -> None:
    """The way back from `join`."""
    for parent in list(network.encoder.modules()):
        for names in _PLACES:
            first = getattr(parent, names[0], None)
            if isinstance(first, Joined):
                for name, layer in zip(names, first.apart(), strict=True):
                    setattr(parent, name, layer)


def _tensors(layer: nn.Module) -> dict[str, Tensor]:
    return {**dict(layer.named_parameters()), **dict(layer.named_buffers())}


def _with(layer: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """A layer of the same kind with these tensors."""
    made = copy.copy(layer)
    made._parameters, made._buffers = dict(layer._parameters), dict(layer._buffers)
    for name, tensor in tensors.items():
        setattr(made, name, nn.Parameter(tensor, requires_grad=False) if name in made._parameters else tensor)
    if isinstance(made, nn.Linear):
        made.out_features = len(tensors["weight"])
    return made
