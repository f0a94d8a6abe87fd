"""A bi-encoder's similarity by true cosine and by the formula of the SimBERT notes, each at its own best threshold.

    cd WORKSPACE && python -m benchmarks.cosines simbert dev.tsv

The notes divide u·v by √(Σu² + Σv²), which is no cosine: it grows with the vectors' lengths, and for unit vectors it
never exceeds .707. Thresholds are fitted on out-of-fold similarities and applied to the mean over folds on the other
table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.predictions import Predictions
from kaggle_tools.tables import read_table, sniff_format
from models.fold_folders import fold_and_seed
from models.inference.batching import plan_batches
from models.saved import load_classifier
from models.text.cleaning import clean
from models.text.pairs import join_texts
from models.training.batches import network_inputs, tokenise

Floats = NDArray[np.float64]


def cosine(u: Floats, v: Floats) -> Floats:
    """u·v / (‖u‖ ‖v‖)."""
    return (u * v).sum(1) / (np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1))


def of_the_notes(u: Floats, v: Floats) -> Floats:
    """u·v / √(Σu² + Σv²)."""
    return (u * v).sum(1) / np.sqrt((u**2 + v**2).sum(1))


def unit_of_the_notes(u: Floats, v: Floats) -> Floats:
    """The notes' formula on unit vectors: cos / √2."""
    return of_the_notes(u / np.linalg.norm(u, axis=1)[:, None], v / np.linalg.norm(v, axis=1)[:, None])


FORMULAS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "cosine": cosine,
    "notes": of_the_notes,
    "notes, unit vectors": unit_of_the_notes,
}


def best_threshold(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """The threshold of the greatest accuracy, exactly: halfway between two neighbouring scores."""
    order = np.argsort(scores)
    ordered, right = scores[order], np.where(truth[order], -1, 1)
    gains = np.concatenate([[0], np.cumsum(right)])  # of calling the first k negative
    gains[1:-1][ordered[1:] == ordered[:-1]] = -len(scores)
    k = int(gains.argmax())
    edges = np.concatenate([[ordered[0] - 1], (ordered[1:] + ordered[:-1]) / 2, [ordered[-1] + 1]])
    return float(edges[k])


def vectors(folder: Path, pairs: pl.Series) -> tuple[Floats, Floats]:
    """Both texts' vectors of N pairs by one checkpoint: (N, D) each."""
    loaded = load_classifier(folder)
    texts = clean(pairs, loaded.spec.cleaning).to_list()
    rows = tokenise(loaded.tokenizer, texts, loaded.spec.max_length, loaded.spec.form)
    found = np.empty((len(texts), 2, loaded.network.body.config.hidden_size))
    with torch.inference_mode():
        for batch in plan_batches(rows.lengths, 8192, 256):
            both = loaded.network.embed(*network_inputs(rows, batch.rows, torch.device("cpu")))
            found[batch.rows] = both.numpy().reshape(2, len(batch.rows), -1).swapaxes(0, 1)
    return found[:, 0], found[:, 1]


def read_pairs(competition: Competition, path: Path) -> tuple[pl.Series, NDArray[np.bool_]]:
    """N pairs, and whether each has the last class as its label."""
    assert competition.pair_column is not None
    assert competition.label_column is not None
    columns = [competition.text_column, competition.pair_column, competition.label_column]
    table = read_table(path, columns=columns, fmt=sniff_format(path))
    pairs = join_texts(table[columns[0]], table[columns[1]])
    return pairs, (table[columns[2]] == competition.classes[-1]).to_numpy()


def main() -> None:
    """Print a line a formula."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("table", type=Path)
    asked = parser.parse_args()
    competition = Competition.find()
    run = Workspace(competition.root, competition).run(asked.run)
    oof = Predictions.load(run.oof)
    train_path = competition.path(competition.train)
    assert train_path is not None
    assert oof.folds is not None
    train, train_truth = read_pairs(competition, train_path)
    used = oof.ids.cast(pl.Int64).to_numpy()  # rows are numbered: the table has no ids
    train, train_truth = train.gather(used), train_truth[used]
    other, other_truth = read_pairs(competition, asked.table)
    ours = {name: np.empty(len(train)) for name in FORMULAS}
    theirs = {name: np.zeros(len(other)) for name in FORMULAS}
    for folder in run.checkpoints:
        inside = np.flatnonzero(oof.folds == fold_and_seed(folder)[0])
        held_out, elsewhere = vectors(folder, train.gather(inside)), vectors(folder, other)
        for name, formula in FORMULAS.items():
            ours[name][inside] = formula(*held_out)
            theirs[name] += formula(*elsewhere) / len(run.checkpoints)
    print("| similarity | threshold | OOF accuracy | OOF AUC | accuracy elsewhere | AUC elsewhere | greatest |")
    print("|---|---|---|---|---|---|---|")
    for name in FORMULAS:
        threshold = best_threshold(ours[name], train_truth)
        figures = [
            threshold,
            np.mean((ours[name] > threshold) == train_truth),
            roc_auc_score(train_truth, ours[name]),
            np.mean((theirs[name] > threshold) == other_truth),
            roc_auc_score(other_truth, theirs[name]),
            ours[name].max(),
        ]
        print(f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
