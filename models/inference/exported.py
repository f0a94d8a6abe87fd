"""A network computed by OpenVINO, in the place of the torch module that it was exported from.

    network = export(network, "runs/bert/fold0", 128, "bf16")
    logits = network(input_ids, attention_mask)                    # (B, C) float32, as before

What is exported or quantised is kept in the user's cache folder, by fingerprint of the checkpoint (of int8 also by the
rows that it was calibrated on). Before a graph is used its logits are compared with those of the stock forward pass;
int8 is instead judged by the precision gate, on the user's rows.

Only architectures that were tried are exported: a wrong trace can read outside of its memory, and no check behind it
would help.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models import cache
from models.classifier import TextClassifier
from models.hub import fingerprint, weight_bytes
from models.inference import disentangled
from models.inference import openvino_runtime as runtime
from models.inference.device import has_fast_bf16
from models.inference.tokens import Tokens
from models.peculiar import n_known_tokens
from models.pretrained import quiet_transformers

KIND = "openvino"  # folder of the cache
# Not modernbert: where no token in a padded row's window is real, OpenVINO gives NaN.
ARCHITECTURES = (
    "bert", "roberta", "xlm-roberta", "camembert", "electra", "albert", "distilbert", "deberta-v2", "mpnet",
)  # fmt: skip
# How far logits may be from those of the stock forward pass in float32, relative to their norm.
_TOLERANCE = {"fp32": 2e-5, "bf16": 5e-2}
_EXAMPLE = (2, 3)  # rows and tokens that are traced: less than the check and most texts have
_CHECK_LENGTH = 32
_FORMAT = 2  # changes where what is kept would be made in another way


class NotExported(Exception):
    """Why a network stays with torch, in a few words for the user."""


class ExportedNetwork(nn.Module):
    """A compiled graph, called as the `TextClassifier` was.

    Args:
        infer: Computes logits.
    """

    def __init__(self, infer: runtime.Infer) -> None:
        super().__init__()
        self._infer = infer

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """(B, C) float32 logits of (B, T) int64 ids; see `TextClassifier.forward`.

        Raises:
            torch.OutOfMemoryError: No memory is left.
        """
        inputs = {
            "input_ids": input_ids.numpy(),
            "attention_mask": torch.ones_like(input_ids).numpy() if attention_mask is None else attention_mask.numpy(),
            "token_type_ids": torch.zeros_like(input_ids).numpy() if token_type_ids is None else token_type_ids.numpy(),
        }
        try:
            return torch.from_numpy(self._infer(inputs))
        except (RuntimeError, MemoryError) as exc:
            if runtime.says_out_of_memory(exc):
                raise torch.OutOfMemoryError(str(exc)) from exc
            raise


def export(
    network: TextClassifier, source: str, max_length: int, precision: str, rows: Tokens | None = None
) -> ExportedNetwork:
    """The same network, computed by OpenVINO.

    Args:
        network: In float32, on the CPU, in evaluation mode; one that attends to rows of all lengths in one way.
        source: The directory that it was loaded from.
        max_length: Tokens a row at most.
        precision: ``fp32``, ``bf16`` or ``int8``.
        rows: What int8 is calibrated on; None for other formats.

    Raises:
        NotExported: It cannot be, or gives other logits.
    """
    if reason := _unfit(network):
        raise NotExported(reason)
    if disentangled.table_reach(network) is not None:
        raise ValueError("it attends to long rows in another way, and a trace knows that of its example alone")
    key = _key(network, source, rows)
    graph = cache.find(KIND, key) or _make(network, source, key, max_length, rows)
    beside = precision
    if precision == "int8":  # what is not quantised
        beside = "bf16" if has_fast_bf16(torch.device("cpu")) else "fp32"
    exported = _compile(graph, beside)
    if precision != "int8":
        _check(network, exported, max_length, _TOLERANCE[precision])
    return exported


def _unfit(network: TextClassifier) -> str | None:
    architecture = network.body.config.model_type
    if network.form == "apart":
        return "it reads two texts apart"
    if network.words is not None:  # as many rounds as a text has tokens: a trace knows those of its example
        return "it looks words up"
    if architecture not in ARCHITECTURES:
        return f"not known for {architecture}"
    return None


def _key(network: TextClassifier, source: str, rows: Tokens | None) -> str:
    """Of what the graph depends on: the weights, how it attends, the versions, the rows of calibration."""
    summary = hashlib.blake2b(digest_size=12)
    versions = runtime.versions(quantiser=rows is not None)
    said = [_FORMAT, torch.__version__, versions, fingerprint(Path(source)), disentangled.longest_row(network)]
    summary.update(repr(said).encode())
    for array in () if rows is None else (rows.ids, rows.offsets, rows.types):
        summary.update(b"-" if array is None else array.tobytes())
    return summary.hexdigest()


def _make(network: TextClassifier, source: str, key: str, max_length: int, rows: Tokens | None) -> Path | runtime.Graph:
    """The folder of the graph in the cache, or, where nothing can be kept, the graph itself."""
    graph = _convert(network)
    if rows is not None:
        # Quantising computes the graph: not before it was found right.
        _check(network, _compile(graph, "fp32"), max_length, _TOLERANCE["fp32"])
        try:
            graph = runtime.quantise(graph, _one_by_one(rows))
        except Exception as exc:
            raise NotExported(f"it cannot be quantised: {_reason(exc)}") from exc
    try:
        return cache.keep(KIND, key, lambda folder: runtime.save(graph, folder), 2 * weight_bytes(Path(source)))
    except (OSError, RuntimeError):
        return graph


def _compile(graph: Path | runtime.Graph, precision: str) -> ExportedNetwork:
    try:
        return ExportedNetwork(runtime.compile_graph(graph, precision, torch.get_num_threads()))
    except Exception as exc:
        raise NotExported(f"OpenVINO cannot compile it: {_reason(exc)}") from exc


def _convert(network: TextClassifier) -> runtime.Graph:
    ids = torch.full(_EXAMPLE, 5)
    example = {"input_ids": ids, "attention_mask": torch.tensor([[1] * _EXAMPLE[1], [1] * (_EXAMPLE[1] - 1) + [0]])}
    if _reads_types(network):
        example["token_type_ids"] = torch.zeros_like(ids)
    try:
        with quiet_transformers():  # which warns of attributes that the trace looks at
            graph = runtime.convert(network, example)
    except Exception as exc:
        raise NotExported(f"it cannot be exported: {_reason(exc)}") from exc
    if runtime.fixed_rows(graph):
        raise NotExported("its export is for a fixed number of rows")
    return graph


def _reads_types(network: TextClassifier) -> bool:
    types = torch.zeros(_EXAMPLE, dtype=torch.long)
    return network.types_of_body(types) is not None or bool(getattr(network.head, "reads_segments", False))


def _check(network: TextClassifier, exported: ExportedNetwork, max_length: int, tolerance: float) -> None:
    """Compare logits of a few random rows, padded and not.

    Raises:
        NotExported: They differ, are no numbers, or cannot be computed.
    """
    with torch.inference_mode():
        for ids, mask, types in _examples(network, min(max_length, _CHECK_LENGTH)):
            stock = network(ids, mask, types)
            try:
                own = exported(ids, mask, types)
            except Exception as exc:
                raise NotExported(f"OpenVINO cannot compute it: {_reason(exc)}") from exc
            off = float((own - stock).norm() / stock.norm().clamp(min=1e-12))
            if not off <= tolerance:  # NaN is refused, too
                raise NotExported(f"its logits were {off:.1e} off those of its stock forward pass")


def _examples(network: TextClassifier, longest: int) -> list[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Batches of random rows: ids, mask, types."""
    config = network.body.config
    random = torch.Generator().manual_seed(0)
    n_types = min(2, getattr(config, "type_vocab_size", 0) or 0) if _reads_types(network) else 0
    batches = []
    for n_rows, length, padded in ((3, longest, True), (4, min(7, longest), False), (1, longest, False), (1, 2, False)):
        ids = torch.randint(n_known_tokens(config), (n_rows, length), generator=random)
        types = torch.randint(n_types, (n_rows, length), generator=random) if n_types else None
        mask = None
        if padded:
            mask = (torch.arange(length) < torch.tensor([[length], [max(1, length // 2)], [1]])).long()
            ids = torch.where(mask.bool(), ids, config.pad_token_id or 0)
        batches.append((ids, mask, types))
    return batches


def _one_by_one(rows: Tokens) -> Sequence[runtime.Inputs]:
    """Each row as a batch, without padding."""
    batches = []
    for begin, end in zip(rows.offsets[:-1], rows.offsets[1:], strict=True):
        ids = rows.ids[begin:end].astype(np.int64)[None]
        types = np.zeros_like(ids) if rows.types is None else rows.types[begin:end].astype(np.int64)[None]
        batches.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types})
    return batches


def _reason(exc: Exception) -> str:
    """The line that tells most: OpenVINO ends with the operations that it has no equal of."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()] or [type(exc).__name__]
    return next((line.removeprefix("-- ") for line in lines if line.startswith("-- Conversion is failed")), lines[0])
