"""What sections say is what the tables and versions hold."""

import dataclasses

import polars as pl
import pytest

from kaggle_tools.competition import Competition
from kaggle_tools.report.blocks import Fact, Facts, Figure, Note, Table
from kaggle_tools.report.sections.competition import Texts, competition_section
from kaggle_tools.report.sections.leaderboard import leaderboard_section
from kaggle_tools.submissions import ManifestDraft, Version, list_versions, write_version


def of_kind(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


@pytest.mark.parametrize(
    ("task", "metric", "labels", "caption", "counts"),
    [
        ("single_label", "accuracy", ["O", "O", "B-x"], "'O' has 2 of 3 rows, 'I-x' 0", ["2", "1", "0"]),
        ("multi_label", "micro_f1", ["O|B-x", "O", ""], "'O' has 2 of 3 rows, 'I-x' 0", ["2", "1", "0"]),
        ("token", "entity_f1", ["O O B-x", "I-x", None], "'O' has 2 of 4 words, 'I-x' 1", ["2", "1", "1"]),
    ],
)
def test_classes_are_counted_as_the_task_has_them(tmp_path, task, metric, labels, caption, counts):
    competition = Competition(tmp_path, "x", task, metric, "text", ("O", "B-x", "I-x"))
    texts = Texts("train", pl.Series(["a b c", "d", "e f"]), pl.Series(labels, dtype=pl.String))
    section = competition_section(competition, [texts])
    (figure, _) = of_kind(section, Figure)
    assert figure.caption == caption
    assert [row[1].text for row in figure.data.rows] == counts
    assert not [note for note in of_kind(section, Note) if note.kind == "warning"]


def test_the_task_is_called_by_its_name(tmp_path):
    groups = {"a": ("x", "y"), "b": ("x", "y")}
    competition = Competition(
        tmp_path, "x", "multi_group", "exact_match", "text", ("a:x", "a:y", "b:x", "b:y"), label_groups=groups
    )
    (facts,) = of_kind(competition_section(competition, []), Facts)
    assert facts.items[0] == Fact("task", "4 classes", "one class of each label group a row")


def test_a_boards_scores_are_known_where_none_of_ours_is(tmp_path):
    version = write_version(tmp_path, "one", pl.DataFrame({"id": ["a"], "y": ["b"]}), ManifestDraft())
    scored = Version(version.folder, dataclasses.replace(version.manifest, public_score=0.5))
    assert "No board" in of_kind(leaderboard_section([version], "accuracy", "ab"), Note)[0].text
    assert "No version has two" in of_kind(leaderboard_section([scored], "accuracy", "ab"), Note)[0].text


def test_scores_by_another_order_of_the_classes_do_not_rank(tmp_path):
    table = pl.DataFrame({"id": ["a"], "y": ["b"]})
    for name, order, honest in (("old", "ba", 0.9), ("new", "ab", 0.6)):
        draft = ManifestDraft(metric="binary_f1", honest_score=honest, class_counts=dict.fromkeys(order, 1))
        write_version(tmp_path, name, table, draft)
    section = leaderboard_section(list_versions(tmp_path).versions, "binary_f1", "ab")
    assert "v0002-new has the best honest binary F1, 0.60000" in section.lead
    cells = [[cell.text for cell in row] for row in of_kind(section, Table)[0].rows]
    assert [row[0] for row in cells] == ["v0002-new", "v0001-old"]
    assert ", made when the classes were b, a" in cells[1]
