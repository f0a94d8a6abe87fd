"""Class columns are found by name, whatever their order, and never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaggle_tools.class_columns import match_class_columns
from kaggle_tools.errors import UserError

CLASSES = ("EAP", "HPL", "MWS")


@pytest.mark.parametrize(
    "columns",
    [
        ["EAP", "HPL", "MWS"],
        ["MWS", "text", "EAP", "HPL"],
        ["eap", "Hpl ", "mws"],
        ["prob_HPL", "prob_MWS", "prob_EAP"],
        ["lgb.v2-HPL", "lgb.v2-MWS", "lgb.v2-EAP", "length"],
    ],
)
def test_every_class_gets_its_column(columns: list[str]) -> None:
    matched = match_class_columns(columns, CLASSES)
    assert list(matched) == list(CLASSES)
    assert all(column.strip().upper().endswith(name) for name, column in matched.items())


@given(st.permutations(["x_-1", "x_0", "x_1", "x_10", "other"]))
def test_classes_that_end_alike_are_kept_apart(columns: list[str]) -> None:
    assert match_class_columns(columns, ("-1", "0", "1", "10")) == {"-1": "x_-1", "0": "x_0", "1": "x_1", "10": "x_10"}


def test_own_names_win_over_prefixed_ones() -> None:
    assert match_class_columns(["p_a", "p_b", "a", "b"], ("a", "b")) == {"a": "a", "b": "b"}


@pytest.mark.parametrize(
    ("columns", "classes"), [(["A", " a", "b"], ("a", "b")), (["MAY", "june"], ("may", "May", "June"))]
)
def test_names_that_differ_by_case_alone_are_not_taken_for_each_other(
    columns: list[str], classes: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match="missing"):
        match_class_columns(columns, classes)


def test_several_prefixes_must_be_chosen_from() -> None:
    columns = ["lgb_a", "lgb_b", "xgb_a", "xgb_b"]
    with pytest.raises(UserError, match="2 sets of class columns: lgb, xgb"):
        match_class_columns(columns, ("a", "b"))
    assert match_class_columns(columns, ("a", "b"), prefix="xgb") == {"a": "xgb_a", "b": "xgb_b"}
    assert match_class_columns(columns, ("a", "b"), prefix="xgb_") == {"a": "xgb_a", "b": "xgb_b"}


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (["EAP", "HPL"], "class column missing: MWS"),
        (["p_EAP", "p_HPL"], "class column missing: MWS"),
        (["p_EAP", "q_HPL", "q_MWS"], "class column missing: EAP"),
        ([], "class columns missing: EAP, HPL, MWS"),
    ],
)
def test_missing_classes_are_named(columns: list[str], missing: str) -> None:
    with pytest.raises(UserError, match=missing):
        match_class_columns(columns, CLASSES)


def test_misspelled_class_gets_a_hint() -> None:
    with pytest.raises(UserError) as caught:
        match_class_columns(["joy", "angr", "fear"], ("joy", "anger", "fear"))
    assert caught.value.details["next"] == "did you mean 'angr'?"
