"""OpenVINO and NNCF behind a few functions. Nothing else imports them.

Both report each import and conversion to their makers through the package `openvino_telemetry`, unless that cannot be
imported. So in a process of ours it cannot.

OpenVINO computes with one stream, and as many threads as torch: then the same batch always gives the same bytes,
whatever was computed before it. Threads are not bound to cores: those of two processes would be bound to the same ones.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

INSTALL = "pip install 'kaggle-jobs[openvino]'"

Graph = Any  # openvino.Model
Inputs = Mapping[str, NDArray[np.int64]]  # name of an input → (B, T)
Infer = Callable[[Inputs], NDArray[np.float32]]  # to (B, C) logits

_FILE = "model.xml"
_LEAST_WIDTH = 16  # of a layer


def is_installed(*, quantiser: bool = False) -> bool:
    """Whether OpenVINO can be imported; with `quantiser`, NNCF as well."""
    names = ("openvino", "nncf") if quantiser else ("openvino",)
    return all(importlib.util.find_spec(name) is not None for name in names)


def versions(*, quantiser: bool = False) -> str:
    """``openvino 2026.4.1``, with NNCF's own where that is asked for."""
    names = ("openvino", "nncf") if quantiser else ("openvino",)
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def convert(network: nn.Module, example: Mapping[str, Tensor]) -> Graph:
    """The graph of a network, for any number of rows and tokens.

    Args:
        network: In float32, on the CPU; called with the keyword arguments of `example`.
        example: Two rows of it. More rows or tokens than the example has may not be told from it: see `fixed_rows`.

    Raises:
        Exception: Of whatever kind, where an operation cannot be converted.
    """
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about tracing: whether it went well is checked behind it
        return _openvino().convert_model(network, example_input=dict(example))


def fixed_rows(graph: Graph) -> bool:
    """Whether the logits are of a fixed number of rows: the trace took the example's for a constant.

    Such a graph must not be computed: with other rows it reads and writes outside of its memory.
    """
    return bool(graph.output(0).partial_shape[0].is_static)


def quantise(graph: Graph, rows: Sequence[Inputs]) -> Graph:
    """The graph with products in int8: weights by output channel, activations by the ranges that `rows` show.

    Embeddings stay as they are: looking them up costs nothing. So do, in the first third of the layers, the products
    that narrow what an activation function gave: its few large values made most of the other error (decision 0018).

    Args:
        graph: Of a transformer.
        rows: Each a batch of its own; without padding, whose activations mean nothing.
    """
    nncf = _nncf()
    names = _names(graph)
    with _without_progress():
        return nncf.quantize(
            graph,
            nncf.Dataset([{name: array for name, array in row.items() if name in names} for row in rows]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows),
            ignored_scope=nncf.IgnoredScope(names=[*_lookups(graph), *_early_narrowing(graph)]),
        )


def save(graph: Graph, folder: Path) -> None:
    """Write a graph and its weights, as they are."""
    _openvino().save_model(graph, folder / _FILE, compress_to_fp16=False)


def compile_graph(source: Graph | Path, precision: str, threads: int) -> Infer:
    """A function that computes logits.

    Args:
        source: A graph, or the folder that one was saved to.
        precision: ``fp32`` or ``bf16``: of all that is not quantised.
        threads: Of it.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # what is float32 stays so
    }
    compiled = _core().compile_model(source / _FILE if isinstance(source, Path) else source, "CPU", settings)
    request = compiled.create_infer_request()
    names = _names(compiled)

    def infer(inputs: Inputs) -> NDArray[np.float32]:
        known = {name: array for name, array in inputs.items() if name in names}
        return np.array(request.infer(known, share_inputs=True, share_outputs=True)[0])

    return infer


def says_out_of_memory(exc: Exception) -> bool:
    """Whether an error of OpenVINO says that there is no memory left."""
    return isinstance(exc, MemoryError) or any(
        sign in str(exc) for sign in ("bad_alloc", "Failed to allocate", "out of memory")
    )


def _names(graph: Graph) -> set[str]:
    """Of its inputs. What a network ignores is not among them."""
    return {name for port in graph.inputs for name in port.get_names()}


def _lookups(graph: Graph) -> list[str]:
    """Names of what reads rows of a constant table."""
    return [
        op.get_friendly_name()
        for op in graph.get_ops()
        if op.get_type_name() == "Gather" and op.input_value(0).get_node().get_type_name() == "Constant"
    ]


def _early_narrowing(graph: Graph) -> list[str]:
    """Names of the first third of the products whose constant has at least twice as many inputs as outputs.

    These are the second ones of the feed-forward parts; a classifier, which has few outputs, is none of them.
    """
    found = []
    for op in graph.get_ordered_ops():
        if op.get_type_name() == "MatMul" and op.input_value(1).get_node().get_type_name() == "Constant":
            shape = list(op.input_value(1).get_shape())
            outputs, inputs = shape if op.get_attributes()["transpose_b"] else shape[::-1]
            if inputs >= 2 * outputs >= 2 * _LEAST_WIDTH:
                found.append(op.get_friendly_name())
    return found[: round(len(found) / 3)]


def _openvino() -> Any:
    _silence()
    import openvino

    return openvino


def _nncf() -> Any:
    _silence()
    import nncf

    nncf.set_log_level(40)  # errors
    return nncf


@cache
def _core() -> Any:
    return _openvino().Core()


def _silence() -> None:
    """Nothing is told to anybody; also where a notebook imported OpenVINO first, which then told of that itself."""
    telemetry = sys.modules.get("openvino_telemetry")
    if telemetry is None:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes an import of it fail
    elif hasattr(telemetry, "Telemetry"):
        for name in ("send_event", "send_error", "send_stack_trace", "start_session", "end_session"):
            setattr(telemetry.Telemetry, name, lambda *_, **__: None)


@contextmanager
def _without_progress() -> Iterator[None]:
    """NNCF draws progress bars on rich's own console, which writes to stdout."""
    import rich

    console = rich.get_console()
    quiet, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = quiet
