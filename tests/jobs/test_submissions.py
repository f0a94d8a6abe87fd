"""The commands that look at submissions, as a user types them: lists, checks, differences, and what is off."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from kaggle_tools.competition import Competition
from kaggle_tools.folds import FoldSettings, load_or_make
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions import ManifestDraft, list_versions, write_version
from tests.conftest import process_environment

CLASSES = ("a", "b", "c")
N = 120


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def cli(cli_here):
    """Nothing here needs a process of its own."""
    return cli_here


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A competition of probabilities with two runs, and three versions: two means and one of a single run."""
    root = tmp_path_factory.mktemp("workspace")
    random = np.random.default_rng(0)
    ids = [f"id{i:04d}" for i in range(N)]
    texts = [f"text {i}, <script>alert(1)</script>" for i in range(N)]
    texts[7] = '=HYPERLINK("http://x","y")'
    pl.DataFrame({"id": ids, "text": texts}).write_csv(root / "test.csv")
    pl.DataFrame({"id": ids, **{name: [1 / 3] * N for name in CLASSES}}).write_csv(root / "sample.csv")
    Competition(
        root, "demo", "single_label", "log_loss", "text", CLASSES, test="test.csv", sample_submission="sample.csv"
    ).save(root / "competition.toml")
    truth = random.integers(0, 3, 400)
    for k, name in enumerate(("one", "two")):
        folder = root / "runs" / name
        evidence = random.standard_normal((400, 3)) + 1.5 * np.eye(3)[truth] * (k + 1)
        labels = pl.Series("label", CLASSES).gather(truth)
        Predictions(pl.Series("id", [f"o{i}" for i in range(400)]), CLASSES, softmax(2 * evidence), labels).save(
            folder / "oof.parquet"
        )
        made = Predictions(pl.Series("id", ids), CLASSES, softmax(2 * random.standard_normal((N, 3))))
        made.save(folder / "predictions" / "test.parquet")
        (folder / "run.json").write_text("{}")
        table = pl.DataFrame({"id": ids, **{c: made.probs[:, j] for j, c in enumerate(CLASSES)}})
        write_version(root / "submissions", name, table, ManifestDraft(recipe={"kind": "mean", "runs": [name]}))
    return root


@pytest.fixture
def here(workspace, tmp_path):
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_versions_are_listed_and_every_oddity_is_told_beside_them(here, cli):
    folder = here / "submissions"
    for name in ("three", "four", "five"):
        shutil.copytree(folder / "v0001-one", folder / f"v000{3 + ['three', 'four', 'five'].index(name)}-{name}")
    (folder / "v0003-three" / "manifest.json").write_text("{")
    manifest = folder / "v0002-two" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"note": ""', '"note": "by hand"'))
    with (folder / "v0001-one" / "submission.csv").open("a") as handle:
        handle.write("id9999,1,0,0\n")
    shutil.rmtree(folder / "v0005-five")
    (folder / ".v0006.tmp").mkdir()
    shown = cli("submissions", check=0)
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:]] == ["v0001-one*", "v0002-two*"]
    for word in (
        "v0001-one: submission.csv is not the file that was written with the manifest",
        "v0002-two: manifest.json was edited by hand",
        "v0003-three is damaged and left out: manifest.json is damaged",
        "v0004-four is damaged and left out: the manifest says version 1",
        ".v0006.tmp: half-written",
    ):
        assert word in shown.stderr
    listed = json.loads(cli("submissions", "--json", check=0).stdout)
    assert [d["folder"] for d in listed["damaged"]] == ["v0003-three", "v0004-four"]
    assert cli("submissions", "--quiet", check=0).stdout == ""


def test_one_version_is_shown_with_what_became_of_its_inputs(here, cli):
    shown = cli("submissions", "show", "two", check=0).stdout
    assert "valid       yes, against the sample submission" in shown
    assert 'recipe      {"kind": "mean", "runs": ["two"]}' in shown
    done = cli("submissions", "show", "v0001-oen", check=2)
    assert "did you mean 'v0001-one'" in done.stderr


def test_foreign_file_is_adopted_as_it_is(here, cli):
    content = (here / "submissions" / "v0001-one" / "submission.csv").read_bytes().replace(b"\n", b"\r\n")
    (here / "ann.csv").write_bytes(content)
    done = json.loads(
        cli("submissions", "adopt", "ann.csv", "--note", "of Tuesday", "--parent", "one", "--json", check=0).stdout
    )
    assert done["title"] == "v0003-ann"
    assert (here / done["path"]).read_bytes() == content
    shown = json.loads(cli("submissions", "show", "latest", "--json", check=0).stdout)
    assert (shown["parents"], shown["summary"]["note"], shown["summary"]["kind"]) == (
        ["v0001-one"], "of Tuesday", "adopted",
    )  # fmt: skip
    assert sum(shown["class_counts"].values()) == N
    assert cli("diff", "one", "ann", check=0).stdout.endswith("rows are the same, whatever their order\n")


@pytest.mark.parametrize(
    ("file", "name"), [("我的 提交 (1).csv", "我的-提交-1"), ("-+x.csv", "x"), ("().csv", "adopted")]
)
def test_the_name_of_an_adopted_file_is_what_a_folder_may_be_called(here, cli, file, name):
    (here / file).write_bytes((here / "submissions" / "v0001-one" / "submission.csv").read_bytes())
    done = cli("submissions", "adopt", "--json", "--", file, check=0)
    assert json.loads(done.stdout)["title"] == f"v0003-{name}"


def test_a_long_note_gives_way_to_the_other_columns_of_the_list(here, cli):
    (here / "ann.csv").write_bytes((here / "submissions" / "v0001-one" / "submission.csv").read_bytes())
    cli("submissions", "adopt", "ann.csv", "--note", "a very long note " * 40, "--quiet", check=0)
    lines = cli("submissions", check=0).stdout.splitlines()
    assert len(lines) == 1 + len(list((here / "submissions").glob("v*")))
    assert re.search(r"v0003-ann .* 120 .* adopted +a very long note .*…", lines[-1])


def test_parquet_is_adopted_as_csv(here, cli):
    pl.read_csv(here / "submissions" / "v0001-one" / "submission.csv").write_parquet(here / "p.parquet")
    cli("submissions", "adopt", "p.parquet", "--name", "p", "--quiet", check=0)
    cli("diff", "1", "p", check=0)
    cli("validate", "p", check=0)


@pytest.mark.parametrize(("ours", "theirs"), [(",", "\t"), (",", ";"), ("\t", ",")])
def test_fields_are_separated_as_in_the_sample(here, cli, ours, theirs):
    """In what we make, and in what is adopted."""
    pl.read_csv(here / "sample.csv").write_csv(here / "sample.csv", separator=ours)
    made = json.loads(cli("blend", "--method", "mean", "--name", "made", "--json", check=0).stdout)["submission"]
    cli("validate", made, check=0)
    made = (here / "submissions" / made / "submission.csv").read_text()
    (here / "theirs.csv").write_text(made.replace(ours, theirs))
    cli("submissions", "adopt", "theirs.csv", "--quiet", check=0)
    assert (here / "submissions" / "v0004-theirs" / "submission.csv").read_text() == made


@pytest.mark.parametrize("sample", ["sample.csv", None])
@pytest.mark.parametrize("kind", ["parquet", "ndjson"])
def test_one_column_of_probabilities_stays_one_column(tmp_path, cli, monkeypatch, kind, sample):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample.csv").write_text("id,target\n1,0.5\n2,0.5\n")
    Competition(
        tmp_path, "x", "single_label", "roc_auc", "text", ("0", "1"), submission_format="probabilities",
        submission_columns=("target",), sample_submission=sample,
    ).save(tmp_path / "competition.toml")  # fmt: skip
    getattr(pl.DataFrame({"id": [1, 2], "target": [0.123456789012, 1.0]}), f"write_{kind}")(tmp_path / f"mine.{kind}")
    cli("submissions", "adopt", f"mine.{kind}", check=0)
    written = tmp_path / "submissions" / "v0001-mine" / "submission.csv"
    assert written.read_text() == "id,target\n1,0.123456789012\n2,1.0\n"


TASKS = {
    "multi_label": ("micro_f1", ("a", "b"), {}, "id,y\nr1,a b\nr2,\n", {"a": 1, "b": 1}),
    "token": ("entity_f1", ("B-x", "O"), {}, "id,y\nr1,B-x O\nr2,O\n", {"x": 1}),
    "multi_group": (
        "exact_match", ("t:a", "t:b", "u:a", "u:b"), {"t": ("a", "b"), "u": ("a", "b")}, "id,u,t\nr1,b,a\nr2,a,a\n",
        {"t:a": 2, "t:b": 0, "u:a": 1, "u:b": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("task", TASKS)
def test_submissions_of_every_task_are_adopted(tmp_path, cli, monkeypatch, task, kind):
    metric, classes, groups, content, counts = TASKS[task]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample.csv").write_text(content)
    label = None if groups else "y"
    Competition(
        tmp_path, "x", task, metric, "text", classes, label_column=label, label_groups=groups,
        submission_format="labels", sample_submission="sample.csv",
    ).save(tmp_path / "competition.toml")  # fmt: skip
    pl.read_csv(tmp_path / "sample.csv").fill_null("").write_parquet(tmp_path / "sub.parquet")
    (tmp_path / "sub.csv").write_text(content)
    for _ in range(2):
        adopted = json.loads(cli("submissions", "adopt", f"sub.{kind}", "--json", check=0).stdout)
        assert adopted["class_counts"] == counts
        cli("validate", adopted["title"], check=0)
    rows = list(csv.reader(content.splitlines()))
    for version in list_versions(tmp_path / "submissions").versions:
        assert list(csv.reader(version.submission.read_text().splitlines())) == rows
    likeness = [one["similarity"] for one in json.loads(cli("leaderboard", "--json", check=0).stdout)["standings"]]
    assert likeness == ([None, None] if task == "token" else [1.0, 1.0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,a,b,c\nid0000,1,0,0\n", "119 of 120 ids are missing"),
        ("x,y,z\n1,2,3\n", "class columns missing: a, b, c"),
        ("", "empty"),
        ("no table at all", "no rows"),
        ("id,a,b,c\nid0000,5,-3,2\n", "no probabilities"),
    ],
)
def test_what_is_no_submission_is_refused_and_nothing_is_written(here, cli, content, message):
    (here / "bad.csv").write_text(content)
    done = cli("submissions", "adopt", "bad.csv", check=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((here / "submissions").iterdir())) == 2


def test_force_adopts_what_is_not_valid_and_says_so(here, cli):
    (here / "short.csv").write_text("id,a,b,c\nid0000,1,0,0\n")
    done = cli("submissions", "adopt", "short.csv", "--force", check=0)
    assert "adopted in spite of: 119 of 120 ids are missing" in done.stderr


def test_processes_that_adopt_at_once_never_collide(here):
    """Real commands, started together."""
    shutil.copy(here / "submissions" / "v0001-one" / "submission.csv", here / "ann.csv")
    command = [sys.executable, "-m", "jobs.cli", "submissions", "adopt", "ann.csv", "--quiet"]
    running = [subprocess.Popen(command, cwd=here, env=process_environment()) for _ in range(4)]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0, 0]
    listing = list_versions(here / "submissions")
    assert [version.number for version in listing.versions] == [1, 2, 3, 4, 5, 6]
    assert (listing.damaged, listing.unfinished) == ((), ())


def test_adopting_that_is_killed_leaves_no_half_version(here):
    shutil.copy(here / "submissions" / "v0001-one" / "submission.csv", here / "ann.csv")
    command = [sys.executable, "-m", "jobs.cli", "submissions", "adopt", "ann.csv", "--quiet"]
    process = subprocess.Popen(command, cwd=here, env=process_environment())
    time.sleep(0.6)
    process.kill()
    process.wait()
    listing = list_versions(here / "submissions")
    assert not listing.damaged
    assert len(listing.versions) in (2, 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder_is_one_clear_error(here, cli):
    shutil.copy(here / "submissions" / "v0001-one" / "submission.csv", here / "ann.csv")
    (here / "submissions").chmod(0o500)
    done = cli("submissions", "adopt", "ann.csv", check=2)
    (here / "submissions").chmod(0o700)
    assert done.stderr.startswith("error: cannot write into submissions")


def test_folder_that_cannot_be_written_to_is_one_clear_error(here, cli):
    """As a read-only one, also for root: a file stands where the folder should be."""
    shutil.copy(here / "submissions" / "v0001-one" / "submission.csv", here / "ann.csv")
    shutil.rmtree(here / "submissions")
    (here / "submissions").write_text("in the way")
    done = cli("submissions", "adopt", "ann.csv", check=2)
    assert done.stderr.startswith("error: cannot write into submissions")
    assert len(done.stderr.splitlines()) == 2


def test_validate_says_valid_not_valid_or_cannot_tell(here, cli):
    assert cli("validate", "latest", check=0).stdout.startswith("valid: submissions/v0002-two/submission.csv (120 rows")
    text = (here / "submissions" / "v0001-one" / "submission.csv").read_text().splitlines()
    text[5] = "id0004,.5,.5,.5"
    (here / "bad.csv").write_text("\n".join(text))
    shown = cli("validate", "bad.csv", check=1).stdout
    assert "1 rows do not sum to one" in shown
    assert "bad.csv line 6, id 'id0004': 1.5" in shown
    assert "the last line has no line end" in shown
    assert [p["first"] for p in json.loads(cli("validate", "bad.csv", "--json", check=1).stdout)["problems"]] == [
        "line 6, id 'id0004': 1.5"
    ]
    assert "no such file" in cli("validate", "nowhere.csv", check=2).stderr
    assert "no submission version 'lastest'" in cli("validate", "lastest", check=2).stderr


def test_without_a_sample_nothing_can_be_validated(tmp_path, cli):
    (tmp_path / "x.csv").write_text("id,y\n1,2\n")
    assert "next:  name one with --sample FILE" in cli("validate", "x.csv", check=2).stderr
    cli("validate", "x.csv", "--sample", "x.csv", check=0)


def test_difference_of_two_versions_with_what_is_expected(here, cli):
    found = json.loads(cli("diff", "one", "two", "--json", "--rows", "5", check=1).stdout)
    assert (found["n_rows"], found["n_changed"], found["compared"]) == (N, N, "probabilities")
    assert found["churn"] == found["n_flipped"] / N
    assert sum(sum(row.values()) for row in found["transitions"].values()) == N
    assert found["expected"]["metric"] == "log_loss"
    assert found["expected"]["low"] < found["expected"]["gain"] < found["expected"]["high"]
    assert found["judge"]["runs"] == ["two", "one"]
    assert len(found["rows"]) == 5
    assert found["rows"][0]["text"].endswith("<script>alert(1)</script>")
    assert found["notes"] == []
    shown = cli("diff", "one", "two", check=1).stdout
    assert "P(better)" in shown
    assert "judged by" in shown
    ids, fold_file = pl.Series("id", list("abcd")), here / "runs" / "folds.parquet"
    load_or_make(fold_file, FoldSettings(2, "group", group_column="author"), ids, ids, ids)
    try:
        shown = cli("diff", "one", "two", check=1).stdout
    finally:
        fold_file.unlink()
    assert "where some are of one group of column 'author', the interval is wider" in " ".join(shown.split())


def test_predictions_and_versions_made_of_them_are_the_same(here, cli):
    cli("diff", "one", "runs/one/predictions/test.parquet", check=0)
    shuffled = pl.read_csv(here / "submissions" / "v0001-one" / "submission.csv").sample(fraction=1, shuffle=True)
    shuffled.write_csv(here / "shuffled.csv.gz", compression="gzip")
    cli("diff", "one", "shuffled.csv.gz", check=0)


def test_changed_rows_as_csv_hold_no_formula(here, cli):
    done = cli("diff", "one", "two", "--csv", "-", "--json", check=1)
    assert json.loads(done.stderr)["n_changed"]
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == N
    assert {row["id"] for row in rows} == {f"id{i:04d}" for i in range(N)}
    (cell,) = [row["text"] for row in rows if row["id"] == "id0007"]
    assert cell == '\'=HYPERLINK("http://x","y")'
    assert float(rows[0]["moved"]) == max(float(r["moved"]) for r in rows if (r["label_a"] != r["label_b"]))
    cli("diff", "one", "two", "--csv", "changed.csv", "--quiet", check=1)
    assert "changed.csv exists" in cli("diff", "one", "two", "--csv", "changed.csv", check=2).stderr


def test_page_holds_text_as_text(here, cli):
    cli("diff", "one", "two", "--html", "d.html", "--quiet", check=1)
    page = (here / "d.html").read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Who became what" in page


def test_foreign_file_is_compared_with_a_warning(here, cli):
    shutil.copy(here / "submissions" / "v0001-one" / "submission.csv", here / "ann.csv")
    assert "note: B is not made of runs of this workspace" in cli("diff", "two", "ann.csv", check=1).stdout


def test_labels_outside_a_competition_are_compared(tmp_path, cli):
    (tmp_path / "a.csv").write_text("id,y\n1,x\n2,y\n3,[bold]\n")
    (tmp_path / "b.csv").write_text("id,y\n3,[bold]\n1,x\n2,\x1b[31mx\n")
    shown = cli("diff", "a.csv", "b.csv", check=1).stdout
    assert "other label  1 (churn 33.33%)" in shown
    assert "[bold]" in shown
    assert "\x1b" not in shown
    assert "not known: no competition here" in shown


def test_an_unknown_metric_is_refused_where_nothing_differs_too(tmp_path, cli):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("id,y\n1,x\n2,y\n")
    assert "did you mean 'macro_f1'?" in cli("diff", "a.csv", "b.csv", "--metric", "makro_f1", check=2).stderr
    cli("diff", "a.csv", "b.csv", "--metric", "macro_f1", check=0)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("id,y\n1,x\n2,y\n", "id,y\n1,x\n3,y\n", "the ids differ: 1 only in a.csv, 1 only in b.csv"),
        ("id,y\n1,x\n1,y\n", "id,y\n1,x\n2,y\n", "1 ids occur more than once in a.csv"),
        ("id,y\n1,x\n", "id,p,q\n1,.5,.5\n", "different classes"),
        ("id,y\n1,x\n", "hello", "b.csv is not a submission: it has no rows"),
    ],
)
def test_what_cannot_be_compared_is_told(tmp_path, cli, a, b, message):
    (tmp_path / "a.csv").write_text(a)
    (tmp_path / "b.csv").write_text(b)
    done = cli("diff", "a.csv", "b.csv", check=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.shared
def test_our_submission_against_a_real_participants(shared_data, tmp_path, cli):
    """Real posts, ids with blanks, CRLF in the sample: ours here is the sample submission itself."""
    data = shared_data / "weibo_ncov"
    cli(
        *("init", "--train", data / "labelled_3000.csv", "--test", data / "nCov_10k_test.gb18030.csv.gz"),
        *("--sample", data / "submit_example_CRLF.csv.gz", "--quiet"),
        check=0,
    )
    cli("submissions", "adopt", data / "submission_real.csv.gz", "--name", "real", "--quiet", check=0)
    checked = json.loads(cli("validate", "real", "--json", check=0).stdout)
    assert checked["line_ends"] == "LF"
    assert checked["notes"] == ["lines end in LF, the sample's in CRLF; platforms take either"]
    found = json.loads(cli("diff", data / "submit_example_CRLF.csv.gz", "real", "--json", check=1).stdout)
    assert found["n_rows"] == 10_000
    assert found["counts_b"] == {"-1": 1324, "0": 6382, "1": 2294}
    assert all(row["text"] for row in found["rows"])
