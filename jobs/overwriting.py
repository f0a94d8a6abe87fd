"""What `cli score` may write over: never a table that is read, an output that is there only with `--force`.

check_targets(inputs, output, metrics_file)
claim = OutputClaim.make(store, output, force=False)      # before the work
claim.confirm()                                           # after it, just before the output is put in its place
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.resolve import Inputs
from jobs.runner.progress import FIRST_WORDS
from jobs.runner.store import OUTPUT_FILE, JobStore
from kaggle_tools.errors import UserError
from kaggle_tools.files import check_writable
from kaggle_tools.remote import Place, RemoteFile

State = tuple[int, int, int] | str | None


def check_targets(inputs: Inputs, output: Place | None, metrics_file: Path | None) -> None:
    """Refuse, whatever `--force` says, to lose a table that is read, the output, or a file that holds no metrics.

    Raises:
        UserError: `--output` or `--metrics-file` names such a file.
    """
    for option, path in (("--output", output), ("--metrics-file", metrics_file)):
        if path is not None and str(path.resolve()) in [file.path for file in inputs.files]:
            raise UserError(f"{option} is an input, which would be lost", where=path, next="name another file")
    if metrics_file is None:
        return
    if output is not None and str(metrics_file.resolve()) == str(output.resolve()):
        raise UserError(
            "--metrics-file is the output, which would be lost", where=metrics_file, next="name another file"
        )
    start = _first_bytes(metrics_file, len(FIRST_WORDS))
    if start and start != FIRST_WORDS.encode():
        raise UserError(
            "--metrics-file is a file of another kind, which would be lost",
            where=metrics_file,
            expected=f"no file yet, or one that begins with '{FIRST_WORDS}'",
            next="name another file",
        )


@dataclass(frozen=True)
class OutputClaim:
    """That the output may be put where it was asked to be.

    Attributes:
        store: The job, whose `output.json` says where its output goes, and whether what lies there is its own.
        path: Where the output goes.
        before: What was there before the work.
        force: Whether it may be replaced whoever wrote it.
    """

    store: JobStore
    path: Place
    before: State
    force: bool

    @classmethod
    def make(cls, store: JobStore, path: Place, *, force: bool) -> OutputClaim:
        """Make sure before the work that the output can be written after it. A job may write over its own.

        Raises:
            UserError: There is a file that this job did not write; the folder cannot be written to.
        """
        known = store.read(OUTPUT_FILE) or {}
        own = force or (known.get("path") == str(path) and known.get("own", True))
        before = _state(path)
        if before is not None and not own:
            raise UserError("the output file exists", where=path, next="name another with --output, or say --force")
        check_writable(path)
        store.write(OUTPUT_FILE, {"path": str(path), "own": own})
        return cls(store, path, before, force)

    def confirm(self) -> None:
        """Make sure that no other job's output came there while this one worked.

        Raises:
            UserError: One did.
        """
        now = _state(self.path)
        if now is not None and now != self.before and not self.force:
            raise UserError(
                "the output file appeared while the job ran: another wrote it",
                where=self.path,
                next="run the same command with another --output, or with --force to replace that file: "
                f"all parts of job {self.store.id} are kept, and no row is scored again",
            )
        self.store.write(OUTPUT_FILE, {"path": str(self.path), "own": True})


def _state(path: Place) -> State:
    """What tells one file from another in its place; None where there is none."""
    if not path.exists():
        return None
    if isinstance(path, RemoteFile):
        return path.version()
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _first_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:  # none there; what cannot be written is told where it is written
        return b""
