"""Augmentation: each step does what it says, to words or to Chinese characters, and repeats itself by its seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.text.augmentation import AUGMENTATIONS, augment, read_synonyms

WORDS = "a small brown dog sees the cat"
CHINESE = "今天天气很好我们出去"


def changed(text, step, rate=0.3, seed=0, synonyms=None):
    return augment([text], (step,), rate=rate, generator=np.random.default_rng(seed), synonyms=synonyms)[0]


@pytest.mark.parametrize("seed", range(5))
def test_deletion_leaves_out_words_and_keeps_their_order(seed):
    left = changed(WORDS, "delete", seed=seed).split()
    assert len(left) == 5
    words = iter(WORDS.split())
    assert all(word in words for word in left)


@pytest.mark.parametrize("text", [WORDS, CHINESE])
def test_swapping_keeps_all_units(text):
    swapped = changed(text, "swap")
    assert swapped != text
    assert Counter(swapped) == Counter(text)


def test_insertion_adds_and_replacement_takes_synonyms():
    synonyms = {"dog": ("hound",), "cat": ("tom", "puss")}
    longer = changed(WORDS, "insert", synonyms=synonyms).split()
    assert len(longer) == 9
    assert set(longer) <= set(WORDS.split()) | {"hound", "tom", "puss"}
    replaced = changed(WORDS, "replace", rate=1.0, synonyms=synonyms)
    assert replaced in ("a small brown hound sees the tom", "a small brown hound sees the puss")


def test_a_text_without_synonyms_stays():
    assert changed(WORDS, "replace", synonyms={"bird": ("crow",)}) == WORDS


def test_chinese_is_cut_into_characters_and_gets_no_blanks():
    assert len(changed(CHINESE, "delete")) == 7
    assert changed("iPhone手机 is here", "replace", synonyms={"here": ("there",)}) == "iPhone手机is there"


@given(st.text(max_size=30), st.sampled_from(list(AUGMENTATIONS)), st.floats(0, 1), st.integers(0, 9))
def test_any_text_goes_through_and_the_same_seed_gives_the_same(text, step, rate, seed):
    assert changed(text, step, rate, seed) == changed(text, step, rate, seed)


def test_a_text_of_one_word_keeps_it():
    assert changed("word", "delete", rate=1.0) == changed("word", "swap", rate=1.0) == "word"


def test_synonyms_are_read_from_lines_of_words(tmp_path):
    path = tmp_path / "synonyms.tsv"
    path.write_text("dog\thound\tpooch\nalone\n", encoding="utf-8-sig")  # as editors on Windows begin files
    assert read_synonyms(path) == {
        "dog": ("hound", "pooch"), "hound": ("dog", "pooch"), "pooch": ("dog", "hound"),
    }  # fmt: skip
    path.write_text("alone", encoding="utf-8")
    with pytest.raises(ModelError, match="no synonyms"):
        read_synonyms(path)
    with pytest.raises(ModelError, match="no such file of synonyms"):
        read_synonyms(tmp_path / "none.tsv")
