"""A classifier to be trained: an encoder, pretrained or from scratch, and a head, as a recipe asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from models.classifier import TextClassifier
from models.decoder import give_padding, is_decoder
from models.depth import reinitialise_top_layers
from models.enlarge import N_SEGMENTS, make_room_for_entities
from models.errors import ModelError, did_you_mean
from models.heads import FIRST_TOKEN_HEADS, HEADS, ONLY_FOR, HeadShape
from models.heads.pooled import Pooler
from models.label_groups import group_sizes
from models.lora import add_lora
from models.pretrained import load_body, load_config, load_tokenizer, model_folder
from models.recipe import Recipe, ScratchOptions
from models.scratch import scratch_config
from models.text.forms import ENTITY_FORMS
from models.trim import trim_embeddings
from models.words import WordVectors

_LAYERED_HEADS = ("cls_last_layers", "cls_pooler")  # their `layers` are the encoder's

# What architectures call the dropout of the encoder, and that before the stock classifier.
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "local_attention_probs_dropout_prob",
    "lsh_attention_probs_dropout_prob", "dropout", "hidden_dropout", "attention_dropout", "activation_dropout",
    "mlp_dropout", "embedding_dropout", "embed_dropout", "resid_dropout", "residual_dropout", "dropout_rate",
    "embd_pdrop", "attn_pdrop", "resid_pdrop",
)  # fmt: skip
_HEAD_DROPOUTS = (
    "classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "cls_dropout", "summary_first_dropout",
    "summary_last_dropout",
)  # fmt: skip


def build_classifier(
    recipe: Recipe, classes: Sequence[str], tokenizer: Any, task: str, words: WordVectors | None = None
) -> TextClassifier:
    """A classifier to be trained. New weights are drawn from torch's global random state.

    Args:
        recipe: Encoder, head and dropout are read.
        classes: C class names.
        tokenizer: Of the encoder; for an encoder from scratch its vocabulary sets the size.
        task: ``single_label``, ``multi_label``, ``multi_group`` or ``token``.
        words: For the head to read beside the tokens; None: the recipe wants none.

    Raises:
        ModelError: The encoder cannot be loaded, is shorter than the recipe's max_length, or lacks what is asked for.
    """
    scratch = recipe.encoder.scratch
    folder = model_folder(str(recipe.encoder.path)) if scratch is None else None
    config: Any = load_config(folder) if folder else scratch_config(scratch or ScratchOptions(), tokenizer)
    give_padding(tokenizer, config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    if task in ("single_label", "multi_label"):  # others transformers does not know
        config.problem_type = f"{task}_classification"
    if recipe.contrast.generate and scratch is not None:
        config.max_position_embeddings = 2 * recipe.data.max_length
    dropout, of_stock_head = recipe.training.dropout, None
    _set_dropout(config, dropout, _DROPOUTS)
    if recipe.head.name == "stock":
        of_stock_head = recipe.head.options.get("dropout")
        _set_dropout(config, of_stock_head, _HEAD_DROPOUTS)
        auto: Any = AutoModelForSequenceClassification
    else:
        auto = AutoModel
    if recipe.data.form == "embedded" and scratch is not None:
        config.type_vocab_size = N_SEGMENTS
    body = auto.from_config(config) if folder is None else load_body(auto, folder, config, new_head=True)
    encoder = set(body.base_model.modules())
    _check_dropout("[training] dropout", dropout, encoder, config)
    _check_dropout("[head] dropout", of_stock_head, set(body.modules()) - encoder, config)
    if recipe.encoder.vocabulary == "used":
        trim_embeddings(body, load_tokenizer(str(folder)), tokenizer)
    if recipe.data.form in ENTITY_FORMS:
        make_room_for_entities(body, tokenizer, recipe.data.form)
    limit = position_limit(body)
    if recipe.contrast.generate:
        _check_generation(recipe, config, limit)
    if limit is not None and recipe.data.max_length > limit:
        raise ModelError(
            f"[data] max_length = {recipe.data.max_length}, but the encoder takes {limit} tokens at most",
            next="write a recipe with a smaller max_length",
        )
    if recipe.head.name in FIRST_TOKEN_HEADS and is_decoder(config):
        raise ModelError(
            f"head '{recipe.head.name}' reads the first token, which sees no other in a {config.model_type}",
            next="use 'stock' or 'last', which read the last one, or 'mean'",
        )
    _check_layers_of_head(recipe, config)
    head = make_head(
        recipe.head.name, recipe.head.options, config, classes, task, words=words, samples=recipe.head.dropout_samples
    )
    if head is not None:
        _hand_over_pooler(body, head)
    classifier = TextClassifier(body, head, recipe.data.form, words)
    reinitialise_top_layers(classifier, recipe.encoder.reinit_layers)
    if recipe.lora.rank:
        add_lora(classifier, recipe.lora)
    return classifier


def position_limit(body: Any) -> int | None:
    """Tokens a row that a model's positions reach; None where it sets no limit.

    RoBERTa and its kin number positions from padding_idx + 1, so that they reach less far than the table has rows;
    Nyströmformer and its kin keep two rows that they never use.
    """
    for name, module in body.named_modules():
        # I-BERT's table is a class of its own, with what counts here called the same.
        if name.endswith("position_embeddings") and hasattr(module, "padding_idx"):
            numbers = getattr(body.get_submodule(name.rpartition(".")[0]), "position_ids", None)
            rows = len(module.weight) if numbers is None else min(len(module.weight), numbers.shape[-1])
            return rows - (0 if module.padding_idx is None else module.padding_idx + 1)
    limit = getattr(body.config, "max_position_embeddings", None)
    return limit if limit and limit > 0 else None  # XLNet says -1


def make_head(
    name: str,
    options: dict[str, Any],
    config: Any,
    classes: Sequence[str],
    task: str,
    *,
    words: WordVectors | None = None,
    samples: int = 1,
) -> nn.Module | None:
    """A head with new weights; None for ``stock``, which is the architecture's own.

    Args:
        name: In `models.heads.HEADS`.
        options: Its keyword arguments.
        config: Of the encoder, which tells widths and the number of classes.
        classes: C class names.
        task: As `build_classifier` has it.
        words: Vectors that it reads beside the tokens'.
        samples: Draws of dropout in training.

    Raises:
        ModelError: No such head, or one for other tasks.
    """
    if name not in HEADS:
        raise ModelError(f"unknown head '{name}'", next=did_you_mean(name, list(HEADS)))
    if ONLY_FOR.get(name, task) != task or (task == "token" and name not in ONLY_FOR):
        of_task = [head for head, only in ONLY_FOR.items() if only == task]
        raise ModelError(
            f"head '{name}' is not for {task} tasks",
            next=f"use one of {', '.join(of_task)}" if task == "token" else "use another head",
        )
    missing = [part for part in ("hidden_size", "num_hidden_layers") if not hasattr(config, part)]
    if missing and name != "stock":
        raise ModelError(
            f"head '{name}' is not for a {config.model_type}, whose configuration has no {missing[0]}",
            next="use 'stock', or an encoder such as BERT, RoBERTa, ALBERT, ELECTRA, DeBERTa or ModernBERT",
        )
    shape = HeadShape(
        hidden=getattr(config, "hidden_size", 0) + (0 if words is None else words.width),
        layers=getattr(config, "num_hidden_layers", 0),
        classes=config.num_labels,
        dropout_samples=samples,
        groups=group_sizes(classes) if task == "multi_group" else (),
        names=tuple(classes),
    )
    return HEADS[name](shape, **options)


def _check_layers_of_head(recipe: Recipe, config: Any) -> None:
    """Refuse more layers than there are where they are asked for; a head's own number of them gives way."""
    asked = recipe.head.options.get("layers", 0) if recipe.head.name in _LAYERED_HEADS else 0
    if asked and asked > max(1, config.num_hidden_layers):
        raise ModelError(
            f"[head] layers = {asked}, but the encoder has {config.num_hidden_layers} layers",
            next=f"layers = {max(1, config.num_hidden_layers)} at most",
        )


def _check_generation(recipe: Recipe, config: Any, limit: int | None) -> None:
    """Refuse what cannot write one text of a pair from the other, both standing in one sequence."""
    if config.model_type.startswith("deberta"):
        raise ModelError("[contrast] generate needs masks that DeBERTa does not take", next="generate = 0")
    if limit is not None and 2 * recipe.data.max_length > limit:
        raise ModelError(
            f"[contrast] generate puts two texts of max_length = {recipe.data.max_length} tokens in one sequence, but "
            f"the encoder takes {limit} tokens", next=f"max_length = {limit // 2} at most under [data]",
        )  # fmt: skip


def _hand_over_pooler(body: Any, head: nn.Module) -> None:
    """A head with a pooler begins with the encoder's own, where there is one."""
    own = getattr(getattr(body, "pooler", None), "dense", None)
    for module in head.modules():
        if isinstance(module, Pooler) and own is not None and own.weight.shape == module.dense.weight.shape:
            module.dense.load_state_dict(own.state_dict())


def _set_dropout(config: Any, value: float | None, names: Sequence[str]) -> None:
    for name in names if value is not None else ():
        if hasattr(config, name):
            setattr(config, name, value)


def _check_dropout(what: str, value: float | None, modules: Iterable[nn.Module], config: Any) -> None:
    """Refuse a value that no part of the network took over, whatever its configuration calls it."""
    if value is None:
        return
    found = {number for module in modules for number in dropouts_of(module)}
    if any(found) if value == 0 else value not in found:
        raise ModelError(
            f"{what} = {value:g} does not reach a {config.model_type}: transformers reads no such setting there",
            next="leave it out",
        )


def dropouts_of(module: nn.Module) -> Iterator[float]:
    """Shares that a module, without those in it, drops: as a layer of dropout, or by a function."""
    for name, number in vars(module).items():
        named = isinstance(module, nn.Dropout) if name == "p" else name.endswith("dropout")
        if named and isinstance(number, (int, float)) and not isinstance(number, bool):
            yield number
