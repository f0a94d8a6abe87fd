"""Masked-language-model training: texts in, a directory out that stock transformers loads, perplexity before and after.

    result = pretrain(recipe, texts, folder=Path("pretrained/weibo"), fingerprint="…")

Knows nothing of tables and of how progress is shown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForMaskedLM

from models.build import position_limit
from models.classifier import TextClassifier
from models.disentangled import lighten
from models.errors import ModelError
from models.folders import whole_folder
from models.inference.device import resolve_device
from models.known import refuse_other_inputs
from models.padding import hides_padding
from models.pretrained import load_config, load_masked_lm, load_tokenizer, model_folder, quiet_transformers
from models.pretraining.epochs import Job, PretrainEpoch, run_epochs
from models.pretraining.masked_lm import MaskedLm
from models.pretraining.recipe import Pretraining
from models.pretraining.rows import MaskableRows, check_tokenizer, make_rows
from models.scratch import scratch_config, train_tokenizer
from models.text.segment import make_segmenter
from models.training.half import HalfPrecision
from models.training.progress import OnProgress
from models.training.step import MicroBatch

LEAST_ROWS = 20
MOST_HELD_OUT = 2000
_DIVISION = 10**9  # a seed beside that of the epochs


@dataclass(frozen=True)
class PretrainResult:
    """What pretraining gave.

    Attributes:
        n_rows: Rows that were trained on.
        n_held_out: Rows that were not.
        n_tokens: Tokens of all rows, special ones included.
        n_masked: Tokens that are foretold in the held-out rows.
        tokens_per_word: Mean over the words, as masks take them.
        perplexity_before: Of the masked tokens of the held-out rows, before the first step.
        perplexity_after: The same masks after the last.
        history: All epochs, those before an interruption included.
        resumed: Epochs that were done before this call.
        new_head: Whether the encoder came without a masked-language-model head, so that one was made.
        seconds: Wall time of this call.
    """

    n_rows: int
    n_held_out: int
    n_tokens: int
    n_masked: int
    tokens_per_word: float
    perplexity_before: float
    perplexity_after: float
    history: tuple[PretrainEpoch, ...]
    resumed: int
    new_head: bool
    seconds: float


def pretrain(
    recipe: Pretraining,
    texts: Sequence[str],
    *,
    folder: Path,
    fingerprint: str,
    on_progress: OnProgress | None = None,
    device: str = "auto",
) -> PretrainResult:
    """Train, and save model and tokenizer to `folder` when all epochs are done.

    After each epoch the state is kept in `state_file(folder)`, until the caller removes it; a call with the same
    fingerprint goes on from there, and on a CPU ends with the same bytes as one that was never interrupted.

    Args:
        recipe: What to do.
        texts: Cleaned texts, each once.
        folder: Where the model goes; replaced where it exists.
        fingerprint: Of recipe, texts and encoder: a state with another is left alone.
        on_progress: Called after each step and epoch; the score is the held-out perplexity.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``…

    Raises:
        ModelError: An encoder without mask or vocabulary, too little text or memory, a loss that is no number.
    """
    began = time.perf_counter()
    where = resolve_device(device)
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        tokenizer = _tokenizer(recipe, texts)
        body, new_head = _model(recipe, tokenizer)
        rows = _rows(recipe, tokenizer, texts)
        train, held_out = _divide(rows, recipe)
        network = TextClassifier(body.eval())
        refuse_other_inputs(network, tokenizer)
        lighten(network)
        pads = hides_padding(network, tokenizer.pad_token_id, recipe.data.max_length)
        model = MaskedLm(body.to(where), pads=pads)
        state = run_epochs(
            Job(
                model=model,
                train=train,
                held_out=held_out,
                options=recipe.training,
                share=recipe.masking.share,
                seed=recipe.seed,
                device=where,
                half=HalfPrecision.fitting(recipe.training.precision, where, network),
                micro=MicroBatch(recipe.training.batch_size),
                state_file=state_file(folder),
                fingerprint=fingerprint,
                on_progress=on_progress or (lambda _: None),
            )
        )
        model.remove()
        with whole_folder(folder) as temporary, quiet_transformers():
            body.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    words = [int(row.max()) + 1 for row in rows.words]
    return PretrainResult(
        n_rows=len(train.ids),
        n_held_out=len(held_out.ids),
        n_tokens=int(rows.lengths.sum()),
        n_masked=state.n_masked,
        tokens_per_word=sum(int((row >= 0).sum()) for row in rows.words) / sum(words),
        perplexity_before=state.before,
        perplexity_after=state.history[-1].perplexity,
        history=tuple(state.history),
        resumed=state.resumed,
        new_head=new_head,
        seconds=time.perf_counter() - began,
    )


def state_file(folder: Path) -> Path:
    """Where the state of a pretraining is kept while it is not done."""
    return folder.with_name(f".{folder.name}.state")


def _tokenizer(recipe: Pretraining, texts: Sequence[str]) -> Any:
    if recipe.encoder.scratch is not None:
        return train_tokenizer(texts, recipe.encoder.scratch, recipe.data.max_length)
    tokenizer = load_tokenizer(str(recipe.encoder.path))
    check_tokenizer(tokenizer, whole_words=recipe.masking.whole_words)
    return tokenizer


def _model(recipe: Pretraining, tokenizer: Any) -> tuple[Any, bool]:
    scratch = recipe.encoder.scratch
    if scratch is not None:
        auto: Any = AutoModelForMaskedLM
        return auto.from_config(scratch_config(scratch, tokenizer)), True
    folder = model_folder(str(recipe.encoder.path))
    body, new_head = load_masked_lm(folder, load_config(folder))
    if len(tokenizer) > (known := len(body.get_input_embeddings().weight)):
        raise ModelError(
            f"the tokenizer has {len(tokenizer):,} tokens, the model {known:,}",
            where=folder,
            next="copy the tokenizer files of the model it was trained from",
        )
    limit = position_limit(body)
    if limit is not None and recipe.data.max_length > limit:
        raise ModelError(
            f"[data] max_length = {recipe.data.max_length}, but the encoder takes {limit} tokens at most",
            next="write a recipe with a smaller max_length",
        )
    return body, new_head


def _rows(recipe: Pretraining, tokenizer: Any, texts: Sequence[str]) -> MaskableRows:
    masking = recipe.masking
    segment = make_segmenter(masking.chinese, texts, masking.words) if masking.whole_words else None
    rows = make_rows(tokenizer, texts, recipe.data.max_length, segment)
    if len(rows.ids) < LEAST_ROWS:
        raise ModelError(
            f"too little text: {len(rows.ids)} rows with a word of the vocabulary in them",
            found=f"{len(texts)} distinct texts",
            expected=f"{LEAST_ROWS} at least, and thousands to learn anything",
            next="name more texts with --input",
        )
    return rows


def _divide(rows: MaskableRows, recipe: Pretraining) -> tuple[MaskableRows, MaskableRows]:
    """Rows to train on, and those that are held out."""
    n = len(rows.ids)
    n_held_out = min(MOST_HELD_OUT, max(1, round(recipe.training.held_out * n)))
    order = np.random.default_rng([recipe.seed, _DIVISION]).permutation(n)
    return rows.take(np.sort(order[n_held_out:])), rows.take(np.sort(order[:n_held_out]))
