"""Does the honest score predict what a blend gets on rows that no fit has seen?

    python -m benchmarks.honest --data ../shared/data/spooky --seeds 5

For each seed a stratified fifth of the rows is put aside; `auto` chooses and fits on the rest, and says what it
thinks its blend is worth: fitted, and honest (nested cross-validation, the choice among candidates counted). Then the
fifth is scored. A fifth can be easy or hard by itself, so that gains over the equal mean of the runs, on the same rows,
tell more than scores. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.importing import read_foreign
from kaggle_tools.metrics import evaluate, find_metric
from kaggle_tools.search.candidates import Setting
from kaggle_tools.search.choose import choose
from kaggle_tools.search.honest import stratified_folds
from kaggle_tools.search.recipe import apply_stack

CLASSES = ("EAP", "HPL", "MWS")


def main() -> None:
    """Print a row for each metric and seed, and the means of each metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder with oof/, as in ../shared/data/spooky.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--metrics", nargs="+", default=["log_loss", "macro_f1"])
    given = parser.parse_args()
    names, codes, probs = read_runs(given.data / "oof")
    print("| metric | seed | taken | fitted | honest | held out | gain over the mean: fitted | honest | held out | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for metric in given.metrics:
        sign = 1.0 if find_metric(metric).greater_is_better else -1.0
        scores = np.array([hold_out(names, codes, probs, metric, seed) for seed in range(given.seeds)])
        gains = sign * (scores[:, :3] - scores[:, 3:])
        means = " | ".join(
            [f"{one:.5f}" for one in scores[:, :3].mean(axis=0)] + [f"{g:+.5f}" for g in gains.mean(axis=0)]
        )
        print(f"| {metric} | mean | | {means} | |", flush=True)


def read_runs(folder: Path) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float32]]:
    """Names, (N,) true classes and (M, N, C) probabilities of the runs in a folder."""
    files = sorted(folder.iterdir())
    read = [read_foreign(file, classes=CLASSES, id_column="id") for file in files]
    aligned = [one.align(read[0].ids) for one in read]
    return tuple(file.name.split(".")[0] for file in files), read[0].label_codes, np.stack([a.probs for a in aligned])


def hold_out(
    names: tuple[str, ...], codes: NDArray[np.int64], probs: NDArray[np.float32], metric: str, seed: int
) -> tuple[float, ...]:
    """What `auto` takes: fitted, honest and held-out score, then those of the equal mean; prints the row."""
    began = time.perf_counter()
    aside = stratified_folds(codes, 5, seed) == 0
    known, unseen = np.ascontiguousarray(probs[:, ~aside]), np.ascontiguousarray(probs[:, aside])
    chosen = choose(known, codes[~aside], Setting(names, CLASSES, metric, seed=seed))
    held_out = evaluate(metric, codes[aside], apply_stack(chosen.recipe, unseen))
    scores = (chosen.tried.honest.fitted, chosen.honest, held_out)
    mean = evaluate(metric, codes[~aside], known.mean(axis=0))
    means = (mean, mean, evaluate(metric, codes[aside], unseen.mean(axis=0)))
    sign = 1.0 if find_metric(metric).greater_is_better else -1.0
    shown = [f"{score:.5f}" for score in scores]
    shown += [f"{sign * (score - plain):+.5f}" for score, plain in zip(scores, means, strict=True)]
    print(
        f"| {metric} | {seed} | {chosen.name} | {' | '.join(shown)} | {time.perf_counter() - began:.0f} |", flush=True
    )
    return (*scores, *means)


if __name__ == "__main__":
    main()
