"""Foreign files: any column order, any common naming, three formats; one clear error for each thing that is wrong."""

import csv
import gzip
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.importing import read_foreign
from kaggle_tools.metrics import score
from kaggle_tools.predictions import Predictions

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
CLASSES = ("a", "b", "c")
PROBS = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
GOOD = {"id": ["x1", "x2"], "a": PROBS[:, 0], "b": PROBS[:, 1], "c": PROBS[:, 2]}

needs_shared = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not beside the checkout"),
]


def read(path: Path, **options: Any) -> Predictions:
    return read_foreign(path, **{"classes": CLASSES, "id_column": "id", **options})


def write_csv(path: Path, columns: dict[str, Any]) -> Path:
    """With Python's own csv module, rows in order."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def error(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **options)
    assert str(path) in str(caught.value)
    return re.sub(r":  +", ": ", str(caught.value))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    order=st.permutations(["id", "a", "b", "c", "", "note"]),
    prefix=st.sampled_from(["", "prob_", "my lgb: "]),
    kind=st.sampled_from(["csv", "csv.gz", "parquet", "jsonl"]),
    seed=st.integers(0, 99),
)
def test_any_order_naming_and_format_reads_the_same(
    tmp_path: Path, order: list[str], prefix: str, kind: str, seed: int
) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(3), 7).astype(np.float32)
    columns: dict[str, list[Any]] = {"id": [f"r{i}" for i in range(7)], "": list(range(7)), "note": list("uvwxyzü")}
    columns |= {name: probs[:, i].tolist() for i, name in enumerate(CLASSES)}
    table = pl.DataFrame({(prefix if name in CLASSES else "") + name: columns[name] for name in order})
    path = tmp_path / f"p.{kind}"
    if kind == "parquet":
        table.write_parquet(path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.iter_rows(named=True)))
    else:
        text = table.write_csv().encode()
        path.write_bytes(gzip.compress(text) if kind == "csv.gz" else text)
    found = read(path)
    assert found.ids.to_list() == columns["id"]
    assert found.classes == CLASSES
    np.testing.assert_allclose(found.probs, probs, rtol=3e-7)
    assert found.labels is None


def test_index_column_of_pandas_is_ignored(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"": [0, 1], "Unnamed: 0": [0, 1], **GOOD})
    np.testing.assert_allclose(read(path).probs, PROBS)


def test_labels_and_folds_are_found(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"true_label": ["c", "b"], "fold": [1, 0], **GOOD})
    found = read(path)
    assert found.labels is not None
    assert found.labels.to_list() == ["c", "b"]
    assert found.folds is not None
    assert found.folds.tolist() == [1, 0]
    assert found.folds.dtype == np.int16


@pytest.mark.parametrize("name", ["fold", "Fold"])
def test_a_class_may_be_called_fold(tmp_path: Path, name: str) -> None:
    columns = {"id": GOOD["id"], "fold": PROBS[:, 0], "hold": PROBS[:, 1], "raise": PROBS[:, 2]}
    classes = (name, "hold", "raise")
    found = read(write_csv(tmp_path / "p.csv", columns), classes=classes)
    assert found.folds is None
    np.testing.assert_array_equal(found.probs, PROBS.astype(np.float32))
    columns = {"fold": [1, 0], **{key if key == "id" else f"prob_{key}": column for key, column in columns.items()}}
    found = read(write_csv(tmp_path / "q.csv", columns), classes=("fold", "hold", "raise"))
    assert found.folds is not None
    assert found.folds.tolist() == [1, 0]
    np.testing.assert_array_equal(found.probs, PROBS.astype(np.float32))


def test_label_column_may_be_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"author": ["c", "b"], **GOOD})
    assert read(path).labels is None
    labels = read(path, label_column="author").labels
    assert labels is not None
    assert labels.to_list() == ["c", "b"]
    assert "did you mean 'author'?" in error(path, label_column="autor")


def test_label_column_that_holds_other_things_is_only_refused_when_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"target": [0, 2], **GOOD})
    assert read(path).labels is None
    assert "2 labels are not among the classes" in error(path, label_column="target")


def test_ids_that_pandas_made_numbers_of_stay_ids(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pl.DataFrame({**GOOD, "id": [7.0, 1e15]}).write_parquet(path)
    assert read(path).ids.to_list() == ["7", "1000000000000000"]


def test_ids_lose_the_blanks_around_them(tmp_path: Path) -> None:
    assert read(write_csv(tmp_path / "p.csv", {**GOOD, "id": ["x1 ", " x2"]})).ids.to_list() == ["x1", "x2"]


def test_first_of_several_id_names_that_is_there_counts(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", GOOD)
    assert read(path, id_column=("微博id", "id", "a")).ids.name == "id"
    assert "no id column '微博id'" in error(path, id_column=("微博id", "ID"))


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {name: GOOD[name] for name in CLASSES})
    assert read(path, id_column=None).ids.to_list() == ["0", "1"]


def test_array_takes_its_ids_from_a_table(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", PROBS.astype(np.float32))
    source = write_csv(tmp_path / "train.csv", {"text": ["hi", "ho"], "id": ["x1", "x2"]})
    found = read(tmp_path / "p.npy", id_source=source)
    assert found.ids.to_list() == ["x1", "x2"]
    np.testing.assert_allclose(found.probs, PROBS)
    assert found.meta["read_as"] == "columns in the order a, b, c"


def test_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([[{}, {}, {}]], dtype=object), allow_pickle=True)
    assert "an array of Python objects" in error(tmp_path / "p.npy", id_source=tmp_path / "x.csv")
    (tmp_path / "q.npy").write_bytes(pickle.dumps(PROBS))
    assert "array of Python objects" in error(tmp_path / "q.npy", id_source=tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4)), "4 columns for 3 classes"),
        (np.zeros(6), r"float64 array of shape \(6,\)"),
        (np.zeros((2, 3, 1)), r"shape \(2, 3, 1\)"),
        (np.array([["x", "y", "z"]]), r"<U1 array"),
        (np.full((3, 3), 1 / 3), "3 rows, but 2 in train.csv"),
    ],
)
def test_arrays_of_another_shape_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "p.npy", array)
    source = write_csv(tmp_path / "train.csv", {"id": ["x1", "x2"]})
    assert re.search(message, error(tmp_path / "p.npy", id_source=source))


def test_array_without_ids_says_how_to_give_them(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", PROBS)
    assert "--oof-ids" in error(tmp_path / "p.npy")


def test_hard_labels_become_certainty(tmp_path: Path) -> None:
    found = read(write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], "y": ["c", "a"]}))
    assert found.probs.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.meta["hard_labels"] == "true"
    assert found.labels is None


def test_the_only_column_is_the_prediction_whatever_its_name(tmp_path: Path) -> None:
    found = read(write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], "label": ["c", "a"]}))
    assert found.probs.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_several_columns_of_hard_labels_must_be_chosen_from(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], "label": list("ab"), "m": list("ac"), "n": list("bc")})
    assert "2 columns hold class names: m, n" in error(path)
    found = read(path, column="n")
    assert found.probs.argmax(axis=1).tolist() == [1, 2]
    assert found.labels is not None
    assert found.labels.to_list() == ["a", "b"]


def test_hard_label_sets_of_several_labels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], "y": ["c|a", "b"]})
    assert read(path, task="multi_label").probs.tolist() == [[1, 0, 1], [0, 1, 0]]


def test_one_column_serves_two_classes(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], "pred": [0.25, 1.0]})
    assert read(path, classes=("no", "yes")).probs.tolist() == [[0.75, 0.25], [0, 1]]
    path = write_csv(tmp_path / "q.csv", {"id": ["x1", "x2"], "pred": [0.0, -2.0]})
    np.testing.assert_allclose(
        read(path, classes=("no", "yes"), logits=True).probs[:, 1], 1 / (1 + np.exp([0.0, 2.0])), rtol=1e-6
    )


@pytest.mark.parametrize("name", ["fake", "prob_fake", "Fake"])
def test_one_column_called_like_the_first_of_two_classes_is_that_ones(tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], name: [0.25, 1.0]})
    assert read(path, classes=("fake", "real"), column=name).probs.tolist() == [[0.25, 0.75], [1, 0]]
    assert read(path, classes=("fake", "real")).probs.tolist() == [[0.25, 0.75], [1, 0]]


def test_half_of_the_columns_of_two_classes_are_not_taken_for_hard_labels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], "0": [0, 1], "note": ["u", "v"]})
    assert "class column missing: 1" in error(path, classes=("0", "1"))


def test_logits_are_converted_when_asked(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {"id": ["x1", "x2"], "a": [0, 1], "b": [-3, 1], "c": [2, 1]})
    assert "look like logits" in error(path)
    found = read(path, logits=True)
    np.testing.assert_allclose(found.probs[1], 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": ["x1", "x1"]}, r"1 ids occur more than once[\s\S]*x1"),
        ({"id": ["x1", ""]}, r"1 of 2 ids are missing"),
        ({"a": [0.5, ""]}, r"1 of 2 rows have no number in column 'a'[\s\S]*x2: None"),
        ({"a": [0.5, "nan"]}, r"1 of 2 rows have no number in column 'a'[\s\S]*x2: 'nan'"),
        ({"a": [0.5, "0,125"]}, r"x2: '0,125'"),
        ({"a": [0.5, 0.5]}, r"1 of 2 rows do not sum to one"),
        ({"fold": [0, "x"]}, r"'fold' does not hold a fold number"),
    ],
)
def test_wrong_content_is_refused_with_the_row(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert re.search(message, error(write_csv(tmp_path / "p.csv", {**GOOD, **change})))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", {name: GOOD[name] for name in ("id", "a", "b")})
    assert "class column missing: c" in error(path)
    assert "no id column 'Id'" in error(path, id_column="Id")


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    for name in ("p.csv", "p.parquet", "p.npy"):
        assert error(tmp_path / name, id_source=tmp_path)
    (tmp_path / "p.parquet").write_bytes(b"no parquet")
    assert "cannot be read as Parquet" in error(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("name", "log_loss"),
    [
        pytest.param(name, value, marks=needs_shared)
        for name, value in [("run6.parquet", 0.33495), ("run3.parquet", 0.62227), ("logreg_tfidf.csv.gz", 0.49634)]
    ],
)
def test_real_out_of_fold_files_score_as_scikit_learn_says(name: str, log_loss: float) -> None:
    from sklearn.metrics import log_loss as oracle

    found = read(SHARED / "spooky" / "oof" / name, classes=("EAP", "HPL", "MWS"))
    assert found.labels is not None
    probs = found.probs.astype(np.float64)
    expected = oracle(found.labels.to_list(), probs / probs.sum(axis=1, keepdims=True), labels=["EAP", "HPL", "MWS"])
    assert score("log_loss", found) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(log_loss, abs=1e-5)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not beside the checkout")
def test_real_submission_of_labels_is_read_as_hard_labels() -> None:
    found = read(SHARED / "weibo_ncov" / "submission_real.csv.gz", classes=("-1", "0", "1"))
    assert found.probs.sum(axis=0).tolist() == [1324, 6382, 2294]
