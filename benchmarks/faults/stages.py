"""The commands that are killed: what comes before each, what it must write, in the same bytes, how far it was.

`STAGES` is the list; `fill` makes the workspace in which they run. Sizes are the smallest at which every command still
has several shards, folds or steps.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Words = tuple[str, ...]
SCORE: Words = (
    "score",
    "--input",
    "test.csv",
    "--shard-rows",
    "32",
    "--output",
    "out.csv",
    "--device",
    "cpu",
    "--quiet",
)

_NETWORK = """
name = "net"
seed = 3
[encoder.scratch]
layers = 1
hidden = 16
intermediate = 16
vocab_size = 60
min_frequency = 1
[data]
max_length = 12
[folds]
n = 2
[training]
epochs = 2
batch_size = 32
learning_rate = 1e-2
"""

_COPY = "import sys; open(sys.argv[2], 'w').write(open(sys.argv[1]).read().upper())"
_BATCH = """
[steps.a]
command = "{copy} test.csv a.txt"
outputs = ["a.txt"]
[steps.b]
needs = ["a"]
command = "{copy} a.txt b.txt"
outputs = ["b.txt"]
[steps.c]
command = "{copy} train.csv c.txt"
outputs = ["c.txt"]
[steps.adopt]
needs = ["b", "c"]
cli = "submissions adopt mine.csv --quiet"
"""


@dataclass(frozen=True)
class Stage:
    """A command and the files that it promises to write in the same bytes.

    Attributes:
        name: What it is called.
        before: Commands that come first and are not killed.
        words: The command that is killed.
        files: Patterns below the workspace.
        marks: What it leaves on its way, in order: pattern → what is under way once that is there.
        share: How many of all kills it gets.
        spoken: Whether times are written into the files, which are then taken out before the comparison.
    """

    name: str
    before: tuple[Words, ...]
    words: Words
    files: tuple[str, ...]
    marks: tuple[tuple[str, str], ...]
    share: float
    spoken: bool = False


_TRAIN: tuple[Words, ...] = (("train", "one.toml", "--quiet"), ("train", "two.toml", "--quiet"))
_TRAIN_NETWORK: Words = ("train", "net.toml", "--device", "cpu", "--quiet")
_SCORE_NETWORK: Words = (*SCORE, "--precision", "fp32", "--model", "net")
_BLEND: Words = ("blend", "--method", "weights", "--quiet")
_ADOPT: Words = ("submissions", "adopt", "mine.csv", "--quiet")

_SCORED = ("out.csv", "runs/*/predictions/test.parquet", "submissions/v*/submission.csv")
_SCORE_MARKS = (
    (".jobs/*-*/lock", "planning"),
    (".jobs/*-*/plan.json", "the first parts"),
    (".jobs/*-*/parts/00003.parquet", "later parts"),
    (".jobs/*-*/parts/00018.parquet", "the output"),
    ("out.csv", "predictions, the version"),
    (".jobs/*-*/result.json", "the end"),
)
_VERSION_MARKS = (("submissions/.v*", "the version"), ("submissions/v*-mine", "the end"))
_FOLD_MARKS = (
    ("runs/{run}/recipe.toml", "fold 0"),
    ("runs/{run}/fold0/oof.parquet", "fold 1"),
    ("runs/{run}/fold1/oof.parquet", "joining the folds"),
    ("runs/{run}/run.json", "the end"),
)


def _folds(run: str) -> tuple[tuple[str, str], ...]:
    return tuple((pattern.format(run=run), words) for pattern, words in _FOLD_MARKS)


# The quickest come first: where time is short, most kills are made.
STAGES = (
    Stage("version", (), _ADOPT, ("submissions/v*-mine/submission.csv", "submissions/v*-mine/manifest.json"),
          _VERSION_MARKS, 0.2, spoken=True),
    Stage("record", (_ADOPT,), ("record", "1", "--public", "0.5", "--rank", "7", "--quiet"),
          ("submissions/v0001-mine/manifest.json",), (), 0.05, spoken=True),
    Stage("train", (), _TRAIN[0], ("runs/folds.parquet", "runs/one/oof.parquet", "runs/one/fold*/linear.*"),
          _folds("one"), 0.2),
    Stage("train, network", (), _TRAIN_NETWORK,
          ("runs/folds.parquet", "runs/net/oof.parquet", "runs/net/fold*/*.safetensors"),
          _folds("net"), 0.08),
    Stage("score", _TRAIN, SCORE, _SCORED, _SCORE_MARKS, 0.2),
    Stage("score, network", (_TRAIN_NETWORK,), _SCORE_NETWORK, _SCORED, _SCORE_MARKS, 0.07),
    Stage("run", (), ("run", "jobs.toml", "--parallel", "2", "--quiet"),
          ("a.txt", "b.txt", "c.txt", "submissions/v*-mine/submission.csv"),
          ((".jobs/batches/*/state.json", "the first steps"), ("b.txt", "step adopt"), *_VERSION_MARKS), 0.1),
    Stage("blend", (*_TRAIN, SCORE), _BLEND, ("blends/*.json", "submissions/v*-blend/submission.csv"),
          (("blends/*.json", "the version"), ("submissions/v*-blend", "the end")), 0.08),
    Stage("report", (*_TRAIN, SCORE), ("report", "--force", "--quiet"), ("report.html",), (("report.html", "the end"),),
          0.02, spoken=True),
)  # fmt: skip


def fill(work: Path, write_tables: Callable[[Path], None]) -> None:
    """An empty workspace with tables, recipes and a batch file in `work`, which is emptied first."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_tables(work)
    shutil.copyfile(work / "sample.csv", work / "mine.csv")
    (work / "net.toml").write_text(_NETWORK)
    copy = shlex.join([sys.executable, "-I", "-S", "-c", _COPY])
    (work / "jobs.toml").write_text(_BATCH.format(copy=copy.replace("\\", "\\\\").replace('"', '\\"')))
