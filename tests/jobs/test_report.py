"""`cli report`: whatever the workspace holds, there is a page, and it says what is missing."""

import json
import re

import numpy as np
import polars as pl
import pytest

from jobs import report
from jobs.report import ReportOptions
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.report import Note, Table
from kaggle_tools.submissions import ManifestDraft, write_version
from tests.kaggle_tools.report.workspaces import CLASSES, add_run, make_workspace

SECTIONS = (
    "The competition", "Runs", "Mistakes", "Similarity", "Blends", "Last change", "Leaderboard", "Scoring jobs",
)  # fmt: skip


@pytest.fixture
def workspace(tmp_path):
    return make_workspace(tmp_path)


def make(workspace, **options):
    result = report.run(ReportOptions(output=workspace / "report.html", start=workspace, **options))
    return result, result.path.read_text(encoding="utf-8")


def words(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)))


def test_an_empty_workspace_says_which_commands_fill_it(workspace):
    result, html = make(workspace)
    assert result.sections == SECTIONS
    assert result.problems == ()
    for command in ("cli train", "cli import", "cli blend", "cli score", "cli record"):
        if command != "cli record":  # there is no version yet whose score could be recorded
            assert f"{command} " in words(html)
    assert "&lt;i&gt;Ghosts&lt;/i&gt; &amp; co" in html


def test_runs_are_measured_and_compared(workspace):
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        add_run(workspace, name, seed=seed)
    result, html = make(workspace)
    assert result.problems == ()
    text = words(html)
    assert "The best of 3 runs" in text
    assert "Who stands close to whom" in text
    assert "Pairs by what their mean gains" in text
    assert "<script>alert(1)" not in html
    assert "👻 ghost" in text


def test_text_lengths_and_classes_are_those_of_the_tables(workspace):
    _, html = make(workspace)
    train = pl.read_csv(workspace / "train.csv")
    longest = train["text"].str.len_chars().max()
    assert f">{longest:,}</td>" in html
    counts = train["label"].value_counts().sort("count", descending=True)
    assert f"has {counts['count'][0]:,} of 240 rows" in words(html)


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda w: (w / "runs/alpha/run.json").write_text("{"), "Run 'alpha': run.json is damaged"),
        (lambda w: (w / "runs/alpha/run.json").unlink(), "Run 'alpha': is not complete"),
        (lambda w: (w / "runs/alpha/oof.parquet").write_bytes(b"PAR1 -"), "Run 'alpha': cannot be read as Parquet"),
        (lambda w: (w / "runs/alpha/run.json").write_text("[1]"), "Run 'alpha': run.json is damaged"),
        (lambda w: add_run(w, "alpha", classes=("x", "y", "z")), "Run 'alpha': has other classes"),
        (lambda w: add_run(w, "alpha", rows=100), "Other rows, so not compared: alpha"),
        (lambda w: write(w / "blends/broken.json", '{"version": 1}'), "Recipe broken.json"),
        (lambda w: write(w / "submissions/v0001-x/manifest.json", "{"), "Version v0001-x"),
        (lambda w: write(w / ".jobs/test-1/plan.json", "{"), "Job test-1"),
        (lambda w: (w / "train.csv").unlink(), "The train table"),
        (lambda w: (w / "train.csv").write_text("other,columns\n1,2\n"), "The train table"),
    ],
)  # fmt: skip
def test_damage_is_a_note_beside_all_the_rest(workspace, damage, note):
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        add_run(workspace, name, seed=seed)
    damage(workspace)
    competition = Competition.find(workspace)
    page, problems = report.build_page(Workspace(workspace, competition), competition)
    assert tuple(section.title for section in page.sections) == SECTIONS
    warnings = [block.text for section in page.sections for block in section.blocks if isinstance(block, Note)]
    assert any(text.startswith(note) for text in warnings)
    assert any(text.startswith(note) for text in problems)
    assert not any(text.startswith("This section") for text in warnings)
    assert any(isinstance(block, Table) and "beta" in str(block.rows) for block in page.sections[1].blocks)


def test_a_decoder_beside_the_recipes_is_no_damage(workspace):
    write(workspace / "blends/run-joint-1f0c.json", '{"version": 1, "kind": "joint_decoder"}')
    competition = Competition.find(workspace)
    _, problems = report.build_page(Workspace(workspace, competition), competition)
    assert list(problems) == []


def write(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_versions_are_ranked_by_scores_of_the_competitions_metric_alone(workspace):
    table = pl.DataFrame({"id": [f"test{i}" for i in range(60)], "label": [CLASSES[1]] * 60})
    for name, metric, score in (("ours", "macro_f1", 0.4), ("spelt", "f1_macro", 0.5), ("other", "log_loss", 0.9)):
        write_version(workspace / "submissions", name, table, ManifestDraft(metric=metric, honest_score=score))
    text = words(make(workspace)[1])
    assert "v0002-spelt has the best honest macro F1, 0.50000" in text
    assert "fitted to log loss" in text


def test_an_older_report_is_replaced_and_nothing_else(workspace):
    make(workspace)
    make(workspace)
    (workspace / "report.html").write_text("<p>my notes")
    with pytest.raises(UserError, match="not a report of ours"):
        make(workspace)
    make(workspace, force=True)
    with pytest.raises(UserError, match="a folder"):
        report.run(ReportOptions(output=workspace, start=workspace))


def test_several_labels_a_row(workspace):
    toml = (workspace / "competition.toml").read_text(encoding="utf-8")
    (workspace / "competition.toml").write_text(toml.replace("single_label", "multi_label"), encoding="utf-8")
    train = pl.read_csv(workspace / "train.csv")
    rng = np.random.default_rng(0)
    for name in ("alpha", "beta"):
        Predictions(
            ids=train["id"],
            classes=CLASSES,
            probs=rng.random((240, 3)).astype(np.float32),
            labels=train["label"],
            task="multi_label",
        ).save(workspace / "runs" / name / "oof.parquet")
        (workspace / "runs" / name / "run.json").write_text("{}")
    result, html = make(workspace)
    assert result.problems == ()
    assert "F1 of each class" in words(html)


def test_the_command_tells_where_the_page_is(workspace, cli_here):
    add_run(workspace, "alpha")
    done = cli_here("report", "--output", "out/page.html", "--json", check=0)
    assert json.loads(done.stdout)["path"] == str(workspace / "out/page.html")
    assert (workspace / "out/page.html").is_file()
    assert cli_here("report", "--output", "out/page.html", "--quiet", check=0).stdout == ""
