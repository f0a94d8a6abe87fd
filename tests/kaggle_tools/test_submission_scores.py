import json
import multiprocessing
from pathlib import Path

import polars as pl
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.submissions import Manifest, ManifestDraft, Version, edited_by_hand, record_scores, write_version


@pytest.fixture
def version(tmp_path: Path) -> Version:
    return write_version(tmp_path / "submissions", "a", pl.DataFrame({"id": ["r1"], "label": ["x"]}), ManifestDraft())


def test_given_scores_are_written_and_the_others_stay(version: Version) -> None:
    record_scores(version.folder, public=0.738, rank=46)
    manifest = record_scores(version.folder, private=0.75)
    assert manifest == Manifest.load(version.folder)
    assert (manifest.public_score, manifest.private_score, manifest.rank) == (0.738, 0.75, 46)
    assert manifest.scored is not None
    assert manifest.submission_digest == version.manifest.submission_digest


def test_nothing_new_leaves_the_file_alone(version: Version) -> None:
    first = record_scores(version.folder, public=0.5, kaggle_ref=7, submitted="2026-01-01T00:00:00+00:00")
    before = (version.folder / "manifest.json").stat()
    assert record_scores(version.folder, public=0.5, kaggle_ref=7) == first
    assert (version.folder / "manifest.json").stat() == before


def test_manifest_of_an_older_program_gets_its_scores(version: Version) -> None:
    path = version.folder / "manifest.json"
    raw = json.loads(path.read_text())
    for key in ("rank", "kaggle_ref", "submitted", "scored"):
        del raw[key]
    path.write_text(json.dumps(raw))
    assert record_scores(version.folder, rank=1).rank == 1


def test_an_edit_by_hand_still_shows_after_a_score_was_recorded(version: Version) -> None:
    path = version.folder / "manifest.json"
    path.write_text(path.read_text().replace('"note": ""', '"note": "mine"'))
    for score in (0.5, 0.6):
        assert record_scores(version.folder, public=score).note == "mine"
        assert edited_by_hand(version.folder)


@pytest.mark.parametrize("given", [{"public": float("nan")}, {"private": float("inf")}, {"rank": 0}])
def test_impossible_score_is_refused_and_nothing_written(version: Version, given: dict[str, float]) -> None:
    before = (version.folder / "manifest.json").read_bytes()
    with pytest.raises(UserError, match="cannot be"):
        record_scores(version.folder, **given)  # type: ignore[arg-type]
    assert (version.folder / "manifest.json").read_bytes() == before


def test_unknown_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such version folder"):
        record_scores(tmp_path / "v0009-none", public=1.0)


def test_two_processes_lose_nothing(version: Version) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_record_many, args=(version.folder, "public")),
        context.Process(target=_record_many, args=(version.folder, "private")),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    manifest = Manifest.load(version.folder)
    assert (manifest.public_score, manifest.private_score) == (20.0, 20.0)


def _record_many(folder: Path, which: str) -> None:
    for i in range(1, 21):
        record_scores(folder, **{which: float(i)})  # type: ignore[arg-type]
