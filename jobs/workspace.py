"""Where things lie: the folder of `competition.toml` with `runs/`, `submissions/`, `.jobs/` in it.

Without a competition the working directory serves, so that `cli score --model DIR --input FILE` needs no set-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.seals import read_sealed
from models.fold_folders import fold_folders

RUN_FILE = "run.json"
FOLD_FILE = "folds.parquet"  # in `runs/`
DUTY_FILE = "duty.pickle"  # in `.jobs/runs/<name>/`, while workers train that run


@dataclass(frozen=True)
class Run:
    """`runs/<name>/`: everything that one model recipe left behind."""

    name: str
    folder: Path

    @property
    def checkpoints(self) -> list[Path]:
        """Checkpoints by fold, and by seed where there are several; empty for an imported run."""
        return fold_folders(self.folder)

    @property
    def oof(self) -> Path:
        """Out-of-fold predictions of the training rows."""
        return self.folder / "oof.parquet"

    def predictions(self, stem: str) -> Path:
        """Predictions for the input file `<stem>.csv`."""
        return self.folder / "predictions" / f"{stem}.parquet"

    @property
    def info(self) -> dict[str, Any] | None:
        """Content of `run.json`; None while the run is not complete, since that file is written last.

        Raises:
            UserError: The file is damaged.
        """
        path = self.folder / RUN_FILE
        if not path.is_file():
            return None
        return read_sealed(path, next="train or import the run again; to keep an edit of your own, remove its 'seal'")


@dataclass(frozen=True)
class Workspace:
    """A competition's folder, or any folder where scoring happens."""

    root: Path
    competition: Competition | None

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The nearest competition upward from `start`, or `start` itself (default: the working directory)."""
        competition = Competition.find_or_none(start)
        return cls(competition.root if competition else (start or Path.cwd()).resolve(), competition)

    @property
    def jobs(self) -> Path:
        """Scoring jobs and their parts."""
        return self.root / ".jobs"

    @property
    def submissions(self) -> Path:
        """Submission versions."""
        return self.root / "submissions"

    @property
    def runs_folder(self) -> Path:
        """Parent of all runs; also holds the fold file that they share."""
        return self.root / "runs"

    def runs(self) -> list[Run]:
        """Complete runs, by name."""
        if not self.runs_folder.is_dir():
            return []
        # A dot begins the folders in which runs are put together.
        found = [Run(p.name, p) for p in sorted(self.runs_folder.iterdir()) if p.is_dir() and p.name[0] != "."]
        return [run for run in found if run.info is not None]

    def run(self, name: str) -> Run:
        """One complete run.

        Raises:
            UserError: No such run, or it is not complete.
        """
        run = Run(name, self.runs_folder / name)
        if run.info is None:
            known = [r.name for r in self.runs()]
            raise UserError(f"no complete run '{name}'", where=self.runs_folder, next=did_you_mean(name, known))
        return run
