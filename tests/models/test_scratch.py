"""The tokenizer and configuration of an encoder from scratch."""

import random
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from models.recipe import ScratchOptions
from models.scratch import SPECIAL, scratch_config, train_tokenizer

TEXTS = ["Hello world, hello there", "The world is round.", "武汉加油 hello", "武汉 is far"] * 3
OPTIONS = ScratchOptions(vocab_size=60, min_frequency=2)


def vocabulary(texts, options=OPTIONS):
    return train_tokenizer(texts, options, max_length=32).backend_tokenizer.to_str()


def test_chinese_characters_are_tokens_of_their_own_and_case_is_folded():
    tokenizer = train_tokenizer(TEXTS, OPTIONS, max_length=32)
    assert tokenizer.tokenize("武汉HELLO") == ["武", "汉", "hello"]
    assert train_tokenizer(TEXTS, ScratchOptions(vocab_size=60, lowercase=False), 32).tokenize("Hello")[0][0] == "H"


def test_special_tokens_come_first_and_surround_a_text():
    tokenizer = train_tokenizer(TEXTS, OPTIONS, max_length=32)
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(SPECIAL)
    assert tokenizer.convert_ids_to_tokens(tokenizer("hello")["input_ids"]) == ["[CLS]", "hello", "[SEP]"]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.model_max_length) == (0, 1, 32)


def test_the_order_of_texts_does_not_matter():
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    assert vocabulary(shuffled) == vocabulary(TEXTS)


def test_another_process_with_another_hash_seed_makes_the_same_tokenizer():
    code = (
        "import hashlib; from models.recipe import ScratchOptions; from models.scratch import train_tokenizer;"
        f"t = train_tokenizer({TEXTS!r}, ScratchOptions(vocab_size=60, min_frequency=2), 32);"
        "print(t.backend_tokenizer.to_str())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == vocabulary(TEXTS)


def test_saved_and_loaded_it_tokenises_the_same(tmp_path):
    tokenizer = train_tokenizer(TEXTS, OPTIONS, max_length=32)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast
    for text in (*TEXTS, "unknown Ünïcode 字 !", ""):
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.model_max_length == 32


@settings(max_examples=30)
@given(st.lists(st.text(), max_size=6), st.integers(16, 40))
def test_any_texts_give_a_vocabulary_within_its_size(texts, size):
    tokenizer = train_tokenizer(texts, ScratchOptions(vocab_size=size, min_frequency=1), max_length=16)
    assert len(SPECIAL) <= len(tokenizer) <= size


def test_the_configuration_fits_the_tokenizer():
    tokenizer = train_tokenizer(TEXTS, OPTIONS, max_length=32)
    config = scratch_config(OPTIONS, tokenizer)
    assert (config.vocab_size, config.max_position_embeddings, config.pad_token_id) == (len(tokenizer), 32, 0)
