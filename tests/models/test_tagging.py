"""`models.tagging`: the first piece of a word carries its tag; what the network does not see is O."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.crf import NO_WORD
from models.heads import HEADS
from models.heads.pooled import HeadShape
from models.heads.tagging import bio_rules
from models.inference.scorer import Scorer
from models.losses import make_loss
from models.recipe import HeadOptions, LossOptions, ScratchOptions
from models.scratch import train_tokenizer
from models.tagging import align_words, tag_loss, tag_rows
from models.training.fold import train_fold

TAGS = ("B-X", "I-X", "B-Y", "I-Y", "O")
TEXTS = ["playing games", "play", "", "a \u200b b", "games playing play games"]


@pytest.fixture(scope="module")
def tokenizer():
    """One that cuts words into several pieces."""
    return train_tokenizer(["play play ing game s"] * 3, ScratchOptions(vocab_size=60, min_frequency=1), max_length=32)


def test_every_word_knows_its_first_piece(tokenizer):
    words = align_words(tokenizer, TEXTS, 32)
    for text, ids, first in zip(TEXTS, words.rows.ids, words.first, strict=True):
        spelled = text.split(" ") if text else []
        assert len(first) == len(spelled)
        for word, position in zip(spelled, first, strict=True):
            pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
            assert position == -1 if not pieces else ids[position] == pieces[0]
    assert words.first[3][1] == -1  # of a zero-width blank nothing is left


def test_words_beyond_the_limit_are_not_seen(tokenizer):
    words = align_words(tokenizer, TEXTS, 4)
    assert words.first[4][-1] == -1
    assert int(words.rows.lengths.max()) == 4


def test_targets_stand_at_first_pieces_alone(tokenizer):
    words = align_words(tokenizer, TEXTS, 32)
    tags = np.full((5, 4), NO_WORD)
    tags[0, :2], tags[1, 0], tags[3, :3], tags[4] = [0, 1], 2, [0, 1, 2], [4, 4, 0, 1]
    targets = words.targets(tags)
    for row in range(5):
        seen = words.first[row] >= 0
        assert (targets[row][targets[row] != NO_WORD] == tags[row, : len(seen)][seen]).all()
        assert (np.flatnonzero(targets[row] != NO_WORD) == words.first[row][seen]).all()


class Network(torch.nn.Module):
    """Random logits for each token id, through a head's CRF where it has one."""

    def __init__(self, head):
        super().__init__()
        self.head = head
        self.pads = True
        self.table = torch.nn.Embedding(100, len(TAGS))

    def forward(self, input_ids, attention_mask=None):
        return self.table(input_ids)


def make_network(name):
    torch.manual_seed(0)
    return Network(HEADS[name](HeadShape(hidden=8, layers=1, classes=5, names=TAGS))).eval()


@pytest.mark.parametrize("name", ["tags", "crf"])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_rows_get_the_same_tags_in_any_batch(tokenizer, name, batch_size):
    network, words = make_network(name), align_words(tokenizer, TEXTS, 32)
    found = tag_rows(network, words, TAGS, torch.device("cpu"), batch_size=batch_size)
    one = tag_rows(network, words, TAGS, torch.device("cpu"), batch_size=3)
    np.testing.assert_allclose(found.probs, one.probs, atol=1e-6)
    unseen = found.offsets[3] + 1
    assert found.probs[unseen].tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(found.probs.sum(1), 1, atol=1e-5)


def test_the_softmax_loss_is_over_words_alone():
    network = make_network("tags")
    loss = tag_loss(network, make_loss(LossOptions(), "token", None, TAGS))
    logits, targets = torch.randn(2, 3, 5), torch.tensor([[NO_WORD, 1, 2], [0, NO_WORD, NO_WORD]])
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_WORD)
    assert float(loss(logits, targets)) == pytest.approx(float(expected))
    assert float(loss(logits, torch.full((2, 3), NO_WORD))) == 0.0


def test_an_inside_tag_needs_one_of_its_type_before_it():
    first, allowed = bio_rules(TAGS)
    assert first.tolist() == [True, False, True, False, True]
    assert allowed[:, 1].tolist() == [True, True, False, False, False]
    assert bool(allowed[:, [0, 2, 4]].all())


@pytest.mark.filterwarnings("ignore")  # a gate of random weights
def test_texts_without_a_word_judge_no_format(tmp_path, tiny_recipe, tiny_tokenizer, monkeypatch):
    recipe = dataclasses.replace(
        tiny_recipe, head=HeadOptions("tags"), training=dataclasses.replace(tiny_recipe.training, epochs=1)
    )
    texts, tags = ["red fox", "blue dog"], np.array([[0, 4], [2, 4]])
    train_fold(recipe, TAGS, texts, tags, texts, tags, tiny_tokenizer, folder=tmp_path / "run", task="token")
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    scorer = Scorer(tmp_path / "run", device="cpu", backend="torch")
    scores = scorer.score(["", None] * 50)
    assert (scores.precision, scores.gate, scores.labels.to_list()) == ("fp32", None, [""] * 100)
    assert scorer.score(["", "red fox"] * 50).gate.rows == 100
