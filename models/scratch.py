"""A small BERT with random weights, and its WordPiece tokenizer made from the texts at hand.

    tokenizer = train_tokenizer(texts, options, max_length=64)
    config = scratch_config(options, tokenizer)

For demonstrations, tests and data in a language of its own. The same texts in any order give the same tokenizer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, trainers
from transformers import BertConfig, BertTokenizer

from models.recipe_options import ScratchOptions
from models.text.new_words import discover_words
from models.text.topics import frequent_topics

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Iterable[str], options: ScratchOptions, max_length: int) -> BertTokenizer:
    """A fast BERT tokenizer whose vocabulary is learnt from `texts`; Chinese characters are words of their own.

    Args:
        texts: Cleaned texts.
        options: Size of the vocabulary, rarest pieces, lower case, new words and topics.
        max_length: Tokens a row at most; kept as `model_max_length`.
    """
    texts = list(texts)
    words = _count_words(texts, options)
    alphabet = _alphabet(words, options)
    known = set(alphabet)
    trainer = trainers.WordPieceTrainer(
        vocab_size=options.vocab_size,
        min_frequency=options.min_frequency,
        # The trainer numbers characters in the order of a hash map, and ties between merges are broken by number. Given
        # as special tokens, characters have their numbers before it starts.
        special_tokens=[*SPECIAL, *alphabet],
        continuing_subword_prefix="##",
        show_progress=False,
    )
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    spelled = (word for word in sorted(words) if known.issuperset(word))
    learner.train_from_iterator(([word] * words[word] for word in spelled), trainer)
    tokenizer = _bert_tokenizer(learner.get_vocab(), options, max_length)
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in _whole_words(texts, options)])
    return tokenizer


def scratch_config(options: ScratchOptions, tokenizer: Any) -> BertConfig:
    """Configuration of the encoder that goes with `tokenizer`."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=options.intermediate,
        max_position_embeddings=tokenizer.model_max_length,
        pad_token_id=tokenizer.pad_token_id,
    )


def _whole_words(texts: list[str], options: ScratchOptions) -> list[str]:
    """Topics and new words; of words that begin at one place the tokenizer takes the longest."""
    topics = frequent_topics(texts, options.topics, options.min_frequency) if options.topics else []
    words = discover_words(texts, limit=options.new_words) if options.new_words else []
    return [*topics, *(word.word for word in words)]


def _bert_tokenizer(vocab: dict[str, int], options: ScratchOptions, max_length: int) -> BertTokenizer:
    ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
    return BertTokenizer(vocab=ordered, do_lower_case=options.lowercase, model_max_length=max_length)


def _count_words(texts: Iterable[str], options: ScratchOptions) -> Counter[str]:
    """Words as the finished tokenizer will see them before it cuts them into pieces."""
    backend = _bert_tokenizer({token: i for i, token in enumerate(SPECIAL)}, options, 512).backend_tokenizer
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)))
    return words


def _alphabet(words: Counter[str], options: ScratchOptions) -> list[str]:
    """The most frequent characters as far as there is room, each as ``x`` and, where it continues a word, as ``##x``.

    The trainer wants ``x`` for every ``##x``.
    """
    counts: Counter[str] = Counter()
    continuing: set[str] = set()
    for word, count in words.items():
        continuing.update(word[1:])
        for character in word:
            counts[character] += count
    pieces: list[str] = []
    for character in sorted(counts, key=lambda character: (-counts[character], character)):
        forms = [character, "##" + character] if character in continuing else [character]
        if counts[character] < options.min_frequency or len(SPECIAL) + len(pieces) + len(forms) > options.vocab_size:
            break
        pieces += forms
    return pieces
