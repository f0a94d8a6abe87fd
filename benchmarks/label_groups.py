"""GoEmotions as two linked label groups: with and without the link, with and without joint decoding.

    python benchmarks/label_groups.py ../shared/data/goemotions --limit 12000 --seed 1 --seed 2

Rows with one label in each group are used (36,308 of 43,410 in train): a group's softmax has one answer. Training rows
are drawn by seed; the test rows are those of the data set's own split. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from jobs.decode import DecodeOptions
from jobs.decode import run as decode
from jobs.init import InitOptions
from jobs.init import run as init
from jobs.resolve import InputOptions
from jobs.score import ScoreOptions
from jobs.score import run as score
from jobs.show.progress import SilentWatch
from jobs.train import TrainOptions
from jobs.train import run as train
from kaggle_tools.inspect import Overrides
from kaggle_tools.label_groups import encode_groups, join_columns, split_probs
from kaggle_tools.metrics import accuracy_by_group, evaluate_groups
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import joint_file

RECIPES = Path(__file__).parents[1] / "recipes"
GROUPS = ("group", "emotion")


def main() -> None:
    """Prepare a workspace, train each recipe with each seed, print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.csv.gz and test.csv.gz")
    parser.add_argument("--limit", type=int, default=12_000, help="training rows")
    parser.add_argument("--seed", type=int, action="append", help="again for more; default 1")
    asked = parser.parse_args()
    print("| recipe | seed | rows | decoding | group | emotion | exact match | top-2-hit | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        truth = _prepare(asked.data.resolve(), root)
        os.chdir(root)
        for seed in asked.seed or [1]:
            for recipe in ("label-groups", "linked-groups"):
                for line in _measure(root, truth, recipe, seed, asked.limit):
                    print("| " + " | ".join(line) + " |", flush=True)


def _prepare(data: Path, root: Path) -> pl.DataFrame:
    """Tables with one label of each group a row, and a competition.toml; gives the test table with labels."""
    tables = {}
    for part in ("train", "test"):
        table = pl.read_csv(data / f"{part}.csv.gz")
        several = pl.any_horizontal(pl.col(group).str.contains("|", literal=True) for group in GROUPS)
        tables[part] = table.filter(~several)
    tables["train"].write_csv(root / "train.csv")
    tables["test"].drop(*GROUPS).write_csv(root / "test.csv")
    overrides = Overrides(name="goemotions", label_columns=GROUPS)
    init(InitOptions(root / "train.csv", root / "test.csv", None, overrides, root=root))
    return tables["test"]


def _measure(root: Path, truth: pl.DataFrame, recipe: str, seed: int, limit: int) -> list[list[str]]:
    """Out-of-fold and test figures of one run, each group alone and jointly."""
    name, began = f"{recipe}-{seed}", time.perf_counter()
    train(TrainOptions(RECIPES / f"{recipe}.toml", name=name, limit=limit, seed=seed, device="cpu"))
    took = f"{time.perf_counter() - began:.0f}"
    score(ScoreOptions(InputOptions(("test.csv",)), models=(name,), submission=False), SilentWatch())
    oof = Predictions.load(root / "runs" / name / "oof.parquet")
    test = Predictions.load(root / "runs" / name / "predictions" / "test.parquet").align(truth["id"])
    found = decode(DecodeOptions(name, "exact_match", submission=False))
    decoder = joint_file.load(found.decoder)
    lines = []
    for part, predictions, labels in (("OOF", oof, oof.labels), ("test", test, join_columns(truth, GROUPS))):
        assert labels is not None
        codes, probs = encode_groups(labels, oof.classes), split_probs(predictions.probs, oof.classes)
        head = [recipe, str(seed), f"{part} {len(codes):,}"]
        alone = [*accuracy_by_group(codes, probs), evaluate_groups("exact_match", codes, probs)]
        top_2 = evaluate_groups("top_2_hit", codes, probs)
        lines.append([*head, "alone", *(f"{v:.4f}" for v in (*alone, top_2)), took])
        decided = list(decoder.decode(probs).T)
        jointly = [*accuracy_by_group(codes, decided), evaluate_groups("exact_match", codes, decided)]
        marginals = evaluate_groups("top_2_hit", codes, [np.clip(p, 0, 1) for p in decoder.apply(probs)])
        lines.append([*head, "joint", *(f"{v:.4f}" for v in (*jointly, marginals)), ""])
        if part == "OOF":
            honest = f"{found.honest:.4f}"
            lines.append([*head, f"joint, honest (strength {found.strength:.2f})", "", "", honest, "", ""])
    return lines


if __name__ == "__main__":
    main()
