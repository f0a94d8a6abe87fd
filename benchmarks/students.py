"""Spooky authors, small networks from scratch: the spread of seeds, soup against the best epoch, students of a blend.

    python -m benchmarks.students ../shared/data/spooky --train 5000 --seeds 3

Some labelled rows are trained on; as many others are held out, as a test table whose labels nobody sees before the end.
Prints tables in Markdown: log loss out of fold and on the held-out rows.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.blend import BlendOptions
from jobs.blend import run as blend
from jobs.init import InitOptions
from jobs.init import run as init
from jobs.train import TrainOptions
from jobs.train import run as train
from jobs.train_result import TrainResult
from kaggle_tools.inspect import Overrides
from kaggle_tools.metrics import evaluate
from kaggle_tools.predictions import Predictions, encode_labels
from kaggle_tools.search.recipe import apply, load
from models.fold_folders import fold_and_seed
from models.inference.scorer import Scorer

LINEAR = 'kind = "linear"\n[folds]\nn = 3\n[linear]\nword_ngrams = [1, 2]\nchar_ngrams = [2, 5]\nC = 5.0\n'
NETWORK = """
seeds = {seeds}

[encoder.scratch]
layers = 0
hidden = 96
heads = 4
vocab_size = 5000

[data]
max_length = 64

[folds]
n = 3

[head]
name = "textcnn"
filters = 96
dropout = 0.3

[training]
epochs = 6
learning_rate = 1e-3
schedule = "{schedule}"
{more}
"""
DISTILL = '[distill]\nteacher = "blend"\ntemperature = 2.0\nalpha = {alpha}\ntest = {test}\nsource = "{source}"\n'


def main() -> None:
    """Prepare a workspace, train everything, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.csv.gz")
    parser.add_argument("--train", type=int, default=5000, help="training rows, and as many held out")
    parser.add_argument("--seeds", type=int, default=3, help="of each network")
    asked = parser.parse_args()
    data = asked.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _measure(_prepare(data, Path(folder), asked.train), list(range(1, asked.seeds + 1)))


def _prepare(data: Path, root: Path, n: int) -> pl.DataFrame:
    """Tables and competition.toml; gives the held-out rows with their labels."""
    rows = pl.read_csv(data / "train.csv.gz").sample(2 * n, shuffle=True, seed=0)
    rows.head(n).write_csv(root / "train.csv")
    held_out = rows.tail(n)
    held_out.drop("author").write_csv(root / "test.csv")
    overrides = Overrides(name="spooky", metric="log_loss", label_column="author")
    init(InitOptions(root / "train.csv", root / "test.csv", None, overrides, root=root))
    return held_out


def _measure(held_out: pl.DataFrame, seeds: list[int]) -> None:
    print(
        "| run | OOF, each seed | mean ± deviation | OOF of the mean | held out, each seed | of the mean | training |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    _one("linear", LINEAR, held_out)
    networks = {
        "plain": ("linear", ""),
        "constant": ("constant", ""),
        "constant, soup uniform:3": ("constant", 'soup = "uniform:3"'),
        "constant, soup greedy:5": ("constant", 'soup = "greedy:5"'),
    }
    for title, (schedule, more) in networks.items():
        _one(title, NETWORK.format(seeds=seeds, schedule=schedule, more=more), held_out)
    found = blend(BlendOptions(runs=("linear", "plain"), submission=False))
    members = {name: Predictions.load(Path(f"runs/{name}/predictions/test.parquet")) for name in ("linear", "plain")}
    teacher = apply(load(found.recipe), members)
    print(
        f"| blend of linear and plain | | | {found.honest:.4f} | | {_loss(teacher.probs, held_out):.4f} | |", flush=True
    )
    for alpha, test, source in (
        (0.7, "false", "oof"),
        (0.7, "true", "oof"),
        (1.0, "true", "oof"),
        (0.7, "true", "fold"),
    ):
        more = DISTILL.format(alpha=alpha, test=test, source=source)
        text = NETWORK.format(seeds=seeds, schedule="linear", more="") + more
        _one(f"student, alpha {alpha}, test {test}, source {source}", text, held_out)


def _one(title: str, recipe: str, held_out: pl.DataFrame) -> None:
    """Train a recipe, predict the held-out rows, print a line."""
    name = title.translate(str.maketrans({" ": "-", ",": "", ":": ""}))
    Path(f"{name}.toml").write_text(recipe, encoding="utf-8")
    began = time.perf_counter()
    result = train(TrainOptions(recipe=Path(f"{name}.toml"), device="cpu"))
    took = time.perf_counter() - began
    by_seed = _predict(result, held_out)
    mean = np.mean(list(by_seed.values()), axis=0, dtype=np.float64).astype(np.float32)
    path = result.run.predictions("test")
    path.parent.mkdir(exist_ok=True)
    classes = ("EAP", "HPL", "MWS")
    Predictions(held_out["id"].cast(pl.String), classes, mean).save(path)
    alone = " ".join(f"{one.score:.4f}" for one in result.seeds.scores) if result.seeds else ""
    spread = f"{result.seeds.mean:.4f} ± {result.seeds.deviation:.4f}" if result.seeds else ""
    unseen = " ".join(f"{_loss(probs, held_out):.4f}" for probs in by_seed.values()) if result.seeds else ""
    cells = (title, alone, spread, f"{result.score:.4f}", unseen, f"{_loss(mean, held_out):.4f}", f"{took:.0f} s")
    print("| " + " | ".join(cells) + " |", flush=True)
    for fold in result.folds:
        if fold.soup:
            print(f"<!-- fold {fold.fold}, seed {fold.seed}: epochs {fold.soup}, best {fold.kept} -->", flush=True)


def _predict(result: TrainResult, held_out: pl.DataFrame) -> dict[int | None, NDArray[np.float32]]:
    """For each seed the mean of its folds' probabilities of the held-out rows."""
    sources: dict[int | None, list[str]] = {}
    for path in result.run.checkpoints:
        sources.setdefault(fold_and_seed(path)[1], []).append(str(path))
    runs = {str(seed): paths for seed, paths in sources.items()}
    scorer = Scorer(runs, device="cpu", precision="fp32", classes=("EAP", "HPL", "MWS"))
    found = scorer.score(held_out["text"])
    return {seed: found[str(seed)] for seed in sources}


def _loss(probs: NDArray[np.float32], held_out: pl.DataFrame) -> float:
    return evaluate("log_loss", encode_labels(held_out["author"], ("EAP", "HPL", "MWS")), probs)


if __name__ == "__main__":
    main()
