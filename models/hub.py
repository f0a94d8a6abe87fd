"""A model named by directory or Hugging Face Hub id, as a local directory; and its fingerprint.

Nothing is fetched unless a name is given that is no local directory. Weights are taken as safetensors only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.errors import ModelError
from models.fold_folders import fold_folders

# One or several runs, checkpoints or Hub ids; or run name → such a one, or its checkpoints.
Models = str | Path | Sequence[str | Path] | Mapping[str, str | Path | Sequence[str | Path]]

# What a classifier needs; never pickles, ONNX, TensorFlow or Flax copies of the same weights.
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
_UNWANTED = ["onnx/*", "openvino/*", "*/*.onnx"]
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


def local_folder(source: str) -> Path:
    """The directory that `source` names; a Hub id is fetched into the Hub's own cache, or found there.

    Raises:
        ModelError: Neither a directory nor a model that the Hub (or its cache, when offline) has.
    """
    path = Path(source)
    if path.is_dir():
        return path.resolve()
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise ModelError(f"no model directory '{source}'", where=path.absolute(), next="check the path")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except Exception as exc:  # the client raises a dozen unrelated types for absent, gated, offline, no network
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        advice = f"name a directory, check the id, or fetch it where there is a network: `hf download {source}`"
        if source.startswith("pretrained/"):  # where `cli pretrain` writes
            advice = "`cli pretrain RECIPE` makes it; recipes/pretraining/ has recipes"
        raise ModelError(
            f"'{source}' is no local directory, and the Hugging Face Hub did not give it", found=reason, next=advice
        ) from exc


def checkpoints_of(source: str) -> list[str]:
    """The fold checkpoints of a run's directory, in order; a checkpoint or Hub id is its own only one."""
    return [str(path) for path in fold_folders(Path(source))] or [source]


def by_run(models: Models) -> dict[str, list[str]]:
    """Run name → its checkpoints, of whatever models are given as; a run without a name gets its directory's.

    Raises:
        ModelError: Two runs of one name.
    """
    if isinstance(models, Mapping):
        return {
            run: checkpoints_of(str(sources)) if isinstance(sources, (str, Path)) else [str(s) for s in sources]
            for run, sources in models.items()
        }
    found: dict[str, list[str]] = {}
    for source in [models] if isinstance(models, (str, Path)) else models:
        name = Path(source).name or Path(source).resolve().name
        if name in found:
            raise ModelError(f"two models are called '{name}'", next="name them: Scorer({'one': …, 'other': …})")
        found[name] = checkpoints_of(str(source))
    return found


def fingerprint(folder: Path) -> str:
    """16 hex digits that change when the checkpoint does: small files whole, weights by size and 64 spread samples.

    Training moves every weight, so samples suffice to tell two trained checkpoints apart; they are no proof against a
    single flipped bit.
    """
    summary = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.suffix not in (".json", ".txt", ".model", ".safetensors"):
            continue
        size = path.stat().st_size
        summary.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as handle:
            if size <= _SAMPLES * _SAMPLE_BYTES:
                summary.update(handle.read())
                continue
            for i in range(_SAMPLES):
                handle.seek(i * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                summary.update(handle.read(_SAMPLE_BYTES))
    return summary.hexdigest()


def weight_bytes(folder: Path) -> int:
    """Size of a checkpoint's weights on disk."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
