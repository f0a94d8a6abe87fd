"""Versions: numbered without collisions, whole or absent, found by many names, and no damage hides the others."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest, mark_owner
from kaggle_tools.submissions import (
    ManifestDraft,
    Version,
    edited_by_hand,
    find_version,
    is_intact,
    list_versions,
    versions,
    write_version,
    write_version_bytes,
)

TABLE = pl.DataFrame({"id": ["r1", "r2"], "label": ["a", "b"]})
SPAWN = multiprocessing.get_context("spawn")


def make(folder: Path, *names: str) -> list[Version]:
    return [write_version(folder, name, TABLE, ManifestDraft()) for name in names]


def titles(folder: Path) -> list[str]:
    return [version.title for version in list_versions(folder).versions]


def test_version_holds_the_table_and_says_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "p.parquet").write_bytes(b"predictions")
    draft = ManifestDraft(
        recipe={"kind": "mean", "runs": ["a", "b"]},
        inputs=(tmp_path / "runs" / "p.parquet",),
        competition="spooky",
        metric="log_loss",
        oof_score=0.33,
        class_counts={"a": 1, "b": 1},
        parents=("v0001-a",),
        note="erster Versuch 正",
    )
    version = write_version(tmp_path / "submissions", "blend", TABLE, draft)
    assert version.folder == tmp_path / "submissions" / "v0001-blend"
    assert version.submission.read_bytes() == b"id,label\nr1,a\nr2,b\n"
    raw = json.loads((version.folder / "manifest.json").read_text(encoding="utf-8"))
    assert raw["inputs"] == {"runs/p.parquet": file_digest(tmp_path / "runs" / "p.parquet")}
    assert raw["submission_digest"] == file_digest(version.submission)
    assert raw["created"].endswith("+00:00")
    assert raw["recipe"] == {"kind": "mean", "runs": ["a", "b"]}
    assert raw["note"] == "erster Versuch 正"
    assert (raw["version"], raw["n_rows"], raw["oof_score"]) == (1, 2, 0.33)
    assert all(raw[key] is None for key in ("honest_score", "honest_interval", "public_score", "private_score"))
    assert list_versions(tmp_path / "submissions").versions == (version,)


def test_numbers_go_up_and_gaps_stay_open(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "c")
    shutil.rmtree(tmp_path / "v0002-b")
    make(tmp_path, "a")
    assert titles(tmp_path) == ["v0001-a", "v0003-c", "v0004-a"]


def _make_many(folder: Path, name: str, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    for i in range(6):
        write_version(folder, f"{name}-{i}", TABLE, ManifestDraft())


def test_processes_that_write_at_once_never_collide(tmp_path: Path) -> None:
    start = time.time() + 3
    processes = [SPAWN.Process(target=_make_many, args=(tmp_path / "s", name, start)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = list_versions(tmp_path / "s")
    assert not found.damaged
    assert [version.number for version in found.versions] == sorted({version.number for version in found.versions})
    assert sorted(v.manifest.name for v in found.versions) == sorted(f"{name}-{i}" for name in "abc" for i in range(6))
    assert all(path.name[0] == "v" for path in (tmp_path / "s").iterdir())


def test_number_claimed_between_looking_and_claiming_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The narrow race: another process finishes version 1 after we saw none and before we claim it."""
    original, raced = Path.mkdir, []

    def mkdir(self: Path, *args: object, **options: object) -> None:
        if self.name == ".v0001.tmp" and not raced:
            raced.append(True)
            shutil.copytree(make(tmp_path / "other", "quick")[0].folder, tmp_path / "s" / "v0001-quick")
        original(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", mkdir)
    (tmp_path / "s").mkdir()
    (slow,) = make(tmp_path / "s", "slow")
    assert raced
    assert slow.number == 2
    assert titles(tmp_path / "s") == ["v0001-quick", "v0002-slow"]


def _make_and_die(folder: Path) -> None:
    file_digest_of_the_module = versions.file_digest

    def die(path: Path) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return file_digest_of_the_module(path)

    versions.file_digest = die  # type: ignore[attr-defined]
    make(folder, "half")


def test_version_left_half_by_a_kill_is_none(tmp_path: Path) -> None:
    process = SPAWN.Process(target=_make_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".owner")] == [".v0001.tmp"]
    assert (tmp_path / ".v0001.tmp" / "submission.csv").is_file()
    listing = list_versions(tmp_path)
    assert (listing.versions, listing.damaged) == ((), ())
    assert make(tmp_path, "next")[0].title == "v0002-next"


def test_what_kills_left_behind_is_swept_when_old(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f".v{number:04d}.tmp").mkdir()
    os.utime(tmp_path / ".v0001.tmp", (0, 0))
    make(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".v0002.tmp", "v0003-a"]


def test_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_version(tmp_path, "a", TABLE, ManifestDraft(recipe={"not JSON": object()}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "", "a b", ".x"])
def test_names_that_are_no_folders_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a version name"):
        make(tmp_path / "s", name)
    assert not (tmp_path / "s").exists()


def test_input_that_does_not_exist_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an input of the submission cannot be read"):
        write_version(tmp_path / "s", "a", TABLE, ManifestDraft(inputs=(tmp_path / "none",)))
    assert not (tmp_path / "s").exists()


def test_submissions_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("in the way")
    with pytest.raises(UserError, match="cannot write into s"):
        make(tmp_path / "s", "a")


@pytest.mark.parametrize("wanted", ["2", "v2", "v0002", "0002", "v0002-b", "latest~1"])
def test_version_is_found_by_any_of_its_names(tmp_path: Path, wanted: str) -> None:
    make(tmp_path, "a", "b", "c")
    assert find_version(tmp_path, wanted).title == "v0002-b"


def test_version_is_found_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (version,) = make(tmp_path / "submissions", "a")
    monkeypatch.chdir(tmp_path)
    for wanted in (str(version.folder), str(version.submission), "submissions/v0001-a"):
        assert find_version(tmp_path / "elsewhere", wanted).manifest == version.manifest


def test_latest_is_the_highest_number(tmp_path: Path) -> None:
    make(tmp_path, *"abcdefghijk")
    assert find_version(tmp_path, "latest").number == 11
    assert find_version(tmp_path, "latest~10").number == 1
    with pytest.raises(UserError, match="no submission version 'latest~11'"):
        find_version(tmp_path, "latest~11")


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("v0001-robrta", "did you mean 'v0001-roberta'?"),
        ("robert", "did you mean 'v0001-roberta'?"),
        ("9", "the last ones: v0001-roberta, v0002-lgbm"),
        ("/nowhere", "the last ones: v0001-roberta, v0002-lgbm"),
    ],
)
def test_unknown_version_gets_the_nearest_names(tmp_path: Path, wanted: str, hint: str) -> None:
    make(tmp_path, "roberta", "lgbm")
    with pytest.raises(UserError, match="no submission version") as caught:
        find_version(tmp_path, wanted)
    assert caught.value.details["next"] == hint


def test_no_versions_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    assert list_versions(tmp_path / "none").versions == ()
    with pytest.raises(UserError, match="no submission versions yet"):
        find_version(tmp_path / "none", "latest")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: m.replace("{", "", 1), "manifest.json is damaged"),
        (lambda m: "[]", "not a JSON object"),
        (lambda m: m.replace('"schema": 1', '"schema": 2'), "another schema"),
        (lambda m: m.replace('"public_score"', '"publc_score"'), "unknown key 'publc_score'"),
        (lambda m: m.replace('"note": ""', '"note": 5'), "'note' cannot be 5"),
        (lambda m: m.replace('"oof_score": null', '"oof_score": true'), "'oof_score' cannot be True"),
        (lambda m: m.replace('"public_score": null', '"public_score": NaN'), "'public_score' cannot be nan"),
        (lambda m: m.replace('"public_score": null', f'"public_score": 1{"0" * 400}'), "expected: a finite number"),
        (lambda m: m.replace('"honest_interval": null', '"honest_interval": [1]'), "expected: two finite numbers"),
        (lambda m: m.replace('"honest_interval": null', '"honest_interval": ["a", 1]'), "two finite numbers"),
        (lambda m: m.replace('"parents": []', '"parents": [1]'), "'parents' cannot be"),
        (lambda m: m.replace('"inputs": {}', '"inputs": {"a": 1}'), "'inputs' cannot be"),
        (lambda m: m.replace('"class_counts": {}', '"class_counts": {"a": "x"}'), "'class_counts' cannot be"),
        (lambda m: m.replace('"version": 2', '"version": 7'), "the manifest says version 7"),
        (lambda m: m.replace('"metric": null,', ""), "manifest.json lacks metric"),
    ],
)
def test_damaged_manifest_is_reported_and_the_rest_listed(tmp_path: Path, damage: object, message: str) -> None:
    make(tmp_path, "a", "b", "c")
    path = tmp_path / "v0002-b" / "manifest.json"
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    listing = list_versions(tmp_path)
    assert [version.title for version in listing.versions] == ["v0001-a", "v0003-c"]
    assert [damaged.folder.name for damaged in listing.damaged] == ["v0002-b"]
    assert message in str(listing.damaged[0].problem)
    with pytest.raises(UserError):
        find_version(tmp_path, "2")


def test_missing_parts_are_reported(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / "v0001-a" / "manifest.json").unlink()
    (tmp_path / "v0002-b" / "submission.csv").unlink()
    messages = [str(damaged.problem) for damaged in list_versions(tmp_path).damaged]
    assert "no manifest.json" in messages[0]
    assert "v0002-b has no submission.csv" in messages[1]


def test_latest_never_falls_back_to_an_older_one_when_damaged(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / "v0002-b" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        find_version(tmp_path, "latest")
    assert make(tmp_path, "c")[0].number == 3


def test_two_folders_with_one_number_must_be_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "a")
    shutil.copytree(tmp_path / "v0001-a", tmp_path / "v0001-copy")
    with pytest.raises(UserError, match="2 versions have this number"):
        find_version(tmp_path, "1")
    assert find_version(tmp_path, "v0001-copy").manifest.name == "a"


def test_edited_submission_is_noticed(tmp_path: Path) -> None:
    (version,) = make(tmp_path, "a")
    assert is_intact(version)
    version.submission.write_text("id,label\nr1,b\nr2,b\n")
    assert not is_intact(version)


def test_other_things_in_the_folder_are_let_be(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (tmp_path / "README.md").write_text("hi")
    (tmp_path / "v0009-file").write_text("no folder")
    (tmp_path / "vfinal").mkdir()
    assert titles(tmp_path) == ["v0001-a"]
    assert find_version(tmp_path, "latest").number == 1


def test_version_is_found_by_its_name_where_one_alone_has_it(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "b")
    assert find_version(tmp_path, "a").title == "v0001-a"
    with pytest.raises(UserError, match="2 versions are called 'b'") as caught:
        find_version(tmp_path, "b")
    assert caught.value.details == {"found": "v0002-b, v0003-b", "next": "say which: v0003-b"}


def test_a_version_called_like_the_number_of_another_must_be_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "a", "1", "20261130", "latest", "v0001-a", "b")
    for wanted, both in (("1", "v0001-a, v0002-1"), ("latest", "v0006-b, v0004-latest")):
        with pytest.raises(UserError, match=f"2 versions are called '{wanted}'") as caught:
            find_version(tmp_path, wanted)
        assert caught.value.details["found"] == both
    for wanted, title in (("v1", "v0001-a"), ("20261130", "v0003-20261130"), ("v0001-a", "v0001-a"), ("2", "v0002-1")):
        assert find_version(tmp_path, wanted).title == title
    assert find_version(tmp_path, "latest~0").title == "v0006-b"


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    version = write_version_bytes(tmp_path, "foreign", b"id,y\r\nr1,1.50\r\n", 1, ManifestDraft(note="from a friend"))
    assert version.submission.read_bytes() == b"id,y\r\nr1,1.50\r\n"
    assert is_intact(version)
    assert (version.manifest.n_rows, version.manifest.note) == (1, "from a friend")


def test_manifest_edited_by_hand_is_noticed_and_one_saved_again_is_not(tmp_path: Path) -> None:
    a, b = make(tmp_path, "a", "b")
    dataclasses.replace(a.manifest, public_score=0.5, honest_interval=(0.1, 0.2)).save(a.folder)
    assert not edited_by_hand(a.folder)
    path = b.folder / "manifest.json"
    path.write_text(path.read_text().replace('"public_score": null', '"public_score": 0.9'))
    assert edited_by_hand(b.folder)
    assert find_version(tmp_path, "2").manifest.public_score == 0.9
    older = json.loads(path.read_text())
    older.pop("seal")
    path.write_text(json.dumps(older))
    assert not edited_by_hand(b.folder)


def test_half_written_version_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "a")
    (tmp_path / ".v0002.tmp").mkdir()
    listing = list_versions(tmp_path)
    assert ([v.number for v in listing.versions], listing.unfinished) == ([1], (tmp_path / ".v0002.tmp",))


def test_a_claim_whose_process_is_dead_is_swept_at_once_and_one_at_work_is_not(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    for number, owner in ((1, int(dead.stdout)), (2, os.getppid())):
        claim = tmp_path / f".v{number:04d}.tmp"
        claim.mkdir()
        mark_owner(claim)
        (mark,) = tmp_path.glob(f".owner{claim.name}.*")
        host, _process, thread = mark.name.rsplit(".", 3)[1:]
        mark.rename(tmp_path / f".owner{claim.name}.{host}.{owner}.{thread}")
    (tmp_path / f".owner.v0001.tmp.{host}.{dead.stdout.strip()}.7").touch()  # it died before it made its folder
    (version,) = make(tmp_path, "third")
    assert version.title == "v0003-third"
    assert {path.name for path in version.folder.iterdir()} == {"manifest.json", "submission.csv"}
    assert not list(tmp_path.glob(".*v0001*"))
    assert (tmp_path / ".v0002.tmp").exists()
    assert len(list(tmp_path.glob(".owner*"))) == 1


# Forks a process for each file operation of writing a version, which dies before it; then writes another version.
DIE = """
import json, os, sys
from pathlib import Path
from kaggle_tools.submissions import ManifestDraft, write_version_bytes

def die_before(number, folder):
    count = 0
    def hear(event, arguments):
        nonlocal count
        if event in ("open", "os.mkdir", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
            count += 1
            if count == number:
                os._exit(9)
    sys.addaudithook(hear)

left, code = [], 9
while code:
    folder = Path(sys.argv[1]) / str(len(left) + 1)
    child = os.fork()
    if not child:
        die_before(len(left) + 1, folder)
        write_version_bytes(folder, "killed", b"id,label", 0, ManifestDraft())
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    write_version_bytes(folder, "next", b"id,label", 0, ManifestDraft())
    left.append(sorted(path.name for path in folder.iterdir()))
print(json.dumps(left))
"""


def test_a_process_that_dies_before_any_file_operation_leaves_nothing_that_stays(tmp_path: Path) -> None:
    # Marking before making, and unmarking after renaming, leaves no moment in which a claim belongs to nobody.
    done = subprocess.run([sys.executable, "-c", DIE, str(tmp_path)], capture_output=True, text=True, check=True)
    left = json.loads(done.stdout)
    assert len(left) > 15
    for names in left:
        assert names in (["v0001-next"], ["v0002-next"], ["v0001-killed", "v0002-next"])


def test_a_time_in_a_manifest_that_is_none_is_damage(tmp_path: Path) -> None:
    (version,) = make(tmp_path, "a")
    path = version.folder / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "created": "2026-11-20T22:47:03+00:0 "}))
    (damaged,) = list_versions(tmp_path).damaged
    assert "'created' cannot be" in str(damaged.problem)
