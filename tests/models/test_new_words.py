"""New words: counts, mutual information and entropy against the formulas, spelled out."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.new_words import HAN_RUN, count_characters, discover_words

LETTERS = "天地人你我他"
EVERYTHING = {"min_count": 1, "min_pmi": -math.inf, "min_entropy": 0.0}


def by_hand(texts, word):
    """Count, least mutual information and least neighbour entropy of a word, by looking everywhere."""
    runs = [run for text in texts for run in HAN_RUN.findall(text)]
    total = sum(map(len, runs))

    def places(part):
        return [(run, i) for run in runs for i in range(len(run)) if run.startswith(part, i)]

    count = len(places(word))
    cuts = [(word[:k], word[k:]) for k in range(1, len(word))]
    pmi = min(
        math.log((count / total) / ((len(places(a)) / total) * (len(places(b)) / total))) for a, b in cuts
    )  # fmt: skip
    sides = []
    for step in (-1, len(word)):
        neighbours = Counter()
        for number, (run, i) in enumerate(places(word)):
            at = i + step
            neighbours[run[at] if 0 <= at < len(run) else number] += 1  # each end is a neighbour of its own
        sides.append(-sum(n / count * math.log(n / count) for n in neighbours.values()))
    return count, pmi, min(sides)


@given(st.lists(st.text(LETTERS + "，a ", max_size=12), max_size=8))
def test_every_figure_is_that_of_the_formula(texts):
    found = {word.word: word for word in discover_words(texts, max_length=3, **EVERYTHING)}
    runs = [run for text in texts for run in HAN_RUN.findall(text)]
    assert set(found) == {run[i : i + n] for run in runs for n in (2, 3) for i in range(len(run) - n + 1)}
    for word in found.values():
        count, pmi, entropy = by_hand(texts, word.word)
        assert word.count == count
        assert word.pmi == pytest.approx(pmi, abs=1e-9)
        assert word.entropy == pytest.approx(entropy, abs=1e-9)


@given(st.lists(st.text(LETTERS + "x", max_size=9), max_size=6))
def test_characters_are_counted(texts):
    assert count_characters(texts) == Counter(c for text in texts for c in text if c in LETTERS)


def test_a_planted_word_is_found_and_its_fragments_are_not():
    draw = random.Random(0)
    noise = [chr(0x4E00 + i) for i in range(300)]
    texts = ["".join(draw.choices(noise, k=20)) + "葡萄酒" + "".join(draw.choices(noise, k=20)) for _ in range(300)]
    assert [word.word for word in discover_words(texts)] == ["葡萄酒"]  # 葡萄 always goes before 酒: no freedom


def test_limit_takes_the_most_frequent_in_a_fixed_order():
    texts = ["天地，天地，人你，人你，我他"]
    words = discover_words(texts, max_length=2, limit=2, **EVERYTHING)
    assert [word.word for word in words] == sorted(("天地", "人你"))
    assert discover_words(["no such script", ""]) == []
