"""How deep in the encoder a parameter lies: what layer-wise rates, gradual unfreezing and new top layers work by.

    depths = parameter_depths(network)           # id of a parameter -> 0 for embeddings, 1 … L for layers, L + 1 head
    Thaw(network, n_steps=100, share=0.5).at(step)

Depths come from the names that architectures give their parameters. An ALBERT has one set of weights for all of its
layers, so none of this has a meaning there, and it is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torch.nn import Parameter

from models.errors import ModelError

if TYPE_CHECKING:
    from models.classifier import TextClassifier

# bert.encoder.layer.3.…, layers.3.… (ModernBERT), transformer.layer.3.… (DistilBERT), h.3.… (GPT-2), block.3.… (T5)
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|h|block)\.(\d+)(?:\.|$)")


def parameter_depths(network: TextClassifier) -> dict[int, int]:
    """``id(parameter)`` to depth: 0 for embeddings, 1 to L for the encoder's layers, L + 1 for the head.

    What belongs to the encoder but to no layer counts as embeddings by name, else as the top layer (pooler, last norm).

    Raises:
        ModelError: The encoder's layers cannot be told apart.
    """
    top = count_layers(network)
    inside = {id(p): name for name, p in network.encoder.named_parameters()}
    depths = {}
    for parameter in network.parameters():
        name = inside.get(id(parameter))
        depths[id(parameter)] = top + 1 if name is None else _depth_of_name(name, top)
    return depths


def count_layers(network: TextClassifier) -> int:
    """L, the encoder's layers.

    Raises:
        ModelError: They share their weights, or have names that we do not know.
    """
    config = network.body.config
    expected = int(getattr(config, "num_hidden_layers", 0))
    found = {int(m[1]) for name, _ in network.encoder.named_parameters() if (m := _LAYER.search(name))}
    if len(found) == expected:
        return expected
    what = "layer_decay, unfreeze and reinit_layers"
    if config.model_type == "albert":
        raise ModelError(
            f"ALBERT's {expected} layers share one set of weights, so {what} mean nothing there", next="leave them out"
        )
    raise ModelError(
        f"{what} need layers that can be told apart; {len(found)} of {expected} were found in this "
        f"{config.model_type}", next="leave them out",
    )  # fmt: skip


def reinitialise_top_layers(network: TextClassifier, n: int) -> None:
    """Draw the weights of the top `n` layers anew, as the architecture initialises them.

    Zhang et al. 2021, "Revisiting few-sample BERT fine-tuning". Weights come from torch's global random state.

    Raises:
        ModelError: Fewer layers than that.
    """
    if n == 0:
        return
    layers = count_layers(network)
    if n > layers:
        raise ModelError(
            f"[encoder] reinit_layers = {n}, but the encoder has {layers} layers", next=f"{layers} at most"
        )
    for name, module in network.encoder.named_modules():
        depth = _LAYER.search(name)
        if depth is None or depth.end() != len(name) or int(depth[1]) < layers - n:
            continue
        for parameter in module.parameters():
            parameter._is_hf_initialized = False  # else transformers leaves it as it is
        module.apply(network.body._init_weights)


class Thaw:
    """Gradual unfreezing: the head trains at once, the encoder's layers join from the top down, the embeddings last.

    Howard, Ruder 2018, "Universal language model fine-tuning". Layers join at equal distances, so that everything
    trains from step ``share × n_steps`` on. Frozen parameters have no gradient; that they are in the optimizer's groups
    all the while is what makes them train later.

    Args:
        network: All of its parameters are taken over.
        n_steps: Of the whole training.
        share: Of these, in [0, 1]; 0: nothing is ever frozen.
    """

    def __init__(self, network: TextClassifier, n_steps: int, share: float) -> None:
        self._stages: list[tuple[float, list[Parameter]]] = []
        if share == 0:
            return
        depths = parameter_depths(network)
        top = max(depths.values())
        for depth in range(top):
            members = [p for p in network.parameters() if depths[id(p)] == depth]
            self._stages.append((share * n_steps * (top - depth) / top, members))

    def at(self, step: int) -> None:
        """Set what trains in `step`, counted from 0."""
        for begin, members in self._stages:
            for parameter in members:
                parameter.requires_grad_(step >= begin)


def _depth_of_name(name: str, top: int) -> int:
    if layer := _LAYER.search(name):
        return int(layer[1]) + 1
    return 0 if "embed" in name.lower() else top
