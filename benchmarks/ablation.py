"""What each switch of a recipe is worth: variants of one base on one table, several seeds, honest intervals.

    python -m benchmarks.ablation run ../shared/data/smp2020_virus/virus_train.csv.gz --results virus.jsonl
    python -m benchmarks.ablation run … --only fgm --only pgd --seed 1 --seed 2
    python -m benchmarks.ablation run ../shared/data/spooky/train.csv.gz --text text --label author --encoder DIR …
    python -m benchmarks.ablation table virus.jsonl

With `--encoder` the variants of base `pretrained` are trained, else those of the other bases.

Equal texts are dropped first, so that none stands on both sides of a fold. The rows that `--rows` leaves over have no
label for anybody: they are the table of pseudo-labels. Each finished training is a line of the results, and what has a
line is not trained again: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.init import InitOptions
from jobs.init import run as init
from jobs.train import TrainOptions
from jobs.train import run as train
from kaggle_tools.inspect import Overrides
from kaggle_tools.metrics import evaluate
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import honest, rescale
from models.schema import to_toml

Line = dict[str, Any]

RECIPE = Path(__file__).parents[1] / "recipes" / "bert-mini-chinese.toml"

# What all runs change of the recipe: small enough for a minute on one core. The last epoch is kept, since choosing one
# by its validation score would flatter whatever swings most.
SMALL: dict[str, Any] = {
    "data": {"max_length": 64},
    "folds": {"n": 2},
    "training": {"epochs": 5, "learning_rate": 2e-3, "keep": "last"},
}

# Switches of training are measured on a TextCNN over embeddings of characters, which learns most from few rows; heads,
# and what concerns layers, on two transformer layers with the mean over tokens.
BASES: dict[str, dict[str, Any]] = {
    "cnn": {
        "encoder": {"scratch": {"layers": 0, "hidden": 64, "heads": 2, "intermediate": 128, "vocab_size": 4000}},
        "head": {"name": "textcnn", "filters": 64},
    },
    "layers": {
        "encoder": {"scratch": {"layers": 2, "hidden": 64, "heads": 2, "intermediate": 128, "vocab_size": 4000}},
        "head": {"name": "mean"},
    },
    "pretrained": {
        "head": {"name": "mean"},
        "data": {"cleaning": []},
        "training": {"epochs": 3, "learning_rate": 1e-4, "head_learning_rate": 1e-3, "schedule": "cosine"},
    },
}

# Each changes one thing of its base. They are trained in this order.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn": ("cnn", {}),
    "layers": ("layers", {}),
    "fgm": ("cnn", {"adversary": {"name": "fgm", "epsilon": 1.0}}),
    "r_drop": ("cnn", {"training": {"r_drop": 1.0}}),
    "ema": ("cnn", {"training": {"ema": 0.99}}),
    "class_weights": ("cnn", {"loss": {"class_weights": "balanced"}}),
    "focal": ("cnn", {"loss": {"name": "focal", "gamma": 2.0}}),
    "smooth_f1, ε = 1": ("cnn", {"loss": {"name": "smooth_f1", "epsilon": 1.0}}),
    "smooth_f1, ε = 0.01": ("cnn", {"loss": {"name": "smooth_f1", "epsilon": 0.01}}),
    "smooth_f1, ε = 0.001": ("cnn", {"loss": {"name": "smooth_f1", "epsilon": 0.001}}),
    "class_balanced": ("cnn", {"sampler": {"name": "class_balanced"}}),
    "power, q = ½": ("cnn", {"sampler": {"name": "power", "q": 0.5}}),
    "label_smoothing": ("cnn", {"loss": {"name": "cross_entropy", "label_smoothing": 0.1}}),
    "dropout_samples": ("cnn", {"head": {"dropout_samples": 5}}),
    "pseudo_labels": ("cnn", {"pseudo_labels": {"run": "cnn", "table": "unlabelled.csv", "threshold": 0.9}}),
    "augmentation": ("cnn", {"augmentation": {"copies": 1, "steps": ["delete", "swap", "insert"]}}),
    "attention": ("layers", {"head": {"name": "attention"}}),
    "max": ("layers", {"head": {"name": "max"}}),
    "textcnn": ("layers", {"head": {"name": "textcnn", "filters": 64}}),
    "weighted_layers": ("layers", {"head": {"name": "weighted_layers"}}),
    "lstm_gru": ("layers", {"head": {"name": "lstm_gru", "width": 64}}),
    "hire": ("layers", {"head": {"name": "hire", "width": 64, "weigher": 32}}),
    "layer_decay": ("layers", {"training": {"layer_decay": 0.8}}),
    "fgm, ε = 0.2": ("cnn", {"adversary": {"name": "fgm", "epsilon": 0.2}}),
    "awp": ("cnn", {"adversary": {"name": "awp", "rate": 0.1, "epsilon": 0.01, "start_epoch": 2}}),
    "pgd": ("cnn", {"adversary": {"name": "pgd", "epsilon": 1.0, "step": 0.4, "steps": 3}}),
    "mse": ("cnn", {"loss": {"name": "mse"}}),
    "weighted_rnn": ("layers", {"head": {"name": "weighted_rnn", "dense": 128, "width": 64}}),
    "mean_max": ("layers", {"head": {"name": "mean_max"}}),
    "cls": ("layers", {"head": {"name": "cls"}}),
    "cls_pooler": ("layers", {"head": {"name": "cls_pooler"}}),
    "rnn": ("layers", {"head": {"name": "rnn", "width": 64}}),
    "rnn_conv": ("layers", {"head": {"name": "rnn_conv", "width": 64, "filters": 64}}),
    "conv": ("layers", {"head": {"name": "conv", "filters": 64}}),
    "words, conv": ("layers", {"head": {"name": "conv", "filters": 64}, "words": {"name": "glove", "size": 64}}),
    "words, rnn_conv": (
        "layers",
        {"head": {"name": "rnn_conv", "width": 64, "filters": 64}, "words": {"name": "glove", "size": 64}},
    ),
    "unfreeze": ("layers", {"training": {"unfreeze": 0.3}}),
    "pretrained": ("pretrained", {}),
    "pretrained, fgm, ε = 1": ("pretrained", {"adversary": {"name": "fgm", "epsilon": 1.0}}),
    "pretrained, layer_decay .8": ("pretrained", {"training": {"layer_decay": 0.8}}),
    "pretrained, fgm, ε = 0.3": ("pretrained", {"adversary": {"name": "fgm", "epsilon": 0.3}}),
    "pretrained, unfreeze .3": ("pretrained", {"training": {"unfreeze": 0.3}}),
    "pretrained, layer_decay .95": ("pretrained", {"training": {"layer_decay": 0.95}}),
    "pretrained, cls": ("pretrained", {"head": {"name": "cls"}}),
    "pretrained, weighted_layers": ("pretrained", {"head": {"name": "weighted_layers"}}),
    "pretrained, lstm_gru": ("pretrained", {"head": {"name": "lstm_gru", "width": 128}}),
    "pretrained, reinit_layers 1": ("pretrained", {"encoder": {"reinit_layers": 1}}),
    "pretrained, r_drop": ("pretrained", {"training": {"r_drop": 1.0}}),
    "pretrained, awp": (
        "pretrained",
        {"adversary": {"name": "awp", "rate": 1e-2, "epsilon": 1e-3, "start_epoch": 2}},
    ),
}


def main() -> None:
    """Train what is missing, or print the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_run = commands.add_parser("run")
    of_run.add_argument("data", type=Path)
    of_run.add_argument("--results", type=Path, required=True, help="lines of JSON, appended to")
    of_run.add_argument("--text", default="content")
    of_run.add_argument("--label", default="label")
    of_run.add_argument("--rows", type=int, default=4000)
    of_run.add_argument("--encoder", type=Path, help="directory of a pretrained encoder")
    of_run.add_argument("--seed", type=int, action="append", help="again for more; default 1, 2, 3")
    of_run.add_argument("--only", action="append", choices=VARIANTS, help="again for more; default: all")
    commands.add_parser("table").add_argument("results", type=Path)
    asked = parser.parse_args()
    if asked.command == "table":
        print_table(read_lines(asked.results))
        return
    data, results = asked.data.resolve(), asked.results.resolve()
    encoder = None if asked.encoder is None else asked.encoder.resolve()
    wanted = [name for name, (base, _) in VARIANTS.items() if (base == "pretrained") == (encoder is not None)]
    with tempfile.TemporaryDirectory() as folder:
        prepare(data, Path(folder), asked.text, asked.label, asked.rows)
        os.chdir(folder)
        for seed in asked.seed or [1, 2, 3]:
            for variant in asked.only or wanted:
                measure(Path(folder), variant, seed, results, encoder)


def prepare(data: Path, root: Path, text: str, label: str, n_rows: int) -> None:
    """`train.csv`, the same for every seed, `unlabelled.csv` of the rows left over, and competition.toml."""
    table = pl.read_csv(data).unique(text, keep="first", maintain_order=True)
    table = table.with_row_index("row").select("row", text=text, label=label)
    drawn = table.sample(n_rows, seed=42).sort("row")
    drawn.write_csv(root / "train.csv")
    table.join(drawn, on="row", how="anti").drop("label").write_csv(root / "unlabelled.csv")
    overrides = Overrides(name="ablation", id_column="row", text_column="text", label_column="label", metric="macro_f1")
    init(InitOptions(root / "train.csv", None, None, overrides, root=root))


def measure(root: Path, variant: str, seed: int, results: Path, encoder: Path | None) -> None:
    """Train one variant with one seed, unless it has its line; add the line."""
    done = {(line["variant"], line["seed"]) for line in read_lines(results)}
    if (variant, seed) in done:
        return
    base, overlay = VARIANTS[variant]
    if "pseudo_labels" in overlay:  # the teacher is the base with the same seed
        teacher = {"run": _train(root, base, seed, base, {}, encoder)}
        overlay = merged(overlay, {"pseudo_labels": teacher})
    began = time.process_time()
    run = root / "runs" / _train(root, variant, seed, base, overlay, encoder)
    seconds = time.process_time() - began
    oof = Predictions.load(run / "oof.parquet")
    rescaled = rescale_honestly(oof)
    n_pseudo = [fold["n_pseudo"] for fold in json.loads((run / "run.json").read_text())["folds"]]
    line = {
        "variant": variant,
        "seed": seed,
        "seconds": round(seconds, 1),
        "macro_f1": rescaled.comparison.theirs,
        "rescaled": rescaled.honest,
        "log_loss": evaluate("log_loss", oof.label_codes, oof.probs),
        "n_pseudo": n_pseudo,
        "truth": _digits(oof.label_codes),
        "predicted": _digits(oof.probs.argmax(1)),
        "predicted_rescaled": _digits(rescaled.output.argmax(1)),
    }
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(
        f"{variant}, seed {seed}: {line['macro_f1']:.4f}, {line['rescaled']:.4f} rescaled, {seconds:.0f} s", flush=True
    )


def rescale_honestly(oof: Predictions) -> honest.Honest:
    """Class weights for macro-F1, each fold's fitted to the other folds, beside no weights."""

    def fit(stack: NDArray[np.float32], codes: NDArray[np.int64], _folds: NDArray[np.int64]) -> honest.Apply:
        found = rescale.fit(codes, stack[0], "macro_f1")
        return lambda other: found.apply(other[0])

    return honest.evaluate(fit, oof.probs[None], oof.label_codes, "macro_f1", folds=oof.folds, n_bootstraps=1)


def _train(root: Path, variant: str, seed: int, base: str, overlay: dict[str, Any], encoder: Path | None) -> str:
    """Name of the run, which is trained unless it lies there."""
    name = f"{''.join(c for c in variant if c.isalnum())}-{seed}"
    raw = tomllib.loads(RECIPE.read_text())
    if encoder is not None:
        raw["encoder"] = {"path": str(encoder)}
    for table in (SMALL, BASES[base], overlay):
        raw = merged(raw, table)
    recipe = root / f"{name}.toml"
    recipe.write_text(to_toml(raw))
    train(TrainOptions(recipe, seed=seed, device="cpu"))
    return name


def merged(raw: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Tables of `overlay` laid over those of `raw`, key by key."""
    laid = {
        key: merged(raw.get(key, {}), value) if isinstance(value, dict) else value for key, value in overlay.items()
    }
    return {**raw, **laid}


def read_lines(results: Path) -> list[Line]:
    """All finished trainings."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def print_table(lines: list[Line], n_bootstraps: int = 2000) -> None:
    """A row a variant: means over seeds, and how far it is from the base of the same seeds.

    Of the difference the 95 % interval is that of a bootstrap of rows and of seeds, both in pairs: it tells what other
    rows and other seeds would give.
    """
    rng = np.random.default_rng(0)
    n = len(lines[0]["truth"])
    times = rng.multinomial(n, np.full(n, 1 / n), n_bootstraps).astype(np.float32)  # (B, N) how often a row is drawn
    runs = {(line["variant"], line["seed"]): line for line in lines}
    print(
        "| variant | seeds | macro-F1 | gain over the base | rescaled | gain over the base, both rescaled | log loss "
        "| CPU |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for variant in sorted(VARIANTS, key=lambda name: list(BASES).index(VARIANTS[name][0])):
        base = VARIANTS[variant][0]
        pairs = [
            (run, runs[base, seed]) for (name, seed), run in runs.items() if name == variant and (base, seed) in runs
        ]
        if pairs:
            cells = [f"**{variant}**" if variant == base else variant, str(len(pairs))]
            for key, score in (("predicted", "macro_f1"), ("predicted_rescaled", "rescaled")):
                cells.append(_spread([run[score] for run, _ in pairs]))
                gains = np.stack([_f1s(run, key, times) - _f1s(other, key, times) for run, other in pairs])  # (S, B)
                gain = float(np.mean([run[score] - other[score] for run, other in pairs]))
                cells.append("" if variant == base else _interval(gain, gains, rng))
            cells.append(_spread([run["log_loss"] for run, _ in pairs]))
            print("| " + " | ".join([*cells, f"{np.mean([run['seconds'] for run, _ in pairs]):.0f} s"]) + " |")
    for base in BASES:
        own = [run for (name, _), run in runs.items() if name == base]
        if not own:
            continue
        gains = np.stack([_f1s(run, "predicted_rescaled", times) - _f1s(run, "predicted", times) for run in own])
        gain = float(np.mean([run["rescaled"] - run["macro_f1"] for run in own]))
        print(f"\nRescaling {base}: {_interval(gain, gains, rng)}")


def _f1s(line: Line, key: str, times: NDArray[np.float32]) -> NDArray[np.float64]:
    """(B,) macro-F1 of each bootstrap's rows."""
    truth, predicted = _codes(line["truth"]), _codes(line[key])
    classes = np.arange(truth.max() + 1)
    is_class, called = truth[:, None] == classes, predicted[:, None] == classes  # (N, C)
    hits, n_truth, n_called = (times @ marks.astype(np.float32) for marks in (is_class & called, is_class, called))
    return np.asarray((2 * hits / np.maximum(n_truth + n_called, 1)).mean(axis=1), np.float64)


def _interval(gain: float, gains: NDArray[np.float64], rng: np.random.Generator) -> str:
    """The difference in points with its 95 % interval, seeds drawn anew beside rows."""
    n_seeds, n_bootstraps = gains.shape
    drawn = gains[rng.integers(n_seeds, size=(n_seeds, n_bootstraps)), np.arange(n_bootstraps)].mean(axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    beyond_noise = " ●" if low > 0 or high < 0 else ""
    return f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−") + beyond_noise


def _spread(scores: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    mean = f"{np.mean(scores):.4f}"
    return mean if len(scores) == 1 else f"{mean} ± {np.std(scores, ddof=1):.4f}"


def _digits(codes: NDArray[np.integer]) -> str:
    """(N,) classes below ten as one string."""
    return "".join(map(str, codes))


def _codes(digits: str) -> NDArray[np.int64]:
    return np.frombuffer(digits.encode(), np.uint8).astype(np.int64) - ord("0")


if __name__ == "__main__":
    main()
