"""The faster tokenizer against the stock one, on hostile texts; and what happens when it is wrong."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizerFast

from models.inference import faster_tokens
from models.inference.faster_tokens import FasterTokenizer, TokenizersDisagree, faster
from models.inference.scorer import Scorer
from models.inference.tokens import TextTokenizer
from models.text.hostile import HOSTILE, hostile_texts
from models.text.pairs import SEPARATOR

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Letters alone and as continuations, so that what is not in the vocabulary still becomes many ids.
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-éσςßıąñ你好世界のカ한ก"]
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), "the", "word", "hello", "##ing", "café"]
SOME = [f"the word {i} hello{'!' * (i % 3)}" for i in range(40)]


@pytest.fixture(scope="module")
def make_tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(VOCABULARY), encoding="utf-8")

    def make(**options):
        return BertTokenizerFast(str(path), **options)

    return make


KINDS = {
    "lower case": {"do_lower_case": True},
    "cased": {"do_lower_case": False},
    "accents kept": {"do_lower_case": True, "strip_accents": False},
    "cut at the left": {"do_lower_case": True, "truncation_side": "left"},
}


def pair_of(tokenizer, max_length):
    """The stock tokenizer, and the faster one without its checks."""
    stock = TextTokenizer(tokenizer, max_length)
    found = faster(stock, tokenizer)
    if not isinstance(found, FasterTokenizer):
        pytest.skip("needs nanotoken: pip install 'kaggle-jobs[fast-tokenizer]'")
    return stock, lambda texts: found._read(pl.Series(texts, dtype=pl.String))


def assert_equal(found, expected):
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    assert (found.n_truncated, found.n_lost) == (expected.n_truncated, expected.n_lost)
    assert (found.ids.dtype, found.offsets.dtype) == (expected.ids.dtype, expected.offsets.dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_texts_have_the_ids_and_losses_of_the_stock_tokenizer(make_tokenizer, kind):
    for max_length in (3, 20, 512):
        stock, read = pair_of(make_tokenizer(**KINDS[kind]), max_length)
        texts = hostile_texts(SPECIAL)
        assert_equal(read(texts), stock(texts))


UNICODE = st.text(st.characters(exclude_characters=SEPARATOR, exclude_categories=["Cs"]), max_size=30)
PIECES = st.one_of(UNICODE, st.sampled_from(HOSTILE), st.sampled_from([*SPECIAL, *LETTERS, " ", "\n"]))


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.lists(PIECES, max_size=6).map("".join), min_size=1, max_size=6),
    kind=st.sampled_from(list(KINDS)),
    max_length=st.sampled_from([3, 8, 64]),
)
def test_any_texts_have_the_ids_and_losses_of_the_stock_tokenizer(make_tokenizer, texts, kind, max_length):
    key = (kind, max_length)
    if key not in _PAIRS:
        _PAIRS[key] = pair_of(make_tokenizer(**KINDS[kind]), max_length)
    stock, read = _PAIRS[key]
    assert_equal(read(texts), stock(texts))


_PAIRS = {}


def fake(tokenizer, wrong=None):
    """What the faster library would give, by the stock one; texts with `wrong` in them lose a token."""

    def encode(texts):
        rows = tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        rows = [row[:1] + row[2:] if wrong and wrong in text else row for text, row in zip(texts, rows, strict=True)]
        return np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)])

    return encode


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer):
    return make_tokenizer()


def test_what_agrees_is_used(tokenizer):
    stock = TextTokenizer(tokenizer, 6)
    found = FasterTokenizer(stock, fake(tokenizer), tokenizer)(SOME)
    assert found.faster
    assert_equal(found, stock(SOME))


def test_at_first_the_stock_tokenizer_simply_takes_over(tokenizer):
    stock = TextTokenizer(tokenizer, 64)
    doubtful = FasterTokenizer(stock, fake(tokenizer, "hello!!"), tokenizer)
    tokens = doubtful(SOME)
    assert not tokens.faster
    assert_equal(tokens, stock(SOME))
    assert "reads 'the word 2 hello!!' otherwise" in doubtful.refusal
    assert not doubtful(["fine"]).faster


def test_a_hostile_text_is_enough_to_refuse_it(tokenizer):
    doubtful = FasterTokenizer(TextTokenizer(tokenizer, 64), fake(tokenizer, "\u0130stanbul"), tokenizer)
    assert not doubtful(SOME).faster
    assert "stanbul" in doubtful.refusal


def test_while_every_text_was_compared_nothing_is_lost(tokenizer):
    doubtful = FasterTokenizer(TextTokenizer(tokenizer, 64), fake(tokenizer, "late"), tokenizer)
    assert doubtful(SOME).faster
    assert not doubtful([*SOME, "too late"]).faster


def test_once_texts_were_trusted_a_mistake_stops_the_work(tokenizer, monkeypatch):
    monkeypatch.setattr(faster_tokens, "_AT_FIRST", 300)
    doubtful = FasterTokenizer(TextTokenizer(tokenizer, 64), fake(tokenizer, "\u0b95"), tokenizer)
    assert doubtful(["the word"] * 900).faster
    with pytest.raises(TokenizersDisagree, match="otherwise than the stock one") as caught:
        # One row among many: found because no text had this character before.
        doubtful([*["the word"] * 500, "word \u0b95", *["the word"] * 300])
    assert "--tokenizer stock" in caught.value.details["next"]


def test_each_character_is_compared_where_it_first_occurs(tokenizer, monkeypatch):
    one = FasterTokenizer(TextTokenizer(tokenizer, 64), fake(tokenizer), tokenizer)
    monkeypatch.setattr(faster_tokens, "_AT_FIRST", 0)
    monkeypatch.setattr(faster_tokens, "_ALWAYS", 1)  # the first row
    monkeypatch.setattr(faster_tokens, "_LONGEST", 1)  # the last one here
    end = "a long row of ASCII"
    rows = ["ab", "ba", "", "\u4f60", "ab", "a\U0001f600", "\u00e9\u4f60", end]
    assert one._worth_comparing(pl.Series(rows)).tolist() == [0, 3, 5, 6, 7]
    assert one._worth_comparing(pl.Series(["\u4f60\u00e9", "a", "\U0001f600d", "\u00df", end])).tolist() == [0, 3, 4]


def test_all_of_ascii_is_compared_before_any_text():
    assert set(map(chr, range(128))) <= set("".join(HOSTILE))


def test_a_library_that_fails_is_replaced_and_named(tokenizer):
    def fails(texts):
        raise RuntimeError("no such thing")

    broken = FasterTokenizer(TextTokenizer(tokenizer, 64), fails, tokenizer)
    assert not broken(SOME).faster
    assert broken.refusal == "the faster tokenizer failed: no such thing"


def test_a_limit_without_room_is_left_to_the_stock_tokenizer(tokenizer):
    narrow = FasterTokenizer(TextTokenizer(tokenizer, 2), fake(tokenizer), tokenizer)
    assert_equal(narrow(["the word", ""]), TextTokenizer(tokenizer, 2)(["the word", ""]))
    assert narrow.refusal is not None


def test_rows_without_special_tokens_have_at_least_one(tokenizer):
    bare = FasterTokenizer(
        TextTokenizer(tokenizer, 5),
        lambda texts: (np.array([7, 8, 9, 9, 9], np.int32), np.array([0, 0, 2, 2, 2, 5])),
        tokenizer,
    )
    found = bare._read(pl.Series([""] * 5))
    assert found.ids.tolist() == [0, 7, 8, 0, 0, 9, 9, 9]
    assert found.offsets.tolist() == [0, 1, 3, 4, 5, 8]


def test_many_texts_are_read_a_part_at_a_time(make_tokenizer, monkeypatch):
    stock, read = pair_of(make_tokenizer(), 6)
    monkeypatch.setattr(faster_tokens, "_CHUNK", 7)
    texts = [*SOME, *HOSTILE, ""]
    assert_equal(read(texts), stock(texts))


def test_pairs_are_left_to_the_stock_tokenizer(tokenizer):
    pairs = FasterTokenizer(TextTokenizer(tokenizer, 64), fake(tokenizer, "the"), tokenizer)
    assert pairs([f"the{SEPARATOR}word"]).types is not None
    assert pairs.refusal is None


def test_a_scorer_tells_who_read_the_texts(tmp_path, save_model):
    folder = save_model(tmp_path / "tiny", 0)
    found = Scorer(folder, device="cpu", precision="fp32")
    if not isinstance(found.groups[0].featurise, FasterTokenizer):
        pytest.skip("needs nanotoken")
    scores = found.score(["w1 w2", "w3"])
    assert scores.stats.faster_tokens == scores.stats.tokens == 7
    stock = Scorer(folder, device="cpu", precision="fp32", tokenizer="stock").score(["w1 w2", "w3"])
    assert stock.stats.faster_tokens == 0
    np.testing.assert_array_equal(scores.probabilities, stock.probabilities)
    found.groups[0].featurise.refusal = "so it is"
    assert found.notes == [f"{folder}: the stock tokenizer reads all texts: so it is"]
