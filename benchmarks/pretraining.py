"""Does an encoder that has foretold masked words of the posts classify them better than one that has not?

    python -m benchmarks.pretraining ../shared/data/weibo_ncov --seeds 2 --workspace weibo

The labelled posts are the training table, those of the competition's test file are the test table: their labels are not
there. `cli pretrain recipes/pretraining/weibo.toml` reads both; then recipes/bert-mini-chinese.toml (the same shape,
random weights) and recipes/weibo-pretrained.toml are trained with the same folds and seeds. What is finished in the
workspace is not done again. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import polars as pl

from jobs.init import InitOptions
from jobs.init import run as init
from jobs.pretrain import PretrainOptions, PretrainSummary
from jobs.pretrain import run as pretrain
from jobs.train import TrainOptions
from jobs.train import run as train
from jobs.train_result import TrainResult
from kaggle_tools.inspect import Overrides
from kaggle_tools.predictions import Predictions
from kaggle_tools.search.compare import compare
from kaggle_tools.tables import read_table, sniff_format

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
RUNS = {"random weights": "bert-mini-chinese", "pretrained": "weibo-pretrained"}


def main() -> None:
    """Prepare, pretrain, train both, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labelled_3000.csv and the competition's test file")
    parser.add_argument("--workspace", type=Path, required=True, help="made where it does not exist")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=None, help="of pretraining; default: the recipe's")
    asked = parser.parse_args()
    data = asked.data.resolve()
    asked.workspace.mkdir(parents=True, exist_ok=True)
    os.chdir(asked.workspace)
    if not Path("competition.toml").exists():
        prepare(data)
    print_pretraining(pretrain(PretrainOptions(recipe=RECIPES / "pretraining" / "weibo.toml", epochs=asked.epochs)))
    runs = {
        title: train(TrainOptions(recipe=RECIPES / f"{name}.toml", seeds=asked.seeds, device="cpu"))
        for title, name in RUNS.items()
    }
    print_runs(runs)


def prepare(data: Path) -> None:
    """Tables and competition.toml; equal texts are dropped, so that none stands on both sides of a fold."""
    labelled = pl.read_csv(data / "labelled_3000.csv").select("id", text="content", label="label")
    labelled.unique("text", keep="first", maintain_order=True).write_csv("train.csv")
    path = data / "nCov_10k_test.gb18030.csv.gz"
    columns = ["微博id", "微博中文内容"]
    test = read_table(path, columns=columns, fmt=sniff_format(path, encoding="gb18030", encoding_errors="replace"))
    test.select(id=columns[0], text=columns[1]).write_csv("test.csv")
    overrides = Overrides(name="weibo", text_column="text", label_column="label", metric="macro_f1")
    init(InitOptions(Path("train.csv"), Path("test.csv"), None, overrides, root=Path.cwd()))


def print_pretraining(found: PretrainSummary) -> None:
    """Perplexity of held-out masked tokens, epoch by epoch."""
    epochs = " ".join(f"{epoch['perplexity']:.0f}" for epoch in found.history)
    print(f"pretraining: held-out perplexity {found.perplexity_before:.0f} before, {epochs} after each epoch\n")


def print_runs(runs: dict[str, TrainResult]) -> None:
    """Each seed alone, the seeds' mean, and the paired difference of the means."""
    print(
        "| encoder | out-of-fold macro-F1 of each seed | mean ± deviation | of the seeds' mean | folds, seed by seed |"
    )
    print("|---|---|---|---|---|")
    for title, result in runs.items():
        assert result.seeds is not None
        alone = " ".join(f"{one.score:.4f}" for one in result.seeds.scores)
        folds = " ".join(f"{fold.score:.4f}" for fold in sorted(result.folds, key=lambda f: (f.seed or 0, f.fold)))
        spread = f"{result.seeds.mean:.4f} ± {result.seeds.deviation:.4f}"
        print(f"| {title} | {alone} | {spread} | {result.score:.4f} | {folds} |")
    ours, theirs = (Predictions.load(runs[title].run.oof) for title in ("pretrained", "random weights"))
    for metric in ("macro_f1", "log_loss"):
        gain = compare(metric, ours.label_codes, ours.probs, theirs.align(ours.ids).probs)
        print(f"\n{metric} of the means: {gain!r}")


if __name__ == "__main__":
    main()
