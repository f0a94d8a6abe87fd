"""Every table of the hostile corpus through `jobs.score.run`, judged by independent readers.

    python -m benchmarks.faults tables

A table is scored by a linear model whose features are characters, so that other text gives other probabilities; its
ids and probabilities are compared with those of the model applied to what the csv, json and pyarrow modules read.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.faults.corpus import ALPHABET, ODD_TEXTS, Case, Row
from benchmarks.faults.readers import Refused, truth
from jobs import score
from jobs.errors import USER_ERRORS
from jobs.resolve import InputOptions
from models.linear import LinearModel, Vectorizer, VectorizerOptions, fit_vectorizer

CLASSES = ("a", "b", "c")

RIGHT = "scored right"
REFUSED = "refused, as an independent reader does"
CAREFUL = "refused, though an independent reader takes it"
LENIENT = "scored as a lenient csv module reads it; a strict one refuses"
WRONG = "SCORED WRONG"
CRASHED = "TRACEBACK"
VERDICTS = (RIGHT, REFUSED, CAREFUL, LENIENT, WRONG, CRASHED)


@dataclass(frozen=True)
class Judged:
    """What became of a case: a verdict, and the error or the difference in one line."""

    case: Case
    verdict: str
    said: str = ""


class Silent:
    """A watch that says nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def started(self, n_rows: int, rows_done: int, ceiling: float) -> None:
        """Nothing."""

    def advanced(self, rows: float) -> None:
        """Nothing."""

    def committed(self, stats: object, seconds: dict[str, float]) -> None:
        """Nothing."""


def make_model(folder: Path) -> LinearModel:
    """A linear checkpoint with random weights whose features are single characters and pairs of them."""
    texts = [*ODD_TEXTS.values(), *ALPHABET, " ".join(map(chr, range(33, 127)))]
    options = {"words": False, "char_ngrams": (1, 2), "min_df": 1, "lowercase": False}
    vectorizer: Vectorizer = fit_vectorizer(texts, **options)
    draw = np.random.default_rng(0)
    shape = (len(CLASSES), vectorizer.n_features)
    model = LinearModel(
        vectorizer,
        CLASSES,
        draw.normal(size=shape).astype(np.float32) * 2,
        draw.normal(size=len(CLASSES)).astype(np.float32),
    )
    assert isinstance(vectorizer.options, VectorizerOptions)
    model.save(folder)
    return model


def judge(case: Case, model: LinearModel, checkpoint: Path, folder: Path) -> Judged:
    """Score one table in `folder`, which is emptied first, and compare."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / case.filename).write_bytes(case.content)
    asked = InputOptions((case.filename,), **case.options)
    options = score.ScoreOptions(asked, (str(checkpoint),), output=Path("out.csv"), device="cpu", submission=False)
    try:
        with working_directory(folder):
            score.run(options, Silent())
    except USER_ERRORS as exc:
        return _judge_refusal(case, exc, folder)
    except Exception:
        return Judged(case, CRASHED, traceback.format_exc().strip().splitlines()[-1])
    return _judge_scores(case, model, folder / "out.csv")


def judge_all(cases: Sequence[Case], work: Path) -> list[Judged]:
    """All of them, one after the other."""
    model = make_model(work / "model")
    return [judge(case, model, work / "model", work / "table") for case in cases]


@contextlib.contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """Be in `folder` for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _judge_refusal(case: Case, error: Exception, folder: Path) -> Judged:
    said = str(error).splitlines()[0]
    left = [path.name for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name == "out.csv"]
    if left or not said:
        return Judged(case, WRONG, f"refused, but left {left}")
    try:
        truth(case)
    except Refused:
        return Judged(case, REFUSED, said)
    return Judged(case, CAREFUL, said)


def _judge_scores(case: Case, model: LinearModel, output: Path) -> Judged:
    with output.open(newline="", encoding="utf-8") as handle:
        table = list(csv.reader(handle))
    found_ids = [row[0] for row in table[1:]]
    found = np.array([row[2:] for row in table[1:]], dtype=np.float64)
    for verdict, reader in ((RIGHT, truth), (LENIENT, partial(truth, strict=False))):
        try:
            rows = reader(case)
        except Refused as exc:
            reason = str(exc)
            continue
        if found_ids != [i for i, _ in rows]:
            return Judged(case, WRONG, f"{len(found_ids)} ids, expected {len(rows)}, or other ones")
        if (worst := float(np.abs(found - _expected(model, rows)).max())) > 1e-5:
            return Judged(case, WRONG, f"probabilities are up to {worst:.4f} off")
        return Judged(case, verdict)
    return Judged(case, WRONG, f"scored, but {reason}")


def _expected(model: LinearModel, rows: Sequence[Row]) -> NDArray[np.float64]:
    texts = [text.replace("\ufdd0", " ") for _, text in rows]  # the sign of pairs is a blank in a single text
    logits = model.logits(model.vectorizer.transform(texts))
    probs: NDArray[np.float64] = softmax(logits.astype(np.float64), axis=1)
    return probs
