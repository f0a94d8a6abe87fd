"""The user's cache folder: entries that are whole or not there, whoever writes, breaks or fills it."""

import json
import os
import stat

import pytest

from models import cache


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "kaggle-jobs" / "graphs"


def filled(content=b"weights"):
    def make(place):
        (place / "a.bin").write_bytes(content)
        (place / "a.xml").write_text("graph")

    return make


def test_what_was_kept_is_found_again_and_nothing_else(folder):
    assert cache.find("graphs", "one") is None
    made = cache.keep("graphs", "one", filled())
    assert made == cache.find("graphs", "one") == folder / "one"
    assert (made / "a.bin").read_bytes() == b"weights"
    assert cache.find("graphs", "two") is None
    assert [path.name for path in folder.iterdir()] == ["one"]


@pytest.mark.parametrize("damage", ["flip", "cut", "lose", "add", "unseal", "break the seal"])
def test_a_damaged_entry_counts_as_none_and_can_be_made_again(folder, damage):
    place = cache.keep("graphs", "one", filled())
    match damage:
        case "flip":
            (place / "a.bin").write_bytes(b"weightz")
        case "cut":
            (place / "a.bin").write_bytes(b"weig")
        case "lose":
            (place / "a.xml").unlink()
        case "add":
            (place / "b.bin").write_bytes(b"")
        case "unseal":
            (place / "seal.json").unlink()
        case "break the seal":
            (place / "seal.json").write_text("{")
    assert cache.find("graphs", "one") is None
    assert not place.exists()
    assert cache.find("graphs", "one") is None
    assert (cache.keep("graphs", "one", filled(b"new")) / "a.bin").read_bytes() == b"new"
    assert cache.find("graphs", "one") is not None


def test_what_cannot_be_made_leaves_nothing(folder):
    def fail(place):
        (place / "a.bin").write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.keep("graphs", "one", fail)
    assert list(folder.iterdir()) == []


def test_the_entry_of_a_faster_process_is_taken(folder):
    def slow(place):
        filled(b"mine")(place)
        cache.keep("graphs", "one", filled(b"theirs"))

    assert (cache.keep("graphs", "one", slow) / "a.bin").read_bytes() == b"theirs"
    assert [path.name for path in folder.iterdir()] == ["one"]


def test_what_was_used_longest_ago_makes_room(folder, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT_BYTES", 3000)
    for age, name in ((300, "old"), (200, "older, but used since"), (100, "young")):
        os.utime(cache.keep("graphs", name, filled(bytes(1000))), (1_000_000 - age,) * 2)
    assert cache.find("graphs", "older, but used since") is not None
    cache.keep("graphs", "new", filled(bytes(1000)))
    kept = {path.name for path in folder.iterdir()}
    assert "old" not in kept
    assert {"older, but used since", "new"} <= kept


def test_an_entry_larger_than_all_room_is_kept_alone(folder, monkeypatch):
    cache.keep("graphs", "one", filled())
    monkeypatch.setattr(cache, "LIMIT_BYTES", 10)
    cache.keep("graphs", "two", filled(bytes(1000)))
    assert [path.name for path in folder.iterdir()] == ["two"]


def test_what_a_killed_process_left_is_swept_after_a_day(folder):
    cache.keep("graphs", "one", filled())
    (folder / ".making-dead").mkdir()
    (folder / ".making-alive").mkdir()
    os.utime(folder / ".making-dead", (1, 1))
    cache.keep("graphs", "two", filled())
    assert {path.name for path in folder.iterdir()} == {"one", "two", ".making-alive"}


def test_notes_are_added_one_by_one_and_a_broken_file_is_an_empty_one(folder):
    assert cache.read_notes("n.json") == {}
    cache.add_note("n.json", "a", {"x": 1})
    cache.add_note("n.json", "b", 2)
    assert cache.read_notes("n.json") == {"a": {"x": 1}, "b": 2}
    for broken in ("{", "[]", ""):
        (folder.parent / "n.json").write_text(broken)
        assert cache.read_notes("n.json") == {}
    cache.add_note("n.json", "c", 3)
    assert json.loads((folder.parent / "n.json").read_text()) == {"c": 3}
    assert [path.name for path in folder.parent.iterdir()] == ["n.json"]


def test_a_folder_that_cannot_be_written_to_is_an_oserror(folder):
    folder.parent.parent.joinpath("kaggle-jobs").write_text("a file")
    assert cache.find("graphs", "one") is None
    with pytest.raises(OSError):  # noqa: PT011 - of whatever kind
        cache.keep("graphs", "one", filled())
    with pytest.raises(OSError):  # noqa: PT011
        cache.add_note("n.json", "a", 1)


def test_a_disk_without_room_is_known_before_it_is_filled(folder):
    with pytest.raises(OSError, match="No space left"):
        cache.keep("graphs", "one", lambda _: pytest.fail("began to write"), n_bytes=1 << 60)
    assert list(folder.iterdir()) == []


def test_entries_are_for_their_owner_alone(folder):
    assert stat.S_IMODE(cache.keep("graphs", "one", filled()).stat().st_mode) & 0o077 == 0
