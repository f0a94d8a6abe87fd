"""A checkpoint directory: what Hugging Face needs to load it, and beside it `kaggle_jobs.json`, what we need to use it.

A directory without `kaggle_jobs.json` (any Hugging Face classifier) is as welcome: what the file would say is then
concluded from `config.json` and the tokenizer. `kind` tells how to load the rest:

    transformer   config.json, model.safetensors, tokenizer.json (and head.safetensors for a head of ours,
                  words.safetensors for vectors of words)
    linear        linear.json (vectorizers), linear.safetensors (idf, weights)
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.text.forms import Form

FILE_NAME = "kaggle_jobs.json"
VERSION = 1


@dataclass(frozen=True)
class CheckpointSpec:
    """How text becomes probabilities with one checkpoint.

    Attributes:
        kind: ``transformer`` or ``linear``.
        classes: C class names, in the order of the logits.
        task: ``single_label`` (softmax over the logits), ``multi_label`` (sigmoid of each), ``multi_group`` (softmax
            over those of each label group; classes are called ``<group>:<class>``), ``token``, or of a model that was
            trained elsewhere ``regression`` (outputs as they are, one a name).
        max_length: Tokens a row at most, special tokens included; 0 for ``linear``.
        cleaning: Names in `models.text.cleaning.STEPS`, applied in order before tokenisation.
        head: Name in `models.heads.HEADS`; ``stock`` is the architecture's own classification head.
        head_options: Keyword arguments of that head.
        score: The fold's validation metric, where known.
        form: See `models.text.forms`: how a row's text reaches the network.
        pair: Whether rows are pairs of texts; None where that is not known.
        words: Whether the head reads vectors of words beside those of tokens.
    """

    kind: str
    classes: tuple[str, ...]
    task: str = "single_label"
    max_length: int = 0
    cleaning: tuple[str, ...] = ()
    head: str = "stock"
    head_options: dict[str, Any] = field(default_factory=dict)
    score: float | None = None
    form: Form = "joined"
    pair: bool | None = None
    words: bool = False

    def save(self, folder: Path) -> None:
        """Write `kaggle_jobs.json` into a checkpoint directory."""
        text = json.dumps({"version": VERSION, **dataclasses.asdict(self)}, ensure_ascii=False, indent=2)
        (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> CheckpointSpec | None:
        """Read `kaggle_jobs.json`; None where the directory has none.

        Raises:
            ModelError: The file is damaged, or written by a newer version.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            return None
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            version = raw.pop("version")
            if version != VERSION:
                raise ModelError(f"written by another version ({version})", where=path, expected=f"version {VERSION}")
            return cls(**{**raw, "classes": tuple(raw["classes"]), "cleaning": tuple(raw["cleaning"])})
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as exc:
            raise ModelError(f"damaged: {exc}", where=path, next="train the run again, or copy it again") from exc
