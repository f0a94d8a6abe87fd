"""What one would write or call instead of our engine: peers of `benchmarks.score`. Each scores a job and is timed.

    pipeline    the transformers pipeline, as its documentation shows, one pass a model
    loader      a DataLoader with dynamic padding, rows as they come, one pass a model
    sorted      all rows tokenised, sorted by length, padded batch by batch, as sentence-transformers does
    compiled    the same with torch.compile; compiling is done before the clock starts

A job has `csv`, `models`, `device`, `precision`, `batch`, `scratch`; a peer gives its seconds and (N, C) probabilities.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

CLASSES = 3


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


def length_sorted(job: dict) -> tuple[float, np.ndarray]:
    return _length_sorted(job, compiled=False)


def compiled(job: dict) -> tuple[float, np.ndarray]:
    return _length_sorted(job, compiled=True)


def _length_sorted(job: dict, *, compiled: bool) -> tuple[float, np.ndarray]:
    import polars as pl
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    def load(name: str):
        model = AutoModelForSequenceClassification.from_pretrained(name, dtype=_dtype(torch, job))
        return model.eval().to(job["device"])

    def batch_of(rows: list[list[int]], pad_id: int):
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
        lengths = torch.tensor([len(row) for row in rows])
        mask = (torch.arange(width) < lengths[:, None]).long()
        return {"input_ids": ids.to(job["device"]), "attention_mask": mask.to(job["device"])}

    forward = None
    if compiled:
        forward = load(job["models"][0])
        run = torch.compile(forward, dynamic=True)
        with torch.inference_mode():
            for size, width in ((job["batch"], 32), (job["batch"], 48), (job["batch"] - 1, 200)):
                run(**batch_of([[5] * width] * (size - 1) + [[5] * (width - 1)], 0))
    began = time.perf_counter()
    table = pl.read_csv(job["csv"])
    total = np.zeros((len(table), CLASSES), dtype=np.float32)
    tokenizer = AutoTokenizer.from_pretrained(job["models"][0])  # one for all models, which this benchmark knows
    rows = tokenizer(table["text"].to_list(), truncation=True)["input_ids"]
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    for name in job["models"]:
        if forward is None:
            run = load(name)
        else:
            forward.load_state_dict(load(name).state_dict())
        parts = []
        with torch.inference_mode():
            for start in range(0, len(order), job["batch"]):
                batch = batch_of([rows[i] for i in order[start : start + job["batch"]]], tokenizer.pad_token_id)
                parts.append(run(**batch).logits.float().softmax(-1))
        total[order] += torch.cat(parts).cpu().numpy()
    scores = total / len(job["models"])
    pl.DataFrame(scores).with_columns(table["id"]).write_csv(Path(job["scratch"]) / "scores.csv")
    return time.perf_counter() - began, scores


PEERS = {"pipeline": pipeline, "loader": loader, "sorted": length_sorted, "compiled": compiled}
