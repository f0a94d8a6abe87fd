"""`cli init`: look at a competition's files, conclude what they are, write `competition.toml`.

cli init --train train.csv --test test.csv --sample sample_submission.csv
cli init --train labelled.csv --test posts.gb18030.csv.gz --label sentiment --metric macro_f1
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kaggle_tools.competition import FILE_NAME
from kaggle_tools.errors import UserError
from kaggle_tools.inspect import Conclusions, Overrides, conclude


@dataclass(frozen=True)
class InitOptions:
    """What to look at.

    Attributes:
        train: Table with labels, or None.
        test: Table to predict, or None; at least one of the two is needed.
        sample: Sample submission, or None.
        overrides: What the user says himself.
        root: Folder for `competition.toml`; None is the working directory.
        force: Replace a `competition.toml` that is there.
    """

    train: Path | None = None
    test: Path | None = None
    sample: Path | None = None
    overrides: Overrides = field(default_factory=Overrides)
    root: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class InitResult:
    """What was written.

    Attributes:
        path: `competition.toml`.
        conclusions: What it says, with reasons, and what else was found.
    """

    path: Path
    conclusions: Conclusions


def run(options: InitOptions) -> InitResult:
    """Write `competition.toml`.

    Raises:
        UserError: There is one and `force` is off; or as `kaggle_tools.inspect.conclude`. Nothing is written then.
    """
    root = options.root or Path.cwd()
    path = root / FILE_NAME
    if path.exists() and not options.force:
        raise UserError(f"{FILE_NAME} exists", where=path, next="edit it, or write it anew with --force")
    conclusions = conclude(options.train, options.test, options.sample, root=root, overrides=options.overrides)
    conclusions.competition.save(path)
    return InitResult(path, conclusions)
