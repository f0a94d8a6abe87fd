"""LoRA (Hu et al. 2021, arXiv:2106.09685): low-rank updates of frozen matrices are trained in place of the matrices.

    add_lora(network, options)          # freezes the encoder, puts updates beside its linear layers; the head trains
    merge_lora(network)                 # adds the updates to the matrices: a plain network again

Uses the package peft, which only training needs: what is saved is merged, and scored like any other checkpoint.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from torch import nn

from models.errors import ModelError, did_you_mean
from models.recipe import LoraOptions

if TYPE_CHECKING:
    from models.classifier import TextClassifier


def require_peft() -> None:
    """Told before any work.

    Raises:
        ModelError: The package is not installed.
    """
    if find_spec("peft") is None:
        raise ModelError(
            "[lora] needs the package peft, which is not installed",
            next="`pip install 'kaggle-jobs[lora]'`, or leave [lora] out to train all weights",
        )


def add_lora(network: TextClassifier, options: LoraOptions) -> None:
    """Freeze the encoder and put low-rank updates beside its linear layers. The first ones are zero: nothing changes.

    New weights are drawn from torch's global random state. `network.fixed` then names what never trains.

    Args:
        network: Its head stays as it is and trains.
        options: With a rank above 0.

    Raises:
        ModelError: peft is not installed; no linear layer, or none of the names that are asked for.
    """
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model

    encoder: Any = network.encoder
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=_targets(encoder, options.targets),
    )
    inject_adapter_in_model(config, encoder)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("lora_" in name)
    network.fixed = frozenset(name for name, parameter in network.named_parameters() if not parameter.requires_grad)


def merge_lora(network: TextClassifier) -> None:
    """Add the updates to the matrices that they belong to and take them away; without any, nothing happens.

    In float32 logits stay the same up to rounding.
    """
    if not network.fixed:
        return
    from peft.tuners.lora import LoraLayer

    for name, module in list(network.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, module.get_base_layer())
    network.fixed = frozenset()


def _targets(encoder: nn.Module, wanted: tuple[str, ...]) -> list[str]:
    """Full names of the linear layers that get updates: all of them, or those that end in one of the names."""
    linear = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    short = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
    if not linear:
        raise ModelError("[lora] this encoder has no linear layers to put updates beside", next="leave [lora] out")
    for name in wanted:
        if name not in short:
            raise ModelError(
                f"[lora] targets: the encoder has no linear layer '{name}'",
                found=", ".join(short),
                next=did_you_mean(name, short),
            )
    return [name for name in linear if not wanted or name.rpartition(".")[2] in wanted]
