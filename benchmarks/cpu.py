"""Number formats and backends on a CPU, beside plain loops over the same ones: one table, CSV in, Parquet out.

    pip install -e '.[openvino,bench]' -c constraints.txt
    python -m benchmarks.cpu                                    # BERT-base on two quiet cores: about eight minutes
    OMP_NUM_THREADS=1 python -m benchmarks.cpu --clock processor --shape MiniLM-L6       # on a busy machine

Each contestant has a process of its own and the batch size that was best in float32. Exports and quantised networks
are made before the clock starts, as they are made once: peers make them first, ours finds them in its cache. The faster
formats get more rows, so that each takes about as long. `gate s` is what trying the format on 128 rows took, whatever
the table's size; `loops` is how many times as fast it is as the torch loop in float32, and that with the gate left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.score import SHAPES, SIZE, best_batch, make_models, measure, print_table, write_texts
from benchmarks.score_peers import is_installed

TIMES = {"fp32": 1, "bf16": 2, "int8": 5}  # rows for one of float32
CONTESTANTS = [  # format, name for the table, contestant, backend of ours
    ("fp32", "ours, torch", "ours", "torch"),
    ("fp32", "ours, OpenVINO", "ours", "openvino"),
    ("fp32", "torch, DataLoader", "loader", None),
    ("fp32", "torch, sorted by length", "sorted", None),
    ("fp32", "OpenVINO, plain loop", "openvino", None),
    ("fp32", "ONNX Runtime, plain loop", "onnxruntime", None),
    ("bf16", "ours, torch", "ours", "torch"),
    ("bf16", "ours, OpenVINO", "ours", "openvino"),
    ("bf16", "OpenVINO, plain loop", "openvino", None),
    ("int8", "ours, OpenVINO", "ours", "openvino"),
    ("int8", "OpenVINO, plain loop, NNCF", "openvino", None),
    ("int8", "ONNX Runtime, plain loop, dynamic", "onnxruntime", None),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=320, help="of BERT-base in float32")
    parser.add_argument("--shape", default="BERT-base", choices=list(SHAPES))
    parser.add_argument("--tokens", type=int, default=40, help="mean tokens a row, special tokens included")
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"])
    parser.add_argument("--formats", nargs="+", default=list(TIMES), choices=list(TIMES))
    arguments = parser.parse_args()
    arguments.device, arguments.precision = "cpu", arguments.clock + " seconds"
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        print_table(compare(Path(scratch), arguments), arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """A line for each contestant; differences are from ours in float32, on the rows that both scored."""
    rows = max(8, int(SIZE[arguments.shape] * arguments.rows))
    models = make_models(folder, arguments.shape, 1)
    tables = cut_tables(folder, {name: TIMES[name] * rows for name in TIMES} | {"small": rows // 4}, arguments.tokens)
    base = {"device": "cpu", "models": models, "clock": arguments.clock}
    best: dict[str, int] = {}
    lines, reference, loop = [], None, None
    for precision, name, contestant, backend in CONTESTANTS:
        if precision not in arguments.formats or not is_installed(contestant if backend is None else backend):
            continue
        job = {**base, "precision": precision, "csv": str(tables[precision]), "backend": backend}
        if contestant != "ours":
            if contestant not in best:
                best[contestant] = best_batch(contestant, {**job, "csv": str(tables["small"])})
            job["batch"] = best[contestant]
            name = f"{name}, batch {job['batch']}"
        elif backend == "openvino":
            measure(contestant, job)  # exports, quantises
        result = measure(contestant, job)
        scores = np.array(result["scores"])
        rate = len(scores) / result["s"]
        reference = scores if reference is None else reference
        loop = rate if contestant == "loader" else loop
        lines.append((precision, name, scores, rate, result, reference))
    return [summarise(*line, loop) for line in lines]


def summarise(
    precision: str, name: str, scores: np.ndarray, rate: float, result: dict, reference: np.ndarray, loop: float | None
) -> dict[str, object]:
    without_gate = len(scores) / (result["s"] - result["gate_s"])
    common = min(len(scores), len(reference))
    moved = np.abs(scores[:common] - reference[:common]).max()
    times = "–" if loop is None else f"{rate / loop:.2f}×, {without_gate / loop:.2f}×"
    return {
        "format": precision,
        "engine": name,
        "rows": len(scores),
        "rows/s": rate,
        "gate s": round(result["gate_s"], 1),
        "loops": times,
        "peak MB": result["peak_mb"],
        "largest difference": float(moved),
    }


def cut_tables(folder: Path, sizes: dict[str, int], tokens: int) -> dict[str, Path]:
    """Tables that all begin with the same rows."""
    whole = folder / "whole.csv"
    write_texts(whole, max(sizes.values()), tokens)
    lines = whole.read_text().splitlines(keepends=True)
    tables = {}
    for name, n_rows in sizes.items():
        tables[name] = folder / f"{name}.csv"
        tables[name].write_text("".join(lines[: n_rows + 1]))
    return tables


if __name__ == "__main__":
    main()
