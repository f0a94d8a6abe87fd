"""What one would write or call instead of our engine: peers of `benchmarks.score`. Each scores a job and is timed.

    pipeline    the transformers pipeline, as its documentation shows, one pass a model
    loader      a DataLoader with dynamic padding, rows as they come, one pass a model
    sorted      all rows tokenised, sorted by length, padded batch by batch, as sentence-transformers does
    compiled    the same with torch.compile; compiling is done before the clock starts
    openvino    a plain loop over OpenVINO, as `loader` else: exported (int8: quantised by NNCF) before the clock starts
    onnxruntime the same over ONNX Runtime; int8 is its dynamic quantisation

A job has `csv`, `models`, `device`, `precision`, `batch`, `scratch`; a peer gives its seconds and (N, C) probabilities.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
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


def openvino_loop(job: dict) -> tuple[float, np.ndarray]:
    import sys

    sys.modules["openvino_telemetry"] = None  # so that nothing is sent to anybody
    import openvino
    import torch

    folder = Path(job["scratch"])
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if job["precision"] == "bf16" else "f32"}
    for number, name in enumerate(job["models"]):
        example = {"input_ids": torch.full((2, 9), 5), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
        graph = openvino.convert_model(_stock(name), example_input=example)
        if job["precision"] == "int8":
            graph = _quantised(graph, job, name)
        openvino.save_model(graph, folder / f"{number}.xml", compress_to_fp16=False)

    def load(number: int):
        compiled = openvino.compile_model(folder / f"{number}.xml", "CPU", hint)
        return lambda batch: compiled({name: batch[name] for name in ("input_ids", "attention_mask")})[0]

    return _plain_loop(job, load)


def onnxruntime_loop(job: dict) -> tuple[float, np.ndarray]:
    import warnings

    import onnxruntime
    import torch
    from onnxruntime.quantization import quantize_dynamic

    folder = Path(job["scratch"])
    axes = {"input_ids": {0: "rows", 1: "tokens"}, "attention_mask": {0: "rows", 1: "tokens"}, "logits": {0: "rows"}}
    for number, name in enumerate(job["models"]):
        example = (torch.full((2, 9), 5), torch.ones(2, 9, dtype=torch.long))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _stock(name), example, folder / f"{number}.onnx", dynamo=False, input_names=list(axes)[:2],
                output_names=["logits"], dynamic_axes=axes, opset_version=17,
            )  # fmt: skip
        if job["precision"] == "int8":
            quantize_dynamic(folder / f"{number}.onnx", folder / f"{number}.int8.onnx")

    def load(number: int):
        file = folder / (f"{number}.int8.onnx" if job["precision"] == "int8" else f"{number}.onnx")
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {name: batch[name] for name in ("input_ids", "attention_mask")})[0]

    return _plain_loop(job, load)


def _stock(name: str):
    """A network called with ids and a mask, that gives logits."""
    import torch
    from transformers import AutoModelForSequenceClassification

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModelForSequenceClassification.from_pretrained(name, dtype=torch.float32).eval()

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    return Logits()


def _quantised(graph, job: dict, name: str):
    """As NNCF's documentation shows, calibrated on the first rows."""
    import nncf
    import polars as pl
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    texts = pl.read_csv(job["csv"], n_rows=128)["text"].to_list()
    rows = [tokenizer([text], truncation=True, return_tensors="np") for text in texts]
    data = nncf.Dataset([{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows])
    return nncf.quantize(graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))


def _plain_loop(job: dict, load) -> tuple[float, np.ndarray]:
    """Rows as they come, padded batch by batch, one pass a model; `load` gives what makes logits of a batch."""
    import polars as pl
    from scipy.special import softmax
    from transformers import AutoTokenizer

    began = time.perf_counter()
    table = pl.read_csv(job["csv"])
    texts = table["text"].to_list()
    total = np.zeros((len(table), CLASSES), dtype=np.float32)
    for number, name in enumerate(job["models"]):
        tokenizer, run = AutoTokenizer.from_pretrained(name), load(number)
        parts = []
        for start in range(0, len(texts), job["batch"]):
            rows = texts[start : start + job["batch"]]
            batch = tokenizer(rows, truncation=True, padding=True, return_tensors="np")
            parts.append(softmax(run(batch), axis=1))
        total += np.concatenate(parts)
    scores = total / len(job["models"])
    pl.DataFrame(scores).with_columns(table["id"]).write_csv(Path(job["scratch"]) / "scores.csv")
    return time.perf_counter() - began, scores


PEERS = {
    "pipeline": pipeline,
    "loader": loader,
    "sorted": length_sorted,
    "compiled": compiled,
    "openvino": openvino_loop,
    "onnxruntime": onnxruntime_loop,
}


def is_installed(peer: str) -> bool:
    """Whether a peer's own packages are there; all others need what we need."""
    packages = {"openvino": ("openvino", "nncf"), "onnxruntime": ("onnxruntime", "onnx")}.get(peer, ())
    return all(find_spec(name) is not None for name in packages)
