"""Groups of texts as pairs: what is alike shares a group, what is different none, and no text leaves its block."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.text_groups import merge_groups, read_groups, to_pairs

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), min_size=1, max_size=4)
GROUPS = st.lists(st.lists(WORDS, min_size=2, max_size=5, unique=True), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.tsv", "a\tb\tc\n\nd\te\nalone\n"),
        ("g.jsonl", '["a", "b", "c", "b"]\n{"text": "d", "synonyms": ["e"]}\n["alone"]\n'),
        ("g.json", '{"x": ["a", "b", "c"], "y": ["d", "e"], "z": ["alone"]}'),
        ("list.json", '[["a", "b", "c"], ["d", " e "]]'),
    ],
)
def test_each_format_gives_the_groups_of_two_texts_or_more(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_groups(tmp_path / name) == [["a", "b", "c"], ["d", "e"]]


def test_a_line_ends_where_the_file_says_and_not_at_signs_within_texts(tmp_path):
    (tmp_path / "g.jsonl").write_text('["a\u2028b", "c"]\r\n["d", "e\x85f"]\r\n', encoding="utf-8")
    assert read_groups(tmp_path / "g.jsonl") == [["a\u2028b", "c"], ["d", "e\x85f"]]


@settings(deadline=None)
@given(GROUPS)
def test_merged_groups_are_the_components_of_a_naive_search(groups):
    merged = merge_groups(groups)
    texts = [text for group in merged for text in group]
    assert sorted(texts) == sorted({text for group in groups for text in group})
    for start in texts:
        reached, size = {start}, 0
        while len(reached) > size:
            size = len(reached)
            reached |= {text for group in groups if reached & set(group) for text in group}
        assert reached == set(next(group for group in merged if start in group))


def test_pairs_of_one_group_are_alike_and_of_two_groups_different():
    groups = [[f"{i}:{j}" for j in range(2 + i % 3)] for i in range(70)]
    table = to_pairs(groups, most=2, negatives=3, seed=1)
    assert len(table.filter(label="1")) == sum(min(2, len(g) * (len(g) - 1) // 2) for g in groups)
    assert len(table.filter(label="0")) == 3 * len(table.filter(label="1"))
    block_of = {}
    for _, first, second, label, block in table.iter_rows():
        a, b = (text.split(":")[0] for text in (first, second))
        assert first != second
        assert (a == b) == (label == "1")
        assert block_of.setdefault(a, block) == block == block_of.setdefault(b, block)
    assert len(set(block_of.values())) == 10
    assert table["id"].n_unique() == len(table)
    assert table.equals(to_pairs(groups, most=2, negatives=3, seed=1))
    assert not table.equals(to_pairs(groups, most=2, negatives=3, seed=2))


def test_no_pair_is_drawn_twice():
    """Two groups of two texts have four pairs of different texts, of which ten are asked for."""
    table = to_pairs([["a", "b"], ["c", "d"]], most=1, negatives=5, seed=0)
    apart = [frozenset(pair) for pair in table.filter(label="0").select("text_a", "text_b").iter_rows()]
    assert len(apart) == len(set(apart)) == 4


@pytest.mark.parametrize(("n_groups", "n_blocks"), [(2, 1), (3, 1), (9, 4), (40, 10), (159, 10), (320, 20)])
def test_small_files_have_blocks_enough_for_folds_and_none_has_a_single_group(n_groups, n_blocks):
    table = to_pairs([[f"{i}a", f"{i}b"] for i in range(n_groups)], most=1, negatives=1, seed=0)
    groups_of = table.filter(label="1").group_by("block").len()
    assert groups_of.height == n_blocks
    assert groups_of["len"].min() >= 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("g.json", "{", "not JSON"),
        ("g.json", "3", "holds no groups"),
        ("g.json", '{"x": ["a", 3]}', "no group of texts"),
        ("g.jsonl", '["a", null]\n', "no group of texts"),
        ("g.tsv", "a\nb\n", "no group of two texts"),
    ],
)
def test_what_is_no_group_is_told_with_its_place(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as told:
        read_groups(tmp_path / name)
    assert name in str(told.value.details["where"])


def test_a_file_that_is_no_text_and_one_that_is_not_there_are_told(tmp_path):
    (tmp_path / "b.tsv").write_bytes(b"\xff\xfe\t\x80\n")
    for name in ("b.tsv", "absent.tsv"):
        with pytest.raises(UserError, match="cannot be read"):
            read_groups(tmp_path / name)


def test_a_single_group_has_nothing_different():
    with pytest.raises(UserError, match="single group"):
        to_pairs([["a", "b"]], most=1, negatives=1, seed=0)
    assert json.dumps(merge_groups([["a", "b"], ["b", "c"]])) == '[["a", "b", "c"]]'
