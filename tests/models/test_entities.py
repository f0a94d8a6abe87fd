"""Marked entities: what is a fault, what truncation keeps, what heads read; against plain Python and stock forwards."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from models.build import build_classifier
from models.errors import ModelError
from models.heads import HEADS, HeadShape
from models.heads.entities import span_mean
from models.inference.scorer import Scorer
from models.inference.tokens import TextTokenizer, UnusableTexts
from models.recipe import DataOptions, EncoderOptions, HeadOptions
from models.saved import load_classifier
from models.scratch import train_tokenizer
from models.text.entities import MARKS, add_marks, find_fault, without_marks
from models.text.forms import ENTITY_FORMS
from models.training.fold import make_tokenizer, train_fold
from tests.models.conftest import SCRATCH

TEXT = "the <e1>old fox</e1> sings of <e2>the sea</e2> here"
FAULTS = {
    "no marks at all": "no <e1>",
    "<e1>fox</e1> sings": "no <e2>",
    "<e1>fox</e1> and <e1>dog</e1>, <e2>sea</e2>": "2 times <e1>",
    "</e1>fox<e1> and <e2>sea</e2>": "</e1> before <e1>",
    "<e1> </e1> and <e2>sea</e2>": "nothing between <e1> and </e1>",
    "<e1>the <e2>old</e1> fox</e2>": "the entities overlap",
    "<e1>the <e2>old</e2> fox</e1>": "the entities overlap",
}
words = st.lists(st.sampled_from(["red", "fox", "sleeps", "dog", "old", "sea"]), max_size=14)
entity = st.lists(st.sampled_from(["house", "runs", "sings", "now"]), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def tokenizer():
    texts = ["red fox sleeps dog old sea the of here", "house runs sings now"] * 2
    made = train_tokenizer(texts, SCRATCH, max_length=16)
    add_marks(made)
    return made


def test_a_marked_text_has_no_fault_whichever_entity_comes_first():
    assert find_fault(TEXT) is None
    assert find_fault("<e2>fox</e2><e1>dog</e1>") is None
    assert without_marks(TEXT) == "the old fox sings of the sea here"


@pytest.mark.parametrize(("text", "fault"), FAULTS.items())
def test_each_fault_is_named(text, fault):
    assert find_fault(text) == fault


def test_marks_become_tokens_once_and_lower_case_does_not_matter(tokenizer):
    n = len(tokenizer)
    add_marks(tokenizer)
    assert len(tokenizer) == n
    assert [tokenizer.tokenize(mark) for mark in MARKS] == [[mark] for mark in MARKS]


def encoded(tokenizer, texts, form, max_length=16):
    tokens = TextTokenizer(tokenizer, max_length, form)(texts)
    rows = [slice(*pair) for pair in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]
    return tokens, [(tokenizer.convert_ids_to_tokens(tokens.ids[row]), tokens.types[row].tolist()) for row in rows]


def test_marked_texts_are_the_stock_encoding_with_their_entities_beside(tokenizer):
    _, [(pieces, segments)] = encoded(tokenizer, [TEXT], "marked", 40)
    assert pieces == tokenizer.convert_ids_to_tokens(tokenizer(TEXT)["input_ids"])
    first = pieces.index("<e1>"), pieces.index("</e1>")
    second = pieces.index("<e2>"), pieces.index("</e2>")
    expected = [0] * len(pieces)
    for (start, end), number in ((first, 1), (second, 2)):
        expected[start] = number + 2
        expected[start + 1 : end] = [number] * (end - start - 1)
    assert segments == expected


@pytest.mark.parametrize("form", ["plain", "embedded"])
def test_unmarked_texts_are_the_stock_encoding_of_the_text_without_marks(tokenizer, form):
    _, [(pieces, segments)] = encoded(tokenizer, [TEXT], form, 40)
    assert pieces == tokenizer.convert_ids_to_tokens(tokenizer(without_marks(TEXT))["input_ids"])
    named = [[p for p, s in zip(pieces, segments, strict=True) if s == number] for number in (1, 2)]
    assert [tokenizer.convert_tokens_to_string(part) for part in named] == ["old fox", "the sea"]


@given(words, entity, words, entity, words, st.booleans(), st.sampled_from(ENTITY_FORMS), st.integers(13, 40))
def test_truncation_keeps_both_entities_and_the_order_of_tokens(tokenizer, a, one, b, two, c, swapped, form, limit):
    first, second = ("<e2>", "</e2>"), ("<e1>", "</e1>")
    if swapped:
        first, second = second, first
    text = " ".join([*a, first[0], *one, first[1], *b, second[0], *two, second[1], *c])
    whole, [(full, full_segments)] = encoded(tokenizer, [text], form, 1000)
    tokens, [(kept, segments)] = encoded(tokenizer, [text], form, limit)
    assert len(kept) == min(len(full), limit)
    assert whole.n_truncated == 0
    assert (tokens.n_truncated, tokens.n_lost) == (int(len(full) > limit), max(0, len(full) - limit))
    n_entity = sum(s > 0 for s in full_segments) + (2 if form == "marked" else 0)
    rest = iter(zip(full, full_segments, strict=True))
    assert all(pair in rest for pair in zip(kept, segments, strict=True))  # a subsequence
    if n_entity + 2 <= limit:
        assert [s for s in segments if s] == [s for s in full_segments if s]
        assert form != "marked" or all(mark in kept for mark in MARKS)
    assert (kept[0], kept[-1]) == ("[CLS]", "[SEP]")


def test_entities_that_alone_are_too_long_both_keep_their_beginnings(tokenizer):
    text = f"<e1>{'house ' * 20}</e1> of <e2>{'sea ' * 20}</e2>"
    tokens, [(kept, _)] = encoded(tokenizer, [text], "marked", 12)
    assert (kept.count("<e1>"), kept.count("<e2>")) == (1, 1)
    assert abs(kept.count("house") - kept.count("sea")) <= 1
    assert (tokens.n_truncated, tokens.n_rescued) == (1, 1)


def test_rows_that_a_cut_at_the_end_would_have_spoilt_are_counted(tokenizer):
    late = "red fox " * 10 + "<e1>dog</e1> of <e2>sea</e2>"
    early = "<e1>dog</e1> of <e2>sea</e2>" + " red fox" * 10
    tokens, [(kept, _), _] = encoded(tokenizer, [late, early], "marked", 14)
    assert (tokens.n_truncated, tokens.n_rescued) == (2, 1)
    assert all(mark in kept for mark in MARKS)


def test_texts_without_marks_are_told_with_their_places(tokenizer):
    with pytest.raises(UnusableTexts, match="2 texts do not mark two entities") as caught:
        TextTokenizer(tokenizer, 16, "marked")(["red", TEXT, "<e1>fox</e1>"])
    assert caught.value.rows == [0, 2]


def states(seed=0):
    torch.manual_seed(seed)
    return (torch.randn(2, 6, 4),)


SEGMENTS = torch.tensor([[0, 3, 1, 1, 0, 2], [2, 2, 0, 0, 1, 0]])


def test_a_span_mean_is_the_mean_of_its_tokens_by_hand():
    last = states()[0]
    found = span_mean(last, SEGMENTS == 1)
    torch.testing.assert_close(found[0], (last[0, 2] + last[0, 3]) / 2)
    torch.testing.assert_close(found[1], last[1, 4])
    assert not span_mean(last, SEGMENTS == 9).any()


def test_entity_heads_read_the_states_that_they_name():
    hidden, shape = states(), HeadShape(hidden=4, layers=2, classes=3)
    last = hidden[-1]
    starts = HEADS["entity_starts"](shape).eval()
    by_hand = torch.stack([torch.cat([last[0, 1], last[0, 5]]), torch.cat([last[1, 4], last[1, 0]])])
    torch.testing.assert_close(starts(hidden, None, SEGMENTS), starts.classifier(by_hand))
    spans = HEADS["entity_spans"](shape, cls=False).eval()
    first = torch.stack([(last[0, 2] + last[0, 3]) / 2, last[1, 4]])
    second = torch.stack([last[0, 5], (last[1, 0] + last[1, 1]) / 2])
    torch.testing.assert_close(spans(hidden, None, SEGMENTS), spans.classifier(torch.cat([first, second], -1)))
    rbert = HEADS["entity_spans"](shape).eval()
    pool = rbert.pool
    parts = [pool.of_text(last[:, 0].tanh()), pool.of_entity(first.tanh()), pool.of_entity(second.tanh())]
    torch.testing.assert_close(rbert(hidden, None, SEGMENTS), rbert.classifier(torch.cat(parts, -1)))


ROWS = [
    f"{before} <e1>{a}</e1> {verb} <e2>{b}</e2>"
    for verb in ("sings of", "runs to")
    for before in ("red", "old", "now the")
    for a, b in (("fox", "sea"), ("dog", "house"), ("old fox", "old house"))
] + ["<e2>sea</e2> of the <e1>fox</e1>" + " now here" * 12]
LABELS = np.array([0] * 9 + [1] * 10)


@pytest.mark.parametrize(
    ("form", "head"),
    [("marked", "cls"), ("marked", "stock"), ("marked", "entity_starts"), ("marked", "entity_spans"),
     ("plain", "entity_spans"), ("embedded", "mean"), ("embedded", "entity_starts")],
)  # fmt: skip
def test_a_relation_is_learnt_and_scored_as_it_was_validated(tmp_path, tiny_recipe, form, head):
    recipe = dataclasses.replace(
        tiny_recipe, data=DataOptions(max_length=16, form=form), head=HeadOptions(head),
        training=dataclasses.replace(tiny_recipe.training, epochs=10, learning_rate=5e-3),
    )  # fmt: skip
    made = make_tokenizer(recipe, ROWS)
    result = train_fold(
        recipe, ("of", "to"), ROWS, LABELS, ROWS, LABELS, made, folder=tmp_path / "run",
        metric=lambda probs, labels: float((probs.argmax(1) == labels).mean()),
    )  # fmt: skip
    assert result.history[-1].train_loss < result.history[0].train_loss
    scorer = Scorer(str(tmp_path / "run"), device="cpu", precision="fp32")
    scored = scorer.infer(scorer.prepare([*ROWS, ROWS[0]]))
    np.testing.assert_allclose(scored.probs["run"][:-1], result.valid_probs, atol=1e-5)
    np.testing.assert_array_equal(scored.probs["run"][-1], scored.probs["run"][0])
    assert scored.stats.scored == len(ROWS)
    with pytest.raises(UnusableTexts) as caught:
        scorer.score([ROWS[0], "red", ROWS[1], "red"])
    assert caught.value.rows == [1, 3]


def test_a_marked_checkpoint_is_a_stock_one_of_its_marked_text(tmp_path, tiny_recipe):
    recipe = dataclasses.replace(
        tiny_recipe, data=DataOptions(max_length=40, form="marked"), head=HeadOptions("cls"),
        training=dataclasses.replace(tiny_recipe.training, epochs=1),
    )  # fmt: skip
    made = make_tokenizer(recipe, ROWS)
    train_fold(recipe, ("of", "to"), ROWS, LABELS, ROWS, LABELS, made, folder=tmp_path / "run")
    body, stock = AutoModel.from_pretrained(tmp_path / "run").eval(), AutoTokenizer.from_pretrained(tmp_path / "run")
    head = load_classifier(tmp_path / "run").network.head
    with torch.inference_mode():
        expected = head((body(**stock(ROWS[0], return_tensors="pt")).last_hidden_state,), None).softmax(-1)
    found = Scorer(str(tmp_path / "run"), device="cpu", precision="fp32").score([ROWS[0]])["run"]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("form", ["marked", "embedded"])
def test_a_pretrained_encoder_gets_room_and_keeps_what_it_knew(tmp_path, save_model, tiny_recipe, form):
    folder = save_model(tmp_path / "encoder", seed=1)
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=folder), data=DataOptions(max_length=16, form=form),
        head=HeadOptions("cls"),
    )  # fmt: skip
    tokenizer = make_tokenizer(recipe, ROWS)
    network = build_classifier(recipe, ("of", "to"), tokenizer, "single_label")
    before = AutoModel.from_pretrained(folder)
    words = network.body.get_input_embeddings().weight
    assert len(words) == len(tokenizer) == len(before.get_input_embeddings().weight) + 4
    torch.testing.assert_close(words[:-4], before.get_input_embeddings().weight)
    assert network.body.config.type_vocab_size == (3 if form == "embedded" else 2)
    types = network.body.embeddings.token_type_embeddings.weight
    torch.testing.assert_close(types[:2], before.embeddings.token_type_embeddings.weight)


def test_an_encoder_without_token_types_cannot_embed_entities(tmp_path, tiny_recipe):
    from transformers import DistilBertConfig, DistilBertModel

    tokenizer = train_tokenizer(["red fox"] * 2, SCRATCH, max_length=16)
    DistilBertModel(
        DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=str(tmp_path)), data=DataOptions(form="embedded", max_length=16),
        head=HeadOptions("cls"),
    )  # fmt: skip
    with pytest.raises(ModelError, match="no token types"):
        build_classifier(recipe, ("a", "b"), make_tokenizer(recipe, ROWS), "single_label")
