"""All epochs of a fold: batches, steps, validation, which epoch is kept.

A plain loop. Knows nothing of texts, recipes as files and checkpoints; what one step does is in `models.training.step`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from models.depth import Thaw
from models.errors import ModelError
from models.label_groups import to_probabilities
from models.memory import memory_told
from models.recipe import TrainingOptions
from models.tagged import Tagged
from models.training.batches import Rows, network_inputs, random_batches, sorted_batches
from models.training.ema import Ema
from models.training.optimizer import make_optimizer, make_schedule
from models.training.progress import Epoch, OnProgress, Progress
from models.training.soup import Ingredient, Pot, State, average, choose, parse_soup, restore, snapshot
from models.training.step import MORE_ROOM, Adversary, GradientSource, NoNumber, put_gradient

Metric = Callable[[Any, NDArray[Any]], float]
Tagger = Callable[[], tuple[Tagged, float]]

_ADVICE = "lower learning_rate, lengthen warmup, or set precision = 'fp32' under [training]"
_NAMED = 8  # rows named in an error


@dataclass(frozen=True)
class Loop:
    """Everything that the loop works with.

    Attributes:
        options: Of the recipe.
        source: Network, training rows and loss.
        weights: (N,) of the sampler; None: each row once an epoch.
        row_names: (N,) names of the training rows, for errors.
        valid: Validation rows.
        valid_labels: (V,), (V, C) or (V, G).
        adversary: From epoch `adversary_start` on; None: none.
        generator: Source of the order of rows.
        fold: Told in progress and errors.
        on_progress: Called after each step and each validation.
        metric: None: the validation loss decides.
        sign: 1 where a greater metric is better, else -1.
        tag: For token tasks: tags of the validation rows and the loss over them; None for other tasks.
    """

    options: TrainingOptions
    source: GradientSource
    weights: NDArray[np.float64] | None
    row_names: tuple[str, ...]
    valid: Rows
    valid_labels: NDArray[Any]
    adversary: Adversary | None
    adversary_start: int
    generator: np.random.Generator
    fold: int
    on_progress: OnProgress
    metric: Metric | None
    sign: float
    tag: Tagger | None = None

    @property
    def n_batches(self) -> int:
        """Steps an epoch."""
        return -(-len(self.source.rows.ids) // self.options.batch_size)


@dataclass(frozen=True)
class Trained:
    """What the epochs gave; the network has the weights of the one that is kept.

    Attributes:
        history: All epochs that ran to their end.
        kept: Number of the epoch that is kept, from 1.
        probs: (V, C) float32 probabilities of the validation rows by what is kept; for token tasks their tags.
        score: The metric on them; None without a metric.
        soup: Epochs whose weights are averaged, in ascending order; empty where one epoch is kept as it is.
    """

    history: tuple[Epoch, ...]
    kept: int
    probs: NDArray[np.float32] | Tagged
    score: float | None
    soup: tuple[int, ...] = ()


class Diverged(ModelError):
    """The loss or the outputs are no numbers.

    Attributes:
        kept: Number of the best epoch before that, whose weights the network has now; 0 where there is none.
        score: Its validation score.
    """

    def __init__(self, summary: str, **details: str) -> None:
        super().__init__(summary, exit_code=2, **details, next=_ADVICE)
        self.kept = 0
        self.score: float | None = None


@dataclass
class _Best:
    """The epoch that would be kept now."""

    epoch: int = 0
    value: float = -np.inf
    score: float | None = None
    probs: NDArray[np.float32] | Tagged | None = None
    weights: dict[str, Tensor] | None = None


def train_epochs(loop: Loop) -> Trained:
    """Run all epochs; leaves the network with the weights that are kept.

    Raises:
        Diverged: The loss, a gradient or the outputs are no numbers; the network has the best epoch's weights.
        ModelError: Out of memory; layer-wise options with an encoder that has no layers of its own.
    """
    options, network = loop.options, loop.source.network
    tools = _make_tools(loop)
    history: list[Epoch] = []
    best = _Best()
    try:
        for epoch in range(1, options.epochs + 1):
            history.append(_run_epoch(loop, epoch, tools, best))
            if options.patience is not None and epoch - best.epoch >= options.patience:
                break
    except Diverged as exc:
        if best.weights is not None:
            restore(network, best.weights)
            exc.kept, exc.score = best.epoch, best.score
        raise
    if best.weights is not None and best.epoch < len(history):
        restore(network, best.weights)
    else:
        tools.ema.put()
    assert best.probs is not None  # a first epoch always is better than none
    if len(tools.pot.ingredients) < 2:
        return Trained(tuple(history), best.epoch, best.probs, best.score)
    return _soup(loop, tools.pot, tuple(history), best.epoch)


def train_before(loop: Loop) -> None:
    """Run all epochs of a stage that comes before `train_epochs`: nothing is validated, the last weights stay.

    Raises:
        Diverged: The loss or a gradient is no number.
        ModelError: As `train_epochs`.
    """
    tools = _make_tools(loop)
    for epoch in range(1, loop.options.epochs + 1):
        _train_epoch(loop, epoch, tools)
    tools.ema.put()


@dataclass(frozen=True)
class _Tools:
    optimizer: Any
    schedule: Any
    ema: Ema
    thaw: Thaw
    pot: Pot


def _make_tools(loop: Loop) -> _Tools:
    """An optimizer that has seen nothing, and what goes with it."""
    options, network = loop.options, loop.source.network
    n_steps = options.epochs * loop.n_batches
    optimizer = make_optimizer(network, options)
    return _Tools(
        optimizer, make_schedule(optimizer, options, n_steps), Ema(network, options.ema, network.fixed),
        Thaw(network, n_steps, options.unfreeze),
        Pot(parse_soup(options.soup).size if options.soup else 0, options.keep),
    )  # fmt: skip


def _run_epoch(loop: Loop, epoch: int, tools: _Tools, best: _Best) -> Epoch:
    """Train and validate one epoch; updates `best`."""
    options = loop.options
    began = time.perf_counter()
    train_loss = _train_epoch(loop, epoch, tools)
    with tools.ema.applied():
        probs, valid_loss, score, value = _judge(loop, f"epoch {epoch}")
        weights = snapshot(loop.source.network) if tools.pot.wants(value) else None
        if weights is not None:
            tools.pot.put(Ingredient(epoch, value, weights))
        if value > best.value or best.epoch == 0 or options.keep == "last":
            best.epoch, best.value, best.score, best.probs = epoch, value, score, probs
            if epoch < options.epochs:
                best.weights = weights or snapshot(loop.source.network)
    n_steps = options.epochs * loop.n_batches
    loop.on_progress(Progress(loop.fold, epoch, options.epochs, epoch * loop.n_batches, n_steps, train_loss, score))
    return Epoch(epoch, train_loss, valid_loss, score, time.perf_counter() - began)


def _judge(loop: Loop, what: str) -> tuple[NDArray[np.float32] | Tagged, float, float | None, float]:
    """Validate the network as it is: probabilities or tags, loss, score, and a value that is greater when better."""
    probs, loss = _validate(loop, what) if loop.tag is None else _validate_tags(loop, loop.tag, what)
    score = None if loop.metric is None else loop.metric(probs, loop.valid_labels)
    return probs, loss, score, -loss if score is None else loop.sign * score


def _soup(loop: Loop, pot: Pot, history: tuple[Epoch, ...], best: int) -> Trained:
    """The network gets the average of several epochs, and is validated with it."""
    network, plan = loop.source.network, parse_soup(str(loop.options.soup))

    def value_of(weights: State) -> float:
        restore(network, weights)
        return _judge(loop, "the soup")[-1]

    chosen = choose(plan, pot.ingredients, value_of)
    restore(network, average([one.state for one in chosen]))
    probs, _, score, _ = _judge(loop, "the soup")
    return Trained(history, best, probs, score, tuple(sorted(one.epoch for one in chosen)))


def _train_epoch(loop: Loop, epoch: int, tools: _Tools) -> float:
    """One pass over the training rows; gives the mean loss."""
    options, network = loop.options, loop.source.network
    network.train()
    adversary = loop.adversary if epoch >= loop.adversary_start else None
    batches = random_batches(loop.source.rows.lengths, options.batch_size, loop.generator, loop.weights)
    total = 0.0
    for i, batch in enumerate(batches, start=1):
        step = (epoch - 1) * loop.n_batches + i
        tools.thaw.at(step - 1)
        try:
            value = put_gradient(loop.source, batch, adversary)
            norm = clip_grad_norm_(network.parameters(), options.max_grad_norm or math.inf)
            if not bool(torch.isfinite(norm)):
                raise NoNumber("gradient is no number", batch)
        except NoNumber as exc:
            raise _diverged(loop, exc, step, epoch) from exc
        with memory_told("the optimizer's state", MORE_ROOM):
            tools.optimizer.step()
        tools.schedule.step()
        tools.ema.update()
        total += value * len(batch)
        loop.on_progress(Progress(loop.fold, epoch, options.epochs, step, options.epochs * loop.n_batches, value))
    return total / len(loop.source.rows.ids)


@torch.inference_mode()
def _validate(loop: Loop, what: str) -> tuple[NDArray[np.float32], float]:
    """(V, C) float32 probabilities of the validation rows in their order, and the loss over them."""
    source = loop.source
    source.network.eval()
    outputs: list[Tensor] = []
    size = min(loop.options.batch_size, source.micro.size)
    batches = sorted_batches(loop.valid.lengths, size, pads=source.network.pads)
    for batch in batches:
        with source.half.autocast(source.device):
            outputs.append(source.network(*network_inputs(loop.valid, batch, source.device)).float())
    order = np.concatenate(batches)
    logits = torch.cat(outputs)[torch.from_numpy(np.argsort(order)).to(source.device)]  # (V, C)
    if not torch.isfinite(logits).all():
        raise Diverged(f"the network gives values that are no numbers after {what} of fold {loop.fold}")
    loss = float(source.loss(logits, torch.from_numpy(loop.valid_labels).to(source.device)))
    probs = to_probabilities(logits, source.task, source.classes)
    return probs.cpu().numpy(), loss


def _validate_tags(loop: Loop, tag: Tagger, what: str) -> tuple[Tagged, float]:
    loop.source.network.eval()
    tagged, loss = tag()
    if not np.isfinite(tagged.probs).all():
        raise Diverged(f"the network gives values that are no numbers after {what} of fold {loop.fold}")
    return tagged, loss


def _diverged(loop: Loop, exc: NoNumber, step: int, epoch: int) -> Diverged:
    names = [loop.row_names[row] for row in exc.rows[:_NAMED]]
    more = f" and {len(exc.rows) - _NAMED} more" if len(exc.rows) > _NAMED else ""
    return Diverged(f"the {exc.what} at step {step} (epoch {epoch}) of fold {loop.fold}", rows=", ".join(names) + more)
