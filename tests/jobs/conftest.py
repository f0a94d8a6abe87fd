"""Workspaces of made-up runs, and commands called without a process of their own."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from jobs import cli as command_line
from kaggle_tools.predictions import Predictions

RUNS = {"strong": 1.0, "middling": 1.3, "weak": 2.5}


def make_runs(folder, runs, *, classes=("ant", "bee", "cow"), task="single_label", metric="macro_f1", **sizes):
    """A workspace whose runs (name → noise) underrate rare classes, so that class weights and thresholds help."""
    draw = np.random.default_rng(0)
    shares = np.array([0.7, 0.2, 0.1, 0.1, 0.1])[: len(classes)]
    sizes = {"train": 600, "test": 200} | sizes
    truth = {}
    for part, n in sizes.items():
        if task == "single_label":
            truth[part] = np.eye(len(classes), dtype=bool)[draw.choice(len(classes), n, p=shares / shares.sum())]
        else:
            truth[part] = draw.random((n, len(classes))) < shares * 0.6
    for name, noise in runs.items():
        for part, hot in truth.items():
            logits = np.log(shares) * 1.5 + 1.6 * hot + noise * draw.standard_normal(hot.shape)
            probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            if task == "multi_label":
                probs = 1 / (1 + np.exp(-logits))
            train = part == "train"
            predictions = Predictions(
                ids=pl.Series("id", [f"{part}{i}" for i in range(len(hot))]),
                classes=classes,
                probs=probs.astype(np.float32),
                labels=pl.Series("label", ["|".join(np.array(classes)[row]) for row in hot]) if train else None,
                folds=(np.arange(len(hot)) % 3).astype(np.int16) if train else None,
                task=task,
                meta={"run": name},
            )
            run = folder / "runs" / name
            predictions.save(run / "oof.parquet" if train else run / "predictions" / "test.parquet")
        (run / "run.json").write_text("{}")
    ids = [f"test{i}" for i in range(sizes["test"])]
    pl.DataFrame({"id": ids[::-1], "y": [classes[0]] * len(ids)}).write_csv(folder / "sample.csv")
    pl.DataFrame({"id": ids, "text": [""] * len(ids)}).write_csv(folder / "test.csv")
    (folder / "competition.toml").write_text(
        f'name = "c"\ntask = "{task}"\nmetric = "{metric}"\ntext_column = "text"\nid_column = "id"\n'
        f'classes = {json.dumps(classes)}\ntest = "test.csv"\nsample_submission = "sample.csv"\n'
        'submission_format = "labels"\nsubmission_columns = ["y"]\n'
    )
    return folder


@pytest.fixture
def make_workspace(tmp_path):
    """Make one of named runs (name → noise)."""
    return lambda runs, **options: make_runs(tmp_path, runs, **options)


@pytest.fixture
def workspace(tmp_path):
    """Three runs of three classes."""
    return make_runs(tmp_path, RUNS)


@pytest.fixture
def label_workspace(tmp_path):
    """Two runs of several labels a row."""
    classes = ("ant", "bee", "cow", "dog")
    return make_runs(tmp_path, {"strong": 1.0, "weak": 1.8}, classes=classes, task="multi_label", metric="macro_f1")


@pytest.fixture
def binary_workspace(tmp_path):
    """Two runs of two classes."""
    return make_runs(tmp_path, {"strong": 1.0, "weak": 1.8}, classes=("no", "yes"), metric="binary_f1")


@pytest.fixture
def cli_here(tmp_path, monkeypatch, capsys):
    """As `cli`, without a process of its own: a start takes seconds."""

    def run(*arguments, cwd=tmp_path, check=None):
        monkeypatch.setattr(sys, "argv", ["cli", *map(str, arguments)])
        monkeypatch.chdir(cwd)
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setenv("NO_COLOR", "1")
        capsys.readouterr()
        try:
            command_line.main()
            code = 0
        except SystemExit as exc:
            code = exc.code or 0
        done = subprocess.CompletedProcess(arguments, code, *capsys.readouterr())
        if check is not None:
            assert done.returncode == check, done.stderr + done.stdout
        return done

    return run


@pytest.fixture
def call(cli_here):
    """Call the command line in `tmp_path`; gives exit code, stdout and stderr."""

    def run(*words):
        done = cli_here(*words)
        return done.returncode, done.stdout, done.stderr

    return run
