"""Scoring against its peers: CSV in, probabilities file out, same rows, models and precision, in one run.

    python -m benchmarks.score                        # make bench: CPU, float32
    python -m benchmarks.score --device cuda --precision bf16 --rows 200000

Every contestant runs in a process of its own, timed from after its imports: reading, loading the models, tokenising,
inference, writing. Peers do what their documentation shows: (a) the transformers pipeline at its best batch size, one
pass a model; (b) a hand-written DataLoader loop with dynamic padding, one pass a model.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES = 3
SHAPES = {
    "BERT-base": {},
    "MiniLM-L6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
}
PIPELINE_BATCHES = {"cpu": (1, 8, 32), "cuda": (32, 128, 512)}
LOADER_BATCH = {"cpu": 32, "cuda": 256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="rows for BERT-base; MiniLM gets six times as many")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--models", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
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
    for shape in arguments.shapes:
        rows = base_rows if shape == "BERT-base" else 6 * base_rows
        models = make_models(folder, shape, max(arguments.models))
        table, small = folder / f"{shape}.csv", folder / f"{shape}-small.csv"
        write_texts(table, rows)
        write_texts(small, rows // 4)
        base = {"device": arguments.device, "precision": arguments.precision}
        best = min(
            PIPELINE_BATCHES[arguments.device],
            key=lambda size: measure("pipeline", {**base, "csv": str(small), "models": models[:1], "batch": size})["s"],
        )
        for count in arguments.models:
            job = {**base, "csv": str(table), "models": models[:count], "out": str(folder / "scores.npy")}
            loader_batch = LOADER_BATCH[arguments.device]
            results = {
                "ours": measure("ours", job),
                f"pipeline, batch {best}": measure("pipeline", {**job, "batch": best}),
                f"DataLoader, batch {loader_batch}": measure("loader", {**job, "batch": loader_batch}),
            }
            lines += summarise(shape, count, rows, results)
    return lines


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
    contestant = {"ours": ours, "pipeline": pipeline, "loader": loader}[name]
    seconds, scores = contestant(job)
    np.save(Path(job["scratch"]) / "scores.npy", scores)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"s": seconds, "peak_mb": peak_mb}))


def ours(job: dict) -> tuple[float, np.ndarray]:
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
        bounds=GateBounds(1.0, 1.0),
        output=Path("scores.parquet"),
    )
    began = time.perf_counter()
    result = run(options, SilentWatch())
    seconds = time.perf_counter() - began
    return seconds, pl.read_parquet(result.output).select(pl.col("^prob_.*$")).to_numpy()


def pipeline(job: dict) -> tuple[float, np.ndarray]:
    import polars as pl
    import torch
    from transformers import pipeline as make

    began = time.perf_counter()
    table = pl.read_csv(job["csv"])
    total = np.zeros((len(table), CLASSES))
    for model in job["models"]:
        classify = make("text-classification", model=model, device=job["device"], dtype=_dtype(torch, job), top_k=None)
        answers = classify(table["text"].to_list(), batch_size=job["batch"], truncation=True)
        total += [[row["score"] for row in sorted(answer, key=lambda r: r["label"])] for answer in answers]
    scores = total / len(job["models"])
    pl.DataFrame(scores).with_columns(table["id"]).write_csv(Path(job["scratch"]) / "scores.csv")
    return time.perf_counter() - began, scores


def loader(job: dict) -> tuple[float, np.ndarray]:
    import polars as pl
    import torch
    from torch.utils.data import DataLoader
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    began = time.perf_counter()
    table = pl.read_csv(job["csv"])
    total = np.zeros((len(table), CLASSES), dtype=np.float32)
    for name in job["models"]:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForSequenceClassification.from_pretrained(name, dtype=_dtype(torch, job))
        model.eval().to(job["device"])
        encoded = tokenizer(table["text"].to_list(), truncation=True)
        rows = [{key: encoded[key][i] for key in ("input_ids", "attention_mask")} for i in range(len(table))]
        batches = DataLoader(rows, batch_size=job["batch"], collate_fn=DataCollatorWithPadding(tokenizer))
        parts = []
        with torch.inference_mode():
            for batch in batches:
                logits = model(**batch.to(job["device"])).logits
                parts.append(logits.float().softmax(-1).cpu().numpy())
        total += np.concatenate(parts)
    scores = total / len(job["models"])
    pl.DataFrame(scores).with_columns(table["id"]).write_csv(Path(job["scratch"]) / "scores.csv")
    return time.perf_counter() - began, scores


def _dtype(torch, job: dict):
    return torch.bfloat16 if job["precision"] == "bf16" else torch.float32


def make_models(folder: Path, shape: str, count: int) -> list[str]:
    """Random-weight classifiers that share one WordPiece tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(30000))]
    labels = {"id2label": {i: f"c{i}" for i in range(CLASSES)}, "label2id": {f"c{i}": i for i in range(CLASSES)}}
    models = []
    for number in range(count):
        path = folder / f"{shape}-{number}"
        path.mkdir()
        (path / "vocab.txt").write_text("\n".join(words))
        BertTokenizerFast(str(path / "vocab.txt"), model_max_length=512).save_pretrained(path)
        torch.manual_seed(number)
        config = BertConfig(vocab_size=len(words), **labels, **SHAPES[shape])
        BertForSequenceClassification(config).save_pretrained(path)
        models.append(str(path))
    return models


def write_texts(path: Path, rows: int) -> None:
    """Log-normal lengths with a mean of 40 tokens, special tokens included; no duplicates to gain by."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(38) - 0.18, 0.6, rows), 1, 500).astype(int)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "text"])
        for i, length in enumerate(lengths):
            writer.writerow([f"r{i}", " ".join(f"w{w}" for w in random.integers(0, 30000, length))])


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
