"""Training throughput and quality against `transformers.Trainer`: same model, rows, precision, batch and schedule.

    pip install --target PEERS --no-deps accelerate      # Trainer wants it; we do not
    PYTHONPATH=PEERS python -m benchmarks.training ../shared/data/spooky/train.csv.gz
    PYTHONPATH=PEERS python -m benchmarks.training TABLE --device cuda --precision bf16 --shape base --rows 50000

Two sets of the same table: `mixed` are the texts as they are, `uniform` each as long as the others, where grouping by
length has nothing to gain. Contestants take turns, round after round, so that what else the machine does hits them
alike, and each round has a seed of its own. Everything from texts to the predictions for held-out rows is timed: on a
CPU in processor seconds, which other programs disturb least, on a GPU in wall time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from kaggle_tools.metrics import evaluate
from models.recipe import DataOptions, EncoderOptions, HeadOptions, Recipe, ScratchOptions, TrainingOptions
from models.scratch import train_tokenizer
from models.training.fold import train_fold

# (V, C) float32 probabilities of the held-out rows in some order, and their (V,) classes.
Predicted = tuple[NDArray[np.float32], NDArray[np.int64]]

# layers, width, heads
SHAPES = {"mini": (2, 128, 2), "small": (4, 256, 4), "base": (12, 768, 12)}
UNIFORM = 32  # tokens a row of the uniform set


@dataclass(frozen=True)
class Set:
    """Rows to train on and rows to predict.

    Attributes:
        texts: N + V; the last V are held out.
        codes: (N + V,) int64 classes.
        classes: C names.
        n_train: N.
        max_length: Tokens a row at most.
    """

    texts: list[str]
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    n_train: int
    max_length: int


@dataclass(frozen=True)
class Job:
    """What every contestant gets.

    Attributes:
        model: Directory of an untrained model and its tokenizer.
        rows: What to train on.
        tokenizer: Of the model.
        epochs, batch_size, learning_rate: Of training; AdamW, linear decay after a tenth of warm-up, norm clipped to 1.
        device: ``cpu`` or ``cuda``.
        bf16: Autocast.
        seed: Of rows' order and dropout.
        folder: For what is written.
    """

    model: Path
    rows: Set
    tokenizer: Any
    epochs: int
    batch_size: int
    learning_rate: float
    device: str
    bf16: bool
    seed: int
    folder: Path


def main() -> None:
    """Print a row a set and contestant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="author")
    parser.add_argument("--shape", choices=SHAPES, default="mini")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--sets", nargs="+", default=["mixed", "uniform"], choices=["mixed", "uniform"])
    asked = parser.parse_args()
    table = pl.read_csv(asked.table).sample(fraction=1.0, shuffle=True, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_model(table[asked.text].to_list(), table[asked.label].n_unique(), asked.shape, Path(folder))
        print("| set | contestant | rows/s | least and most | ours is | accuracy | log loss |")
        print("|---|---|---|---|---|---|---|")
        for name in asked.sets:
            rows = make_set(table, asked.text, asked.label, tokenizer, asked.rows, uniform=name == "uniform")
            measure(name, rows, tokenizer, asked, Path(folder))


def make_model(texts: list[str], n_classes: int, shape: str, folder: Path) -> Any:
    """An untrained BERT for classification and its tokenizer, in `folder`; gives the tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    layers, width, heads = SHAPES[shape]
    tokenizer = train_tokenizer(texts, ScratchOptions(vocab_size=8000), 512)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        num_labels=n_classes,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return tokenizer


def make_set(table: pl.DataFrame, text: str, label: str, tokenizer: Any, n_train: int, *, uniform: bool) -> Set:
    """The first rows of the table, half as many held out; uniform: of those that fill their length."""
    max_length = UNIFORM if uniform else 256
    lengths = np.array([len(ids) for ids in tokenizer(table[text].to_list())["input_ids"]])
    fit = np.flatnonzero(lengths >= max_length) if uniform else np.arange(len(lengths))
    chosen = table[fit[: n_train + n_train // 2]]
    classes = tuple(sorted(table[label].unique().cast(pl.String)))
    codes = np.array([classes.index(name) for name in chosen[label].cast(pl.String)], np.int64)
    return Set(chosen[text].to_list(), codes, classes, n_train, max_length)


def measure(name: str, rows: Set, tokenizer: Any, asked: argparse.Namespace, folder: Path) -> None:
    """All rounds of one set."""
    clock = time.perf_counter if asked.device == "cuda" else time.process_time
    figures: dict[str, list[tuple[float, float, float]]] = {contestant: [] for contestant in CONTESTANTS}
    for seed in range(asked.rounds + 1):  # the first warms up
        for contestant, train in CONTESTANTS.items():
            bf16 = asked.precision == "bf16"
            job = Job(
                folder / "model", rows, tokenizer, asked.epochs, 32, 1e-3, asked.device, bf16, seed, folder / "out"
            )
            began = clock()
            probs, truth = train(job)
            speed = rows.n_train * asked.epochs / (clock() - began)
            if seed:
                scores = (evaluate("accuracy", truth, probs), evaluate("log_loss", truth, probs))
                figures[contestant].append((speed, *scores))
    ours = np.array([speed for speed, _, _ in figures["ours"]])
    for contestant, own in figures.items():
        speed, accuracy, log_loss = np.array(own).T
        cells = [f"{np.median(speed):,.0f}", f"{speed.min():,.0f} to {speed.max():,.0f}"]
        cells += [f"{np.median(ours / speed):.2f}×", _spread(accuracy), _spread(log_loss)]
        print(f"| {name} | {contestant} | " + " | ".join(cells) + " |", flush=True)


def train_ours(job: Job) -> Predicted:
    """(V, C) probabilities of the held-out rows, as `cli train` gets them."""
    recipe = Recipe(
        name="ours",
        seed=job.seed,
        encoder=EncoderOptions(path=str(job.model)),
        data=DataOptions(max_length=job.rows.max_length),
        head=HeadOptions(name="stock"),
        training=TrainingOptions(
            epochs=job.epochs,
            batch_size=job.batch_size,
            learning_rate=job.learning_rate,
            precision="bf16" if job.bf16 else "fp32",
            keep="last",
        ),
    )
    texts, codes, n = job.rows.texts, job.rows.codes, job.rows.n_train
    found = train_fold(
        recipe, job.rows.classes, texts[:n], codes[:n], texts[n:], codes[n:], job.tokenizer,
        folder=job.folder, device=job.device,
    )  # fmt: skip
    assert isinstance(found.valid_probs, np.ndarray)
    return found.valid_probs, codes[n:]


def train_theirs(job: Job, sampling: str = "random") -> Predicted:
    """The same with `Trainer`, as its documentation shows, evaluation of each epoch included as ours has it."""
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

    encoded = job.tokenizer(job.rows.texts, truncation=True, max_length=job.rows.max_length)["input_ids"]
    rows = [{"input_ids": ids, "labels": int(code)} for ids, code in zip(encoded, job.rows.codes, strict=True)]
    arguments = TrainingArguments(
        output_dir=str(job.folder),
        num_train_epochs=job.epochs,
        per_device_train_batch_size=job.batch_size,
        per_device_eval_batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        weight_decay=0.01,
        warmup_steps=0.1,
        lr_scheduler_type="linear",
        train_sampling_strategy=sampling,
        bf16=job.bf16,
        seed=job.seed,
        use_cpu=job.device == "cpu",
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    last = {}

    def keep(evaluation: Any) -> dict[str, float]:
        # Grouped, the held-out rows come by length, too: their labels come with them.
        last["logits"], last["codes"] = evaluation.predictions, evaluation.label_ids
        return {}

    trainer = Trainer(
        AutoModelForSequenceClassification.from_pretrained(job.model),
        arguments,
        DataCollatorWithPadding(job.tokenizer),
        train_dataset=rows[: job.rows.n_train],
        eval_dataset=rows[job.rows.n_train :],
        processing_class=job.tokenizer,
        compute_metrics=keep,
    )
    trainer.train()
    trainer.save_model()
    return torch.from_numpy(last["logits"]).float().softmax(-1).numpy(), last["codes"]


def train_theirs_grouped(job: Job) -> Predicted:
    """`Trainer` with its batches of like length."""
    return train_theirs(job, "group_by_length")


CONTESTANTS: dict[str, Callable[[Job], Predicted]] = {
    "ours": train_ours,
    "Trainer": train_theirs,
    "Trainer, grouped by length": train_theirs_grouped,
}


def _spread(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


if __name__ == "__main__":
    main()
