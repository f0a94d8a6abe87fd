"""Chinese events, 65 labels, on the data's own split: our TextCNN from scratch beside a pretrained ALBERT as reported.

    python -m benchmarks.events ../shared/data/event_multilabel --workspace events
    python -m benchmarks.events ../shared/data/event_multilabel --workspace events --fold 0     # a fifth of the time

Trains recipes/textcnn-multi-label.toml as `cli train` does (finished folds are not trained again), averages the folds
on the 1,498 test rows, and prints the whole report: at a threshold of one half, and with thresholds that were searched
on the out-of-fold predictions, once all folds are there. Prints Markdown.
"""

from __future__ import annotations

import argparse
import gzip
import os
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.init import InitOptions
from jobs.init import run as init
from jobs.train import TrainOptions
from jobs.train import run as train
from kaggle_tools.competition import Competition
from kaggle_tools.inspect import Overrides
from kaggle_tools.metrics import encode_label_sets
from kaggle_tools.metrics.report import classification_report
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import thresholds
from models.inference.scorer import Scorer

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "textcnn-multi-label.toml"
AVERAGES = ("micro", "macro", "weighted", "samples")
# Precision, recall and F1 of each average, exact match, Hamming loss, as the reference document has them.
REPORTED = {
    "albert_tiny, reported": (
        (0.9488, 0.8606, 0.9025), (0.9446, 0.8084, 0.8589), (0.9460, 0.8606, 0.8955), (0.8932, 0.8795, 0.8799),
        0.8284, 0.00316,
    ),
    "albert_base, reported": (
        (0.9471, 0.9294, 0.9382), (0.9416, 0.9105, 0.9208), (0.9477, 0.9294, 0.9362), (0.9436, 0.9431, 0.9379),
        0.8932, 0.00208,
    ),
}  # fmt: skip


def main() -> None:
    """Prepare, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.csv.gz and test.csv.gz")
    parser.add_argument("--workspace", type=Path, required=True, help="made where it does not exist")
    parser.add_argument("--fold", type=int, action="append", help="again for more; default: all")
    asked = parser.parse_args()
    data = asked.data.resolve()
    asked.workspace.mkdir(parents=True, exist_ok=True)
    os.chdir(asked.workspace)
    if not Path("competition.toml").exists():
        for name in ("train.csv", "test.csv"):
            Path(name).write_bytes(gzip.decompress((data / f"{name}.gz").read_bytes()))
        overrides = Overrides(name="events", label_column="label", text_column="content")
        init(InitOptions(Path("train.csv"), None, None, overrides, root=Path.cwd()))
    result = train(TrainOptions(recipe=RECIPE, folds=tuple(asked.fold or ()), device="cpu"))
    classes = Competition.find().classes
    test = pl.read_csv("test.csv")
    truth = encode_label_sets(test["label"], classes)
    scorer = Scorer({"run": [str(path) for path in result.run.checkpoints]}, classes=classes, device="cpu")
    probs = scorer.score(test["content"])["run"]
    columns = {f"TextCNN from scratch, {len(result.folds)} folds, ½": report(truth, probs >= 0.5, classes)}
    if not result.missing:
        oof = Predictions.load(result.run.oof)
        for metric in ("micro_f1", "macro_f1"):
            cuts = thresholds.fit(encode_label_sets(oof.labels, classes), oof.probs, metric).thresholds  # type: ignore[arg-type]
            columns[f"thresholds for {metric}"] = report(truth, probs >= np.asarray(cuts), classes)
    print_table(columns | REPORTED)
    print(", ".join(f"fold {fold.fold}: {fold.seconds:.0f} s, epoch {fold.kept}" for fold in result.folds))


Figures = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...], tuple[float, ...], float, float]


def report(truth: NDArray[np.bool_], predicted: NDArray[np.bool_], classes: tuple[str, ...]) -> Figures:
    """The figures of `REPORTED`."""
    found = classification_report(truth, predicted, classes)
    lines = (found.averages[name] for name in AVERAGES)
    return (*((line.precision, line.recall, line.f1) for line in lines), found.exact_match, found.hamming_loss)  # type: ignore[return-value]


def print_table(columns: dict[str, Figures]) -> None:
    """A row a figure, a column a model."""
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for i, average in enumerate(AVERAGES):
        for j, figure in enumerate(("precision", "recall", "F1")):
            cells = [f"{one[i][j]:.4f}" for one in columns.values()]  # type: ignore[index]
            print(f"| {average} {figure} | " + " | ".join(cells) + " |")
    print("| exact match | " + " | ".join(f"{one[4]:.4f}" for one in columns.values()) + " |")
    print("| Hamming loss | " + " | ".join(f"{one[5]:.5f}" for one in columns.values()) + " |")
    print(flush=True)


if __name__ == "__main__":
    main()
