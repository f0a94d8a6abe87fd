"""A text classifier: an encoder and a head. Built from a recipe, saved as a checkpoint directory, loaded from any.

    loaded = load_classifier("runs/bert-mini/fold0")       # ours, any Hugging Face classifier directory, or a Hub id
    logits = loaded.network(input_ids)                     # (B, C)

With head ``stock`` the directory loads in stock transformers; other heads keep their weights beside the encoder's, in
`head.safetensors`, and vectors of words in `words.safetensors`. Knows nothing of training and of batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification

from models import peculiar
from models.checkpoint import CheckpointSpec
from models.decoder import give_padding, is_decoder
from models.depth import reinitialise_top_layers
from models.enlarge import N_SEGMENTS, make_room_for_entities
from models.errors import ModelError, did_you_mean
from models.folders import whole_folder
from models.heads import FIRST_TOKEN_HEADS, HEADS, ONLY_FOR, HeadShape
from models.heads.pooled import Pooler
from models.hub import local_folder
from models.label_groups import group_sizes
from models.lora import add_lora
from models.pretrained import load_body, load_config, load_tokenizer, model_folder, quiet_transformers
from models.recipe import Recipe, ScratchOptions
from models.scratch import scratch_config
from models.text.forms import ENTITY_FORMS
from models.trim import trim_embeddings
from models.words import WordVectors

HEAD_FILE = "head.safetensors"
WORDS_FILE = "words.safetensors"
LAYERED_HEADS = ("cls_last_layers", "cls_pooler")  # their `layers` are the encoder's
ONE_OUTPUT = ("score",)  # what a single number is called that is no class's
UNKNOWN_LENGTH = 512  # where neither tokenizer nor architecture sets a limit

# What architectures call the dropout of the encoder, and that before the stock classifier.
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "mlp_dropout",
    "embedding_dropout",
)  # fmt: skip
_HEAD_DROPOUTS = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "cls_dropout")


class TextClassifier(nn.Module):
    """Token ids to logits.

    Args:
        body: A transformers model: with its classification head if `head` is None, else the bare encoder.
        head: A module as `models.heads` describes.
        form: Of the rows (`models.text.forms`): what token types tell, and to whom.
        words: Vectors of words that stand beside the tokens' own for a head of ours; None: none do.

    Attributes:
        pads: Whether the mask hides padding (`models.padding` finds out); where not, each length goes by itself.
    """

    def __init__(self, body: Any, head: Any = None, form: str = "joined", words: WordVectors | None = None) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.words = words
        self.form = form
        self.pads = True
        self.generator: nn.Module | None = None  # for losses that serve in training only; not saved
        self.fixed: frozenset[str] = frozenset()  # names of weights that never train, with LoRA
        named = inspect.signature(body.forward).parameters
        self.takes_types, self.takes_mask = "token_type_ids" in named, "attention_mask" in named

    @property
    def encoder(self) -> nn.Module:
        """The part that comes pretrained; everything else is the head."""
        return self.body.base_model  # type: ignore[no-any-return]

    @property
    def end_of_text(self) -> int | None:
        """The token by which the stock head of an encoder-decoder finds what it reads; None where none is needed."""
        return peculiar.end_of_text(self.body.config) if self.head is None else None

    @property
    def sparse_beyond(self) -> int | None:
        """Tokens of a row up to which all of it is attended to; None where no length changes the attention."""
        return peculiar.sparse_beyond(self.body.config)

    @property
    def takes_targets(self) -> bool:
        """Whether the head is shown the batch's targets in training."""
        return bool(getattr(self.head, "takes_targets", False))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Logits of a batch.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T), nonzero where a token is real; None where all are.
            token_type_ids: (B, T) int64: as the form of the rows says, types of a pair's texts, the texts that a row
                has one behind the other, or entities; None for all zero.
            targets: Of the batch, for a head that is shown them in training; others do without.

        Returns:
            (B, C), or (B, T, C) with a head for tags.
        """
        if self.form == "apart":
            return self.head.decide(self.embed(input_ids, attention_mask, token_type_ids))  # type: ignore[no-any-return]
        if attention_mask is not None and not self.pads:

            def logits_of(rows: Tensor, length: int) -> Tensor:
                types = None if token_type_ids is None else token_type_ids[rows, :length]
                shown = None if targets is None else targets[rows]
                return self._logits(input_ids[rows, :length], None, types, shown)

            return peculiar.by_length(logits_of, attention_mask)
        return self._logits(input_ids, attention_mask, token_type_ids, targets)

    def _logits(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None, targets: Tensor | None
    ) -> Tensor:
        input_ids, attention_mask, token_type_ids = peculiar.long_enough(
            self.body.config, input_ids, attention_mask, token_type_ids
        )
        inputs = self._inputs(input_ids, attention_mask)
        types = self.types_of_body(token_type_ids)
        if types is not None:
            inputs["token_type_ids"] = types
        if self.head is None:
            return peculiar.by_stock_head(self.body, inputs)
        output = self.body(**inputs, output_hidden_states=self.head.all_layers)
        earlier = output.hidden_states[:-1] if self.head.all_layers else ()
        shown: dict[str, Any] = {"targets": targets} if self.takes_targets else {}
        if getattr(self.head, "reads_segments", False):
            shown["segments"] = token_type_ids
        hidden = self.beside_words((*earlier, output.last_hidden_state), input_ids, attention_mask)
        return self.head(hidden, attention_mask, **shown)  # type: ignore[no-any-return]

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None) -> dict[str, Any]:
        """What the body is called with, token types apart; it attends from now on as these rows' length wants."""
        config = self.body.config
        peculiar.attend_by_length(self.encoder, config, input_ids.shape[1])
        if not self.takes_mask:
            return {"input_ids": input_ids}
        return {"input_ids": input_ids, "attention_mask": peculiar.mask_of(config, input_ids, attention_mask)}

    def beside_words(self, hidden: tuple[Tensor, ...], input_ids: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """Hidden states (B, T, D) as the head reads them: (B, T, D + W) where there are vectors of words."""
        if self.words is None:
            return hidden
        vectors = self.words(input_ids, mask)
        return tuple(torch.cat([layer, vectors.to(layer.dtype)], dim=-1) for layer in hidden)

    def embed(self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        """Vectors of B pairs' texts, in form ``apart``: (2B, D) float32, the first texts first; see `forward`."""
        assert token_type_ids is not None  # rows of two texts always tell which is which
        ids, mask = split_pairs(input_ids, attention_mask, token_type_ids, self.body.config.pad_token_id or 0)
        if mask is None or self.pads:
            return self._vectors(ids, mask)
        return peculiar.by_length(lambda rows, length: self._vectors(ids[rows, :length], None), mask)

    def _vectors(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B, D) float32 vectors of texts in form ``apart``."""
        ids, mask, _ = peculiar.long_enough(self.body.config, ids, mask, None)
        output = self.body(**self._inputs(ids, mask))
        return self.head.embed((output.last_hidden_state,), mask)  # type: ignore[no-any-return]

    def types_of_body(self, types: Tensor | None) -> Tensor | None:
        """What of the token types is for the encoder; the rest is for the head."""
        if types is None or not self.takes_types or self.form in ("marked", "plain"):
            return None
        return types


def split_pairs(ids: Tensor, mask: Tensor | None, types: Tensor, pad_id: int) -> tuple[Tensor, Tensor | None]:
    """Rows of two sequences, one behind the other, as twice as many rows of one.

    Args:
        ids: (B, T) int64.
        mask: (B, T), nonzero where a token is real; None where all are.
        types: (B, T): 0 for the tokens of a row's first sequence, 1 for those of its second.
        pad_id: Fills short rows.

    Returns:
        (2B, W) ids, first all first sequences, and their (2B, W) int64 mask; None where all are of one length.
    """
    real = torch.ones_like(ids) if mask is None else (mask != 0).long()
    n_second = (types * real).sum(1)
    n_first = real.sum(1) - n_second
    lengths = torch.cat([n_first, n_second]).unsqueeze(1)  # (2B, 1)
    starts = torch.cat([torch.zeros_like(n_first), n_first]).unsqueeze(1)
    columns = torch.arange(int(lengths.max()), device=ids.device)
    inside = columns < lengths
    places = torch.where(inside, starts + columns, 0)
    split = torch.where(inside, torch.cat([ids, ids]).gather(1, places), pad_id)
    return split, None if bool(inside.all()) else inside.long()


@dataclass(frozen=True)
class LoadedClassifier:
    """A checkpoint ready to score: float32 weights, eval mode."""

    network: TextClassifier
    tokenizer: Any
    spec: CheckpointSpec


def load_classifier(source: str | Path) -> LoadedClassifier:
    """Load a checkpoint to score with: ours, or any Hugging Face sequence classifier with safetensors weights.

    What `kaggle_jobs.json` would say about a foreign one is concluded from its configuration and tokenizer.

    Raises:
        ModelError: No such checkpoint; config, weights, tokenizer or classification head missing; pickled weights;
            classes that disagree with the weights.
    """
    spec = CheckpointSpec.load(local_folder(str(source)))
    if spec is not None and spec.kind != "transformer":
        raise ModelError(f"a checkpoint of kind '{spec.kind}', not a transformer", where=source)
    folder = model_folder(str(source))
    tokenizer, config = load_tokenizer(str(folder)), load_config(folder)
    give_padding(tokenizer, config)
    if spec is not None and len(spec.classes) != config.num_labels:
        raise ModelError(f"{len(spec.classes)} classes, but config.json has {config.num_labels} labels", where=folder)
    head, words = None, None
    if spec is None or spec.head == "stock":
        body = load_body(AutoModelForSequenceClassification, folder, config, new_head=False)
    else:
        body = load_body(AutoModel, folder, config, new_head=False)
        words = _load_words(folder) if spec.words else None
        head = _load_head(folder, spec, config, words)
    spec = spec or _conclude_spec(body, tokenizer)
    return LoadedClassifier(TextClassifier(body, head, spec.form, words).eval(), tokenizer, spec)


def save_checkpoint(folder: Path, classifier: TextClassifier, tokenizer: Any, spec: CheckpointSpec) -> None:
    """Write a checkpoint directory; it exists whole or not at all. One that is there is replaced."""
    with whole_folder(folder) as temporary, quiet_transformers():
        classifier.body.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        for part, name in ((classifier.head, HEAD_FILE), (classifier.words, WORDS_FILE)):
            if part is not None:
                weights = {key: weight.contiguous().cpu() for key, weight in part.state_dict().items()}
                save_file(weights, temporary / name, metadata={"format": "pt"})
        spec.save(temporary)


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
    _set_dropout(config, recipe.training.dropout, _DROPOUTS)
    if recipe.head.name == "stock":
        _set_dropout(config, recipe.head.options.get("dropout"), _HEAD_DROPOUTS)
        auto: Any = AutoModelForSequenceClassification
    else:
        auto = AutoModel
    if recipe.data.form == "embedded" and scratch is not None:
        config.type_vocab_size = N_SEGMENTS
    body = auto.from_config(config) if folder is None else load_body(auto, folder, config, new_head=True)
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
    head = _make_head(
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


def _make_head(
    name: str,
    options: dict[str, Any],
    config: Any,
    classes: Sequence[str],
    task: str,
    *,
    words: WordVectors | None = None,
    samples: int = 1,
) -> nn.Module | None:
    if name not in HEADS:
        raise ModelError(f"unknown head '{name}'", next=did_you_mean(name, list(HEADS)))
    if ONLY_FOR.get(name, task) != task or (task == "token" and name not in ONLY_FOR):
        of_task = [head for head, only in ONLY_FOR.items() if only == task]
        raise ModelError(
            f"head '{name}' is not for {task} tasks",
            next=f"use one of {', '.join(of_task)}" if task == "token" else "use another head",
        )
    shape = HeadShape(
        hidden=config.hidden_size + (0 if words is None else words.width),
        layers=config.num_hidden_layers,
        classes=config.num_labels,
        dropout_samples=samples,
        groups=group_sizes(classes) if task == "multi_group" else (),
        names=tuple(classes),
    )
    return HEADS[name](shape, **options)


def _check_layers_of_head(recipe: Recipe, config: Any) -> None:
    """Refuse more layers than there are where they are asked for; a head's own number of them gives way."""
    asked = recipe.head.options.get("layers", 0) if recipe.head.name in LAYERED_HEADS else 0
    if asked > max(1, config.num_hidden_layers):
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


def _load_words(folder: Path) -> WordVectors:
    if not (folder / WORDS_FILE).is_file():
        raise ModelError(f"no {WORDS_FILE}, which the head reads", where=folder, next="copy it beside config.json")
    return WordVectors.of_state(load_file(folder / WORDS_FILE))


def _load_head(folder: Path, spec: CheckpointSpec, config: Any, words: WordVectors | None) -> nn.Module:
    if not (folder / HEAD_FILE).is_file():
        raise ModelError(f"no {HEAD_FILE} for head '{spec.head}'", where=folder, next="copy it beside config.json")
    head = _make_head(spec.head, spec.head_options, config, spec.classes, spec.task, words=words)
    assert head is not None  # only "stock" gives none
    head.load_state_dict(load_file(folder / HEAD_FILE))
    return head


def _conclude_spec(body: Any, tokenizer: Any) -> CheckpointSpec:
    """What a foreign checkpoint's own files say."""
    config = body.config
    task = _task_of(config)
    limit = min(tokenizer.model_max_length, position_limit(body) or tokenizer.model_max_length)
    least = max(2, tokenizer.num_special_tokens_to_add() + 1)
    if limit < least:
        raise ModelError(
            "the tokenizer leaves no room for a text", where=body.name_or_path,
            found=f"model_max_length = {tokenizer.model_max_length}", expected=f"{least} tokens or more",
            next="correct model_max_length in tokenizer_config.json",
        )  # fmt: skip
    return CheckpointSpec(
        kind="transformer",
        classes=ONE_OUTPUT
        if task == "regression" and config.num_labels == 1
        else _classes_of(config, body.name_or_path),
        task=task,
        # A tokenizer that was never told its limit says 10^30.
        max_length=int(limit) if limit < 10**9 else UNKNOWN_LENGTH,
    )


def _task_of(config: Any) -> str:
    """What its outputs mean. One alone is no class among others: a regression, a reranker, a reward."""
    if config.problem_type == "multi_label_classification":
        return "multi_label"
    if config.problem_type == "regression":
        return "regression"
    # As sentence-transformers writes it beside a cross-encoder.
    said = getattr(config, "sentence_transformers", None) or {}
    activation = said.get("activation_fn") or getattr(config, "sbert_ce_default_activation_function", None) or ""
    if config.num_labels == 1:
        return "multi_label" if str(activation).endswith("Sigmoid") else "regression"
    return "single_label"


def _classes_of(config: Any, where: str) -> tuple[str, ...]:
    numbers, names = sorted(config.id2label), tuple(str(name) for _, name in sorted(config.id2label.items()))
    if numbers != list(range(len(names))) or len(set(names)) < len(names):
        raise ModelError(
            f"config.json does not name the {len(names)} classes one by one", where=where,
            found=", ".join(f"{number}: {config.id2label[number]}" for number in numbers[:20]),
            expected="id2label numbers them from 0, each with a name of its own", next="correct id2label and label2id",
        )  # fmt: skip
    return names


def _set_dropout(config: Any, value: float | None, names: Sequence[str]) -> None:
    if value is None:
        return
    present = [name for name in names if hasattr(config, name)]
    if not present:
        raise ModelError(f"a {config.model_type} configuration has no such dropout to set", next="leave dropout out")
    for name in present:
        setattr(config, name, value)
