"""Scoring against its peers: CSV in, probabilities file out, same rows, models and precision, in one run.

    python -m benchmarks.score                        # make bench: CPU, float32
    python -m benchmarks.score --device cuda --precision bf16 --rows 1000000     # benchmarks/gpu.md
    python -m benchmarks.score --shapes BERT-base --tokens 16 --peers sorted --models 1 --rows 256
    python -m benchmarks.cpu                          # on a CPU in fp32, bf16 and int8, by torch and by OpenVINO

Every contestant runs in a process of its own, timed from after its imports: reading, loading the models, tokenising,
inference, writing. The peers are those of `benchmarks.score_peers`, each at the best of a few batch sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.score_peers import CLASSES, PEERS, is_installed
from jobs.machine import peak_memory

SHAPES = {
    "BERT-base": {},
    "MiniLM-L6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "BERT-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "DeBERTa-v3-base": {  # the configuration's own defaults are those of a model of 24 layers, 1,536 wide
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 256, "share_att_key": True,
        "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0,
    },
}  # fmt: skip
# Rows of each for one of BERT-base, so that each takes as long.
SIZE = {"BERT-base": 1.0, "MiniLM-L6": 6.0, "BERT-large": 0.3, "DeBERTa-v3-base": 0.5}
BATCHES = {  # tried on a quarter of the rows where there are several
    "cpu": {
        "pipeline": (1, 8, 32),
        "loader": (32,),
        "sorted": (32,),
        "compiled": (32,),
        "openvino": (8, 32),
        "onnxruntime": (8, 32),
    },
    "cuda": {"pipeline": (32, 128, 512), "loader": (256,), "sorted": (128, 512, 2048), "compiled": (512, 2048)},
}
DEFAULT_PEERS = {
    "cpu": ["pipeline", "loader", "sorted", "openvino", "onnxruntime"],
    "cuda": ["pipeline", "loader", "sorted", "compiled"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="rows for BERT-base; the others get as many as take as long")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--models", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--shapes", nargs="+", default=["BERT-base", "MiniLM-L6"], choices=list(SHAPES))
    parser.add_argument("--tokens", type=int, default=40, help="mean tokens a row, special tokens included")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="without `compiled` on a CPU by default")
    parser.add_argument("--quick", action="store_true", help="peers at the middle one of their batch sizes alone")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contestant:
        run_contestant(arguments.contestant, json.loads(arguments.job))
        return
    rows = arguments.rows or (1024 if arguments.device == "cpu" else 100_000)
    with tempfile.TemporaryDirectory() as scratch:
        print_table(compare(Path(scratch), arguments, rows), arguments)


def compare(folder: Path, arguments: argparse.Namespace, base_rows: int) -> list[dict[str, object]]:
    """Run every contestant on every task, best settings first found on a quarter of the rows."""
    lines: list[dict[str, object]] = []
    peers = arguments.peers
    if peers is None:
        peers = [peer for peer in DEFAULT_PEERS[arguments.device] if is_installed(peer)]
    for shape in arguments.shapes:
        rows = max(8, int(SIZE[shape] * base_rows))
        models = make_models(folder, shape, max(arguments.models))
        table, small = folder / f"{shape}.csv", folder / f"{shape}-small.csv"
        write_texts(table, rows, arguments.tokens)
        if not arguments.quick:
            write_texts(small, rows // 4, arguments.tokens)
        base = {"device": arguments.device, "precision": arguments.precision}
        job = {**base, "csv": str(small), "models": models[:1]}
        best = {peer: middle(peer, job) if arguments.quick else best_batch(peer, job) for peer in peers}
        for count in arguments.models:
            job = {**base, "csv": str(table), "models": models[:count]}
            contestants = {"ours": ("ours", job)}
            for peer, batch in best.items():
                contestants[f"{peer}, batch {batch}"] = (peer, {**job, "batch": batch})
            results = {}
            for name, contestant in contestants.items():
                results[name] = measure(*contestant)
                told = f"{shape}, {count} models, {name}: {rows / results[name]['s']:,.1f} rows/s"
                print(told, file=sys.stderr, flush=True)  # the table comes at the end, which may not be reached
            lines += summarise(shape, count, rows, results)
    return lines


def best_batch(peer: str, job: dict[str, object]) -> int:
    sizes = BATCHES[str(job["device"])][peer]
    if len(sizes) == 1:
        return sizes[0]
    return min(sizes, key=lambda size: measure(peer, {**job, "batch": size})["s"])


def middle(peer: str, job: dict[str, object]) -> int:
    sizes = BATCHES[str(job["device"])][peer]
    return sizes[len(sizes) // 2]


def summarise(shape: str, count: int, rows: int, results: dict[str, dict]) -> list[dict[str, object]]:
    reference = np.array(results["ours"]["scores"])
    return [
        {
            "model": shape,
            "models": count,
            "engine": name,
            "rows/s": rows / result["s"],
            "ours is": result["s"] / results["ours"]["s"],
            "peak MB": result["peak_mb"],
            "largest difference": float(np.abs(np.array(result["scores"]) - reference).max()),
        }
        for name, result in results.items()
    ]


def measure(contestant: str, job: dict[str, object]) -> dict:
    """Seconds, peak memory and the scores of one contestant in a fresh process."""
    with tempfile.TemporaryDirectory() as scratch:
        job = {**job, "scratch": scratch}
        command = [sys.executable, "-m", "benchmarks.score", "--contestant", contestant, "--job", json.dumps(job)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{contestant} failed:\n{done.stderr}")
        result = json.loads(done.stdout.splitlines()[-1])
        result["scores"] = np.load(Path(scratch) / "scores.npy")
    return result


def run_contestant(name: str, job: dict) -> None:
    contestant = {"ours": ours, **PEERS}[name]
    if job.get("clock") == "processor":
        time.perf_counter = time.process_time  # of a busy machine nothing else says much
    seconds, scores, *gate_s = contestant(job)
    np.save(Path(job["scratch"]) / "scores.npy", scores)
    print(json.dumps({"s": seconds, "peak_mb": peak_memory() / 2**20, "gate_s": gate_s[0] if gate_s else 0.0}))


def ours(job: dict) -> tuple[float, np.ndarray, float]:
    import polars as pl

    from jobs.resolve import InputOptions
    from jobs.score import ScoreOptions, run
    from jobs.show.progress import SilentWatch
    from models.inference.gate import GateBounds

    os.chdir(job["scratch"])
    options = ScoreOptions(
        input=InputOptions((job["csv"],)),
        models=tuple(job["models"]),
        device=job["device"],
        precision=job["precision"],
        backend=job.get("backend", "auto"),
        bounds=GateBounds(1.0, 1.0),
        output=Path("scores.parquet"),
    )
    began = time.perf_counter()
    result = run(options, SilentWatch())
    seconds = time.perf_counter() - began
    gate_s = result.performance.stage_seconds["gate"]
    return seconds, pl.read_parquet(result.output).select(pl.col("^prob_.*$")).to_numpy(), gate_s


def make_models(folder: Path, shape: str, count: int) -> list[str]:
    """Random-weight classifiers that share one WordPiece tokenizer."""
    import torch
    from transformers import AutoModelForSequenceClassification, BertConfig, BertTokenizerFast, DebertaV2Config
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(30000))]
    labels = {"id2label": {i: f"c{i}" for i in range(CLASSES)}, "label2id": {f"c{i}": i for i in range(CLASSES)}}
    models = []
    for number in range(count):
        path = folder / f"{shape}-{number}"
        path.mkdir()
        (path / "vocab.txt").write_text("\n".join(words))
        BertTokenizerFast(str(path / "vocab.txt"), model_max_length=512).save_pretrained(path)
        torch.manual_seed(number)
        kind = DebertaV2Config if shape.startswith("DeBERTa") else BertConfig
        config = kind(vocab_size=len(words), **labels, **SHAPES[shape])
        AutoModelForSequenceClassification.from_config(config).save_pretrained(path)
        models.append(str(path))
    return models


def write_texts(path: Path, rows: int, tokens: int) -> None:
    """Log-normal lengths with a mean of so many tokens, special tokens included; no duplicates to gain by."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(tokens - 2) - 0.18, 0.6, rows), 1, 500).astype(int)
    vocabulary = np.array([f"w{i}" for i in range(30000)], dtype=object)
    words = iter(vocabulary[random.integers(0, 30000, lengths.sum())].tolist())
    with path.open("w", newline="") as handle:
        handle.write("id,text\r\n")
        for i, length in enumerate(lengths.tolist()):
            handle.write(f"r{i},{' '.join(islice(words, length))}\r\n")


def print_table(lines: list[dict[str, object]], arguments: argparse.Namespace) -> None:
    import torch
    import transformers

    print(f"\n{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}", end=", ")
    print(f"transformers {transformers.__version__}, {arguments.device}, {arguments.precision}\n")
    columns = list(lines[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    formats = {"rows/s": ",.1f", "ours is": ".2f", "peak MB": ",.0f", "largest difference": ".1e"}
    for line in lines:
        cells = [format(line[name], formats.get(name, "")) + ("×" if name == "ours is" else "") for name in columns]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
