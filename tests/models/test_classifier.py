"""Classifiers built, saved and loaded; checkpoints of others; everything that is refused."""

import dataclasses
import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    RobertaConfig,
    RobertaModel,
)

from models.build import build_classifier, position_limit
from models.checkpoint import CheckpointSpec
from models.errors import ModelError
from models.heads import HEADS, ONLY_FOR, PAIR_HEADS
from models.recipe import DataOptions, EncoderOptions, HeadOptions
from models.saved import load_classifier, save_checkpoint

CLASSES = ("red", "green", "blue")


def build(recipe, tokenizer, head="stock", seed=0, task="single_label", classes=CLASSES, **changes):
    torch.manual_seed(seed)
    recipe = dataclasses.replace(recipe, head=HeadOptions(head), **changes)
    return build_classifier(recipe, classes, tokenizer, task).eval()


def save(folder, classifier, tokenizer, head="stock", **changes):
    spec = CheckpointSpec("transformer", CLASSES, max_length=16, cleaning=("strip",), head=head)
    save_checkpoint(folder, classifier, tokenizer, dataclasses.replace(spec, **changes))
    return folder


def some_ids(tokenizer, batch=3, length=7):
    return torch.randint(5, len(tokenizer), (batch, length), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def checkpoint(tmp_path, tiny_recipe, tiny_tokenizer):
    return save(tmp_path / "fold0", build(tiny_recipe, tiny_tokenizer), tiny_tokenizer)


@pytest.fixture
def foreign(checkpoint):
    (checkpoint / "kaggle_jobs.json").unlink()
    return checkpoint


@pytest.mark.parametrize("head", [name for name in HEADS if name not in (*PAIR_HEADS, *ONLY_FOR)])
@torch.inference_mode()
def test_a_saved_checkpoint_loads_back_with_identical_logits(tmp_path, tiny_recipe, tiny_tokenizer, head):
    classifier = build(tiny_recipe, tiny_tokenizer, head)
    loaded = load_classifier(save(tmp_path / "fold0", classifier, tiny_tokenizer, head))
    ids = some_ids(tiny_tokenizer)
    assert torch.equal(loaded.network(ids), classifier(ids))
    assert not loaded.network.training
    assert loaded.spec == CheckpointSpec("transformer", CLASSES, max_length=16, cleaning=("strip",), head=head)
    assert loaded.tokenizer("red fox")["input_ids"] == tiny_tokenizer("red fox")["input_ids"]
    assert (tmp_path / "fold0" / "head.safetensors").exists() == (head != "stock")


@pytest.mark.parametrize("head", [name for name in HEADS if name not in (*PAIR_HEADS, *ONLY_FOR)])
@torch.inference_mode()
def test_padding_and_a_mask_of_ones_change_no_logits(tiny_recipe, tiny_tokenizer, head):
    classifier, ids = build(tiny_recipe, tiny_tokenizer, head), some_ids(tiny_tokenizer)
    ones = torch.ones_like(ids)
    padded, mask = torch.nn.functional.pad(ids, (0, 4)), torch.nn.functional.pad(ones, (0, 4))
    torch.testing.assert_close(classifier(ids, ones), classifier(ids), rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier(padded, mask), classifier(ids), rtol=0, atol=1e-6)
    torch.testing.assert_close(classifier(ids, None, torch.zeros_like(ids)), classifier(ids), rtol=0, atol=1e-6)


@torch.inference_mode()
def test_stock_transformers_loads_a_stock_checkpoint_with_identical_logits(checkpoint):
    stock, info = AutoModelForSequenceClassification.from_pretrained(checkpoint, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = some_ids(AutoTokenizer.from_pretrained(checkpoint))
    assert torch.equal(stock.eval()(ids).logits, load_classifier(checkpoint).network(ids))
    assert stock.config.id2label == dict(enumerate(CLASSES))
    assert stock.config.problem_type == "single_label_classification"


def test_the_spec_of_a_foreign_checkpoint_is_concluded_from_its_files(foreign):
    assert load_classifier(foreign).spec == CheckpointSpec("transformer", CLASSES, max_length=16)
    config = json.loads((foreign / "config.json").read_text())
    config["problem_type"] = "multi_label_classification"
    (foreign / "config.json").write_text(json.dumps(config))
    assert load_classifier(foreign).spec.task == "multi_label"


def test_positions_of_a_foreign_checkpoint_limit_a_tokenizer_without_limit(foreign):
    path = foreign / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["model_max_length"]
    path.write_text(json.dumps(config))
    assert load_classifier(foreign).spec.max_length == 16


def test_roberta_reaches_less_far_than_its_table_has_rows():
    config = RobertaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    model = RobertaModel(config).eval()
    assert position_limit(model) == 32
    model(torch.full((1, 32), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, 33), 5))


def test_a_foreign_roberta_gets_the_shorter_limit(tmp_path, save_model):
    folder = tmp_path / "roberta"
    save_model(folder, 0, architecture="roberta")
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["model_max_length"] = 10_000
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert load_classifier(folder).spec.max_length == 64


def test_a_pretrained_encoder_keeps_its_weights_under_another_head(checkpoint, tiny_recipe, tiny_tokenizer):
    pretrained = EncoderOptions(path=str(checkpoint))
    before = load_classifier(checkpoint).network.encoder.state_dict()
    for head in ("stock", "mean"):
        classes = ("a", "b")
        built = build(tiny_recipe, tiny_tokenizer, head, encoder=pretrained, classes=classes, task="multi_label")
        assert all(torch.equal(weight, before[name]) for name, weight in built.encoder.state_dict().items())
        assert built(some_ids(tiny_tokenizer)).shape == (3, 2)
        assert built.body.config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("head", ["pooler", "cls_pooler", "lstm_gru", "pooler_rnn"])
def test_a_head_with_a_pooler_begins_with_that_of_the_encoder(checkpoint, tiny_recipe, tiny_tokenizer, head):
    own = build(tiny_recipe, tiny_tokenizer, "pooler", encoder=EncoderOptions(path=str(checkpoint)))
    built = build(tiny_recipe, tiny_tokenizer, head, seed=9, encoder=EncoderOptions(path=str(checkpoint)))
    weights = [weight for name, weight in built.head.state_dict().items() if name.endswith("pooler.dense.weight")]
    weights = weights or [built.head.pool.dense.weight]
    assert torch.equal(weights[0], own.body.pooler.dense.weight)


def test_dropout_of_encoder_and_head_are_set_apart(tiny_recipe, tiny_tokenizer):
    training = dataclasses.replace(tiny_recipe.training, dropout=0.25)
    recipe = dataclasses.replace(tiny_recipe, training=training, head=HeadOptions("stock", {"dropout": 0.5}))
    config = build_classifier(recipe, CLASSES, tiny_tokenizer, "single_label").body.config
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.25
    assert config.classifier_dropout == 0.5


def test_a_max_length_beyond_the_encoder_is_refused(checkpoint, tiny_recipe, tiny_tokenizer):
    with pytest.raises(ModelError, match="max_length = 17, but the encoder takes 16"):
        build(
            tiny_recipe, tiny_tokenizer, encoder=EncoderOptions(path=str(checkpoint)), data=DataOptions(max_length=17)
        )


@pytest.mark.parametrize("head", ["cls_last_layers", "cls_pooler"])
def test_more_layers_for_a_head_than_the_encoder_has_are_refused_where_they_are_asked_for(
    tiny_recipe, tiny_tokenizer, head
):
    asked = dataclasses.replace(tiny_recipe, head=HeadOptions(head, {"layers": 9}))
    with pytest.raises(ModelError, match=r"\[head\] layers = 9, but the encoder has 2 layers") as error:
        build_classifier(asked, CLASSES, tiny_tokenizer, "single_label")
    assert error.value.details["next"] == "layers = 2 at most"
    build(tiny_recipe, tiny_tokenizer, head)  # the head's own number gives way


def test_saving_replaces_a_checkpoint_and_a_failure_leaves_the_old_one(checkpoint, tiny_recipe, tiny_tokenizer):
    (checkpoint / "stale.txt").write_text("old")
    other = build(tiny_recipe, tiny_tokenizer, seed=5)
    save(checkpoint, other, tiny_tokenizer)
    assert not (checkpoint / "stale.txt").exists()
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}

    class Unsavable:
        def save_pretrained(self, folder):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save(checkpoint, other, Unsavable())
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["fold0"]


def refused(folder, message, **details):
    with pytest.raises(ModelError, match=message) as error:
        load_classifier(folder)
    for key, value in details.items():
        assert value in error.value.details[key.rstrip("_")]


def test_a_checkpoint_without_tokenizer_is_refused_with_advice(checkpoint):
    for path in checkpoint.glob("tokenizer*"):
        path.unlink()
    refused(checkpoint, "checkpoint without tokenizer", next_="copy tokenizer.json")


def test_pickled_weights_are_refused_and_never_read(foreign):
    weights = load_file(foreign / "model.safetensors")
    (foreign / "model.safetensors").unlink()
    torch.save(weights, foreign / "pytorch_model.bin")
    refused(foreign, "only pickled weights", found="pytorch_model.bin", next_="safetensors")


def test_a_directory_without_config_or_weights_is_refused(checkpoint, tmp_path):
    (checkpoint / "model.safetensors").unlink()
    refused(checkpoint, "model directory without weights")
    (checkpoint / "config.json").unlink()
    refused(checkpoint, "no config.json")
    refused(tmp_path, "no config.json", next_="fold0")


def test_an_encoder_without_classification_head_is_refused_for_scoring(tmp_path, tiny_recipe, tiny_tokenizer):
    folder = save(tmp_path / "body", build(tiny_recipe, tiny_tokenizer, "mean"), tiny_tokenizer, "mean")
    (folder / "kaggle_jobs.json").unlink()
    refused(folder, "this checkpoint has no classification head", found="classifier")


def test_a_masked_language_model_has_no_classification_head_and_no_pooler(foreign):
    AutoModelForMaskedLM.from_pretrained(foreign).save_pretrained(foreign)
    refused(foreign, "this checkpoint has no classification head", found="classifier.bias, classifier.weight")


def test_weights_that_git_lfs_has_not_fetched_are_told(foreign):
    (foreign / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    refused(foreign, "Git LFS pointers in place of weights", next_="git lfs pull")


def test_an_adapter_is_refused(foreign):
    (foreign / "adapter_config.json").write_text("{}")
    refused(foreign, "an adapter, which is no model", next_="merge both")


def test_missing_encoder_weights_are_refused_for_scoring_and_for_training(foreign, tiny_recipe, tiny_tokenizer):
    weights = load_file(foreign / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layer.1" not in name}
    save_file(kept, foreign / "model.safetensors", metadata={"format": "pt"})
    refused(foreign, r"16 of .* weights of the encoder are missing")
    with pytest.raises(ModelError, match="weights of the encoder are missing or have another shape"):
        build(tiny_recipe, tiny_tokenizer, encoder=EncoderOptions(path=str(foreign)))


def test_encoder_weights_of_another_shape_are_refused(foreign, tiny_recipe, tiny_tokenizer):
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "vocab_size": 7}))
    refused(foreign, "1 weights have another shape than config.json says", found="word_embeddings", next_="config.json")
    with pytest.raises(ModelError, match=r"1 of .* weights of the encoder are missing or have another shape"):
        build(tiny_recipe, tiny_tokenizer, encoder=EncoderOptions(path=str(foreign)))


def test_damaged_weights_are_told(foreign):
    path = foreign / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(foreign, "cannot be loaded")


def test_classes_that_disagree_with_the_weights_are_refused(checkpoint):
    about = json.loads((checkpoint / "kaggle_jobs.json").read_text())
    (checkpoint / "kaggle_jobs.json").write_text(json.dumps({**about, "classes": ["a", "b"]}))
    refused(checkpoint, "2 classes, but config.json has 3 labels")


def test_a_head_without_its_weights_is_refused(tmp_path, tiny_recipe, tiny_tokenizer):
    folder = save(tmp_path / "fold0", build(tiny_recipe, tiny_tokenizer, "mean"), tiny_tokenizer, "mean")
    (folder / "head.safetensors").unlink()
    refused(folder, "no head.safetensors for head 'mean'")


def test_a_linear_checkpoint_is_not_taken_for_a_transformer(tmp_path):
    CheckpointSpec("linear", CLASSES).save(tmp_path)
    refused(tmp_path, "a checkpoint of kind 'linear'")


def test_code_that_a_repository_brings_is_never_run(foreign):
    config = json.loads((foreign / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    (foreign / "config.json").write_text(json.dumps(config))
    (foreign / "evil.py").write_text("raise SystemExit('ran')")
    refused(foreign, "cannot be loaded")
    assert "evil" not in sys.modules


def test_loading_says_nothing(checkpoint, capfd):
    load_classifier(checkpoint)
    out, err = capfd.readouterr()
    assert out + err == ""


def test_a_moved_checkpoint_needs_nothing_from_its_old_place(checkpoint, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(checkpoint, moved)
    assert load_classifier(moved).spec.classes == CLASSES
