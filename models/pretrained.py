"""What lies in a model directory, read through transformers: checked first, silent, with errors told to people.

Weights come from safetensors alone, as float32; code that a repository brings along is never run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig, AutoModelForMaskedLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from models.errors import ModelError
from models.hub import local_folder

# Without one of these transformers makes up a tokenizer that knows special tokens only, and says nothing.
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer.model.v*")
_POINTER = b"version https://git-lfs"
_ADAPTER = "adapter_config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib")


def model_folder(source: str) -> Path:
    """The directory of a model, with a configuration and weights in it.

    Args:
        source: Directory or Hub id.

    Raises:
        ModelError: No such model; configuration or weights missing or not fetched; pickled weights only; an adapter.
    """
    folder = local_folder(source)
    if (folder / _ADAPTER).is_file():
        raise ModelError(
            "an adapter, which is no model without the one that it was trained on",
            where=folder,
            found=_ADAPTER,
            next="merge both in peft (`merge_and_unload`), `save_pretrained` the result to a new directory, and copy "
            "the tokenizer files",
        )
    if not (folder / "config.json").is_file():
        folds = sorted(path.name for path in folder.glob("fold*") if path.is_dir())
        raise ModelError(
            "not a model directory: no config.json",
            where=folder,
            next=f"name one of {', '.join(folds)} in it" if folds else "name the directory that holds config.json",
        )
    weights = sorted(folder.glob("model*.safetensors"))
    if pointers := [path.name for path in weights if _is_pointer(path)]:
        raise ModelError(
            "Git LFS pointers in place of weights",
            where=folder,
            found=", ".join(pointers[:5]),
            next="`git lfs pull` there, or fetch the model by `hf download`",
        )
    if weights:
        return folder
    if pickles := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
        raise ModelError(
            "only pickled weights, which can run code when they are read: refused",
            where=folder,
            found=", ".join(pickles[:5]),
            next="convert them to safetensors where you trust them: load the model in transformers, "
            "`save_pretrained` it to a new directory, and copy the tokenizer files",
        )
    raise ModelError("model directory without weights", where=folder, expected="model.safetensors")


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def load_tokenizer(source: str) -> Any:
    """The tokenizer of a directory or Hub id.

    Raises:
        ModelError: There is none, or it cannot be read.
    """
    folder = local_folder(source)
    if not any(path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
        raise ModelError(
            "checkpoint without tokenizer",
            where=folder,
            expected="tokenizer.json",
            next="copy tokenizer.json and tokenizer_config.json beside config.json, from the model it was trained from",
        )
    with quiet_transformers(), _told_to_people("tokenizer", folder):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def load_config(folder: Path) -> Any:
    """The configuration of a model directory.

    Raises:
        ModelError: It cannot be read, or transformers does not know the architecture.
    """
    with quiet_transformers(), _told_to_people("configuration", folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    config.return_dict = True  # whatever was saved: outputs are read by name
    return config


def load_body(auto: Any, folder: Path, config: Any, *, new_head: bool) -> Any:
    """A model with the weights of a directory.

    Args:
        auto: `AutoModel` or another of transformers' auto classes.
        folder: As `model_folder` gives it.
        config: Its configuration.
        new_head: Whether weights outside the encoder (and its pooler) may be absent or of another shape: they are then
            drawn from torch's global random state.

    Raises:
        ModelError: Weights are missing or damaged, or there is no classification head.
    """
    body, absent = _load(auto, folder, config, new_head)
    encoder = _encoder_weights(body)
    if new_head:
        absent = {name for name in absent & encoder if "pooler" not in name}
    elif absent - encoder and all("pooler" in name for name in absent & encoder):
        raise ModelError(
            "this checkpoint has no classification head",
            where=folder,
            found=f"no weights for {', '.join(sorted(absent - encoder)[:4])}",
            next=f"train one on it: `cli train --encoder {folder}`",
        )
    _refuse_missing(absent, encoder, folder)
    return body


def load_masked_lm(folder: Path, config: Any) -> tuple[Any, bool]:
    """A model with its masked-language-model head, and whether (part of) that head is new.

    A head that the directory lacks is drawn from torch's global random state.

    Raises:
        ModelError: The architecture has no such head; weights of the encoder are missing or damaged.
    """
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise ModelError(
            f"a {config.model_type} model does not foretell masked tokens: transformers has no masked-language-model "
            "head for it",
            where=folder,
            next="choose an encoder such as BERT, RoBERTa, ALBERT, ELECTRA, DeBERTa or ModernBERT",
        )
    body, absent = _load(AutoModelForMaskedLM, folder, config, True)
    encoder = _encoder_weights(body)
    _refuse_missing(absent & encoder, encoder, folder)
    return body, bool(absent)


def _load(auto: Any, folder: Path, config: Any, ignore_shapes: bool) -> tuple[Any, set[str]]:
    """A model, and the names of its weights that are missing or have another shape."""
    with quiet_transformers(), _told_to_people("model", folder):
        body, info = auto.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    mismatched = sorted(info["mismatched_keys"])
    if mismatched and not ignore_shapes:
        name, found, expected = mismatched[0]
        raise ModelError(
            f"{len(mismatched)} weights have another shape than config.json says",
            where=folder,
            found=f"{name}: {tuple(found)}",
            expected=f"{tuple(expected)}",
            next="correct config.json: as many classes in id2label, and the sizes, that the weights have",
        )
    _take_into_memory(body)
    return body, set(info["missing_keys"]) | {key for key, *_ in mismatched}


def _take_into_memory(body: torch.nn.Module) -> None:
    """Copy weights that are mapped from their file: whoever writes it anew would change them while they compute."""
    with torch.no_grad():
        for tensor in (*body.parameters(), *body.buffers()):
            tensor.data = tensor.data.clone()


def _encoder_weights(body: Any) -> set[str]:
    prefix = "" if body.base_model is body else body.base_model_prefix
    return {name for name, _ in body.base_model.named_parameters(prefix=prefix)}


def _refuse_missing(absent: set[str], encoder: set[str], folder: Path) -> None:
    if absent:
        raise ModelError(
            f"{len(absent)} of {len(encoder)} weights of the encoder are missing or have another shape",
            where=folder,
            first=", ".join(sorted(absent)[:3]),
            next="put weights and config.json of one model there, or choose another encoder, such as BERT",
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Neither progress bars nor load reports: what matters in them is raised as an error."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _told_to_people(what: str, folder: Path) -> Iterator[None]:
    """What the libraries raise about files that they cannot use, as a `ModelError`."""
    try:
        yield
    except (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError, SafetensorError) as exc:
        if isinstance(exc, torch.OutOfMemoryError):
            raise
        reason = str(exc).strip().splitlines() or [type(exc).__name__]
        raise ModelError(f"this {what} cannot be loaded: {reason[0]}", where=folder) from exc
