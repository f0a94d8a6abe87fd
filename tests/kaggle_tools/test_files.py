"""Files appear whole or not at all; fingerprints see every byte; names stay inside their folder."""

import errno
import hashlib
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import check_name, digest, file_digest, table_stem, write_atomically


def test_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "deep" / "er" / "a.txt") as temporary:
        temporary.write_text("hello")
        assert not (tmp_path / "deep" / "er" / "a.txt").exists()
    assert (tmp_path / "deep" / "er" / "a.txt").read_text() == "hello"
    assert [p.name for p in (tmp_path / "deep" / "er").iterdir()] == ["a.txt"]


def test_body_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), write_atomically(path) as temporary:
        temporary.write_text("half" * (temporary.write_text("half") // 0))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.txt"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to(tmp_path / "pipe")
        path = path if kind == "link to a pipe" else tmp_path / "pipe"
    before = path.stat()
    with pytest.raises(UserError, match=f"cannot write {path.name}: it is"), write_atomically(path):
        raise AssertionError("the work was begun")
    assert path.stat() == before


def test_full_disk_is_told_to_the_user(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No space left") as caught, write_atomically(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.details["where"] == str(tmp_path)


@pytest.mark.parametrize("deep", ["a.txt", "b/a.txt", "b/c/a.txt"])
def test_folder_that_is_a_file_is_told_to_the_user(tmp_path: Path, deep: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write a\.txt"), write_atomically(tmp_path / "file" / deep):
        pass


def test_error_about_another_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "a.txt"):
        (tmp_path / "another" / "file").read_text()


def test_threads_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def write(letter: str) -> None:
        try:
            with write_atomically(tmp_path / "a.txt") as temporary:
                temporary.write_text(letter * 1000)
                barrier.wait()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = (tmp_path / "a.txt").read_text()
    assert not failures
    assert len(text) == 1000
    assert len(set(text)) == 1


def _write_and_die(path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text("half")
        os._exit(9)


def test_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    process = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert path.read_text() == "old"


def test_file_digest_is_blake2b_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_digest(tmp_path / "a") == hashlib.blake2b(b"abc" * 100_000, digest_size=16).hexdigest()


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_digests_agree_exactly_where_parts_do(a: list[str], b: list[str]) -> None:
    assert (digest(*a) == digest(*b)) == (a == b)


@pytest.mark.parametrize("name", ["roberta", "lgbm-2", "v1.0+tta", "微博", "7"])
def test_plain_names_are_accepted(name: str) -> None:
    check_name(name, "run name")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", ".hidden", "-rf", "a\n", "x" * 201, "a\0"])
def test_names_that_could_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a run name"):
        check_name(name, "run name")


def test_unknown_name_gets_the_nearest_one() -> None:
    assert did_you_mean("txt", ["text", "id"]) == "did you mean 'text'?"
    assert did_you_mean("zzz", ["text", "id"]) == "known: text, id"
    assert did_you_mean("zzz", []) == "known: none"
    many = did_you_mean("zzz", [f"name{i}" for i in range(1234)])
    assert many.endswith("name39 and 1,194 more")


def test_error_reads_as_a_summary_with_aligned_details() -> None:
    error = UserError("two ids are missing", first="id1", next="score them")
    assert str(error) == "two ids are missing\n  first: id1\n  next:  score them"
    assert error.exit_code == 2


def test_what_a_killed_process_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    def begin_and_die() -> None:
        with write_atomically(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    child = multiprocessing.get_context("fork").Process(target=begin_and_die)
    child.start()
    child.join()
    assert len(list(tmp_path.iterdir())) == 1
    living = tmp_path / next(tmp_path.iterdir()).name.replace(str(child.pid), str(os.getppid()))
    living.write_text("another process is at it")
    with write_atomically(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.txt", living.name])


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("test.csv", "test"),
        ("data.v1.CSV.gz", "data.v1"),
        ("rows.jsonl.zst", "rows"),
        ("stdin-3fa9", "stdin-3fa9"),
        ("a.b", "a.b"),
        (".csv", ""),
    ],
)
def test_a_table_is_called_by_its_name_without_the_endings_of_formats(name: str, stem: str) -> None:
    assert table_stem(name) == stem
