"""Predictions keep their contract: ids are unique strings, rows are joined by id, disk gives back what it was given."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions, encode_labels

# Arrow passes column names as C strings, which a NUL would end.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def make(n: int = 4, classes: tuple[str, ...] = ("a", "b", "c"), *, seed: int = 0, known: bool = True) -> Predictions:
    rng = np.random.default_rng(seed)
    return Predictions(
        ids=pl.Series("id", [f"r{i}" for i in range(n)], dtype=pl.String),
        classes=classes,
        probs=rng.dirichlet(np.ones(len(classes)), n).astype(np.float32),
        labels=pl.Series("label", rng.choice(classes, n).tolist(), dtype=pl.String) if known else None,
        folds=rng.integers(0, 5, n).astype(np.int16) if known else None,
        meta={"run": "x"},
    )


def same(a: Predictions, b: Predictions) -> bool:
    labels = a.labels is None if b.labels is None else a.labels is not None and a.labels.to_list() == b.labels.to_list()
    return (
        a.ids.to_list() == b.ids.to_list()
        and a.ids.name == b.ids.name
        and a.classes == b.classes
        and np.array_equal(a.probs, b.probs)
        and labels
        and (a.folds is None) == (b.folds is None)
        and (a.folds is None or np.array_equal(a.folds, b.folds))  # type: ignore[arg-type]
        and a.task == b.task
        and dict(a.meta) == dict(b.meta)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    n=st.integers(0, 30),
    classes=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    known=st.booleans(),
    seed=st.integers(0, 999),
)
def test_disk_gives_back_what_it_was_given(tmp_path: Path, n: int, classes: list[str], known: bool, seed: int) -> None:
    predictions = make(n, tuple(classes), seed=seed, known=known)
    predictions.save(tmp_path / "p.parquet")
    loaded = Predictions.load(tmp_path / "p.parquet")
    assert same(loaded, predictions)
    assert loaded.probs.dtype == np.float32
    assert loaded.probs.flags.c_contiguous


def test_columns_on_disk_are_those_of_the_contract(tmp_path: Path) -> None:
    make().save(tmp_path / "p.parquet")
    schema = pl.read_parquet(tmp_path / "p.parquet").schema
    assert schema == {
        "id": pl.String,
        "label": pl.String,
        "fold": pl.Int16,
        "prob_a": pl.Float32,
        "prob_b": pl.Float32,
        "prob_c": pl.Float32,
    }


@settings(deadline=None)
@given(n=st.integers(1, 40), seed=st.integers(0, 999))
def test_align_undoes_any_shuffle(n: int, seed: int) -> None:
    predictions = make(n, seed=seed)
    order = np.random.default_rng(seed + 1).permutation(n)
    shuffled = predictions.align(predictions.ids.gather(order))
    assert shuffled.ids.to_list() == [f"r{i}" for i in order]
    assert np.array_equal(shuffled.probs, predictions.probs[order])
    assert same(shuffled.align(predictions.ids), predictions)


def test_align_counts_what_is_missing_and_what_is_unexpected() -> None:
    with pytest.raises(UserError, match="1 missing, 2 unexpected") as caught:
        make(4).align(pl.Series("id", ["r0", "r1", "new"]))
    assert caught.value.details == {"missing": "new", "unexpected": "r2, r3"}


def test_align_refuses_ids_that_occur_twice() -> None:
    with pytest.raises(UserError, match="1 ids occur more than once"):
        make(2).align(pl.Series("id", ["r0", "r0"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probs": np.zeros((3, 3), np.float32)}, r"shape \(3, 3\)"),
        ({"ids": pl.Series("id", [1, 2, 3, 4])}, r"ids must be strings, not Int64"),
        ({"ids": pl.Series("id", ["a", None, "c", "d"])}, r"1 of 4 ids are missing"),
        ({"ids": pl.Series("id", ["a", "b", "b", "d"])}, r"1 ids occur more than once[\s\S]*first: b"),
        ({"labels": pl.Series(["a"])}, r"1 labels for 4 ids"),
        ({"folds": np.zeros(5, np.int16)}, r"5 folds for 4 ids"),
        ({"probs": np.full((4, 3), np.nan, np.float32)}, r"4 of 4 rows[\s\S]*first: r0, r1"),
    ],
)
def test_broken_parts_are_refused(change: dict[str, object], message: str) -> None:
    whole = make(4)
    parts: dict[str, object] = {"ids": whole.ids, "classes": whole.classes, "probs": whole.probs, **change}
    with pytest.raises(UserError) as caught:
        Predictions(**parts)  # type: ignore[arg-type]
    assert re.search(message, str(caught.value).replace("first:  ", "first: "))


def test_foreign_parquet_is_sent_to_import(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a"], "prob_a": [1.0]}).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(UserError, match="not one of our predictions") as caught:
        Predictions.load(tmp_path / "p.parquet")
    assert "cli import" in caught.value.details["next"]


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such predictions file"):
        Predictions.load(tmp_path / "p.parquet")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        Predictions.load(tmp_path / "p.parquet")


@given(st.lists(st.sampled_from(["x", "y", "z"]), max_size=50))
def test_label_codes_are_positions_among_the_classes(labels: list[str]) -> None:
    codes = encode_labels(pl.Series("label", labels, dtype=pl.String), ("z", "x", "y"))
    assert codes.tolist() == [("z", "x", "y").index(label) for label in labels]


def test_unknown_label_is_named_with_its_row() -> None:
    with pytest.raises(UserError, match="1 labels are not among the classes") as caught:
        encode_labels(pl.Series("label", ["a", "B"]), ("a", "b"))
    assert caught.value.details["first"] == "'B' in row 2"


def test_predictions_without_labels_say_where_labels_are() -> None:
    with pytest.raises(UserError, match="carry no labels"):
        _ = make(known=False).label_codes
