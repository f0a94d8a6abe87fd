"""Classifiers as checkpoint directories: ours, or any that Hugging Face has.

    loaded = load_classifier("runs/bert-mini/fold0")       # ours, any Hugging Face classifier directory, or a Hub id
    logits = loaded.network(input_ids)                     # (B, C)

With head ``stock`` the directory loads in stock transformers; other heads keep their weights beside the encoder's, in
`head.safetensors`, and vectors of words in `words.safetensors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from models.build import make_head, position_limit
from models.checkpoint import CheckpointSpec
from models.classifier import TextClassifier
from models.decoder import give_padding
from models.errors import ModelError
from models.folders import whole_folder
from models.hub import local_folder
from models.known import refuse_other_inputs
from models.pretrained import load_body, load_config, load_tokenizer, model_folder, quiet_transformers
from models.words import WordVectors

HEAD_FILE = "head.safetensors"
WORDS_FILE = "words.safetensors"
ONE_OUTPUT = ("score",)  # what a single number is called that is no class's
UNKNOWN_LENGTH = 512  # where neither tokenizer nor architecture sets a limit


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
            classes that disagree with the weights; a network that reads more than tokens.
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
    network = TextClassifier(body, head, spec.form, words).eval()
    refuse_other_inputs(network, tokenizer)
    return LoadedClassifier(network, tokenizer, spec)


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


def _load_words(folder: Path) -> WordVectors:
    if not (folder / WORDS_FILE).is_file():
        raise ModelError(f"no {WORDS_FILE}, which the head reads", where=folder, next="copy it beside config.json")
    # Copied: they would change with the file.
    return WordVectors.of_state({name: weight.clone() for name, weight in load_file(folder / WORDS_FILE).items()})


def _load_head(folder: Path, spec: CheckpointSpec, config: Any, words: WordVectors | None) -> nn.Module:
    if not (folder / HEAD_FILE).is_file():
        raise ModelError(f"no {HEAD_FILE} for head '{spec.head}'", where=folder, next="copy it beside config.json")
    head = make_head(spec.head, spec.head_options, config, spec.classes, spec.task, words=words)
    assert head is not None  # only "stock" gives none
    head.load_state_dict(load_file(folder / HEAD_FILE))
    return head


def _conclude_spec(body: Any, tokenizer: Any) -> CheckpointSpec:
    """What a foreign checkpoint's own files say."""
    config = body.config
    task = _task_of(config)
    one_output = task == "regression" and config.num_labels == 1
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
        classes=ONE_OUTPUT if one_output else _classes_of(config, body.name_or_path),
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
