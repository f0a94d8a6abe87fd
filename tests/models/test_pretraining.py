"""Masked-language-model training: words stay whole, shares, the stock loss, resuming, what stock transformers loads."""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BigBirdConfig,
    ConvBertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    FNetConfig,
    FNetForMaskedLM,
    FunnelConfig,
    IBertConfig,
    ModernBertConfig,
    NystromformerConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from models.classifier import TextClassifier
from models.errors import ModelError
from models.padding import hides_padding
from models.pretraining.epochs import PretrainEpoch
from models.pretraining.masked_lm import MaskedLm
from models.pretraining.masking import IGNORED, choose_tokens, masked_batch
from models.pretraining.recipe import MaskingOptions, Pretraining, PretrainingOptions, TextOptions, load_pretraining
from models.pretraining.rows import make_rows
from models.pretraining.train import pretrain, state_file
from models.pretraining.words import chinese_words
from models.recipe import EncoderOptions, ScratchOptions, load_recipe
from models.scratch import train_tokenizer
from models.text.segment import Lexicon

CHINESE = ["今天武汉加油！hello worlds", "武汉的医院，加油", "worlds of 医院 today", "hello [MASK] 武汉"]
LEXICON = Lexicon({"武汉": 9, "加油": 9, "医院": 9, "今天": 9})
SCRATCH = ScratchOptions(layers=1, hidden=16, heads=2, intermediate=16, vocab_size=120, min_frequency=1)
COLOURS = ("red", "green", "blue")
ENGLISH = [
    f"the {a} {b} runs after the {c} {d}"
    for a in COLOURS
    for b in ("fox", "dog")
    for c in COLOURS
    for d in ("sea", "sky")
]


def wordpiece():
    return train_tokenizer(CHINESE, ScratchOptions(vocab_size=60, min_frequency=1), max_length=32)


def special(**names):
    return {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>", "bos_token": "<s>", **names}


def byte_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokens = ["<s>", "<pad>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=264, special_tokens=tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CHINESE, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special())


def sentencepiece():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<s>", "<pad>", "<unk>", "<mask>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CHINESE, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special())


def spelled(tokenizer, text, segment=LEXICON.segment):
    """The words of a text, each as the text that its tokens stand for."""
    rows = make_rows(tokenizer, [text], 64, segment)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    inner = rows.words[0][np.flatnonzero(rows.words[0] >= 0)]
    kept = [span for i, span in zip(tokenizer(text, add_special_tokens=False)["input_ids"], offsets, strict=True)
            if i not in tokenizer.all_special_ids]  # fmt: skip
    words = {}
    for number, (a, b) in zip(inner.tolist(), kept, strict=True):
        begin, end = words.get(number, (a, b))
        words[number] = (min(begin, a), max(end, b))
    return [text[a:b].strip() for a, b in words.values()]


@pytest.mark.parametrize("make", [wordpiece, byte_bpe, sentencepiece])
def test_words_are_those_of_the_segmenter_and_of_the_marks(make):
    tokenizer = make()
    found = spelled(tokenizer, "今天武汉加油 hello worlds")
    if make is sentencepiece:  # its pieces may reach over Chinese words: each belongs where it begins
        assert found[-2:] == ["hello", "worlds"]
    else:
        assert found == ["今天", "武汉", "加油", "hello", "worlds"]


def test_unknown_pieces_of_an_english_word_are_one_word():
    tokenizer = wordpiece()
    assert len(tokenizer.tokenize("todayord")) > 1
    assert spelled(tokenizer, "todayord worlds") == ["todayord", "worlds"]


def test_without_a_segmenter_each_token_is_a_word_and_special_tokens_are_none():
    rows = make_rows(wordpiece(), ["hello [MASK] 武汉"], 32, None)
    assert rows.words[0].tolist() == [-1, 0, -1, 1, 2, -1]


def test_chinese_words_are_numbered_by_their_characters():
    assert chinese_words("x武汉加油 y医", LEXICON.segment).tolist() == [-1, 0, 0, 1, 1, -1, -1, 2]


@given(st.lists(st.sampled_from(CHINESE), min_size=1, max_size=6), st.integers(6, 20))
@settings(max_examples=25, deadline=None)
def test_long_texts_become_rows_that_together_are_the_text(texts, max_length):
    tokenizer = wordpiece()
    text = " ".join(texts)
    rows = make_rows(tokenizer, [text], max_length, LEXICON.segment)
    assert rows.lengths.max() <= max_length
    inner = np.concatenate([row[1:-1] for row in rows.ids]).tolist()
    assert inner == tokenizer(text, add_special_tokens=False)["input_ids"]


def random_words(generator, n=60):
    sizes = generator.integers(1, 5, size=n)
    return np.concatenate([[-1], np.repeat(np.arange(n), sizes), [-1]])


@given(st.integers(0, 10**6), st.floats(0.05, 0.5))
@settings(max_examples=60)
def test_each_word_is_chosen_whole_or_not_at_all_and_special_tokens_never(seed, share):
    generator = np.random.default_rng(seed)
    words = random_words(generator)
    chosen = choose_tokens(words, share, generator)
    assert not chosen[words < 0].any()
    for word in range(words.max() + 1):
        assert len(set(chosen[words == word])) == 1
    n = int((words >= 0).sum())
    assert 1 <= chosen.sum() <= np.ceil(share * n) + 1


def test_the_share_of_chosen_tokens_is_that_asked_for():
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        words = random_words(generator)
        shares.append(choose_tokens(words, 0.15, generator).sum() / (words >= 0).sum())
    assert np.mean(shares) == pytest.approx(0.15, abs=0.003)
    assert choose_tokens(np.array([-1, 0, 0, 0, 0, -1]), 0.15, generator).sum() == 4  # a text of one word


def test_labels_stand_at_masked_tokens_alone_and_the_rest_is_untouched():
    rows = make_rows(wordpiece(), CHINESE * 200, 32, LEXICON.segment)
    masked, real, labels = masked_batch(rows, np.arange(len(rows.ids)), 0.3, np.random.default_rng(1))
    for i, row in enumerate(rows.ids):
        n = len(row)
        assert real[i].sum() == n
        assert (labels[i, n:] == IGNORED).all()
        chosen = labels[i, :n] != IGNORED
        assert (labels[i, :n][chosen] == row[chosen]).all()
        assert (masked[i, :n][~chosen] == row[~chosen]).all()
        assert (masked[i, n:] == rows.pad_id).all()
        assert not chosen[rows.words[i] < 0].any()
    chosen = labels != IGNORED
    is_mask, same = (masked == rows.mask_id)[chosen], (masked == labels)[chosen]
    assert is_mask.mean() == pytest.approx(0.8, abs=0.03)
    assert same.mean() == pytest.approx(0.1 + 0.1 / len(rows.ordinary), abs=0.02)
    assert set(masked[chosen & (masked != rows.mask_id)].tolist()) <= set(rows.ordinary.tolist())


def test_masks_are_drawn_anew_and_the_same_seed_draws_the_same():
    rows = make_rows(wordpiece(), CHINESE * 5, 32, LEXICON.segment)
    batch = np.arange(20)
    first, again, other = (masked_batch(rows, batch, 0.15, np.random.default_rng(seed))[2] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
CONFIGURATIONS = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, pad_token_id=0),
    "albert": AlbertConfig(**SIZES, embedding_size=8),
    "electra": ElectraConfig(**SIZES, embedding_size=8),
    "deberta": DebertaV2Config(**SIZES),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2
    ),
    "distilbert": DistilBertConfig(vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=16),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_loss_is_that_of_the_stock_model(name):
    torch.manual_seed(0)
    body = AutoModelForMaskedLM.from_config(CONFIGURATIONS[name]).eval()
    ids = torch.randint(5, 40, (3, 9))
    mask = (torch.arange(9) < torch.tensor([[9], [6], [4]])).long()
    ids = ids.masked_fill(mask == 0, 0)
    labels = torch.where((torch.rand(3, 9) < 0.4) & (mask == 1), ids, IGNORED)
    labels[0, 1] = ids[0, 1]
    with torch.no_grad():
        stock = body(input_ids=ids, attention_mask=mask, labels=labels).loss
        model = MaskedLm(body)
        losses = model.losses(ids, mask, labels)
        assert model.sparse
        assert len(losses) == (labels != IGNORED).sum()
        assert losses.mean() == pytest.approx(float(stock), abs=1e-5)
        model.sparse = False
        assert model.losses(ids, mask, labels).mean() == pytest.approx(float(stock), abs=1e-5)
        model.remove()
        assert body(input_ids=ids, attention_mask=mask).logits.shape == (3, 9, 40)


SMALL = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
PADDING_SHOWS = {
    "fnet": FNetConfig(**SMALL),
    "convbert": ConvBertConfig(**SMALL, embedding_size=16),
    "nystromformer": NystromformerConfig(**SMALL, num_landmarks=4, segment_means_seq_len=4),
    "big_bird": BigBirdConfig(**SMALL, block_size=2, num_random_blocks=1),  # sparse beyond 14 tokens
    "funnel": FunnelConfig(
        vocab_size=40, d_model=16, n_head=2, d_head=8, d_inner=16, block_sizes=[2, 2], pad_token_id=0
    ),
}


@pytest.mark.parametrize("name", PADDING_SHOWS)
def test_losses_of_a_row_do_not_depend_on_those_beside_it(name):
    torch.manual_seed(0)
    body = AutoModelForMaskedLM.from_config(PADDING_SHOWS[name]).eval()
    for parameter in body.parameters():
        parameter.data *= 3.0
    assert not hides_padding(TextClassifier(body), 0, 20)
    lengths = torch.tensor([20, 3, 9, 20, 2, 9, 4])
    mask = (torch.arange(20) < lengths[:, None]).long()
    ids = torch.randint(5, 40, mask.shape).masked_fill(mask == 0, 0)
    labels = torch.where((torch.rand(mask.shape) < 0.4) & (mask == 1), ids, IGNORED)
    labels[:, 1] = ids[:, 1]
    stock = copy.deepcopy(body)
    alone = []
    for row, n in enumerate(lengths.tolist()):
        if name == "big_bird":  # it goes over to full attention for short rows, and would stay with it
            stock.bert.set_attention_type("block_sparse")
        if name == "funnel" and n < 3:
            labels[row] = IGNORED  # fails by itself
            continue
        with torch.no_grad():
            logits = stock(input_ids=ids[row : row + 1, :n], attention_mask=mask[row : row + 1, :n]).logits[0]
        alone.append(torch.nn.functional.cross_entropy(logits, labels[row, :n], reduction="none")[labels[row, :n] >= 0])
    model = MaskedLm(body, pads=False)
    assert model.sparse
    with torch.no_grad():
        losses = model.losses(ids, mask, labels)
    assert losses.sort().values.tolist() == pytest.approx(torch.cat(alone).sort().values.tolist(), rel=1e-3)


def test_an_encoder_that_padding_disturbs_is_pretrained_without(tmp_path, monkeypatch):
    tokenizer = train_tokenizer(ENGLISH, SCRATCH, max_length=24)
    body = AutoModelForMaskedLM.from_config(FNetConfig(**{**SMALL, "vocab_size": len(tokenizer)}))
    for parameter in body.parameters():
        parameter.data *= 3.0
    for part in (body, tokenizer):
        part.save_pretrained(tmp_path / "fnet")
    batches, forward = [], FNetForMaskedLM.forward

    @functools.wraps(forward)
    def spy(self, input_ids, **options):
        batches.append(input_ids)
        return forward(self, input_ids, **options)

    monkeypatch.setattr(FNetForMaskedLM, "forward", spy)
    texts = [" ".join(text.split()[: 3 + i % 6]) + f" {i}" for i, text in enumerate(ENGLISH)]
    path = dataclasses.replace(recipe(epochs=1), encoder=EncoderOptions(str(tmp_path / "fnet")))
    pretrain(path, texts, folder=tmp_path / "out", fingerprint="f", device="cpu")
    seen = [ids for ids in batches if (ids == tokenizer.cls_token_id)[:, 0].all()]  # not those that try the network
    assert sum(map(len, seen)) == len(texts) + 7  # each once, those held out a second time
    assert not any((ids == tokenizer.pad_token_id).any() for ids in seen)


def recipe(**training):
    options = PretrainingOptions(**{"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, "held_out": 0.2, **training})
    return Pretraining(
        "tiny", seed=3, encoder=EncoderOptions(scratch=SCRATCH), data=TextOptions(max_length=24), training=options
    )


def run(folder, asked=None, **options):
    return pretrain(asked or recipe(), ENGLISH, folder=folder, fingerprint="f", device="cpu", **options)


def test_perplexity_falls_and_stock_transformers_loads_what_is_saved(tmp_path):
    result = run(tmp_path / "out")
    assert (result.n_rows, result.n_held_out) == (29, 7)
    assert result.perplexity_after < 0.8 * result.perplexity_before
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3]
    body, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.mask_token == "[MASK]"
    again = run(
        tmp_path / "again", dataclasses.replace(recipe(epochs=1), encoder=EncoderOptions(str(tmp_path / "out")))
    )
    assert not again.new_head
    assert again.perplexity_before < 0.8 * result.perplexity_before
    assert body.config.vocab_size == len(tokenizer)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_interrupted_one_ends_with_the_same_bytes(tmp_path, precision, monkeypatch):
    monkeypatch.setattr("models.training.half.resolve_precision", lambda *_: precision)
    monkeypatch.setattr("models.training.half._FIRST_SCALE", 2.0**40)  # steps are made again, under other dropout
    asked = recipe(precision=precision)
    run(tmp_path / "whole", asked)

    def stop(progress):
        if progress.epoch == 2 and progress.score is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", asked, on_progress=stop)
    assert not (tmp_path / "cut").exists()
    assert state_file(tmp_path / "cut").is_file()
    result = run(tmp_path / "cut", asked)
    assert result.resumed == 1
    name = "model.safetensors"
    assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("damage", ["other", "cut"])
def test_a_state_of_something_else_is_left_alone(tmp_path, damage):
    run(tmp_path / "out")
    state = state_file(tmp_path / "out")
    if damage == "cut":
        state.write_bytes(state.read_bytes()[:1000])
    result = pretrain(
        recipe(), ENGLISH, folder=tmp_path / "out", fingerprint="g" if damage == "other" else "f", device="cpu"
    )
    assert result.resumed == 0
    assert isinstance(result.history[0], PretrainEpoch)


def test_too_little_text_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"too little text: 3 rows"):
        pretrain(recipe(), ENGLISH[:3], folder=tmp_path / "out", fingerprint="f", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_no_number_stops_and_writes_nothing(tmp_path):
    with pytest.raises(ModelError, match=r"step \d+: the loss is"):
        run(tmp_path / "out", recipe(learning_rate=1e30, warmup=0.0))
    assert not (tmp_path / "out").exists()


def test_a_model_without_mask_token_or_masked_head_is_refused(tmp_path, save_model):
    from transformers import GPT2Config, GPT2Model

    source = save_model(tmp_path / "bert", 0, vocabulary=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"))
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.mask_token = None
    with pytest.raises(ModelError, match="no mask token"):
        make_rows(tokenizer, ["a"], 16, None)
    GPT2Model(GPT2Config(vocab_size=200, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path / "gpt")
    wordpiece().save_pretrained(tmp_path / "gpt")
    with pytest.raises(ModelError, match="gpt2 model does not foretell masked tokens"):
        run(tmp_path / "out", dataclasses.replace(recipe(), encoder=EncoderOptions(str(tmp_path / "gpt"))))


def test_a_model_without_a_vocabulary_is_refused(tmp_path, save_model):
    source = save_model(tmp_path / "bert", 0)
    for path in [*(tmp_path / "bert").glob("*token*"), tmp_path / "bert" / "vocab.txt"]:
        path.unlink()
    with pytest.raises(ModelError, match="without tokenizer"):
        run(tmp_path / "out", dataclasses.replace(recipe(), encoder=EncoderOptions(source)))


def test_an_embedding_of_a_class_of_its_own_is_counted(tmp_path):
    tokenizer = train_tokenizer(ENGLISH, SCRATCH, max_length=24)
    body = AutoModelForMaskedLM.from_config(IBertConfig(**{**SMALL, "vocab_size": len(tokenizer)}))
    for part in (body, tokenizer):
        part.save_pretrained(tmp_path / "ibert")
    asked = dataclasses.replace(recipe(epochs=1), encoder=EncoderOptions(str(tmp_path / "ibert")))
    assert run(tmp_path / "out", asked).perplexity_after > 1


def test_a_classifier_gets_a_new_head_and_says_so(tmp_path, save_model):
    source = save_model(tmp_path / "bert", 0)
    asked = dataclasses.replace(recipe(epochs=1), encoder=EncoderOptions(source))
    texts = [f"w{i} w{i + 1} w{i + 2}" for i in range(40)]
    result = pretrain(asked, texts, folder=tmp_path / "out", fingerprint="f", device="cpu")
    assert result.new_head
    long = dataclasses.replace(asked, data=TextOptions(max_length=80))
    with pytest.raises(ModelError, match="takes 64 tokens at most"):
        pretrain(long, texts, folder=tmp_path / "out", fingerprint="f", device="cpu")


GOOD = 'kind = "pretraining"\n[encoder]\npath = "x"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD + "[masking]\nshar = 0.1\n", "did you mean 'share'"),
        (GOOD + "[masking]\nshare = 0.9\n", "out of range"),
        (GOOD + '[masking]\nchinese = "list"\n', "go together"),
        (GOOD + '[masking]\nwords = "w.txt"\n', "go together"),
        (GOOD + '[masking]\nwhole_words = false\nchinese = "jieba"\n', "leave one of the two out"),
        (GOOD + "reinit_layers = 1\n", "would undo"),
        (GOOD + "[head]\nname = 'mean'\n", "unknown key 'head'"),
        (GOOD + '[data]\ncleaning = ["nope"]\n', "unknown cleaning step"),
        ('kind = "pretraining"\n', "exactly one of"),
        ('kind = "pretraining"\n[encoder.scratch]\nlayers = 0\n', "foretells nothing"),
        ('kind = "linear"\n', "no encoder to pretrain"),
        ("kind = ", "not valid TOML"),
        (None, "no such recipe"),
    ],
)
def test_a_file_that_does_not_do_is_refused(tmp_path, text, complaint):
    if text is not None:
        (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ModelError) as caught:
        load_pretraining(tmp_path / "r.toml")
    assert complaint in str(caught.value)


def test_the_gallery_reads_and_every_value_is_written_back(tmp_path):
    from tests.conftest import ROOT

    paths = sorted((ROOT / "recipes" / "pretraining").glob("*.toml"))
    assert paths
    for path in paths:
        asked = load_pretraining(path)
        (tmp_path / f"{path.stem}.toml").write_text(asked.to_toml())
        assert load_pretraining(tmp_path / f"{path.stem}.toml") == asked
        assert f"`pretraining/{path.name}`" in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_a_run_is_not_trained_by_a_file_for_pretraining(tmp_path):
    (tmp_path / "r.toml").write_text(GOOD)
    with pytest.raises(ModelError, match="for `cli pretrain`"):
        load_recipe(tmp_path / "r.toml")


def test_of_the_recipe_of_a_run_the_encoder_and_its_texts_are_taken(tmp_path):
    (tmp_path / "r.toml").write_text('seed = 7\n[encoder]\npath = "x"\nreinit_layers = 2\n[data]\nmax_length = 99\n')
    asked = load_pretraining(tmp_path / "r.toml")
    assert asked == Pretraining(
        "r", seed=7, encoder=EncoderOptions("x"), data=TextOptions(99), masking=MaskingOptions()
    )
