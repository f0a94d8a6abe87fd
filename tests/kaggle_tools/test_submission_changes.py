"""Changed rows as people and spreadsheets read them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.report import render_page
from kaggle_tools.report.sections.difference import difference_page, difference_section
from kaggle_tools.submissions import Answers
from kaggle_tools.submissions.changes import Texts, changed_rows, changes_table, guarded
from kaggle_tools.submissions.diff import compare
from kaggle_tools.submissions.expected import expected_change
from kaggle_tools.submissions.judge import Judge

CLASSES = ("a", "b")
IDS = ["1", "2", "3"]
BEFORE = [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]
AFTER = [[0.5, 0.5], [0.4, 0.6], [0.7, 0.3]]


def answers(values, *, probs=True, task="single_label"):
    ids = pl.Series("id", IDS)
    if probs:
        return Answers("x", Path("x"), ids, CLASSES, task, probs=np.array(values))
    return Answers("x", Path("x"), ids, CLASSES, task, labels=pl.Series("y", values, dtype=pl.String))


def judge(probs):
    return Judge(("m",), pl.Series("id", IDS), CLASSES, "single_label", np.array(probs), (), 0.5, 0.01, 100)


TEXTS = Texts(pl.Series("id", ["3 ", "1", "2"]), pl.Series("t", ["three", "one", "two"]))


def test_flips_come_first_then_the_largest_moves():
    found = compare(answers(BEFORE), answers(AFTER))
    rows = changed_rows(found, 10, TEXTS, judge([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]]))
    assert [(r.id, r.label_a, r.label_b, r.text) for r in rows] == [("2", "a", "b", "two"), ("1", "a", "a", "one")]
    assert (rows[0].prob_a, rows[0].prob_b, rows[0].judge_a, rows[0].judge_b) == (0.6, 0.6, 0.3, 0.7)
    assert rows[0].moved == pytest.approx(0.2)
    assert changed_rows(found, 1)[0].text is None


def test_labels_come_first_where_the_judge_sees_most_at_stake():
    found = compare(answers(["a", "a", "a"], probs=False), answers(["b", "b", "a"], probs=False))
    rows = changed_rows(found, 5, None, judge([[0.5, 0.5], [0.1, 0.9], [0.5, 0.5]]))
    assert [r.id for r in rows] == ["2", "1"]
    assert rows[0].moved is None


def test_table_has_every_changed_row_and_both_probabilities():
    found = compare(answers(BEFORE), answers(AFTER))
    table = changes_table(found, TEXTS)
    assert table.columns == [
        "id",
        "label_a",
        "label_b",
        "moved",
        "prob_a",
        "prob_b",
        "text",
        "a_a",
        "a_b",
        "b_a",
        "b_b",
    ]
    assert table["id"].to_list() == ["2", "1"]
    assert table.select("a_a", "a_b", "b_a", "b_b").row(0) == (0.6, 0.4, 0.4, 0.6)


@settings(deadline=None)
@given(st.lists(st.text(), max_size=20))
def test_no_cell_begins_like_a_formula_unless_it_is_a_number(cells):
    for before, after in zip(cells, guarded(pl.Series("t", cells, dtype=pl.String)), strict=True):
        assert after in (before, "'" + before)
        if after[:1] in ("=", "+", "-", "@", "\t", "\r"):
            float(after)


def test_negative_labels_stay_numbers():
    assert guarded(pl.Series("y", ["-1", "+2.5", "=1+1", "@x", None])).to_list() == ["-1", "+2.5", "'=1+1", "'@x", None]


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_page_shows_every_part(task):
    a, b = (
        answers([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]], task=task),
        answers([[0.5, 0.5], [0.4, 0.6], [0.7, 0.3]], task=task),
    )
    found = compare(a, b)
    who = judge([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    expected = expected_change("log_loss", [who.probs], a.probs, b.probs, task=task, n_draws=50)
    rows = changed_rows(found, 10, TEXTS, who)
    html = render_page(difference_page(found, expected, "", who, rows, ["mind <b>this</b>"]))
    for words in ("Who became what", "How far probabilities moved", "Biggest changes", "mind &lt;b&gt;this&lt;/b&gt;"):
        assert words in html
    same = difference_section(compare(a, a), None, "nothing changed", None, ())
    assert any("No row changed" in getattr(block, "text", "") for block in same.blocks)
