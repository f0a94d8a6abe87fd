"""A small competition with two linear runs, a scored file, a blend and two versions; commands without a process."""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs import cli as command_line

CLASSES = ("cat", "dog", "emu")
RECIPE = 'kind = "linear"\nname = "{name}"\n[linear]\nC = {c}\nchars = false\nmin_df = 1\n[folds]\nn = 2\n'


@dataclass(frozen=True)
class Done:
    """What a command came to: exit code (None after a traceback), stdout, stderr."""

    code: int | None
    out: str
    err: str


def call(folder: Path, words: Sequence[object]) -> Done:
    """Run a command of the command line in `folder`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, argv = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["cli", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command_line.main()
        code: int | None = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0
    except Exception:
        code = None
        err.write(traceback.format_exc())
    finally:
        sys.argv = argv
        os.chdir(before)
    return Done(code, out.getvalue(), err.getvalue())


def write_tables(folder: Path, *, train: int = 90, test: int = 60) -> None:
    """`train.csv`, `test.csv`, `sample.csv`, recipes and `competition.toml`."""
    draw = random.Random(5)
    words = {name: [f"{name}{i}" for i in range(12)] for name in CLASSES}
    shared = [f"w{i}" for i in range(40)]

    def text(name: str) -> str:
        return " ".join(draw.choice(words[name] if draw.random() < 0.4 else shared) for _ in range(8))

    labels = [CLASSES[i % 3] for i in range(train)]
    rows = "".join(f"t{i},{text(label)},{label}\n" for i, label in enumerate(labels))
    (folder / "train.csv").write_text("id,text,label\n" + rows)
    (folder / "test.csv").write_text("id,text\n" + "".join(f"x{i},{text(draw.choice(CLASSES))}\n" for i in range(test)))
    (folder / "sample.csv").write_text("id,label\n" + "".join(f"x{i},cat\n" for i in range(test)))
    for name, c in (("one", 1.0), ("two", 20.0)):
        (folder / f"{name}.toml").write_text(RECIPE.format(name=name, c=c))
    (folder / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "macro_f1"\nid_column = "id"\ntext_column = "text"\n'
        'label_column = "label"\nclasses = ["cat", "dog", "emu"]\ntrain = "train.csv"\ntest = "test.csv"\n'
        'sample_submission = "sample.csv"\nsubmission_format = "labels"\nsubmission_id = "id"\n'
        'submission_columns = ["label"]\n'
    )


SCORE = ("score", "--input", "test.csv", "--shard-rows", "16", "--output", "out.csv", "--device", "cpu", "--json")


def make(folder: Path) -> Path:
    """All of it in `folder`; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder)
    for words in (
        ("train", "one.toml", "--quiet"),
        ("train", "two.toml", "--quiet"),
        (*SCORE, "--quiet"),
        ("blend", "--method", "weights", "--quiet"),
        ("record", "1", "--public", "0.5", "--quiet"),
    ):
        done = call(folder, words)
        if done.code != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.err}")
    return folder
