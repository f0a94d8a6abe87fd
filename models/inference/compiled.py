"""A network whose layers torch compiles: what lies between matrix products becomes one kernel instead of many.

    reason = enable(network, packed=True)      # None, or why the eager layers stay
    disable(network)

One layer is compiled, for all of its kind, for any number of rows and tokens: seconds instead of minutes, and no
compiling later. Rows side by side, the flat sequence of packed rows and padded rows are a variant each. On CUDA query,
key and value are one product (`models.inference.joined`), and in bfloat16 the product before a GELU applies it
(`models.inference.fused`). What is compiled must give what the eager layers give, or it is refused. Nothing is measured
here: see `models.inference.gain`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.classifier import TextClassifier
from models.inference import disentangled, fused, joined
from models.inference.packed import TOLERANCE, PackedRows, pack, packed_logits
from models.inference.varlen import ATTENTION
from models.padding import end_text
from models.peculiar import n_known_tokens

BACKEND = "inductor"  # of torch.compile; tests take quicker ones
# Rows of each variant that is compiled and compared: the same in every process, so that all compile the same. No two
# numbers alike, since torch takes equal sizes for one size. On a GPU enough that kernels are made for many rows: below
# 1,024 tokens each norm of a token is given a block of several warps, beyond one warp, which needs no shared memory.
_ROWS = {"cuda": 293}
_FEW_ROWS, _LENGTH, _SHORT = 13, 29, 11
# Of one function, which all layers of all networks share: two variants or three for each shape of network.
_VARIANTS = 256

# Packed rows, or (B, L) ids with their mask and types.
_Example = PackedRows | tuple[Tensor, Tensor | None, Tensor | None]


def enable(network: TextClassifier, *, packed: bool) -> str | None:
    """Compile a network's layers and let them compute from now on.

    Args:
        network: On its device, in its number format.
        packed: Whether what is left of each length is packed rather than padded.

    Returns:
        Why the eager layers stay, for the user; None where all is well.
    """
    disable(network)
    modules = regions(network)
    if not modules:
        return f"{network.body.config.model_type} has no layers that could be compiled"
    if network.sparse_beyond is not None:
        return f"its attention becomes sparse beyond {network.sparse_beyond} tokens"
    try:
        _allow_variants()
        with torch.inference_mode(), _quiet():
            examples = list(_examples(network, packed=packed))
            eager = [_logits(network, example) for example in examples]
            if fused.wants_fusing(network):
                fused.fuse(network)
            if joined.wants_joining(network):
                joined.join(network)
            run = torch.compile(_run, dynamic=True, backend=BACKEND, **_options())
            for module in modules:
                _install(module, network, run)
            found = [_logits(network, example) for example in examples]
        error = max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in zip(found, eager, strict=True))
    except Exception as exc:  # no compiler here, or an architecture that it does not understand: eager layers work
        disable(network)
        cause = getattr(exc, "inner_exception", None) or exc
        return f"compiling fails: {str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__}"
    if not error <= TOLERANCE[next(network.parameters()).dtype]:  # NaN is refused, too
        disable(network)
        return f"logits of the compiled layers were {error:.1e} off those of the eager ones"
    return None


def _allow_variants() -> None:
    """All layers of all networks share one function; beyond torch's limit for one, eager layers would take over."""
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _VARIANTS)


def disable(network: TextClassifier) -> None:
    """Let the eager layers compute again."""
    fused.undo(network)
    joined.undo(network)
    for module in regions(network):
        vars(module).pop("forward", None)


def regions(network: TextClassifier) -> list[nn.Module]:
    """What is compiled: the layers of the encoder, and its embeddings."""
    found, embeddings = layers(network), getattr(network.encoder, "embeddings", None)
    return [*found, embeddings] if found and isinstance(embeddings, nn.Module) else found


def layers(network: TextClassifier) -> list[nn.Module]:
    """The layers of the encoder: what stands in its outermost lists of modules."""
    lists = [(name, module) for name, module in network.encoder.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [
        module for name, module in lists if not any(name.startswith(f"{other}.") for other, _ in lists if other != name)
    ]
    return [layer for module in outer for layer in module if _has_matrix(layer)]


def _has_matrix(module: nn.Module) -> bool:
    return any(part.ndim == 2 for part in (*module.parameters(), *module.buffers()))


def _run(module: nn.Module, *arguments: Any, **named: Any) -> Any:
    return type(module).forward(module, *arguments, **named)


def _install(module: nn.Module, network: TextClassifier, run: Callable[..., Any]) -> None:
    config = network.body.config

    def forward(*arguments: Any, **named: Any) -> Any:
        shapes = [part.shape[:2] for part in (*arguments, *named.values()) if isinstance(part, Tensor)]
        # A size of one is a variant of its own to torch, worth it for the flat sequence alone; so are token types.
        alone = config._attn_implementation != ATTENTION and 1 in shapes[0]
        if alone or named.get("token_type_ids") is not None:
            return _run(module, *arguments, **named)
        return run(module, *arguments, **named)

    vars(module)["forward"] = forward


def _logits(network: TextClassifier, example: _Example) -> Tensor:
    if isinstance(example, PackedRows):
        return packed_logits(network, example).float()
    return network(*example).float()  # type: ignore[no-any-return]


def _examples(network: TextClassifier, *, packed: bool) -> Iterator[_Example]:
    """Random tokens in each layout that batches may have: side by side, and what is left, packed or padded.

    Rows that are longer than an attention window are masked within, and those of DeBERTa for whose distances there is
    no table are attended to in another way: layouts of their own.
    """
    config: Any = network.body.config
    longest = getattr(config, "max_position_embeddings", _LENGTH) - 4
    lengths = [_LENGTH]
    if (window := getattr(config, "sliding_window", None)) is not None:
        lengths = [min(_LENGTH, window - 1), 2 * window + 3]
    elif (reach := disentangled.table_reach(network)) is not None:
        lengths = [min(_LENGTH, reach), reach + 3]
    for length in lengths:
        yield from _examples_of(network, min(length, longest), packed=packed)


def _examples_of(network: TextClassifier, length: int, *, packed: bool) -> Iterator[_Example]:
    config: Any = network.body.config
    device = next(network.parameters()).device
    random = torch.Generator().manual_seed(0)
    rows = _ROWS.get(device.type, _FEW_ROWS)
    ids = torch.randint(n_known_tokens(config), (rows, length), generator=random)
    end_text(network, ids)
    types = None
    if network.form == "apart":
        types = (torch.arange(length) >= length // 2).long().expand_as(ids)
    ids, types = ids.to(device), None if types is None else types.to(device)
    yield ids, None, types
    lengths = torch.tensor([length] * _SHORT + [length // 2] * (rows - _SHORT), device=device)
    mask = (torch.arange(length, device=device) < lengths[:, None]).long()
    if not packed:
        yield ids, mask, types
        return
    inside = mask.bool()
    offsets = nn.functional.pad(lengths.cumsum(0), (1, 0))
    flat = None if types is None else types[inside]
    yield pack(ids[inside], offsets, torch.arange(rows, device=device), int(lengths.sum()), length, flat)


def _options() -> dict[str, Any]:
    """What makes every process compile the same kernels: nothing is chosen by how fast it ran once."""
    if BACKEND != "inductor":
        return {}
    from torch._inductor import config

    return {"options": {"deterministic": True}} if hasattr(config, "deterministic") else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's advice on compiling is for programmers."""
    loggers = [logging.getLogger(name) for name in ("torch._dynamo", "torch._inductor")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
