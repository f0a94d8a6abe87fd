from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from kaggle_tools.errors import UserError
from kaggle_tools.folds import FoldSettings, assign, load_or_make, uneven_fold


def labelled(*counts: int) -> pl.Series:
    return pl.Series("label", [f"c{i}" for i, count in enumerate(counts) for _ in range(count)])


def ids_of(labels: pl.Series) -> pl.Series:
    return pl.Series("id", [f"row{i}" for i in range(len(labels))])


@given(counts=st.lists(st.integers(5, 30), min_size=1, max_size=4), n=st.integers(2, 5), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_stratified_folds_share_each_class_evenly(counts: list[int], n: int, seed: int) -> None:
    labels = labelled(*counts)
    folds = assign(FoldSettings(n=n, seed=seed), labels)
    assert folds.dtype == np.int16
    for name in labels.unique():
        sizes = np.bincount(folds[(labels == name).to_numpy()], minlength=n)
        assert sizes.max() - sizes.min() <= 1


@given(
    sizes=st.lists(st.integers(1, 6), min_size=5, max_size=20),
    kind=st.sampled_from(["group", "stratified_group"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_a_group_never_straddles_two_folds(sizes: list[int], kind: str, seed: int) -> None:
    groups = pl.Series("user", [f"u{i}" for i, size in enumerate(sizes) for _ in range(size)])
    labels = pl.Series("label", ["a", "b"] * len(groups))[: len(groups)]
    if min(labels.value_counts()["count"]) < 3 or labels.n_unique() < 2:
        return
    folds = assign(FoldSettings(n=3, kind=kind, seed=seed, group_column="user"), labels, groups)  # type: ignore[arg-type]
    frame = pl.DataFrame({"group": groups, "fold": folds})
    assert frame.group_by("group").agg(pl.col("fold").n_unique())["fold"].to_list() == [1] * len(sizes)
    assert set(folds) == {0, 1, 2}


def test_stratified_folds_are_those_of_scikit_learn() -> None:
    labels = labelled(40, 25, 10)
    folds = assign(FoldSettings(n=5, seed=3), labels)
    split = StratifiedKFold(5, shuffle=True, random_state=3).split(np.zeros(75), labels.to_numpy())
    for fold, (_, held_out) in enumerate(split):
        assert (folds[held_out] == fold).all()


def test_random_folds_differ_in_size_by_one_at_most() -> None:
    sizes = np.bincount(assign(FoldSettings(n=4, kind="random"), labelled(1, 22)))
    assert sorted(sizes) == [5, 6, 6, 6]


def test_group_folds_depend_on_the_seed_and_are_balanced_in_rows() -> None:
    groups = pl.Series("g", [f"g{i}" for i in range(60) for _ in range(1 + i % 7)])
    labels = pl.Series("label", ["a"] * len(groups))
    first, second = (
        assign(FoldSettings(n=4, kind="group", seed=seed, group_column="g"), labels, groups) for seed in (1, 2)
    )
    assert (first != second).any()
    sizes = np.bincount(first)
    assert sizes.max() - sizes.min() <= 7


def test_a_fold_that_a_huge_group_fills_is_told_with_the_group() -> None:
    groups = pl.Series("user", ["huge"] * 50 + [f"u{i // 10}" for i in range(100)])
    labels = pl.Series("label", ["a", "b"] * 75)
    folds = assign(FoldSettings(n=5, kind="group", group_column="user"), labels, groups)
    fold = int(folds[0])
    size = int((folds == fold).sum())
    told = uneven_fold(folds, groups, 5)
    assert told == (
        f"fold {fold} is validated on {size} of 150 rows, {size / 30:.1f} times its share: "
        "group 'huge' of column 'user' alone has 50, and groups stay together"
    )
    assert uneven_fold(np.repeat(np.arange(5), 30).astype(np.int16), groups, 5) is None


def test_rare_class_is_named_with_what_to_do() -> None:
    with pytest.raises(UserError, match="class 'c1' has 3 rows, fewer than the 5 folds") as raised:
        assign(FoldSettings(), labelled(20, 3))
    assert "random" in raised.value.details["next"]


def test_joined_labels_are_stratified_where_every_combination_is_frequent() -> None:
    labels = pl.Series("label", ["a|b", "a", "b"] * 5)
    folds = assign(FoldSettings(n=5), labels)
    assert (np.bincount(folds[(labels == "a|b").to_numpy()]) == 1).all()


@pytest.mark.parametrize("kind", ["group", "stratified_group"])
def test_group_kinds_without_groups_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match="need groups"):
        assign(FoldSettings(kind=kind), labelled(20))  # type: ignore[arg-type]


def test_too_few_groups_rows_or_folds_are_refused() -> None:
    with pytest.raises(UserError, match="2 groups cannot fill 5 folds"):
        assign(FoldSettings(kind="group"), labelled(20), pl.Series("g", ["x", "y"] * 10))
    with pytest.raises(UserError, match="3 rows cannot fill 5 folds"):
        assign(FoldSettings(kind="random"), labelled(3))
    with pytest.raises(UserError, match="at least 2"):
        FoldSettings(n=1)
    with pytest.raises(UserError, match="unknown kind") as raised:
        FoldSettings(kind="stratifed")  # type: ignore[arg-type]
    assert "did you mean 'stratified'" in str(raised.value)


def test_null_labels_and_groups_are_refused() -> None:
    with pytest.raises(UserError, match="1 rows have no label"):
        assign(FoldSettings(n=2), pl.Series("label", ["a", "a", None]))
    with pytest.raises(UserError, match="1 rows have no group"):
        assign(FoldSettings(n=2, kind="group"), labelled(3), pl.Series("g", ["a", "b", None]))


def test_saved_folds_are_found_by_id_in_any_order_and_for_a_part_of_the_rows(tmp_path: Path) -> None:
    labels = labelled(30, 20)
    ids, path = ids_of(labels), tmp_path / "runs" / "folds.parquet"
    made = load_or_make(path, FoldSettings(), ids, labels)
    order = np.random.default_rng(0).permutation(50)[:17]
    again = load_or_make(path, FoldSettings(), ids.gather(order), labels.gather(order))
    assert (again == made[order]).all()
    assert again.dtype == np.int16


def test_fold_file_is_plain_parquet_with_the_id_column_under_its_own_name(tmp_path: Path) -> None:
    labels = labelled(10)
    made = load_or_make(tmp_path / "f.parquet", FoldSettings(n=2), ids_of(labels).alias("post id"), labels)
    frame = pl.read_parquet(tmp_path / "f.parquet")
    assert frame.schema == {"post id": pl.String, "fold": pl.Int16}
    assert frame["fold"].to_list() == made.tolist()


def test_fold_file_is_written_once(tmp_path: Path) -> None:
    labels, path = labelled(20), tmp_path / "f.parquet"
    load_or_make(path, FoldSettings(), ids_of(labels), labels)
    before = path.stat()
    load_or_make(path, FoldSettings(), ids_of(labels), labels)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_other_settings_than_the_files_are_refused_with_both(tmp_path: Path) -> None:
    labels, path = labelled(20), tmp_path / "f.parquet"
    load_or_make(path, FoldSettings(), ids_of(labels), labels)
    with pytest.raises(UserError, match="could not be compared") as raised:
        load_or_make(path, FoldSettings(n=4), ids_of(labels), labels)
    assert (raised.value.details["found"], raised.value.details["asked"]) == ("n = 5", "n = 4")


def test_rows_that_the_file_lacks_are_counted(tmp_path: Path) -> None:
    labels, path = labelled(20), tmp_path / "f.parquet"
    load_or_make(path, FoldSettings(), ids_of(labels)[:15], labels[:15])
    with pytest.raises(UserError, match="5 of 20 training rows have no fold") as raised:
        load_or_make(path, FoldSettings(), ids_of(labels), labels)
    assert raised.value.details["first"].startswith("row15")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["u4", *(f"u{i // 3}" for i in range(1, 15))], "1 of 5 groups are in several folds of the fold file"),
        ([None, *(f"u{i // 3}" for i in range(1, 15))], "1 rows have no group"),
    ],
)
def test_a_table_whose_rows_have_other_groups_than_when_folds_were_made_is_refused(
    tmp_path: Path, changed: list[str | None], message: str
) -> None:
    labels, path = labelled(8, 7), tmp_path / "f.parquet"
    groups = pl.Series("user", [f"u{i // 3}" for i in range(15)])
    settings = FoldSettings(n=5, kind="group", group_column="user")
    made = load_or_make(path, settings, ids_of(labels), labels, groups)
    assert load_or_make(path, settings, ids_of(labels)[:2], labels[:2], groups[:2]).tolist() == made[:2].tolist()
    with pytest.raises(UserError, match=message):
        load_or_make(path, settings, ids_of(labels), labels, pl.Series("user", changed))


def test_ids_that_occur_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="occur twice"):
        load_or_make(tmp_path / "f.parquet", FoldSettings(n=2), pl.Series("id", ["a", "a", "b"]), labelled(3))


@pytest.mark.parametrize("content", ["text", "other parquet"])
def test_damaged_or_foreign_file_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "f.parquet"
    if content == "text":
        path.write_text("id,fold\n1,0\n")
    else:
        pl.DataFrame({"id": ["a"], "fold": [0]}).write_parquet(path)
    with pytest.raises(UserError, match="not a fold file, or damaged"):
        load_or_make(path, FoldSettings(n=2), ids_of(labelled(4)), labelled(4))


def test_failed_assignment_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        load_or_make(tmp_path / "f.parquet", FoldSettings(), ids_of(labelled(9, 1)), labelled(9, 1))
    assert not list(tmp_path.iterdir())
