"""A table from stdin is a file named for its content, so that its job resumes; a result goes to stdout whole."""

import gzip
import io
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from jobs.pipes import keep_stdin
from jobs.resolve import InputOptions
from kaggle_tools.errors import UserError
from tests.conftest import process_environment

TABLE = b'id,text\r\na1,w1 w2\r\na2,"w3\nw4"\r\na3,w5\r\n'


def score(*arguments, content, cwd):
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", "score", "--input", "-", *map(str, arguments)],
        input=content,
        cwd=cwd,
        env=process_environment(),
        capture_output=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


def test_a_pipe_in_and_a_pipe_out_give_what_files_give(tmp_path, model, cli):
    (tmp_path / "rows.csv").write_bytes(TABLE)
    cli("score", "--input", "rows.csv", "--model", model, "--output", "out.csv", check=0)
    piped = score("--output", "-", "--model", model, content=TABLE, cwd=tmp_path)
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == (tmp_path / "out.csv").read_bytes()
    assert b"rows" in piped.stderr
    compressed = score("--output", "gz.parquet", "--model", model, content=gzip.compress(TABLE), cwd=tmp_path)
    assert compressed.returncode == 0, compressed.stderr
    assert pl.read_parquet(tmp_path / "gz.parquet")["id"].to_list() == ["a1", "a2", "a3"]
    assert list((tmp_path / ".jobs" / "stdin").iterdir()) == []


def test_streams_that_are_closed_cost_a_job_nothing(tmp_path, model):
    (tmp_path / "rows.csv").write_bytes(TABLE)
    words = "-m jobs.cli score --input rows.csv --output out.csv --precision fp32 --model"
    command = f"exec {sys.executable} {words} {model} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=process_environment(), timeout=300).returncode == 0
    assert len(pl.read_csv(tmp_path / "out.csv")) == 3


def test_the_same_bytes_are_the_same_job(tmp_path, model):
    for expected in (b"", b"complete already"):
        done = score("--output", "-", "--model", model, content=TABLE, cwd=tmp_path)
        assert done.returncode == 0
        assert expected in done.stderr
    assert len(list((tmp_path / ".jobs").glob("stdin-*"))) == 1


def test_a_bad_row_is_found_in_the_kept_file(tmp_path, model):
    done = score("--output", "-", "--model", model, content=TABLE + b"a4,w1,w2\r\n", cwd=tmp_path)
    assert done.returncode == 2
    assert b"line 6" in done.stderr
    assert done.stdout == b""
    assert [path.read_bytes() for path in (tmp_path / ".jobs" / "stdin").iterdir()] == [TABLE + b"a4,w1,w2\r\n"]


def test_kept_bytes_are_whole_and_can_be_forgotten(tmp_path):
    asked = InputOptions(("-",))
    with keep_stdin(asked, tmp_path, io.BytesIO(TABLE * 100_000)) as kept:
        (path,) = tmp_path.iterdir()
        assert kept.patterns == (str(path),)
        assert path.read_bytes() == TABLE * 100_000
        with keep_stdin(asked, tmp_path, io.BytesIO(TABLE * 100_000)) as again:
            assert again == kept
        assert path.exists()  # one of them still reads it
    assert list(tmp_path.iterdir()) == []


def test_bytes_stay_for_a_job_that_was_interrupted(tmp_path):
    stdin = tmp_path / "stdin"
    with pytest.raises(KeyboardInterrupt), keep_stdin(InputOptions(("-",)), stdin, io.BytesIO(TABLE)) as kept:
        raise KeyboardInterrupt
    (path,) = map(Path, kept.patterns)
    job = tmp_path / f"{path.name}-0123456789"
    job.mkdir()
    (job / "plan.json").touch()
    with keep_stdin(InputOptions(("-",)), stdin, io.BytesIO(TABLE)):  # another job of the same table, which ends
        pass
    assert path.read_bytes() == TABLE
    (job / "result.json").touch()
    with keep_stdin(kept, stdin):
        pass
    assert list(stdin.iterdir()) == []


def test_files_are_left_alone(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "a.csv").touch()
    for asked in (InputOptions(("a.csv", "b.csv")), InputOptions((str(tmp_path / "deeper" / "a.csv"),))):
        with keep_stdin(asked, tmp_path) as kept:
            assert kept is asked
    assert (tmp_path / "deeper" / "a.csv").exists()


@pytest.mark.parametrize(
    ("patterns", "content", "message"),
    [(("-", "a.csv"), TABLE, "stdin and files together"), (("-",), b"", "nothing came from stdin")],
)
def test_what_cannot_be_read_is_said(tmp_path, patterns, content, message):
    with pytest.raises(UserError, match=message), keep_stdin(InputOptions(patterns), tmp_path, io.BytesIO(content)):
        pass
    assert list(tmp_path.iterdir()) == []
