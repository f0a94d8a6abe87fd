"""A full disk, places that cannot be written to, inputs that change under the job's feet, a clock that goes back."""

import dataclasses
import errno
import io
import os
import resource
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from benchmarks.faults import workplace
from benchmarks.faults.tables import make_model, working_directory
from jobs import score
from jobs.resolve import InputOptions
from jobs.runner import store
from kaggle_tools.errors import UserError
from kaggle_tools.submissions import Manifest
from tests.conftest import process_environment

ROWS = 400


class Meddler:
    """A watch that does something once the first part is there."""

    def __init__(self, act):
        self.act, self.notes = act, []

    def note(self, text):
        self.notes.append(text)

    def started(self, n_rows, rows_done, ceiling):
        self.done_before = rows_done

    def advanced(self, rows):
        pass

    def committed(self, stats, seconds):
        self.act, act = (lambda: None), self.act
        act()


@pytest.fixture
def here(tmp_path):
    make_model(tmp_path / "model")
    (tmp_path / "rows.csv").write_text("id,text\n" + "".join(f"r{i},text {i * 7919 % 997}\n" for i in range(ROWS)))
    return tmp_path


def score_it(folder, act=lambda: None, table="rows.csv"):
    watch = Meddler(act)
    asked = InputOptions((table,))
    with working_directory(folder):
        options = score.ScoreOptions(asked, ("model",), output=folder / "out.csv", shard_rows=4, submission=False)
        score.run(options, watch)
    return watch


def as_text_of(path):
    return path.read_text().splitlines()


def test_an_input_cut_off_while_it_is_scored_is_noticed_and_scored_once_it_is_back(here):
    whole = (here / "rows.csv").read_bytes()
    before = (here / "rows.csv").stat()
    with pytest.raises(UserError, match=r"rows\.csv changed while the job ran"):
        score_it(here, lambda: os.truncate(here / "rows.csv", len(whole) // 2))
    assert not (here / "out.csv").exists()
    (here / "rows.csv").write_bytes(whole)
    os.utime(here / "rows.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert score_it(here).done_before > 0
    assert len(as_text_of(here / "out.csv")) == ROWS + 1


def test_other_bytes_in_place_are_noticed(here):
    def change():
        with (here / "rows.csv").open("r+b") as handle:
            handle.seek(-3, 2)
            handle.write(b"9")

    with pytest.raises(UserError, match=r"rows\.csv changed while the job ran"):
        score_it(here, change)
    assert not (here / "out.csv").exists()


def test_a_file_that_is_replaced_before_it_is_planned_is_never_taken_for_what_it_was(here, monkeypatch):
    first, before = (here / "rows.csv").read_text(), (here / "rows.csv").stat()
    real = score.Scorer

    def replaced(*models, **options):  # it was looked at before, and is indexed behind
        (here / "rows.csv").write_text(first.replace("\nr", "\nother"))
        return real(*models, **options)

    with monkeypatch.context() as patch:
        patch.setattr(score, "Scorer", replaced)
        with pytest.raises(UserError, match=r"rows\.csv changed while it was read"):
            score_it(here)
    (here / "rows.csv").write_text(first)
    os.utime(here / "rows.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    score_it(here)
    assert [line.split(",")[0] for line in as_text_of(here / "out.csv")[1:]] == [f"r{i}" for i in range(ROWS)]


def test_a_parquet_file_that_is_written_over_is_noticed(here):
    frame = pl.read_csv(here / "rows.csv")
    frame.write_parquet(here / "rows.parquet", row_group_size=40)
    before = (here / "rows.parquet").stat()
    other = io.BytesIO()
    frame.with_columns(pl.col("text").reverse()).write_parquet(other, row_group_size=40)

    def change():
        with (here / "rows.parquet").open("r+b") as handle:  # in its place: who has it open reads the new bytes
            handle.write(other.getvalue())
            handle.truncate()
        os.utime(here / "rows.parquet", ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    with pytest.raises(UserError, match=r"rows\.parquet changed while the job ran"):
        score_it(here, change, "rows.parquet")
    assert not (here / "out.csv").exists()


def test_rows_that_are_appended_are_told_and_left_to_the_next_call(here):
    def append():
        with (here / "rows.csv").open("a") as handle:
            handle.write("late,row\n")

    watch = score_it(here, append)
    assert any("rows.csv changed while the job ran" in note for note in watch.notes)
    assert len(as_text_of(here / "out.csv")) == ROWS + 1
    (here / "out.csv").unlink()
    score_it(here)
    assert len(as_text_of(here / "out.csv")) == ROWS + 2


def test_an_input_that_goes_away_is_noticed_or_was_open(here):
    watch = score_it(here, lambda: (here / "rows.csv").unlink())
    assert any("changed while the job ran" in note for note in watch.notes)
    assert len(as_text_of(here / "out.csv")) == ROWS + 1


@pytest.mark.parametrize("place", ["/proc/nowhere/out.csv", "/dev/null/out.csv", "rows.csv/out.csv"])
def test_a_place_that_cannot_be_written_to_is_told_before_the_work(here, place):
    watch = Meddler(lambda: pytest.fail("something was scored"))
    options = score.ScoreOptions(InputOptions(("rows.csv",)), ("model",), output=here / place, submission=False)
    with working_directory(here), pytest.raises(UserError, match="cannot write") as caught:
        score.run(options, watch)
    assert "next" in caught.value.details


@pytest.mark.parametrize("limit", [300, 8_000])
def test_a_full_disk_is_one_error_and_the_same_command_goes_on_once_there_is_space(here, limit):
    """RLIMIT_FSIZE stands for the full disk: no file may grow beyond it."""
    words = ["score", "--input", "rows.csv", "--model", "model", "--shard-rows", "100", "--output", "out.csv", "-q"]

    def little_space():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words],
        cwd=here,
        env=process_environment({"NUMBA_DISABLE_CACHING": "1", "PYTHONDONTWRITEBYTECODE": "1"}),
        capture_output=True,
        text=True,
        preexec_fn=little_space,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: cannot write"), done.stderr
    assert not (here / "out.csv").exists()
    assert not list(here.rglob(".*.tmp"))
    score_it(here)
    assert len(as_text_of(here / "out.csv")) == ROWS + 1


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/b.csv"),
            "cannot write /a/b.csv: No space left on device",
        ),
        (OSError(errno.EFBIG, "File too large"), "cannot write a file: File too large"),
        (
            RuntimeError("serializing: I/O error: No space left on device (os error 28)"),
            "cannot write a file: No space",
        ),
        (OSError(errno.EIO, "Input/output error"), None),
        (RuntimeError("an assertion (os error 5)"), None),
        (KeyError("os error 28"), None),
    ],
)
def test_a_full_disk_is_no_bug_whoever_met_it_and_nothing_else_is_taken_for_one(problem, said, tmp_path, monkeypatch):
    workplace.write_tables(tmp_path)

    def fail(*_):
        raise problem

    monkeypatch.setattr("jobs.submissions.adopt", fail)
    done = workplace.call(tmp_path, ("submissions", "adopt", "sample.csv"))
    if said is None:
        assert done.code is None
        assert type(problem).__name__ in done.err
    else:
        assert done.code == 2
        assert done.err.startswith(f"error: {said}")
        assert "free some space" in done.err


def test_a_clock_that_goes_back_disturbs_nothing(tmp_path, monkeypatch):
    workplace.write_tables(tmp_path)
    clock = iter(datetime(2031, 1, 1, tzinfo=UTC) - timedelta(days=i) for i in range(10_000))
    monkeypatch.setattr(store, "now", lambda: next(clock).isoformat(timespec="seconds"))
    for words in (("train", "one.toml"), workplace.SCORE, ("submissions", "adopt", "sample.csv", "--name", "second")):
        assert workplace.call(tmp_path, words).code == 0
    first = Manifest.load(tmp_path / "submissions" / "v0001-one")
    future = (datetime.now(UTC) + timedelta(days=400)).isoformat(timespec="seconds")
    monkeypatch.undo()
    dataclasses.replace(first, created=future).save(tmp_path / "submissions" / "v0001-one")
    for words in (
        ("jobs",),
        ("jobs", "show", "test"),
        ("submissions",),
        ("leaderboard",),
        ("record", "1", "--public", "1"),
    ):
        done = workplace.call(tmp_path, words)
        assert done.code == 0, done.err
    third = workplace.call(tmp_path, ("submissions", "adopt", "sample.csv", "--name", "third", "--json"))
    assert '"v0003-third"' in third.out
