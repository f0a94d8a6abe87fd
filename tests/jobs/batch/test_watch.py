"""`cli run --watch`: each content once, whatever its name, however often the watch is killed."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs import watch
from jobs.batch import fingerprints
from jobs.batch.state import BatchStore
from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest
from tests.conftest import process_environment


@pytest.fixture
def arrivals(tmp_path, monkeypatch):
    """A folder, and in place of `cli score` a program that notes what it was called with."""
    (tmp_path / "in").mkdir()
    (tmp_path / "score.py").write_text(
        "import sys, pathlib\n"
        "w = sys.argv[1:]; source, target = w[w.index('--input') + 1], w[w.index('--output') + 1]\n"
        "open('calls.txt', 'a').write(source + '\\n')\n"
        "text = pathlib.Path(source).read_text()\n"
        "if 'bad' in text: sys.exit('a bad row')\n"
        "pathlib.Path(target).parent.mkdir(exist_ok=True); pathlib.Path(target).write_text(text)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "process_words", lambda task: [sys.executable, "score.py", *task.words])
    return tmp_path / "in"


def calls(folder):
    path = folder.parent / "calls.txt"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def once(folder, **options):
    return watch.run(watch.WatchOptions(folder, settle_s=0.0, once=True, **options))


def test_each_content_is_scored_once_whatever_its_name(arrivals):
    (arrivals / "a.csv").write_text("one")
    (arrivals / "b.csv").write_text("two")
    (arrivals / "notes.txt").write_text("not a table")
    (arrivals / ".c.csv").write_text("still being written")
    assert [e.state for e in once(arrivals).entries] == ["done", "done"]
    assert sorted(calls(arrivals)) == ["in/a.csv", "in/b.csv"]
    assert once(arrivals).entries == ()
    (arrivals / "a-again.csv").write_text("one")
    (arrivals / "b.csv").touch()
    assert once(arrivals).entries == ()
    assert calls(arrivals) == []
    (arrivals / "a.csv").write_text("three")  # the name has other content: another file of scores
    (entry,) = once(arrivals).entries
    assert calls(arrivals) == ["in/a.csv"]
    assert sorted(p.read_text() for p in (arrivals.parent / "scored").iterdir()) == ["one", "three", "two"]
    assert entry.output.endswith(f"a-{entry.digest[:8]}.parquet")


def test_a_file_that_still_grows_is_left_until_it_stands_still(arrivals):
    path = arrivals / "slow.csv"
    path.write_text("row\n")
    sizes = []

    def grow():
        for _ in range(6):
            time.sleep(0.2)
            with path.open("a") as handle:
                handle.write("row\n")

    writer = threading.Thread(target=grow)
    writer.start()
    options = watch.WatchOptions(
        arrivals, settle_s=0.8, once=True, tell=lambda entry: sizes.append(path.stat().st_size)
    )
    watch.run(options)
    writer.join()
    assert set(sizes) == {len("row\n") * 7}
    assert (arrivals.parent / "scored" / "slow.parquet").read_text() == "row\n" * 7


def test_a_file_that_fails_is_told_and_tried_again_by_the_next_watch_only(arrivals):
    (arrivals / "a.csv").write_text("bad")
    (arrivals / "b.csv").write_text("good")
    result = once(arrivals)
    assert result.exit_code == 1
    assert {(e.state, e.exit_code) for e in result.entries} == {("failed", 1), ("done", 0)}
    assert len(calls(arrivals)) == 2
    assert once(arrivals).exit_code == 1
    assert calls(arrivals) == ["in/a.csv"]


def test_files_that_cannot_be_read_are_not_taken_for_each_other(arrivals, monkeypatch):
    for name in ("a.csv", "b.csv"):
        (arrivals / name).write_text(f"bad {name}")
    (arrivals / "c.csv").symlink_to("c.csv")
    closed = {"a.csv", "b.csv"}

    def digest_unless_closed(path):
        if path.name in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return file_digest(path)

    monkeypatch.setattr(fingerprints, "file_digest", digest_unless_closed)
    monkeypatch.setattr(watch, "file_digest", digest_unless_closed)
    assert [(e.file, e.state) for e in once(arrivals).entries] == [
        (str(arrivals / name), "failed") for name in ("a.csv", "b.csv")
    ]
    closed.remove("b.csv")
    (arrivals / "b.csv").write_text("good")
    first, second = once(arrivals).entries
    assert (first.file, first.state) == (str(arrivals / "a.csv"), "failed")
    assert (second.state, Path(second.output).name) == ("done", "b.parquet")


def test_a_name_that_is_not_utf8_is_told_and_hides_no_other_file(arrivals):
    (arrivals / "caf\udce9.csv").write_text("one")
    (arrivals / "b.csv").write_text("two")
    told = []
    result = once(arrivals, tell=told.append)
    assert result.exit_code == 1
    assert sorted((Path(e.file).name, e.state) for e in result.entries) == [("b.csv", "done"), ("caf�.csv", "failed")]
    (refused,) = (entry for entry in told if entry.state == "failed")
    assert "is not UTF-8: rename it" in Path(refused.log).read_text()
    assert calls(arrivals) == ["in/b.csv"]


@pytest.fixture
def meanwhile(arrivals):
    """Gives a function: what is to happen once the program has begun and has read nothing yet."""
    score = arrivals.parent / "score.py"
    score.write_text(
        "import pathlib, time\npathlib.Path('begun').touch()\n"
        "while pathlib.Path('begun').exists() and not pathlib.Path('free').exists(): time.sleep(0.01)\n"
        + score.read_text()
    )

    def act(action):
        def wait():
            until = time.monotonic() + 30
            while not (arrivals.parent / "begun").exists() and time.monotonic() < until:
                time.sleep(0.01)
            action()
            (arrivals.parent / "free").touch()

        threading.Thread(target=wait).start()

    return act


def test_a_file_that_is_renamed_while_it_is_scored_is_scored_under_its_new_name(arrivals, meanwhile):
    (arrivals / "a.csv").write_text("one")
    meanwhile(lambda: (arrivals / "a.csv").rename(arrivals / "b.csv"))
    (entry,) = once(arrivals).entries
    assert (entry.state, entry.file) == ("done", str(arrivals / "b.csv"))
    assert calls(arrivals) == ["in/a.csv", "in/b.csv"]


def test_a_file_that_is_replaced_before_it_is_read_is_not_taken_for_scored(arrivals, meanwhile):
    """The scores of the new content are not those of the old one, which may come again."""
    (arrivals / "a.csv").write_text("one")
    (arrivals / ".new").write_text("two")
    meanwhile(lambda: (arrivals / ".new").rename(arrivals / "a.csv"))
    first, second = once(arrivals).entries
    assert (first.state, second.state) == ("failed", "done")
    assert "a.csv was replaced while it was scored" in Path(first.log).read_text()
    assert Path(second.output).read_text() == "two"
    (arrivals / "c.csv").write_text("one")
    (again,) = once(arrivals).entries
    assert (again.state, Path(again.output).read_text()) == ("done", "one")


def test_a_folder_that_goes_while_it_is_watched_is_told(arrivals, meanwhile):
    (arrivals / "a.csv").write_text("one")
    meanwhile(lambda: arrivals.rename(arrivals.parent / "away"))
    with pytest.raises(UserError, match="cannot be read any more"):
        once(arrivals)


def test_options_are_checked_before_the_watch_begins(arrivals):
    with pytest.raises(UserError, match="No such option"):
        once(arrivals, score_options="--modle x")
    with pytest.raises(UserError, match="cannot hold --output"):
        once(arrivals, score_options="--output x.csv")
    with pytest.raises(UserError, match="not there"):
        once(arrivals / "nowhere")
    with BatchStore.of(arrivals).lock(arrivals), pytest.raises(UserError, match="at work on in"):
        once(arrivals)


def test_a_damaged_ledger_is_told_not_forgotten(arrivals):
    (arrivals / "a.csv").write_text("one")
    once(arrivals)
    ledger = BatchStore.of(arrivals).folder / "ledger.json"
    ledger.write_text(ledger.read_text()[:40])
    with pytest.raises(UserError, match="damaged"):
        once(arrivals)


def test_a_watch_that_is_killed_while_it_scores_goes_on_and_scores_once(tmp_path, save_model):
    """The real `cli score`: SIGKILL once parts are committed, then the same watch again."""
    model = save_model(tmp_path / "tiny", 0, num_hidden_layers=1, hidden_size=16)
    (tmp_path / "in").mkdir()
    rows = (f"r{i},w{i % 190} w{i % 13} w{i // 7 % 200}" for i in range(60_000))
    (tmp_path / "in" / "rows.csv").write_text("id,text\n" + "\n".join(rows) + "\n")
    words = ["run", "--watch", "in", "--settle", "0.1", "--once", "--json"]
    score = ["--score-options", f"--model {model} --precision fp32 --shard-rows 1000"]
    command = [sys.executable, "-m", "jobs.cli", *words, *score]
    process = subprocess.Popen(command, cwd=tmp_path, env=process_environment(), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 90
    while len(list(tmp_path.glob(".jobs/*/parts/*.parquet"))) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.copy(tmp_path / "in" / "rows.csv", tmp_path / "in" / "same.csv")
    done = subprocess.run(command, cwd=tmp_path, env=process_environment(), capture_output=True, text=True, check=True)
    (entry,) = json.loads(done.stdout)["entries"]
    assert entry["state"] == "done"
    assert entry["file"].endswith("rows.csv")
    (job,) = (path.parent for path in tmp_path.glob(".jobs/*/plan.json"))
    events = [json.loads(line)["event"] for line in (job / "events.jsonl").read_text().splitlines()]
    assert events.count("completed") == 1
    assert events.count("started") == 2
    assert json.loads((job / "result.json").read_text())["resumed_rows"] >= 2_000
    assert [path.name for path in (tmp_path / "scored").iterdir()] == ["rows.parquet"]
