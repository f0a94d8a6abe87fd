"""Small workspaces with names and texts that a page must not take for its own."""

import json

import numpy as np
import polars as pl

from kaggle_tools.predictions import Predictions

CLASSES = ("<script>alert(1)</script>", "dog", "👻 ghost")


def make_workspace(tmp_path):
    """A competition without runs; gives its folder."""
    rng = np.random.default_rng(0)
    for name, n in (("train", 240), ("test", 60)):
        table = pl.DataFrame(
            {
                "id": [f"{name}{i}" for i in range(n)],
                "text": [f"<b>word</b> {'👻 ' * int(rng.integers(1, 9))}{i}" for i in range(n)],
            }
        )
        if name == "train":
            table = table.with_columns(label=pl.Series([CLASSES[i] for i in rng.integers(0, 3, n)]))
        table.write_csv(tmp_path / f"{name}.csv")
    classes = ", ".join(json.dumps(name, ensure_ascii=False) for name in CLASSES)
    (tmp_path / "competition.toml").write_text(
        f'name = "<i>Ghosts</i> & co"\ntask = "single_label"\nmetric = "macro_f1"\ntext_column = "text"\n'
        f'classes = [{classes}]\nid_column = "id"\nlabel_column = "label"\ntrain = "train.csv"\ntest = "test.csv"\n',
        encoding="utf-8",
    )
    return tmp_path


def add_run(workspace, name, *, seed=0, rows=None, classes=CLASSES):
    train = pl.read_csv(workspace / "train.csv").head(rows or 240)
    rng = np.random.default_rng(seed)
    truth = train["label"].replace_strict(CLASSES, range(3)).to_numpy()
    probs = rng.dirichlet(np.ones(len(classes)), len(train))
    probs[np.arange(len(train)), truth] += 0.4
    folder = workspace / "runs" / name
    Predictions(
        ids=train["id"],
        classes=classes,
        probs=(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32),
        labels=train["label"],
        folds=(np.arange(len(train)) % 3).astype(np.int16),
    ).save(folder / "oof.parquet")
    (folder / "run.json").write_text(json.dumps({"kind": "imported", "created": "2026-01-02T03:04:05+00:00"}))
