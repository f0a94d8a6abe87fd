"""Made-up predictions for the tests of search: several models that see the same noisy evidence differently."""

import numpy as np
import polars as pl

from kaggle_tools.predictions import Predictions


def make_stack(n_models=5, n_rows=600, n_classes=3, *, seed=0, noise=1.0):
    """(M, N, C) float32 probabilities and (N,) codes of imbalanced classes."""
    random = np.random.default_rng(seed)
    shares = 1 / np.arange(1, n_classes + 1)
    codes = random.choice(n_classes, n_rows, p=shares / shares.sum())
    logits = random.normal(size=(n_rows, n_classes))
    logits[np.arange(n_rows), codes] += 1.5
    noises = noise * random.uniform(0.5, 1.5, n_models)
    seen = logits + noises[:, None, None] * random.normal(size=(n_models, n_rows, n_classes))
    powers = np.exp(seen - seen.max(axis=2, keepdims=True))
    return (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32), codes


def make_label_stack(n_models=3, n_rows=400, n_labels=4, *, seed=0):
    """(M, N, L) float32 probabilities and (N, L) codes of a multi-label problem."""
    random = np.random.default_rng(seed)
    codes = (random.random((n_rows, n_labels)) < 0.3).astype(np.int64)
    logits = 2.0 * codes - 1.0 + random.normal(size=(n_models, n_rows, n_labels))
    return (1 / (1 + np.exp(-logits))).astype(np.float32), codes


def as_predictions(probs, classes, *, ids=None, labels=None, folds=None, task="single_label"):
    ids = pl.Series("id", [f"r{i}" for i in range(len(probs))] if ids is None else ids)
    labels = None if labels is None else pl.Series("label", labels)
    return Predictions(ids, tuple(classes), np.ascontiguousarray(probs), labels, folds, task)
