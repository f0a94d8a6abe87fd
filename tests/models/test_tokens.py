import pytest
from transformers import BertTokenizerFast

from models.inference.tokens import TextTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat", "##s", "猫", "坐"]
TEXTS = ["the cat sat on the mat", "", "cats", "猫坐 the", "the " * 50, "unknown words here"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return BertTokenizerFast(str(path))


def test_ids_are_those_of_the_stock_tokenizer(tokenizer):
    tokens = TextTokenizer(tokenizer, 12)(TEXTS)
    stock = tokenizer(TEXTS, truncation=True, max_length=12)["input_ids"]
    rows = [tokens.ids[a:b].tolist() for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]
    assert rows == stock


def test_truncated_rows_and_lost_tokens_are_counted(tokenizer):
    tokens = TextTokenizer(tokenizer, 12)(TEXTS)
    full = tokenizer(TEXTS)["input_ids"]
    assert tokens.n_truncated == sum(len(row) > 12 for row in full) == 1
    assert tokens.n_lost == sum(max(0, len(row) - 12) for row in full)


def test_a_text_of_exactly_the_limit_is_not_truncated(tokenizer):
    tokens = TextTokenizer(tokenizer, 5)(["the cat sat"])
    assert (tokens.n_truncated, tokens.n_lost, tokens.lengths.tolist()) == (0, 0, [5])


def test_no_texts_give_no_tokens(tokenizer):
    tokens = TextTokenizer(tokenizer, 12)([])
    assert tokens.ids.size == 0
    assert tokens.offsets.tolist() == [0]


def test_the_tokenizer_that_was_given_is_left_as_it_was(tokenizer):
    before = tokenizer.backend_tokenizer.to_str()
    TextTokenizer(tokenizer, 3)(["the cat sat on a mat"])
    assert tokenizer.backend_tokenizer.to_str() == before
