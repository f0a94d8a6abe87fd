"""The models of a job, one member a checkpoint: loaded, and of one task and the same classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.checkpoint import CheckpointSpec
from models.classifier import TextClassifier
from models.errors import ModelError
from models.hub import local_folder
from models.inference.tokens import serialised
from models.linear import LinearModel
from models.saved import load_classifier


@dataclass(eq=False)
class Member:
    """One checkpoint of one run: a network with its tokenizer, or a linear model.

    Its `NetworkGroup` takes the network over, so that it is held there alone.
    """

    run: str
    source: str
    spec: CheckpointSpec
    max_length: int
    network: TextClassifier | None = None
    tokenizer: Any = None
    tokenizer_digest: str | None = None  # None where it works in Python, which cannot be compared
    linear: LinearModel | None = None


def load_member(run: str, source: str, max_length: int | None = None) -> Member:
    """Load one checkpoint.

    Args:
        run: Name of the run that it belongs to.
        source: Directory or Hugging Face Hub id.
        max_length: Tokens a row at most; never more than the checkpoint allows.

    Raises:
        ModelError: Not a checkpoint that we can score with.
    """
    folder = local_folder(source)
    spec = CheckpointSpec.load(folder)
    if spec is not None and spec.kind == "linear":
        return Member(run, str(folder), spec, max_length=0, linear=LinearModel.load(folder))
    loaded = load_classifier(folder)
    limit = min(max_length or loaded.spec.max_length, loaded.spec.max_length)
    backend = serialised(loaded.tokenizer)
    digest = None if backend is None else hashlib.blake2b(backend.encode()).hexdigest()
    return Member(run, str(folder), loaded.spec, limit, loaded.network, loaded.tokenizer, digest)


def check_classes(members: Sequence[Member], classes: Sequence[str], task: str) -> None:
    """All members must give the same task and classes, in any order.

    A checkpoint whose classes are only numbered (LABEL_0, LABEL_1, …) is taken to have them in the order of `classes`.

    Raises:
        ModelError: Names the checkpoint, its classes and the expected ones.
    """
    for member in members:
        if member.spec.task != task:
            raise ModelError(f"task {member.spec.task} beside {task}", where=member.source, next="score them apart")
        class_order(member.spec.classes, classes, member.source)


def slow_tokenizers(members: Sequence[Member]) -> list[str]:
    """A sentence for each run whose tokenizer exists in Python alone: it works, one text after the other."""
    runs = dict.fromkeys(m.run for m in members if m.tokenizer is not None and m.tokenizer_digest is None)
    return [f"run '{run}' has no fast tokenizer: its texts are tokenised in Python, many times slower" for run in runs]


def class_order(own: Sequence[str], wanted: Sequence[str], source: str = "") -> list[int]:
    """Places of the `wanted` classes among a checkpoint's `own`.

    Raises:
        ModelError: They are not the same; `source` says whose.
    """
    if sorted(own) != sorted(wanted):
        if len(own) == len(wanted) and all(name == f"LABEL_{i}" for i, name in enumerate(own)):
            return list(range(len(wanted)))
        raise ModelError(
            f"the model has {len(own)} classes, expected {len(wanted)}"
            if len(own) != len(wanted)
            else "classes differ",
            where=source,
            found=", ".join(own[:20]),
            expected=", ".join(wanted[:20]),
            next="score models of one competition together, others with a job of their own, outside its folder",
        )
    return [own.index(name) for name in wanted]
