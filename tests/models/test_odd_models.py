"""Models that nothing was made for: architectures of other kinds, tokenizers in Python alone, devices that break."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    RoCBertTokenizer,
    RoFormerTokenizer,
)

from models.build import build_classifier
from models.crf import NO_WORD
from models.errors import ModelError
from models.inference import forward
from models.inference.device import DeviceFailed
from models.inference.scorer import Scorer
from models.inference.tokens import TextTokenizer
from models.known import refuse_other_inputs
from models.padding import hides_padding
from models.pretraining.recipe import MaskingOptions, Pretraining, TextOptions
from models.pretraining.train import pretrain
from models.recipe import ContrastOptions, DataOptions, EncoderOptions, HeadOptions
from models.saved import load_classifier
from models.text.pairs import join_texts, split_text
from models.training.fold import check_fold, make_tokenizer, train_fold
from tests.conftest import CLASSES, without_fast_tokenizer

TEXTS = ["w1 w2 w3", "w9", "", "w4 w5 w6 w7 w8 w9 w10", "w3 w2 w1", "w11 " * 60]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
FUNNEL = {"d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "block_sizes": [2, 2], "pad_token_id": 0}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "pad_token_id": 0}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory, save_model):
    """A tiny classifier of any architecture, with the BERT tokenizer of the other tests."""

    def save(kind, **settings):
        folder = tmp_path_factory.mktemp("odd") / kind
        save_model(folder, 0)
        labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
        config = AutoConfig.for_model(kind, vocab_size=205, **labels, **settings)
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            parameter.data *= 2.0
        model.save_pretrained(folder)
        return folder

    return save


def bare(folder):
    """The folder with an encoder for heads of ours: Funnel's has a decoder that its classifier is without."""
    model = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    for parameter in model.parameters():
        parameter.data *= 2.0
    model.save_pretrained(folder)
    return folder


def stock(folder, texts):
    """(N, C) probabilities by the plain forward pass, one text a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        ids = [tokenizer(text, truncation=True, max_length=40, return_tensors="pt")["input_ids"] for text in texts]
        return np.stack([model(row).logits.softmax(-1).numpy()[0] for row in ids])


RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_position_embeddings": 64}
EVERYDAY = {
    "bert": SMALL,
    "roberta": {**SMALL, "pad_token_id": 0, "max_position_embeddings": 64},
    "xlm-roberta": {**SMALL, "pad_token_id": 0, "max_position_embeddings": 64},
    "electra": SMALL,
    "albert": {**SMALL, "embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "modernbert": {**SMALL, "pad_token_id": 0, "local_attention": 8},
    "mpnet": {**SMALL, "pad_token_id": 0, "max_position_embeddings": 64},
    "deberta": {**SMALL, **RELATIVE},
    "deberta-v2": {
        **SMALL, **RELATIVE, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True,
        "type_vocab_size": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", EVERYDAY)
def test_architectures_that_people_use_give_the_stock_scores(folder_of, kind):
    folder = folder_of(kind, **EVERYDAY[kind])
    scorer = Scorer(folder, device="cpu", precision="fp32", backend="torch")
    assert scorer.flop_per_token > 1000
    np.testing.assert_allclose(scorer.score(TEXTS).probabilities, stock(folder, TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("roformer", {**SMALL, "max_position_embeddings": 64}),
        ("convbert", {**SMALL, "max_position_embeddings": 64, "embedding_size": 32}),
        ("squeezebert", {**SMALL, "max_position_embeddings": 64, "embedding_size": 32}),
        ("xlnet", XLNET),
        ("fnet", {**SMALL, "max_position_embeddings": 64}),
    ],
)
@pytest.mark.parametrize("budget", [60, 100_000])
def test_an_architecture_of_another_kind_scores_like_its_stock_forward_pass(folder_of, kind, settings, budget):
    folder = folder_of(kind, **settings)
    scorer = Scorer(folder, precision="fp32", device="cpu", token_budget=budget)
    scores = scorer.score(TEXTS)
    np.testing.assert_allclose(scores.probabilities, stock(folder, TEXTS), atol=1e-5)
    assert scorer.groups[0].pads == (kind in ("roformer", "squeezebert"))
    assert scorer.groups[0].pads or scores.stats.padding == 0


SEP = 3  # ends each text of the fixtures' tokenizer, and may stand in its midst
BART = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 2,
    "eos_token_id": SEP, "decoder_start_token_id": SEP, "forced_eos_token_id": SEP,
}  # fmt: skip
T5 = {
    "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "pad_token_id": 0, "eos_token_id": SEP,
    "decoder_start_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "settings"), [("bart", BART), ("mbart", BART), ("t5", T5)])
@pytest.mark.parametrize("budget", [30, 100_000])
def test_an_encoder_decoder_scores_texts_with_any_number_of_ends(folder_of, kind, settings, budget):
    folder = folder_of(kind, **settings)
    texts = [*TEXTS, "w1 [SEP] w2", "w5 w2 w3", "[SEP] w2 [SEP] w7", "w4 w2 [SEP]"]
    scorer = Scorer(folder, precision="fp32", device="cpu", token_budget=budget)
    expected = stock(folder, texts)
    assert np.ptp(expected, axis=0).max() > 0.01  # texts are told apart
    np.testing.assert_allclose(scorer.score(texts).probabilities, expected, atol=1e-5)


def test_pooling_that_mixes_padding_into_rows_of_odd_length_is_found(folder_of):
    folder = folder_of("funnel", **FUNNEL, max_position_embeddings=64)
    scorer = Scorer(folder, precision="fp32", device="cpu")
    texts = [" ".join(f"w{i}" for i in range(n)) for n in range(1, 30)]
    np.testing.assert_allclose(scorer.score(texts).probabilities, stock(folder, texts), atol=1e-5)
    assert np.isfinite(scorer.score([""]).probabilities).all()  # two tokens, with which the stock forward pass fails


CANINE = {**SMALL, "max_position_embeddings": 64, "num_hash_buckets": 64, "local_transformer_stride": 16}


def test_texts_of_fewer_characters_than_canine_joins_into_one_are_scored(tmp_path, folder_of, tiny_recipe):
    texts = [" ".join(f"w{i}" for i in range(n)) for n in (2, 3, 7, 20)]  # four tokens, which it joins, or more
    folder = folder_of("canine", **CANINE)
    scorer = Scorer(folder, precision="fp32", device="cpu")
    np.testing.assert_allclose(scorer.score(texts).probabilities, stock(folder, texts), atol=1e-5)
    assert np.isfinite(scorer.score(["", "w1"]).probabilities).all()  # two and three, with which the stock pass fails
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=folder), head=HeadOptions("mean"),
        training=dataclasses.replace(tiny_recipe.training, epochs=1),
    )  # fmt: skip
    labels = np.arange(4) % 3
    made = make_tokenizer(recipe, texts)
    result = train_fold(recipe, CLASSES, texts, labels, texts, labels, made, folder=tmp_path / "run")
    scored = Scorer(tmp_path / "run", precision="fp32", device="cpu").score(texts)
    np.testing.assert_allclose(scored.probabilities, result.valid_probs, atol=1e-5)


PERCEIVER = {
    "num_latents": 8, "d_latents": 32, "d_model": 32, "num_blocks": 1, "num_self_attends_per_block": 1,
    "num_self_attention_heads": 4, "num_cross_attention_heads": 4, "qk_channels": 32, "v_channels": 32,
    "max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "head", "told"),
    [
        ("perceiver", PERCEIVER, "mean", "head 'mean' is not for a perceiver"),
        ("t5", T5, "mean", "this t5 cannot be computed from the tokens of a text alone"),
    ],
)
def test_an_architecture_that_a_head_cannot_read_is_told(folder_of, tiny_recipe, kind, settings, head, told):
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=bare(folder_of(kind, **settings))), head=HeadOptions(head)
    )
    with pytest.raises(ModelError, match=told) as error:
        check_fold(
            recipe, CLASSES, TEXTS, np.arange(len(TEXTS)) % 3, make_tokenizer(recipe, TEXTS), task="single_label"
        )
    assert "stock" in error.value.details["next"]


def test_an_architecture_without_hidden_layers_to_count_trains_with_its_own_head(folder_of, tiny_recipe):
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=folder_of("perceiver", **PERCEIVER)), head=HeadOptions("stock")
    )
    check_fold(recipe, CLASSES, TEXTS, np.arange(len(TEXTS)) % 3, make_tokenizer(recipe, TEXTS), task="single_label")


ROC = {
    **SMALL, "shape_vocab_size": 9, "pronunciation_vocab_size": 9, "shape_embed_dim": 8, "pronunciation_embed_dim": 8,
}  # fmt: skip
REFORMER = {
    "axial_pos_shape": [8, 8], "axial_pos_embds_dim": [16, 16], "attention_head_size": 8, "hidden_size": 32,
    "attn_layers": ["local", "lsh"], "num_attention_heads": 4, "feed_forward_size": 64, "lsh_attn_chunk_length": 8,
    "local_attn_chunk_length": 8, "num_buckets": 2, "is_decoder": False, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "settings"), [("roc_bert", ROC), ("reformer", REFORMER)])
def test_a_network_that_reads_more_than_tokens_or_by_chance_is_refused(folder_of, tiny_recipe, kind, settings):
    folder, told = folder_of(kind, **settings), "hashes are random"
    if kind == "roc_bert":
        told = "reads input_shape_ids, input_pronunciation_ids beside the tokens"
        words = (folder / "vocab.txt").read_text().splitlines()
        for name in ("word_shape", "word_pronunciation"):
            (folder / f"{name}.json").write_text(json.dumps({word: i % 9 for i, word in enumerate(words)}))
        files = (folder / f"{name}" for name in ("vocab.txt", "word_shape.json", "word_pronunciation.json"))
        RoCBertTokenizer(*map(str, files)).save_pretrained(folder)
        (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=told):
        load_classifier(folder)
    recipe = dataclasses.replace(tiny_recipe, encoder=EncoderOptions(path=folder))
    with pytest.raises(ModelError, match=told):
        check_fold(
            recipe, CLASSES, TEXTS, np.arange(len(TEXTS)) % 3, make_tokenizer(recipe, TEXTS), task="single_label"
        )
    with pytest.raises(ModelError, match=told):
        pretrain(
            Pretraining(name="odd", encoder=EncoderOptions(path=folder), data=TextOptions(max_length=16),
                        masking=MaskingOptions(whole_words=False)),
            [f"w{i} w{i + 1}" for i in range(30)], folder=folder / "pretrained", fingerprint="",
        )  # fmt: skip


def test_a_tokenizer_that_does_not_read_a_text_alone_is_told(folder_of):
    loaded = load_classifier(folder_of("bert", **SMALL))

    def of_tables(text):
        raise AssertionError(f"Table must be of type pd.DataFrame, not {text!r}")

    with pytest.raises(ModelError, match="does not read a text alone") as error:
        refuse_other_inputs(loaded.network, of_tables)
    assert error.value.details["found"] == "AssertionError: Table must be of type pd.DataFrame, not 'a'"


def test_a_padding_token_without_an_embedding_is_told(folder_of):
    folder = folder_of("bert", **SMALL)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<gap>"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="pads with token 205, the network has 205 embeddings"):
        Scorer(folder, device="cpu")


def test_tokens_and_types_without_an_embedding_are_told_in_training_and_scoring(tmp_path, folder_of, tiny_recipe):
    folder = folder_of("roberta", **EVERYDAY["roberta"], type_vocab_size=1)  # beside a tokenizer that tells texts apart
    with pytest.raises(ModelError, match="knows 1 token type, its tokenizer gives type 1") as error:
        Scorer(folder, device="cpu").score([("w1", "w2")])
    assert error.value.rows == [0]
    recipe = dataclasses.replace(tiny_recipe, encoder=EncoderOptions(path=folder), head=HeadOptions("mean"))
    labels = np.arange(len(PAIRS)) % 3
    made = make_tokenizer(recipe, PAIRS)
    with pytest.raises(ModelError, match="the encoder knows 1 token type, its tokenizer gives type 1"):
        train_fold(recipe, CLASSES, PAIRS, labels, PAIRS, labels, made, folder=tmp_path / "run")
    made.add_tokens(["w250"])
    for train, valid in (["w250", "w1"], ["w2", "w1"]), (["w1", "w2"], ["w1", "w250"]):
        with pytest.raises(ModelError, match="the encoder has 205 embeddings, its tokenizer gives token 205"):
            train_fold(recipe, CLASSES, train, labels[:2], valid, labels[:2], made, folder=tmp_path / "run")


@pytest.mark.parametrize("kind", ["nystromformer", "yoso"])
def test_rows_of_a_position_table_that_no_position_has_do_not_count(folder_of, kind):
    folder = folder_of(kind, **SMALL, max_position_embeddings=38)  # a table of 40 rows
    scorer = Scorer(folder, precision="fp32", device="cpu")
    scores = scorer.score(["w1 " * 60])
    assert (scores.stats.tokens, scores.stats.truncated) == (38, 1)


def test_positions_of_ibert_end_where_its_table_does(folder_of):
    folder = folder_of("ibert", **SMALL, max_position_embeddings=20, pad_token_id=0)  # 19 positions: from 1 on
    scorer = Scorer(folder, precision="fp32", device="cpu")
    assert scorer.score(["w1 " * 60]).stats.tokens == 19
    texts = ["w1 w2", "w3 " * 17]
    np.testing.assert_allclose(scorer.score(texts).probabilities, stock(folder, texts), atol=1e-5)


@pytest.mark.parametrize("limit", [-1, 0, 1, 2])
def test_a_tokenizer_without_room_for_a_text_is_told(folder_of, limit):
    folder = folder_of("bert", **SMALL)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": limit}))
    with pytest.raises(ModelError, match="leaves no room for a text") as caught:
        Scorer(folder, precision="fp32", device="cpu")
    assert caught.value.details["found"] == f"model_max_length = {limit}"


@pytest.mark.parametrize("budget", [90, 100_000])
def test_long_texts_of_bigbird_have_sparse_attention_whatever_was_scored_before(folder_of, budget):
    folder = folder_of("big_bird", **SMALL, max_position_embeddings=64, block_size=4, num_random_blocks=1)
    texts = [*TEXTS, " ".join(f"w{i}" for i in range(35)), " ".join(f"w{i}" for i in range(20)), "w7 " * 29]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for parameter in model.parameters():
        parameter.data *= 5.0  # so that it matters what is attended to
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    with torch.inference_mode():
        for text in texts:
            model.bert.set_attention_type("block_sparse")  # as in a model that has seen no short text
            row = tokenizer(text, truncation=True, max_length=40, return_tensors="pt")["input_ids"]
            expected.append(model(row).logits.softmax(-1).numpy()[0])
    scorer = Scorer(folder, precision="fp32", device="cpu", token_budget=budget)
    for _ in range(2):
        np.testing.assert_allclose(scorer.score(texts).probabilities, expected, atol=1e-5)


MIXING = {
    "fnet": SMALL,
    "convbert": {**SMALL, "embedding_size": 32},
    "big_bird": {**SMALL, "block_size": 4, "num_random_blocks": 1},
}
LENGTHS = (1, 2, 3, 4, 7, 8, 35)
RELATIONS = [f"<e1>w1</e1> w2 <e2>w{n}</e2>" + " w4" * n for n in LENGTHS]
SENTENCES = [" ".join(f"w{i}" for i in range(n)) for n in LENGTHS]
PAIRS = join_texts(pl.Series(SENTENCES), pl.Series(SENTENCES[3:] + SENTENCES[:3])).to_list()


def tags_of(lengths):
    labels = np.full((len(lengths), max(lengths)), NO_WORD)
    for row, n in enumerate(lengths):
        labels[row, :n] = np.arange(n) % 3
    return labels


@pytest.mark.parametrize("kind", MIXING)
@pytest.mark.parametrize(
    ("task", "form", "head", "texts"),
    [
        ("single_label", "joined", "mean", SENTENCES),
        ("single_label", "marked", "mean", RELATIONS),
        ("single_label", "marked", "entity_spans", RELATIONS),
        ("token", "joined", "tags", SENTENCES),
        ("token", "joined", "crf", SENTENCES),
    ],
)
def test_a_mask_that_does_not_hide_padding_is_found_whatever_is_read(
    tmp_path, folder_of, tiny_recipe, kind, task, form, head, texts
):
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=folder_of(kind, **MIXING[kind], max_position_embeddings=64)),
        data=DataOptions(max_length=40, form=form), head=HeadOptions(head),
        training=dataclasses.replace(tiny_recipe.training, epochs=1, batch_size=4),
    )  # fmt: skip
    classes, labels = CLASSES, np.arange(len(texts)) % 3
    if task == "token":
        classes, labels = ("B-x", "I-x", "O"), tags_of(LENGTHS)
    made = make_tokenizer(recipe, texts)
    result = train_fold(recipe, classes, texts, labels, texts, labels, made, folder=tmp_path / "run", task=task)
    scorer = Scorer(tmp_path / "run", precision="fp32", device="cpu")
    alone = np.concatenate([scorer.score([text]).probabilities for text in texts])
    assert np.ptp(alone, axis=0).max() > 0.01  # texts are told apart
    np.testing.assert_allclose(scorer.score(texts).probabilities, alone, atol=1e-5)
    validated = result.valid_probs.probs if task == "token" else result.valid_probs
    np.testing.assert_allclose(validated, alone, atol=1e-5)


PADDING_MATTERS = {
    **{kind: {**settings, "max_position_embeddings": 64} for kind, settings in MIXING.items()},
    "funnel": FUNNEL,
    "xlnet": XLNET,
}


@pytest.mark.parametrize(
    ("kind", "task", "form", "head", "options", "texts"),
    [
        ("fnet", "single_label", "joined", "stock", {}, SENTENCES),
        ("convbert", "single_label", "joined", "mean", {"dropout": 0.0}, SENTENCES),
        ("funnel", "single_label", "joined", "mean", {"dropout": 0.0}, SENTENCES),
        ("xlnet", "single_label", "joined", "stock", {"dropout": 0.0}, SENTENCES),
        ("fnet", "single_label", "marked", "entity_spans", {"dropout": 0.0}, RELATIONS),
        ("convbert", "token", "joined", "tags", {"dropout": 0.0}, SENTENCES),
        ("fnet", "token", "joined", "crf", {"dropout": 0.0}, SENTENCES),
        ("funnel", "single_label", "apart", "cosine", {}, PAIRS),
        ("fnet", "single_label", "apart", "siamese", {"dropout": 0.0}, PAIRS),
    ],
)
def test_rows_of_a_step_do_not_depend_on_those_beside_them(
    tmp_path, folder_of, tiny_recipe, kind, task, form, head, options, texts
):
    """In one step at no learning rate, the loss over all rows at once is that of validation, row by row."""
    folder = folder_of(kind, **PADDING_MATTERS[kind])
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=folder if head == "stock" else bare(folder)),
        data=DataOptions(max_length=40, form=form), head=HeadOptions(head, options),
        training=dataclasses.replace(
            tiny_recipe.training, epochs=1, batch_size=16, dropout=0.0, learning_rate=1e-12, head_learning_rate=None
        ),
    )  # fmt: skip
    classes, labels = (
        (CLASSES, np.arange(len(texts)) % 3) if head != "cosine" else (CLASSES[:2], np.arange(len(texts)) % 2)
    )
    if task == "token":
        classes, labels = ("B-x", "I-x", "O"), tags_of(LENGTHS)
    made = make_tokenizer(recipe, texts)
    result = train_fold(recipe, classes, texts, labels, texts, labels, made, folder=tmp_path / "run", task=task)
    assert result.history[0].train_loss == pytest.approx(result.history[0].valid_loss, rel=1e-5)


GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0}
DROPPING = {
    **EVERYDAY, **PADDING_MATTERS, "bart": BART, "t5": T5, "gpt2": GPT,
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "pad_index": 0},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0},
}  # fmt: skip


def classifier(tiny_recipe, folder, dropout, head):
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=str(folder)), data=DataOptions(max_length=40),
        training=dataclasses.replace(tiny_recipe.training, dropout=dropout), head=HeadOptions("stock", head),
    )  # fmt: skip
    return build_classifier(recipe, CLASSES, make_tokenizer(recipe, TEXTS), "single_label").train()


@pytest.mark.parametrize("kind", DROPPING)
def test_dropout_reaches_every_layer_whatever_the_configuration_calls_it(folder_of, tiny_recipe, kind):
    folder = folder_of(kind, **DROPPING[kind])
    by_encoder = kind.startswith("deberta") or kind in ("gpt2", "bloom", "funnel", "fnet", "mpnet")  # or has no other
    head = {} if by_encoder else {"dropout": 0.0}
    ids = torch.tensor([[2, 9, 8, 7, 30, SEP]])
    still = classifier(tiny_recipe, folder, 0.0, head)
    with torch.no_grad():
        assert torch.equal(still(ids), still(ids))
    dropping = classifier(tiny_recipe, folder, 0.25, head)
    with torch.no_grad():
        assert not torch.equal(dropping(ids), dropping(ids))
    shares = {vars(module)["p"] for module in dropping.encoder.modules() if isinstance(module, torch.nn.Dropout)}
    own = [vars(module) for module in dropping.encoder.modules()]
    by_function = {values[name] for values in own for name in ("dropout", "attention_dropout") if name in values}
    assert shares | by_function == {0.25}


@pytest.mark.parametrize(("kind", "settings"), [("gpt2", GPT), ("deberta-v2", EVERYDAY["deberta-v2"])])
def test_a_dropout_that_a_stock_head_does_not_take_over_is_refused(folder_of, tiny_recipe, kind, settings):
    with pytest.raises(ModelError, match=rf"\[head\] dropout = 0.3 does not reach a {kind}"):
        classifier(tiny_recipe, folder_of(kind, **settings), None, {"dropout": 0.3})


def test_a_dropout_that_an_encoder_reads_elsewhere_is_refused(folder_of, tiny_recipe):
    folder = folder_of("mpt", d_model=32, n_heads=4, n_layers=1, pad_token_id=0)
    with pytest.raises(ModelError, match=r"\[training\] dropout = 0.3 does not reach a mpt"):
        classifier(tiny_recipe, folder, 0.3, {})


def alone(body, row):
    if body.config.model_type == "big_bird":
        body.set_attention_type("block_sparse")  # as in a model that has seen no short text
    return body(input_ids=row).last_hidden_state


@pytest.mark.parametrize("kind", ["fnet", "convbert", "big_bird", "funnel"])
@pytest.mark.parametrize("head", ["cosine", "siamese"])
def test_a_text_that_is_read_apart_does_not_depend_on_its_partner_or_the_rows_beside(
    tmp_path, folder_of, tiny_recipe, kind, head
):
    folder = bare(folder_of(kind, **PADDING_MATTERS[kind]))
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=folder), data=DataOptions(max_length=40, form="apart"),
        head=HeadOptions(head, {"pool": "mean"}), training=dataclasses.replace(tiny_recipe.training, epochs=1),
    )  # fmt: skip
    labels = np.arange(len(PAIRS)) % 2
    made = make_tokenizer(recipe, PAIRS)
    result = train_fold(recipe, CLASSES[:2], PAIRS, labels, PAIRS, labels, made, folder=tmp_path / "run")
    network = load_classifier(tmp_path / "run").network
    expected = []
    with torch.inference_mode():
        for pair in PAIRS:
            rows = [made(side, return_tensors="pt")["input_ids"] for side in split_text(pair)]
            vectors = [alone(network.body, row).mean(1) for row in rows]
            expected.append(network.head.decide(torch.cat(vectors)).softmax(-1).numpy()[0])
    assert np.ptp(expected, axis=0).max() > 0.001  # pairs are told apart
    for budget in (60, 100_000):
        scorer = Scorer(tmp_path / "run", precision="fp32", device="cpu", token_budget=budget)
        np.testing.assert_allclose(scorer.score(PAIRS).probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(result.valid_probs, expected, atol=1e-5)
    assert np.isfinite(scorer.score([("", "w1")]).probabilities).all()  # Funnel's pools need three tokens


def test_padding_is_tried_with_tokens_that_a_small_vocabulary_has(folder_of):
    network = load_classifier(folder_of("bert", **SMALL)).network
    network.body.resize_token_embeddings(5)
    assert hides_padding(network, 0, 40)


def test_writing_a_text_from_its_partner_is_refused_where_masks_hide_nothing(tmp_path, folder_of, tiny_recipe):
    recipe = dataclasses.replace(
        tiny_recipe, encoder=EncoderOptions(path=folder_of("fnet", **PADDING_MATTERS["fnet"])),
        data=DataOptions(max_length=16, form="apart"), head=HeadOptions("cosine"),
        contrast=ContrastOptions(weight=1.0, generate=1.0),
    )  # fmt: skip
    labels = np.arange(len(PAIRS)) % 2
    with pytest.raises(ModelError, match="those of a fnet do not hide tokens"):
        check_fold(recipe, CLASSES[:2], PAIRS, labels, make_tokenizer(recipe, PAIRS), task="single_label")


def test_a_padding_token_in_a_text_of_xlm_is_one_of_its_tokens(folder_of):
    settings = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64, "pad_index": 0}
    folder = folder_of("xlm", **settings, pad_token_id=0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = ["w1 [PAD] w2 [PAD] w3 w4", "w1 w2", "w5 w6 w7 w8 w9 w1"]
    with torch.inference_mode():
        inputs = [tokenizer(text, return_tensors="pt", return_token_type_ids=False) for text in texts]
        expected = [model(**each).logits.softmax(-1).numpy()[0] for each in inputs]
    scores = Scorer(folder, precision="fp32", device="cpu", token_budget=8).score(texts)
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_format_that_a_network_cannot_be_computed_in_is_left_for_float32(folder_of, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    folder = folder_of("fnet", **SMALL, max_position_embeddings=64)  # no Fourier transform in bf16
    scores = Scorer(folder, device="cpu", backend="torch").score(TEXTS * 100)
    assert (scores.precision, scores.gate.passed) == ("fp32", False)
    np.testing.assert_allclose(scores.probabilities[: len(TEXTS)], stock(folder, TEXTS), atol=1e-5)


def test_a_tokenizer_that_finds_words_in_python_reads_as_it_does(folder_of):
    pytest.importorskip("rjieba")
    folder = folder_of("roformer", **SMALL, max_position_embeddings=64)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "天气", "今天", "真", "好", "天", "气"]
    RoFormerTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}, model_max_length=40).save_pretrained(folder)
    texts = ["今天天气真好", "天气好", "", "真好 今天 天气"]
    scorer = Scorer(folder, precision="fp32", device="cpu")
    np.testing.assert_allclose(scorer.score(texts).probabilities, stock(folder, texts), atol=1e-5)
    assert "tokenised in Python" in scorer.notes[0]


def change(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.mark.parametrize("labels", [{1: "a", 2: "b", 3: "c"}, {0: "a", 1: "b", 2: "a"}, {0: "a", 2: "b", 5: "c"}])
def test_classes_that_are_not_named_one_by_one_are_refused(folder_of, labels):
    folder = folder_of("bert", **SMALL)
    change(folder, id2label=labels, label2id={name: i for i, name in labels.items()})
    with pytest.raises(ModelError, match="does not name the 3 classes one by one") as caught:
        Scorer(folder, precision="fp32", device="cpu")
    assert caught.value.details["found"] == ", ".join(f"{i}: {name}" for i, name in labels.items())


def test_classes_called_by_numbers_go_by_name_where_the_names_are_known(folder_of):
    swapped, plain = folder_of("bert", **SMALL), folder_of("bert", **SMALL)
    for folder, order in ((swapped, [1, 0, 2]), (plain, [0, 1, 2])):
        names = [f"LABEL_{i}" for i in order]
        change(folder, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    scores = Scorer({"swapped": swapped, "plain": plain}, precision="fp32", device="cpu").score(["w1 w2"])
    assert scores.classes == ("LABEL_1", "LABEL_0", "LABEL_2")
    np.testing.assert_array_equal(scores["plain"], stock(plain, ["w1 w2"])[:, [1, 0, 2]])
    np.testing.assert_array_equal(scores["swapped"], stock(plain, ["w1 w2"]))


def test_tokens_without_an_embedding_are_told_with_their_rows(folder_of):
    folder = folder_of("bert", **SMALL)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["wombat"])
    tokenizer.save_pretrained(folder)
    scorer = Scorer(folder, precision="fp32", device="cpu")
    assert len(scorer.score(["w1", "w2"])) == 2
    with pytest.raises(ModelError, match="has 205 embeddings, its tokenizer gives token 205") as caught:
        scorer.score(["w1", "a wombat", "w2", "a wombat", "wombat"])
    assert caught.value.rows == [1, 3, 4]


@pytest.mark.parametrize("saved", [{"return_dict": False}, {"output_hidden_states": True, "output_attentions": True}])
def test_what_a_configuration_says_of_outputs_changes_no_score(folder_of, saved):
    folder = folder_of("bert", **SMALL)
    expected = stock(folder, TEXTS)
    change(folder, **saved)
    scores = Scorer(folder, precision="fp32", device="cpu").score(TEXTS)
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-5)


def test_a_library_that_a_checkpoint_wants_is_told(folder_of):
    folder = folder_of("bert", **SMALL)
    change(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(ModelError, match=r"this model cannot be loaded: .*bitsandbytes"):
        Scorer(folder, precision="fp32", device="cpu")


def test_a_limit_of_length_that_is_no_whole_number(folder_of):
    folder = folder_of("bert", **SMALL)
    about = folder / "tokenizer_config.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "model_max_length": 20.0}))
    assert Scorer(folder, precision="fp32", device="cpu").score(["w1 " * 60]).stats.tokens == 20


@pytest.fixture
def slow_folder(tmp_path, save_model):
    """A classifier whose tokenizer (CTRL's) exists in Python alone."""
    folder = tmp_path / "slow"
    save_model(folder, 0)
    without_fast_tokenizer(folder)
    return folder


def test_a_tokenizer_in_python_alone_works_and_it_is_said(slow_folder):
    assert not AutoTokenizer.from_pretrained(slow_folder).is_fast
    scorer = Scorer(slow_folder, precision="fp32", device="cpu")
    assert scorer.notes == ["run 'slow' has no fast tokenizer: its texts are tokenised in Python, many times slower"]
    texts = [text for text in TEXTS if text]
    scores = scorer.score(texts)
    assert repr(scores).splitlines()[-1] == f"note: {scorer.notes[0]}"
    np.testing.assert_allclose(scores.probabilities, stock(slow_folder, texts), atol=1e-5)
    assert scores.stats.truncated == 1
    assert np.isfinite(scorer.score([""]).probabilities).all()  # a text without a token


def test_truncation_without_a_fast_tokenizer_is_counted(slow_folder):
    tokenizer = AutoTokenizer.from_pretrained(slow_folder)
    tokens = TextTokenizer(tokenizer, 6)(["w1 w2", "w1 w2 w3 w4", ""])
    assert tokens.lengths.tolist() == [4, 6, 1]
    assert (tokens.n_truncated, tokens.n_lost) == (1, 2)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: the GPU has fallen off the bus"),
    ],
)
def test_a_device_that_breaks_down_is_an_error_with_advice(tmp_path, save_model, monkeypatch, error):
    scorer = Scorer(save_model(tmp_path / "m", 0), precision="fp32", device="cpu")

    def gather(*_):
        raise error

    monkeypatch.setattr(forward, "_gather", gather)
    with pytest.raises(DeviceFailed, match="the device cpu failed") as caught:
        scorer.score(["w1"])
    assert caught.value.details["found"] == str(error).splitlines()[0]
    assert "--device cpu" in caught.value.details["next"]


def test_an_error_of_the_program_passes_as_it_is(tmp_path, save_model, monkeypatch):
    scorer = Scorer(save_model(tmp_path / "m", 0), precision="fp32", device="cpu")

    def gather(*_):
        raise RuntimeError("The size of tensor a (3) must match")

    monkeypatch.setattr(forward, "_gather", gather)
    with pytest.raises(RuntimeError, match="size of tensor a"):
        scorer.score(["w1"])


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA driver error: out of memory",  # where a compiled kernel is loaded
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling",
    ],
)
def test_no_memory_by_another_name_is_no_broken_device(tmp_path, save_model, monkeypatch, words):
    scorer = Scorer(save_model(tmp_path / "m", 0), precision="fp32", device="cpu", token_budget=64)
    real, failed = forward._gather, []

    def gather(*arguments):
        if not failed:
            failed.append(1)
            raise torch.AcceleratorError(words)
        return real(*arguments)

    monkeypatch.setattr(forward, "_gather", gather)
    assert scorer.score(TEXTS).probabilities.shape == (6, 3)
    assert (scorer.budget.tokens, scorer.budget.halvings) == (32, 1)


def test_bf16_is_refused_by_a_device_without_it(monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: False)
    cpu = torch.device("cpu")
    with pytest.raises(ModelError):
        Scorer.set_precision(type("S", (), {"device": cpu, "precision": "fp32"})(), "bf16")
