"""The loop of masked-language-model training: steps, held-out perplexity, a state after each epoch to go on from.

Each epoch draws its order, masks and dropout from the seed and its own number, so that it can be the first of a call.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from models.errors import ModelError
from models.memory import until_it_fits
from models.pretraining.masked_lm import MaskedLm
from models.pretraining.masking import IGNORED, masked_batch
from models.pretraining.recipe import PretrainingOptions
from models.pretraining.rows import MaskableRows
from models.training.batches import random_batches, sorted_batches
from models.training.half import HalfPrecision
from models.training.optimizer import make_schedule
from models.training.progress import OnProgress, Progress
from models.training.step import MicroBatch

_HELD_OUT = 10**6  # epochs are counted from 1; the masks of the held-out rows have this number


@dataclass(frozen=True)
class Job:
    """Everything that the loop works with.

    Attributes:
        model: On `device`.
        train, held_out: Rows.
        options: Of the recipe.
        share: Of the tokens to foretell.
        seed: Of the recipe.
        device: Where the model is.
        half: Number format of the passes.
        micro: Rows at once; changes when memory runs out.
        state_file: Where the state is kept after each epoch.
        fingerprint: Of all that decides the outcome; a state with another is left alone.
        on_progress: Called after each step and epoch.
    """

    model: MaskedLm
    train: MaskableRows
    held_out: MaskableRows
    options: PretrainingOptions
    share: float
    seed: int
    device: torch.device
    half: HalfPrecision
    micro: MicroBatch
    state_file: Path
    fingerprint: str
    on_progress: OnProgress

    @property
    def n_batches(self) -> int:
        """Steps an epoch."""
        return -(-len(self.train.ids) // self.options.batch_size)


@dataclass(frozen=True)
class PretrainEpoch:
    """One pass over the rows; `seconds` includes the held-out rows."""

    epoch: int
    train_loss: float
    perplexity: float
    seconds: float


@dataclass
class State:
    """How far a pretraining is.

    Attributes:
        before: Held-out perplexity before the first step.
        n_masked: Tokens that it is measured on.
        history: Epochs that are done.
        resumed: How many of them an earlier call did.
    """

    before: float
    n_masked: int
    history: list[PretrainEpoch]
    resumed: int = 0


def run_epochs(job: Job) -> State:
    """Train the model over all epochs that are not done yet.

    Raises:
        ModelError: The loss is no number, or not even a single row fits into memory.
    """
    body, options = job.model.body, job.options
    decays = [[p for p in body.parameters() if (p.ndim > 1) == of_matrices] for of_matrices in (True, False)]
    groups = [{"params": decays[0], "weight_decay": options.weight_decay}, {"params": decays[1], "weight_decay": 0.0}]
    optimizer = AdamW(groups, lr=options.learning_rate, fused=True)
    schedule = make_schedule(optimizer, options, job.n_batches * options.epochs)
    state = _load(job, optimizer, schedule) or State(*held_out_perplexity(job), history=[])
    for epoch in range(len(state.history) + 1, options.epochs + 1):
        began = time.perf_counter()
        loss = _train_epoch(job, epoch, optimizer, schedule)
        perplexity, _ = held_out_perplexity(job)
        state.history.append(PretrainEpoch(epoch, loss, perplexity, time.perf_counter() - began))
        _tell(job, epoch, epoch * job.n_batches, loss, perplexity)
        _save(job, optimizer, schedule, state)
    return state


@torch.no_grad()
def held_out_perplexity(job: Job) -> tuple[float, int]:
    """exp of the mean cross-entropy over the masked tokens of the held-out rows, always the same, and their number."""
    job.model.body.eval()
    generator = np.random.default_rng([job.seed, _HELD_OUT])
    total, n = 0.0, 0
    for batch in sorted_batches(job.held_out.lengths, min(job.options.batch_size, 64)):
        losses = _losses(job, masked_batch(job.held_out, batch, job.share, generator))
        total += float(losses.sum())
        n += len(losses)
    return math.exp(min(total / n, 700.0)), n


def _train_epoch(job: Job, epoch: int, optimizer: AdamW, schedule: LambdaLR) -> float:
    """One pass; gives the mean loss."""
    torch.manual_seed((job.seed * 1_000_003 + epoch) % 2**63)
    generator = np.random.default_rng([job.seed, epoch])
    body, total = job.model.body, 0.0
    body.train()
    batches = random_batches(job.train.lengths, job.options.batch_size, generator)
    for i, batch in enumerate(batches, start=1):
        loss = _put_gradient(job, masked_batch(job.train, batch, job.share, generator))
        norm = clip_grad_norm_(body.parameters(), job.options.max_grad_norm or math.inf)
        step = (epoch - 1) * job.n_batches + i
        if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
            raise ModelError(
                f"step {step}: the loss is {loss}, the norm of its gradient {float(norm)}",
                next="lower learning_rate, lengthen warmup, or set precision = 'fp32' under [training]",
            )
        optimizer.step()
        schedule.step()
        total += loss
        if i < len(batches):
            _tell(job, epoch, step, loss)
    return total / len(batches)


def _put_gradient(job: Job, batch: tuple[NDArray[np.int64], ...]) -> float:
    """Leave the gradient of the mean loss over the masked tokens; begun again with fewer rows when memory runs out."""
    while True:
        loss = until_it_fits(partial(_backward, job, batch), partial(job.micro.halve, len(batch[0])), job.device)
        if job.half.settle(job.model.body.parameters()):
            return loss


def _backward(job: Job, batch: tuple[NDArray[np.int64], ...]) -> float:
    job.model.body.zero_grad(set_to_none=True)
    n = int((batch[2] != IGNORED).sum())
    total = 0.0
    for start in range(0, len(batch[0]), job.micro.size):
        ids, mask, labels = (part[start : start + job.micro.size] for part in batch)
        loss = _losses(job, (ids, mask, labels)).sum() / n
        job.half.backward(loss)
        total += float(loss.detach())
    return total


def _losses(job: Job, batch: tuple[NDArray[np.int64], ...]) -> torch.Tensor:
    ids, mask, labels = (torch.from_numpy(part).to(job.device) for part in batch)
    with job.half.autocast(job.device):
        return job.model.losses(ids, mask, labels)


def _tell(job: Job, epoch: int, step: int, loss: float, perplexity: float | None = None) -> None:
    job.on_progress(Progress(0, epoch, job.options.epochs, step, job.options.epochs * job.n_batches, loss, perplexity))


def _save(job: Job, optimizer: AdamW, schedule: LambdaLR, state: State) -> None:
    content: dict[str, Any] = {
        "fingerprint": job.fingerprint,
        "before": state.before,
        "n_masked": state.n_masked,
        "history": [dataclasses.asdict(epoch) for epoch in state.history],
        "body": job.model.body.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "loss_scale": (job.half.scale, job.half.good),
    }
    job.state_file.parent.mkdir(parents=True, exist_ok=True)
    temporary = job.state_file.with_name(f"{job.state_file.name}.tmp")
    with temporary.open("wb") as handle:
        torch.save(content, handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(job.state_file)


def _load(job: Job, optimizer: AdamW, schedule: LambdaLR) -> State | None:
    """The state that an interrupted call left; None where there is none, or of something else."""
    if not job.state_file.is_file():
        return None
    try:
        content = torch.load(job.state_file, map_location=job.device, weights_only=True)
    except Exception:  # torch raises half a dozen types for a damaged file, which is as good as none
        return None
    if content.get("fingerprint") != job.fingerprint:
        return None
    job.model.body.load_state_dict(content["body"])
    optimizer.load_state_dict(content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    job.half.scale, job.half.good = content.get("loss_scale", (job.half.scale, job.half.good))
    history = [PretrainEpoch(**epoch) for epoch in content["history"]]
    return State(content["before"], content["n_masked"], history, resumed=len(history))
