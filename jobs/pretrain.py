"""`cli pretrain`: an encoder trained on the workspace's own texts by foretelling masked words; labels are not read.

    cli pretrain recipes/pretraining/weibo.toml
    cli pretrain --encoder google-bert/bert-base-chinese --input unlabelled.csv --name bert-weibo

Gives `pretrained/<name>/`, a directory that stock transformers loads and a recipe names: `path = "pretrained/<name>"`.
The same command goes on with the epochs that are not done.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.corpus import read_corpus
from jobs.holding import hold
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.files import check_name, digest, write_atomically
from kaggle_tools.seals import read_sealed, sealed
from models.hub import fingerprint, local_folder
from models.pretraining.recipe import Pretraining, check_pretraining, load_pretraining
from models.recipe import EncoderOptions
from models.schema import Place
from models.training.progress import OnProgress

FOLDER = "pretrained"
ABOUT_FILE = "pretraining.json"
_AGAIN = "pretrain it again with --force"


@dataclass(frozen=True)
class PretrainOptions:
    """What to train.

    Attributes:
        recipe: A file of kind ``pretraining``, or the recipe of a run; or None with `encoder`.
        encoder: Directory or Hub id, trained on with the default settings; or None with `recipe`.
        name: Of the folder; None: the recipe's.
        inputs: Tables or `.txt` files beside the competition's.
        text: Column of texts in these tables; None: as in the training table.
        epochs, limit, seed: Override the recipe.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``…
        force: Replace one of other settings, or do the same again.
        on_progress: Called after each step and epoch.
        start: Folder from which the competition is looked for upward; None: the working directory.
    """

    recipe: Path | None = None
    encoder: str | None = None
    name: str | None = None
    inputs: tuple[Path, ...] = ()
    text: str | None = None
    epochs: int | None = None
    limit: int | None = None
    seed: int | None = None
    device: str = "auto"
    force: bool = False
    on_progress: OnProgress | None = None
    start: Path | None = None


@dataclass(frozen=True)
class PretrainSummary:
    """What lies in `pretrained/<name>/` now.

    Attributes:
        folder: The directory.
        n_texts: Distinct texts.
        n_rows: Rows that were trained on.
        n_held_out: Rows that were not.
        n_tokens: Tokens of all rows.
        n_masked: Tokens that the perplexity is measured on.
        tokens_per_word: Mean over the words, as masks take them.
        perplexity_before: Of the masked tokens of the held-out rows, before the first step.
        perplexity_after: The same masks after the last.
        history: A dictionary an epoch: epoch, train_loss, perplexity, seconds.
        resumed: Epochs that were done before this call.
        new_head: Whether the encoder came without a head for masked words.
        seconds: Wall time of the call that finished it.
        reused: Whether it was finished before this call.
    """

    folder: Path
    n_texts: int
    n_rows: int
    n_held_out: int
    n_tokens: int
    n_masked: int
    tokens_per_word: float
    perplexity_before: float
    perplexity_after: float
    history: tuple[dict[str, Any], ...]
    resumed: int
    new_head: bool
    seconds: float
    reused: bool = False


def run(options: PretrainOptions) -> PretrainSummary:
    """Pretrain, or tell what an earlier call with the same settings gave.

    Raises:
        UserError: Neither or both of recipe and encoder, no text, a folder of other settings or that another process
            works at.
        ModelError: A recipe, encoder or device that cannot be used; too little text; a loss that is no number.
    """
    recipe = _read_recipe(options)
    workspace = Workspace.find(options.start)
    folder = workspace.root / FOLDER / recipe.name
    texts = _sample(read_corpus(workspace.competition, recipe.data.cleaning, options.inputs, options.text), recipe)
    key = _fingerprint(recipe, texts)
    if not options.force and (done := _finished(folder, key)) is not None:
        return done
    from models.pretraining.train import pretrain, state_file  # torch is not needed to tell what is done

    # Two that write one state would leave a mixture of both, or none.
    with hold(workspace.jobs / FOLDER / recipe.name, f"another process pretrains '{recipe.name}'"):
        result = pretrain(
            recipe, texts, folder=folder, fingerprint=key, on_progress=options.on_progress, device=options.device
        )
        values = {**dataclasses.asdict(result), "history": tuple(map(dataclasses.asdict, result.history))}
        summary = PretrainSummary(folder=folder, n_texts=len(texts), **values)
        content = {**dataclasses.asdict(summary), "fingerprint": key, "recipe": recipe.to_toml()}
        content["flattered_by"] = who_saw_labels(recipe.encoder.path, workspace.runs_folder)
        del content["folder"], content["reused"]
        with write_atomically(folder / ABOUT_FILE) as temporary:
            temporary.write_text(json.dumps(sealed(content), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        state_file(folder).unlink(missing_ok=True)
    return summary


def who_saw_labels(encoder: str | None, runs_folder: Path) -> str | None:
    """The encoder, where a run of this workspace trained it, or the one like that which `cli pretrain` made it from.

    Raises:
        UserError: What `cli pretrain` wrote beside it is damaged.
    """
    folder = Path(encoder) if encoder is not None else None
    if folder is None or not folder.is_dir():
        return None
    if folder.resolve().is_relative_to(runs_folder.resolve()):
        return encoder
    about = folder / ABOUT_FILE
    return read_sealed(about, next=_AGAIN).get("flattered_by") if about.is_file() else None


def _read_recipe(options: PretrainOptions) -> Pretraining:
    if (options.recipe is None) == (options.encoder is None):
        raise UserError(
            "name either a recipe file or an --encoder",
            next="`cli pretrain recipes/pretraining/weibo.toml`, or `cli pretrain --encoder bert-base-chinese`",
        )
    if options.recipe is not None:
        recipe = load_pretraining(options.recipe)
    else:
        encoder = str(options.encoder)
        recipe = Pretraining(name=Path(encoder).name, encoder=EncoderOptions(path=encoder))
    data, training = recipe.data, recipe.training
    recipe = dataclasses.replace(
        recipe,
        name=recipe.name if options.name is None else options.name,
        seed=recipe.seed if options.seed is None else options.seed,
        data=data if options.limit is None else dataclasses.replace(data, limit=options.limit),
        training=training if options.epochs is None else dataclasses.replace(training, epochs=options.epochs),
    )
    check_name(recipe.name, "name of a pretrained encoder")
    check_pretraining(recipe, Place(str(options.recipe or "command line")))
    return recipe


def _sample(texts: list[str], recipe: Pretraining) -> list[str]:
    limit = recipe.data.limit
    if limit is None or limit >= len(texts):
        return texts
    return [texts[i] for i in np.sort(np.random.default_rng(recipe.seed).choice(len(texts), limit, replace=False))]


def _fingerprint(recipe: Pretraining, texts: list[str]) -> str:
    """Of everything that decides the outcome but the name."""
    path, words = recipe.encoder.path, recipe.masking.words
    encoder = fingerprint(local_folder(path)) if path is not None else ""
    listed = Path(words).read_bytes() if words is not None and Path(words).is_file() else b""
    return digest(dataclasses.replace(recipe, name="").to_toml(), encoder, listed, texts)


def _finished(folder: Path, key: str) -> PretrainSummary | None:
    """What an earlier call gave; None where there is nothing yet."""
    about = folder / ABOUT_FILE
    interrupted = folder.with_name(f".{folder.name}.state").is_file() and not about.is_file()
    if not folder.exists() or interrupted:
        return None
    if about.is_file():
        content = read_sealed(about, next=_AGAIN)
        if content["fingerprint"] == key:
            fields = {field.name for field in dataclasses.fields(PretrainSummary)}
            values = {name: value for name, value in content.items() if name in fields}
            return PretrainSummary(**{**values, "history": tuple(values["history"])}, folder=folder, reused=True)
    raise UserError(
        f"'{folder.name}' exists with other settings or other texts"
        if about.is_file()
        else "this folder is not of ours",
        where=folder,
        next="give this one another --name, or replace that one with --force",
    )
