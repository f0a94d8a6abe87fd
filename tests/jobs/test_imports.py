"""`cli import`: foreign files become a whole run, or nothing at all."""

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from jobs import imports
from jobs.imports import ImportOptions, run
from jobs.members import relabelled
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.folds import FoldSettings, load_or_make
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions import build_submission, validate

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
CLASSES = ("a", "b", "c")
N_TRAIN, N_TEST = 30, 12

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not beside the checkout")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A competition with a train and a test file whose ids end in blanks, in GB18030."""
    rng = np.random.default_rng(0)
    labels = [CLASSES[i % 3] for i in range(N_TRAIN)]
    texts = rng.choice(["正文", "微博"], N_TRAIN)
    rows = "".join(f"t{i} ,{text},{label}\n" for i, (text, label) in enumerate(zip(texts, labels, strict=True)))
    (tmp_path / "train.csv").write_text("id,text,author\n" + rows, encoding="gb18030")
    (tmp_path / "test.data.csv").write_text(
        "id,text\n" + "".join(f"u{i} ,正\n" for i in range(N_TEST)), encoding="gb18030"
    )
    Competition(
        tmp_path,
        "toy",
        "single_label",
        "log_loss",
        "text",
        CLASSES,
        label_column="author",
        train="train.csv",
        test="test.data.csv",
        encoding="gb18030",
    ).save(tmp_path / "competition.toml")
    return tmp_path


def probs(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), n)


def frame(n: int, letter: str, seed: int = 1) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"{letter}{i}" for i in range(n)], **dict(zip(CLASSES, probs(n, seed).T, strict=True))})


def write(home: Path, *, oof: pl.DataFrame | None = None, test: pl.DataFrame | None = None) -> ImportOptions:
    (frame(N_TRAIN, "t") if oof is None else oof).write_csv(home / "oof.csv")
    (frame(N_TEST, "u") if test is None else test).write_csv(home / "pred.csv")
    return ImportOptions("lgbm", home / "oof.csv", home / "pred.csv", start=home)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_run_is_made_whole_and_is_found(home: Path) -> None:
    result = run(write(home))
    found = Workspace.find(home).run("lgbm")
    assert found.folder == result.run.folder == home / "runs" / "lgbm"
    assert tree(home / "runs") == [
        "lgbm",
        "lgbm/oof.parquet",
        "lgbm/predictions",
        "lgbm/predictions/test.data.parquet",
        "lgbm/run.json",
    ]
    assert found.checkpoints == []
    assert found.info is not None
    assert found.info["kind"] == "imported"
    assert found.info["score"] == result.score
    assert found.info["sources"]["oof"]["path"] == str(home / "oof.csv")
    assert (result.n_oof, result.n_test, result.hard_labels) == (N_TRAIN, N_TEST, False)


def test_rows_follow_the_competitions_files_by_id(home: Path) -> None:
    oof, test = frame(N_TRAIN, "t"), frame(N_TEST, "u")
    run(write(home, oof=oof.sample(fraction=1, shuffle=True, seed=3), test=test.reverse()))
    found = Workspace.find(home).run("lgbm")
    loaded = Predictions.load(found.oof)
    assert loaded.ids.to_list() == oof["id"].to_list()
    np.testing.assert_allclose(loaded.probs, oof.select(CLASSES).to_numpy(), rtol=1e-6)
    assert loaded.labels is not None
    assert loaded.labels.to_list() == [CLASSES[i % 3] for i in range(N_TRAIN)]
    loaded = Predictions.load(found.predictions("test.data"))
    assert loaded.ids.to_list() == test["id"].to_list()
    assert loaded.labels is None
    assert loaded.meta["run"] == "lgbm"


@pytest.mark.parametrize("own_labels", [False, True])
def test_rows_without_any_of_several_labels_are_rows_like_others(tmp_path: Path, own_labels: bool) -> None:
    labels = ["a|c", "", "b", ""] * 5
    Competition(
        tmp_path, "toy", "multi_label", "micro_f1", "text", CLASSES, label_column="tags", train="train.csv"
    ).save(tmp_path / "competition.toml")
    rows = "".join(f"t{i},text,{label}\n" for i, label in enumerate(labels))
    (tmp_path / "train.csv").write_text("id,text,tags\n" + rows)
    values = np.array([[float(name in label.split("|")) for name in CLASSES] for label in labels])
    oof = pl.DataFrame({"id": [f"t{i}" for i in range(20)], **dict(zip(CLASSES, values.T, strict=True))})
    if own_labels:
        oof = oof.with_columns(tags=pl.Series([label.replace("a|c", "c|a") for label in labels]))
    oof.write_csv(tmp_path / "oof.csv")
    result = run(ImportOptions("one", tmp_path / "oof.csv", start=tmp_path))
    assert result.score == 1.0
    found = Predictions.load(result.run.oof)
    assert found.labels is not None
    assert found.labels.to_list()[1::2] == [""] * 10
    run(ImportOptions("hard", tmp_path / "train.csv", column="tags", start=tmp_path))
    wrong = oof.with_columns(tags=pl.Series(["b"] * 20))
    wrong.write_csv(tmp_path / "wrong.csv")
    with pytest.raises(UserError, match="15 of 20 true labels differ"):
        run(ImportOptions("wrong", tmp_path / "wrong.csv", start=tmp_path))


def test_id_columns_of_test_and_predictions_may_have_other_names(home: Path) -> None:
    competition = dataclasses.replace(
        Competition.find(home), test="test2.csv", test_id_column="微博id", submission_id="ID"
    )
    competition.save(home / "competition.toml")
    (home / "test2.csv").write_bytes(
        (home / "test.data.csv").read_bytes().replace(b"id,", "微博id,".encode("gb18030"), 1)
    )
    result = run(write(home, test=frame(N_TEST, "u").rename({"id": "ID"})))
    loaded = Predictions.load(result.run.predictions("test2"))
    assert loaded.ids.name == "微博id"
    assert loaded.ids.to_list() == [f"u{i}" for i in range(N_TEST)]
    assert Predictions.load(result.run.oof).ids.name == "id"


def test_a_training_table_that_changed_since_the_import_is_told(home: Path) -> None:
    options = write(home)
    found = run(options).run
    competition = Competition.load(home / "competition.toml")
    assert relabelled(competition, [found]) == ()
    run(dataclasses.replace(options, name="test-alone", oof=None))
    text = (home / "train.csv").read_bytes()
    (home / "train.csv").write_bytes(text.replace(b",a\n", b",b\n", 1))
    (note,) = relabelled(competition, [found, Workspace(home, competition).run("test-alone")])
    assert note.startswith("train.csv changed since lgbm was made")


def test_score_is_the_log_loss_of_the_training_labels(home: Path) -> None:
    result = run(write(home))
    truth = np.arange(N_TRAIN) % 3
    expected = -np.log(probs(N_TRAIN)[np.arange(N_TRAIN), truth]).mean()
    assert result.score == pytest.approx(expected, rel=1e-5)
    assert result.fold_scores == ()


def test_arrays_take_their_ids_from_the_competitions_files(home: Path) -> None:
    np.save(home / "oof.npy", np.log(probs(N_TRAIN)))
    np.save(home / "test.npy", np.log(probs(N_TEST)))
    result = run(ImportOptions("npy", home / "oof.npy", home / "test.npy", logits=True, start=home))
    assert result.score == pytest.approx(run(write(home)).score, rel=1e-5)


def test_array_may_bring_its_own_ids(home: Path) -> None:
    np.save(home / "oof.npy", probs(N_TRAIN)[::-1])
    frame(N_TRAIN, "t").reverse().write_parquet(home / "mine.parquet")
    result = run(ImportOptions("npy", oof=home / "oof.npy", oof_ids=home / "mine.parquet", start=home))
    assert result.score == pytest.approx(run(write(home)).score, rel=1e-6)
    assert result.n_test is None
    assert tree(home / "runs" / "npy") == ["oof.parquet", "run.json"]


def test_array_may_bring_ids_that_pandas_made_floats_of(tmp_path: Path) -> None:
    ids = [float(i) for i in range(N_TRAIN)]
    labels = [CLASSES[i % 3] for i in range(N_TRAIN)]
    pl.DataFrame({"id": ids, "text": ["w"] * N_TRAIN, "author": labels}).write_parquet(tmp_path / "train.parquet")
    Competition(
        tmp_path, "toy", "single_label", "log_loss", "text", CLASSES, label_column="author", train="train.parquet"
    ).save(tmp_path / "competition.toml")
    np.save(tmp_path / "oof.npy", probs(N_TRAIN)[::-1])
    pl.DataFrame({"id": [f"{i:.0f}" for i in reversed(ids)]}).write_csv(tmp_path / "mine.csv")
    pl.DataFrame({"id": ids[::-1]}).write_parquet(tmp_path / "mine.parquet")
    of_each = [
        run(ImportOptions(f"of-{name}", oof=tmp_path / "oof.npy", oof_ids=tmp_path / f"mine.{name}", start=tmp_path))
        for name in ("csv", "parquet")
    ]
    assert of_each[0].score == of_each[1].score


def test_folds_of_the_file_give_scores_by_fold(home: Path) -> None:
    folds = np.arange(N_TRAIN) // 10
    result = run(write(home, oof=frame(N_TRAIN, "t").with_columns(fold=pl.Series(folds))))
    assert result.score == pytest.approx(np.mean(result.fold_scores), rel=1e-6)
    assert len(result.fold_scores) == 3


def test_a_fold_on_which_the_metric_is_undefined_leaves_the_score_of_all_rows(home: Path) -> None:
    toml = home / "competition.toml"
    toml.write_text(toml.read_text().replace("log_loss", "roc_auc"))
    by_class = [i % 3 for i in range(N_TRAIN)]  # each fold holds one class
    options = write(home, oof=frame(N_TRAIN, "t").with_columns(fold=pl.Series(by_class)))
    result = run(options)
    every = run(dataclasses.replace(write(home), name="other"))
    assert result.score == every.score
    assert result.fold_scores == ()
    assert any("no scores of the folds" in note and "fold 0" in note for note in result.notes)


def test_folds_of_the_workspace_are_taken_where_the_file_has_none(home: Path) -> None:
    ids = pl.Series("id", [f"t{i}" for i in range(N_TRAIN)])
    labels = pl.Series("author", [CLASSES[i % 3] for i in range(N_TRAIN)])
    expected = load_or_make(home / "runs" / "folds.parquet", FoldSettings(n=3), ids, labels)
    result = run(write(home))
    found = Predictions.load(result.run.oof).folds
    assert found is not None
    assert np.array_equal(found, expected)
    assert len(result.fold_scores) == 3


def test_hard_labels_are_marked(home: Path) -> None:
    test = pl.DataFrame({"id": [f"u{i}" for i in range(N_TEST)], "y": ["b"] * N_TEST})
    result = run(write(home, test=test))
    assert result.hard_labels
    loaded = Predictions.load(result.run.predictions("test.data"))
    assert loaded.meta["hard_labels"] == "true"
    assert loaded.probs.sum(axis=0).tolist() == [0, N_TEST, 0]


def test_columns_of_0_and_1_are_hard_labels_and_other_kinds_beside_them_are_told(home: Path) -> None:
    hot = np.eye(3)[np.arange(N_TRAIN) % 3]
    oof = pl.DataFrame({"id": [f"t{i}" for i in range(N_TRAIN)], **dict(zip(CLASSES, hot.T, strict=True))})
    result = run(write(home, oof=oof))
    assert result.hard_labels
    assert Predictions.load(result.run.oof).meta["hard_labels"] == "true"
    told = "\n".join(result.notes)
    assert "oof.csv: columns a, b, c: 0 and 1 alone, so hard labels" in told
    assert "--oof holds hard labels, --test probabilities" in told
    assert "hard labels, but log_loss is of probabilities" in told
    assert "hard labels" not in "\n".join(run(dataclasses.replace(write(home), force=True)).notes)


def test_rows_of_0_and_1_that_are_no_label_are_refused_as_before(home: Path) -> None:
    with pytest.raises(UserError, match="sum"):
        run(write(home, oof=frame(N_TRAIN, "t").with_columns(a=1.0, b=1.0, c=0.0)))


def test_existing_run_is_kept_without_force(home: Path) -> None:
    run(write(home))
    before = (home / "runs" / "lgbm" / "oof.parquet").read_bytes()
    options = write(home, oof=frame(N_TRAIN, "t", seed=9))
    with pytest.raises(UserError, match="run 'lgbm' exists"):
        run(options)
    assert (home / "runs" / "lgbm" / "oof.parquet").read_bytes() == before
    run(ImportOptions("lgbm", options.oof, force=True, start=home))
    assert (home / "runs" / "lgbm" / "oof.parquet").read_bytes() != before
    assert tree(home / "runs") == ["lgbm", "lgbm/oof.parquet", "lgbm/run.json"]


def test_a_run_that_another_import_made_meanwhile_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = write(home, oof=frame(N_TRAIN, "t", seed=1))
    score, theirs = imports._scores, []

    def while_another_imports(*arguments: Any) -> Any:
        monkeypatch.setattr(imports, "_scores", score)
        run(write(home, oof=frame(N_TRAIN, "t", seed=2)))
        theirs.extend(tree(home / "runs"))
        return score(*arguments)

    monkeypatch.setattr(imports, "_scores", while_another_imports)
    with pytest.raises(UserError, match="exists"):
        run(mine)
    assert tree(home / "runs") == theirs
    kept = Predictions.load(home / "runs" / mine.name / "oof.parquet")
    np.testing.assert_allclose(kept.probs, probs(N_TRAIN, 2), atol=1e-6)


def test_trained_run_is_never_replaced(home: Path) -> None:
    (home / "runs" / "lgbm" / "fold0").mkdir(parents=True)
    options = write(home)
    with pytest.raises(UserError, match="trained run with 1 checkpoints"):
        run(ImportOptions("lgbm", options.oof, force=True, start=home))


Change = Callable[[pl.DataFrame], pl.DataFrame]
WRONG: list[tuple[str, Change, str]] = [
    ("oof", lambda t: t.head(20), r"10 missing, 0 unexpected[\s\S]*missing: t20, t21"),
    ("test", lambda t: pl.concat([t, t.tail(1).with_columns(id=pl.lit("u99"))]), r"0 missing, 1 unexpected[\s\S]*u99"),
    ("test", lambda t: pl.concat([t, t.tail(1)]), r"1 ids occur more than once[\s\S]*next: .*--id"),
    ("oof", lambda t: t.rename({"id": "key"}), r"no id column 'id'[\s\S]*next: name it: --id COLUMN"),
    (
        "oof",
        lambda t: t.with_columns(a=pl.col("a").cast(pl.String).str.replace(".", ",", literal=True)),
        r"30 of 30 rows have no number in column 'a'[\s\S]*next: write numbers with a decimal point",
    ),
    ("oof", lambda t: t.drop("b"), r"class column missing: b"),
    (
        "test",
        lambda t: t.with_columns(a=None),
        r"12 of 12 rows have no number in column 'a'[\s\S]*next: give every row a number",
    ),
    ("oof", lambda t: t.with_columns(a=pl.col("a") - 1), r"look like logits"),
    ("oof", lambda t: t.with_columns(pl.col(CLASSES) * 2), r"--normalise"),
    (
        "oof",
        lambda t: t.with_columns(author=pl.lit("a")),
        r"20 of 30 true labels differ[\s\S]*t1: 'a', in train.csv 'b'",
    ),
]


@pytest.mark.parametrize(("which", "change", "message"), WRONG)
def test_wrong_file_is_refused_and_leaves_nothing(home: Path, which: str, change: Change, message: str) -> None:
    whole = frame(N_TRAIN, "t") if which == "oof" else frame(N_TEST, "u")
    options = write(home, **{which: change(whole)})
    with pytest.raises(UserError) as caught:
        run(options)
    assert re.search(message, re.sub(r":  +", ": ", str(caught.value)))
    assert ("oof.csv" if which == "oof" else "pred.csv") in str(caught.value)
    assert not (home / "runs").exists()


def test_write_that_fails_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = write(home)

    def fail(*_: Any, **__: Any) -> str:
        raise RuntimeError("killed")

    monkeypatch.setattr("jobs.imports.json.dumps", fail)
    with pytest.raises(RuntimeError):
        run(options)
    assert tree(home / "runs") == []


def test_half_built_run_of_a_killed_import_is_no_run(home: Path) -> None:
    result = run(write(home))
    os.rename(result.run.folder, home / "runs" / ".lgbm.123.tmp")  # noqa: PTH104
    assert Workspace.find(home).runs() == []


@pytest.mark.parametrize("name", ["../x", "", ".x", "a/b"])
def test_names_that_leave_the_workspace_are_refused(home: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a run name"):
        run(ImportOptions(name, write(home).oof, start=home))


def test_nothing_to_import_and_no_competition_are_told(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UserError, match="nothing to import"):
        run(ImportOptions("x", start=home))
    with pytest.raises(UserError, match=r"no competition\.toml"):
        run(ImportOptions("x", home / "oof.csv", start=tmp_path_factory.mktemp("empty")))


@pytest.mark.shared
@needs_shared
@pytest.mark.parametrize(
    ("name", "log_loss"),
    [
        ("run1.parquet", 0.36257),
        ("run2.parquet", 0.35188),
        ("run3.parquet", 0.62227),
        ("run6.parquet", 0.33495),
        ("logreg_tfidf.csv.gz", 0.49634),
    ],
)
def test_real_pairs_import_score_and_submit(tmp_path: Path, name: str, log_loss: float) -> None:
    spooky = SHARED / "spooky"
    files = {key: str(spooky / f"{key}.csv.gz") for key in ("train", "test", "sample_submission")}
    competition = Competition(
        tmp_path, "spooky", "single_label", "log_loss", "text", ("EAP", "HPL", "MWS"), label_column="author", **files
    )
    competition.save(tmp_path / "competition.toml")
    result = run(ImportOptions("real", spooky / "oof" / name, spooky / "test" / name, start=tmp_path))
    assert result.score == pytest.approx(log_loss, abs=1e-5)
    assert (result.n_oof, result.n_test) == (19_579, 8_392)
    assert json.loads((result.run.folder / "run.json").read_text())["metric"] == "log_loss"
    sample = spooky / "sample_submission.csv.gz"
    table = build_submission(Predictions.load(result.run.predictions("test")), sample, competition)
    table.write_csv(tmp_path / "submission.csv")
    assert validate(tmp_path / "submission.csv", sample, competition).ok
