"""Segmenters: the most probable words against all ways to cut a run; lists; the package rjieba."""

import itertools
import math
import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.text.segment import Lexicon, make_segmenter, read_words

RUN = st.text("天地人你", min_size=1, max_size=7)


def all_cuts(run):
    for marks in itertools.product((False, True), repeat=len(run) - 1):
        places = [0, *(i for i, mark in enumerate(marks, start=1) if mark), len(run)]
        yield [run[a:b] for a, b in itertools.pairwise(places)]


def log_probability(words, counts):
    total = sum(counts.values()) + 1
    logs = [math.log(counts.get(word, 1 if len(word) == 1 else 0) or 1e-300) - math.log(total) for word in words]
    return sum(logs)


@settings(max_examples=60)
@given(RUN, st.dictionaries(st.text("天地人你", min_size=1, max_size=3), st.integers(1, 50), min_size=1, max_size=8))
def test_the_words_are_the_most_probable_of_all_ways_to_cut(run, counts):
    words = Lexicon(counts).segment(run)
    assert "".join(words) == run
    best = max(log_probability(cut, counts) for cut in all_cuts(run))
    assert log_probability(words, counts) == pytest.approx(best, abs=1e-9)


def test_of_a_list_without_frequencies_the_fewest_words_win(tmp_path):
    (tmp_path / "words.txt").write_text("武汉\n武汉市\n\n市长\n长江\n大桥\n长江大桥\n", encoding="utf-8")
    cut = make_segmenter("list", [], str(tmp_path / "words.txt"))
    assert cut("武汉市长江大桥") == ["武汉市", "长江大桥"]


def test_frequencies_are_read_as_jieba_writes_them(tmp_path):
    (tmp_path / "words.txt").write_text("武汉 120 ns\n加油 7\n", encoding="utf-8-sig")
    assert read_words(tmp_path / "words.txt") == {"武汉": 120, "加油": 7}


@pytest.mark.parametrize("content", ["武汉 often\n", "武汉 0\n", "武汉 ²\n", "\n \n", None])
def test_a_list_that_is_none_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "words.txt").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"frequency|no words|cannot be read"):
        read_words(tmp_path / "words.txt")


def test_words_are_discovered_in_the_texts():
    draw = random.Random(0)
    noise = ["".join(chr(0x4E00 + draw.randrange(300)) for _ in range(15)) for _ in range(400)]
    texts = [f"{a}武汉{b}加油" for a, b in itertools.pairwise(noise)]
    assert make_segmenter("discovered", texts)("春武汉加油冬") == ["春", "武汉", "加油", "冬"]


def test_characters_are_words_where_asked_for():
    assert make_segmenter("characters", [])("武汉加油") == list("武汉加油")


def test_jieba_cuts_a_run_into_its_words():
    pytest.importorskip("rjieba")
    cut = make_segmenter("jieba", [])
    assert cut("武汉加油") == ["武汉", "加油"]
    assert "".join(cut("我们在湖北的日子里")) == "我们在湖北的日子里"


def test_without_jieba_it_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(ModelError, match="rjieba, which is not installed"):
        make_segmenter("jieba", [])
