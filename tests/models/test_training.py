"""Training of one fold: what it learns, that it repeats itself, what it refuses; batches, optimizer, schedules."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from models.build import build_classifier
from models.classifier import TextClassifier
from models.errors import ModelError
from models.heads import HEADS, ONLY_FOR, PAIR_HEADS
from models.inference.device import has_fast_bf16
from models.inference.scorer import Scorer
from models.recipe import (
    AdversaryOptions,
    AugmentationOptions,
    EncoderOptions,
    HeadOptions,
    LossOptions,
    SamplerOptions,
    TrainingOptions,
)
from models.saved import load_classifier
from models.training.batches import padded, random_batches, sorted_batches, tokenise
from models.training.epochs import Diverged
from models.training.fold import make_tokenizer, train_fold
from models.training.optimizer import make_optimizer, make_schedule

CLASSES = ("red", "green", "blue")
PARTS = ("head", "loss", "encoder", "sampler", "adversary", "augmentation")
EVERYTHING = {
    "head": HeadOptions("lstm_gru", {"width": 8}, dropout_samples=3),
    "sampler": SamplerOptions("power", {"q": 0.3}),
    "adversary": AdversaryOptions("pgd", options={"steps": 2}),
    "augmentation": AugmentationOptions(copies=1),
    "layer_decay": 0.8,
    "unfreeze": 0.5,
    "ema": 0.9,
    "r_drop": 0.5,
    "micro_batch_size": 3,
}


def accuracy(probs, labels):
    return accuracy_score(labels, probs.argmax(1))


def train(recipe, tokenizer, data, folder, *, seed=None, metric=accuracy, classes=CLASSES, **changes):
    texts, labels = data
    told = ("on_progress", "greater_is_better", "teacher_probs", "n_labelled")
    options = {key: changes.pop(key) for key in told if key in changes}
    parts = {key: changes.pop(key) for key in PARTS if key in changes}
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **changes), **parts)
    recipe = recipe if seed is None else dataclasses.replace(recipe, seed=seed)
    return train_fold(
        recipe, classes, texts[::2] + texts[1::2], np.concatenate([labels[::2], labels[1::2]]), texts[::3],
        labels[::3], tokenizer, folder=folder, metric=metric, device="cpu", **options,
    )  # fmt: skip


def test_training_learns_and_the_checkpoint_gives_the_same_probabilities(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured
):
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", epochs=12, head=HeadOptions("mean"))
    assert result.score == 1.0
    assert result.valid_probs.dtype == np.float32
    np.testing.assert_allclose(result.valid_probs.sum(1), 1, atol=1e-6)
    loaded = load_classifier(tmp_path / "f")
    assert (loaded.spec.score, loaded.spec.head, loaded.spec.max_length) == (1.0, "mean", 16)
    with torch.inference_mode():
        rows = [torch.tensor([loaded.tokenizer(text)["input_ids"]]) for text in coloured[0][::3]]
        probs = torch.cat([loaded.network(row).softmax(-1) for row in rows]).numpy()
    np.testing.assert_allclose(result.valid_probs, probs, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["plain", "everything"])
def test_the_same_seed_gives_the_same_bytes_whatever_was_computed_before(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured, changes
):
    first = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "a", **changes)
    torch.randn(7)
    np.random.default_rng(3).random()
    state = torch.get_rng_state()
    again = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "b", **changes)
    other = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "c", seed=2, **changes)
    assert np.array_equal(first.valid_probs, again.valid_probs)
    assert not np.array_equal(first.valid_probs, other.valid_probs)
    assert torch.equal(torch.get_rng_state(), state)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("values", "greater_is_better", "kept"),
    [([0.2, 0.9, 0.4], True, 2), ([0.2, 0.9, 0.1], False, 3), ([1, 1, 1], True, 1)],
)
def test_the_best_epoch_is_kept_in_the_direction_of_the_metric(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured, values, greater_is_better, kept
):
    scores, seen = iter(values), []

    def metric(probs, labels):
        seen.append(probs)
        return next(scores)

    result = train(
        tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", metric=metric, greater_is_better=greater_is_better
    )
    assert (result.kept, result.score) == (kept, values[kept - 1])
    assert np.array_equal(result.valid_probs, seen[kept - 1])
    loaded = load_classifier(tmp_path / "f")
    with torch.inference_mode():
        ids = torch.tensor([loaded.tokenizer(coloured[0][0])["input_ids"]])
        np.testing.assert_allclose(loaded.network(ids).softmax(-1).numpy()[0], seen[kept - 1][0], atol=1e-5)


def test_the_last_epoch_is_kept_on_request(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    scores = iter([0.9, 0.5, 0.2])
    result = train(
        tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", metric=lambda probs, labels: next(scores), keep="last"
    )
    assert (result.kept, result.score) == (3, 0.2)


def test_patience_stops_early(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.95])
    result = train(
        tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f",
        metric=lambda probs, labels: next(scores), epochs=5, patience=2,
    )  # fmt: skip
    assert (len(result.history), result.kept) == (4, 2)


def test_without_a_metric_the_validation_loss_decides(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", metric=None)
    losses = [epoch.valid_loss for epoch in result.history]
    assert (result.kept, result.score) == (1 + int(np.argmin(losses)), None)


def test_progress_tells_every_step_and_every_validation(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    told = []
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", on_progress=told.append)
    steps = [p.step for p in told if p.score is None]
    assert steps == list(range(1, told[0].n_steps + 1))
    assert [p.score for p in told if p.score is not None] == [epoch.score for epoch in result.history]


def test_a_norm_of_zero_clips_nothing(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    """As in transformers' Trainer; it would otherwise train nothing."""
    runs = [
        train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / f"{norm}", epochs=1, max_grad_norm=norm)
        for norm in (0.0, 1e9)
    ]
    np.testing.assert_array_equal(runs[0].valid_probs, runs[1].valid_probs)


def test_a_loss_that_is_no_number_names_the_step_and_leaves_no_checkpoint(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured
):
    with pytest.raises(ModelError, match=r"(loss is (nan|inf) at step \d+|no numbers after epoch)") as error:
        train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", learning_rate=1e30, max_grad_norm=1e9)
    assert "learning_rate" in error.value.details["next"]
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_fails_late_keeps_the_best_epoch_and_names_the_rows(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured, monkeypatch
):
    seen = []

    def metric(probs, labels):
        seen.append(probs)
        if len(seen) == 2:  # of the third epoch on, every loss is no number
            monkeypatch.setattr("models.training.step._loss", lambda source, rows: torch.tensor(float("nan")))
        return [0.9, 0.5][len(seen) - 1]

    with pytest.raises(Diverged, match=r"loss is nan at step \d+ \(epoch 3\)") as error:
        train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", metric=metric)
    assert error.value.details["kept"] == f"epoch 1, in {tmp_path / 'f'}"
    assert error.value.details["rows"].startswith("row ")
    loaded = load_classifier(tmp_path / "f")
    assert loaded.spec.score == 0.9
    with torch.inference_mode():
        ids = torch.tensor([loaded.tokenizer(coloured[0][0])["input_ids"]])
        np.testing.assert_allclose(loaded.network(ids).softmax(-1).numpy()[0], seen[0][0], atol=1e-5)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_moving_average_is_what_is_validated_and_saved(tmp_path, tiny_recipe, tiny_tokenizer, coloured, keep):
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", ema=0.5, keep=keep, head=HeadOptions("hire"))
    scored = Scorer({"f": [str(tmp_path / "f")]}, device="cpu", precision="fp32").score(coloured[0][::3])["f"]
    np.testing.assert_allclose(result.valid_probs, scored, atol=1e-5)


@pytest.mark.parametrize("head", [name for name in HEADS if name not in (*PAIR_HEADS, *ONLY_FOR)])
def test_the_scorer_gives_what_validation_gave_with_every_head(tmp_path, tiny_recipe, tiny_tokenizer, coloured, head):
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", epochs=1, head=HeadOptions(head))
    scored = Scorer({"f": [str(tmp_path / "f")]}, device="cpu", precision="fp32").score(coloured[0][::3])["f"]
    np.testing.assert_allclose(result.valid_probs, scored, atol=1e-5)


def test_embeddings_alone_serve_as_an_encoder(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    scratch = dataclasses.replace(tiny_recipe.encoder.scratch, layers=0)
    result = train(
        tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", epochs=8, learning_rate=1e-2,
        encoder=EncoderOptions(scratch=scratch), head=HeadOptions("textcnn", {"windows": [1, 2], "filters": 16}),
        adversary=AdversaryOptions("fgm"),
    )  # fmt: skip
    assert result.score == 1.0
    scored = Scorer({"f": [str(tmp_path / "f")]}, device="cpu", precision="fp32").score(coloured[0][::3])["f"]
    np.testing.assert_allclose(result.valid_probs, scored, atol=1e-5)


def test_memory_that_runs_out_is_told_in_the_result(tmp_path, tiny_recipe, tiny_tokenizer, coloured, monkeypatch):
    forward = TextClassifier.forward

    def limited(self, input_ids, *rest):
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids, *rest)

    monkeypatch.setattr(TextClassifier, "forward", limited)
    result = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", epochs=1)
    assert (result.micro_batch_size, result.halvings) == (2, 2)


@pytest.mark.parametrize(("place", "what"), [("to", "the network itself"), ("step", "the optimizer's state")])
def test_memory_that_smaller_batches_do_not_save_is_told(
    tmp_path, tiny_recipe, tiny_tokenizer, coloured, monkeypatch, place, what
):
    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW if place == "step" else TextClassifier, place, fail)
    with pytest.raises(ModelError, match=f"out of memory for {what}"):
        train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", epochs=1)
    assert not (tmp_path / "f").exists()


def test_weights_by_hand_are_the_balanced_ones_where_they_are_the_same(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    texts, labels = list(coloured[0])[:-5], coloured[1][:-5]
    alpha = tuple(float(len(labels) / (3 * (labels == c).sum())) for c in range(3))
    assert len(set(alpha)) > 1
    runs = {
        name: train(tiny_recipe, tiny_tokenizer, (texts, labels), tmp_path / name, epochs=2, loss=options)
        for name, options in {
            "balanced": LossOptions(class_weights="balanced"), "alpha": LossOptions(alpha=alpha),
            "other": LossOptions(alpha=(1.0, 0.0, 0.0)),
        }.items()
    }  # fmt: skip
    np.testing.assert_allclose(runs["alpha"].valid_probs, runs["balanced"].valid_probs, atol=1e-6)
    assert not np.allclose(runs["other"].valid_probs, runs["balanced"].valid_probs, atol=1e-3)
    with pytest.raises(ModelError, match="alpha has 2 numbers for 3 classes"):
        train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "x", loss=LossOptions(alpha=(1.0, 2.0)))


@pytest.mark.parametrize("loss", ["bce", "multilabel_ce", "binary_focal", "smooth_f1", "mse"])
def test_each_multi_label_loss_learns(tmp_path, tiny_recipe, tiny_tokenizer, coloured, loss):
    texts, codes = coloured
    sets = np.eye(3, dtype=np.float32)[codes]
    result = train(
        tiny_recipe, tiny_tokenizer, (texts, sets), tmp_path / "f", metric=None, epochs=30, learning_rate=1e-2,
        head=HeadOptions("max"), loss=LossOptions(loss),
    )  # fmt: skip
    assert ((result.valid_probs > 0.5) == (sets[::3] > 0.5)).mean() > 0.9


def test_layers_that_thaw_train_under_gradient_checkpointing_as_well(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    results = [
        train(
            tiny_recipe, tiny_tokenizer, coloured, tmp_path / "f", epochs=2, unfreeze=0.7, keep="last",
            gradient_checkpointing=saved,
        )
        for saved in (False, True)
    ]  # fmt: skip
    np.testing.assert_allclose(results[0].valid_probs, results[1].valid_probs, atol=1e-5)


def test_new_top_layers_forget_what_a_pretrained_encoder_knew(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "a", epochs=1)
    results = [
        train(
            tiny_recipe, tiny_tokenizer, coloured, tmp_path / "b", epochs=1,
            encoder=EncoderOptions(path=str(tmp_path / "a"), reinit_layers=n),
        )
        for n in (0, 1)
    ]  # fmt: skip
    assert not np.allclose(results[0].valid_probs, results[1].valid_probs, atol=1e-4)


def test_multi_label_rows_train_with_sigmoids(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    texts, codes = coloured
    sets = np.eye(3, dtype=np.float32)[codes]
    sets[:, 2] = [float("dog" in text) for text in texts]
    result = train(
        tiny_recipe, tiny_tokenizer, (texts, sets), tmp_path / "f", metric=None, epochs=25, head=HeadOptions("max"),
        loss=LossOptions(class_weights="balanced"),
    )  # fmt: skip
    assert ((result.valid_probs > 0.5) == (sets[::3] > 0.5)).mean() > 0.9
    assert load_classifier(tmp_path / "f").spec.task == "multi_label"


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_checkpointing": True},
        {"schedule": "constant", "warmup": 0.0},
        {"dropout": 0.0, "head_learning_rate": 1e-2},
        {"loss": LossOptions("focal", "balanced", options={"gamma": 1.0})},
        {"loss": LossOptions("cross_entropy", options={"label_smoothing": 0.1})},
        {"loss": LossOptions("smooth_f1")},
        {"loss": LossOptions("mse", options={"pull": 0.2})},
        {"sampler": SamplerOptions("class_balanced")},
        {"adversary": AdversaryOptions("fgm")},
        {"adversary": AdversaryOptions("pgd")},
        {"adversary": AdversaryOptions("awp", options={"rate": 0.1, "epsilon": 0.1})},
        {"augmentation": AugmentationOptions(copies=1)},
        {"layer_decay": 0.5},
        {"unfreeze": 1.0},
        {"ema": 0.9},
        {"r_drop": 1.0},
        {"micro_batch_size": 3},  # other draws of dropout
        {"head": HeadOptions("mean", {"dropout": 0.5}, dropout_samples=4)},
    ],
)
def test_each_option_changes_the_outcome(tmp_path, tiny_recipe, tiny_tokenizer, coloured, changes):
    plain = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "a", epochs=2)
    changed = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "b", epochs=2, **changes)
    same = np.allclose(plain.valid_probs, changed.valid_probs, atol=1e-6)
    assert same == ("gradient_checkpointing" in changes)  # which saves memory and nothing else


@pytest.mark.skipif(not has_fast_bf16(torch.device("cpu")), reason="this CPU has no hardware for bf16")
def test_bf16_stays_near_fp32_and_keeps_float32_weights(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    plain = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "a", epochs=2, dropout=0.0)
    half = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "b", epochs=2, dropout=0.0, precision="bf16")
    assert not np.array_equal(plain.valid_probs, half.valid_probs)
    np.testing.assert_allclose(plain.valid_probs, half.valid_probs, atol=0.05)
    assert {weight.dtype for weight in load_classifier(tmp_path / "b").network.parameters()} == {torch.float32}


def test_fp16_stays_near_fp32_and_keeps_float32_weights(tmp_path, tiny_recipe, tiny_tokenizer, coloured, monkeypatch):
    plain = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "a", epochs=2, dropout=0.0)
    monkeypatch.setattr("models.training.half.resolve_precision", lambda *_: "fp16")  # refused on a CPU
    half = train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "b", epochs=2, dropout=0.0, precision="fp16")
    assert not np.array_equal(plain.valid_probs, half.valid_probs)
    np.testing.assert_allclose(plain.valid_probs, half.valid_probs, atol=0.05)
    assert {weight.dtype for weight in load_classifier(tmp_path / "b").network.parameters()} == {torch.float32}


def test_a_trained_checkpoint_serves_as_the_encoder_of_the_next_run(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    train(tiny_recipe, tiny_tokenizer, coloured, tmp_path / "a")
    encoder = EncoderOptions(path=str(tmp_path / "a"))
    recipe = dataclasses.replace(tiny_recipe, encoder=encoder)
    tokenizer = make_tokenizer(recipe, [])
    assert tokenizer.get_vocab() == tiny_tokenizer.get_vocab()
    result = train(recipe, tokenizer, coloured, tmp_path / "b", epochs=1, head=HeadOptions("cls"))
    assert result.valid_probs.shape == (8, 3)


def test_empty_texts_and_texts_over_the_limit_train(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    texts, labels = list(coloured[0]), coloured[1]
    texts[0], texts[1] = "", "red fox " * 50
    assert len(train(tiny_recipe, tiny_tokenizer, (texts, labels), tmp_path / "f", epochs=1).valid_probs) == 8


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 5))
def test_batches_hold_every_row_once_and_rows_of_like_length(lengths, batch_size, seed):
    lengths = np.array(lengths, np.int64)
    for batches in (
        random_batches(lengths, batch_size, np.random.default_rng(seed)),
        sorted_batches(lengths, batch_size),
    ):
        assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
        assert max(map(len, batches)) <= batch_size
        assert len(batches) == math.ceil(len(lengths) / batch_size)


def test_length_grouping_wastes_little_padding_and_still_shuffles():
    lengths = np.random.default_rng(0).integers(5, 100, 4000)
    first, second = (random_batches(lengths, 32, np.random.default_rng(seed)) for seed in (1, 2))
    computed = sum(lengths[batch].max() * len(batch) for batch in first)
    assert lengths.sum() / computed > 0.95
    assert not np.array_equal(first[0], second[0])


def test_a_batch_of_equal_lengths_has_no_mask_and_others_hide_their_padding(tiny_tokenizer):
    rows = tokenise(tiny_tokenizer, ["red fox", "blue dog", "red", ""], 16)
    cpu = torch.device("cpu")
    assert padded(rows, np.array([0, 1]), cpu)[1] is None
    ids, mask = padded(rows, np.array([0, 2, 3]), cpu)
    assert mask.sum(1).tolist() == [4, 3, 2]
    assert (ids[mask == 0] == tiny_tokenizer.pad_token_id).all()


def test_parameter_groups_part_head_from_encoder_and_matrices_from_vectors(tiny_recipe, tiny_tokenizer):
    for head in ("stock", "mean"):
        recipe = dataclasses.replace(tiny_recipe, head=HeadOptions(head))
        network = build_classifier(recipe, CLASSES, tiny_tokenizer, "single_label")
        for parameter in network.encoder.parameters():
            parameter.requires_grad = False  # frozen for now: must be in a group nevertheless
        options = TrainingOptions(learning_rate=1e-5, head_learning_rate=1e-3, weight_decay=0.1)
        groups = make_optimizer(network, options).param_groups
        assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        for group in groups:
            for parameter in group["params"]:
                is_head = "classifier" in names[id(parameter)]
                assert group["lr"] == (1e-3 if is_head else 1e-5)
                assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
                if names[id(parameter)].endswith(("bias", "LayerNorm.weight")):
                    assert group["weight_decay"] == 0.0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules_rise_in_the_warm_up_and_end_where_they_should(schedule):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    lr = make_schedule(optimizer, TrainingOptions(schedule=schedule, warmup=0.2), n_steps=50)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        lr.step()
    assert rates[:11] == pytest.approx([(i + 1) / 11 for i in range(11)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1.0 if schedule == "constant" else 0.0)
    assert rates[30] == pytest.approx({"linear": 0.5, "cosine": 0.5, "constant": 1.0}[schedule])
