"""Runs of a relation task on a table with known labels: accuracy, macro-F1, and SemEval's own macro-F1.

    cd WORKSPACE && python -m benchmarks.relations test.csv relation-starts relation-spans

SemEval-2010 task 8 counts each of nine relations with both directions as one, a wrong direction as wrong, and leaves
``Other`` out of the mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.metrics import evaluate
from kaggle_tools.predictions import Predictions, encode_labels
from kaggle_tools.tables import read_table, sniff_format


def semeval_f1(truth: list[str], predicted: list[str]) -> float:
    """Mean F1 of the nine relations, directions counted together but a wrong one as wrong."""
    scores = []
    for relation in sorted({label.split("(")[0] for label in truth} - {"Other"}):
        n_truth = sum(label.startswith(relation + "(") for label in truth)
        n_predicted = sum(label.startswith(relation + "(") for label in predicted)
        right = sum(t == p and t.startswith(relation + "(") for t, p in zip(truth, predicted, strict=True))
        scores.append(2 * right / max(1, n_truth + n_predicted))
    return float(np.mean(scores))


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("runs", nargs="+")
    asked = parser.parse_args()
    competition = Competition.find()
    workspace = Workspace(competition.root, competition)
    assert competition.label_column is not None
    assert competition.test_id is not None
    columns = [competition.test_id, competition.label_column]
    table = read_table(asked.table, columns=columns, fmt=sniff_format(asked.table), id_column=columns[0])
    truth = table[columns[1]].cast(pl.String)
    print("| run | OOF accuracy | accuracy | macro-F1, 19 classes | SemEval macro-F1 |")
    print("|---|---|---|---|---|")
    for name in asked.runs:
        run = workspace.run(name)
        oof = Predictions.load(run.oof)
        found = Predictions.load(run.predictions(asked.table.name.split(".")[0])).align(table[columns[0]])
        codes = encode_labels(truth, found.classes)
        predicted = [found.classes[i] for i in found.probs.argmax(1)]
        figures = [
            evaluate("accuracy", oof.label_codes, oof.probs),
            evaluate("accuracy", codes, found.probs),
            evaluate("macro_f1", codes, found.probs),
            semeval_f1(truth.to_list(), predicted),
        ]
        print(f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |")


if __name__ == "__main__":
    main()
