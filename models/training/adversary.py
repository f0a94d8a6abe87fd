"""Training against perturbed weights: an adversary adds the gradient of a harder version of the same rows.

An adversary is ``adversary(network, backward, **options)``. It is called when the parameters hold the gradient of the
step's rows; it moves some weights against them, calls ``backward()``, which adds the gradient there, and puts the
weights back bit for bit, whatever happens in between. ``backward`` runs all micro-batches of a step, so the direction
always is that of the whole batch. Its keyword-only parameters are the keys of the recipe's `[adversary]` section.
Adding one is adding a function and its name to `ADVERSARIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import Parameter

from models.classifier import TextClassifier
from models.schema import Between

Backward = Callable[[], object]
Positive = Annotated[float, Between(0.0)]


def none(network: TextClassifier, backward: Backward) -> None:
    """No adversary."""


def fgm(network: TextClassifier, backward: Backward, *, epsilon: Positive = 1.0, relative: bool = False) -> None:
    """Word embeddings moved by ε·g/‖g‖ (Miyato et al. 2017).

    With `relative` ε is a share of a token's mean norm: one and the same ε is then as strong for embeddings from
    scratch, whose norm is small at first, as for pretrained ones.
    """
    embeddings = _word_embeddings(network)
    direction = _direction(embeddings.grad)
    if direction is None:
        return
    unit = _unit(embeddings, relative)
    with restored([embeddings]):
        _move(embeddings, epsilon * unit * direction)
        backward()


def pgd(
    network: TextClassifier,
    backward: Backward,
    *,
    epsilon: Positive = 1.0,
    step: Positive = 0.3,
    steps: Annotated[int, Between(1)] = 3,
    relative: bool = False,
) -> None:
    """Word embeddings moved in several steps, never further than ε from where they were (Madry et al. 2018).

    Each step follows the gradient at the point that the last one reached; only that of the last point is added. With
    `relative` both lengths are shares of a token's mean norm, see `fgm`.
    """
    embeddings = _word_embeddings(network)
    if _direction(embeddings.grad) is None:
        return
    unit = _unit(embeddings, relative)
    trained = [p for p in network.parameters() if p.requires_grad]
    clean = [None if p.grad is None else p.grad.clone() for p in trained]
    try:
        with restored([embeddings]) as (origin,):
            for _ in range(steps):
                direction = _direction(embeddings.grad)
                if direction is None:
                    break
                _move(embeddings, step * unit * direction)
                _project(embeddings, origin, epsilon * unit)
                for parameter in trained:
                    parameter.grad = None
                backward()
    finally:
        for parameter, gradient in zip(trained, clean, strict=True):
            _add_gradient(parameter, gradient)


def awp(network: TextClassifier, backward: Backward, *, rate: Positive = 1e-5, epsilon: Positive = 1e-3) -> None:
    """All matrices W moved by rate·‖W‖·g/‖g‖, each weight by ε·|w| at most (Wu et al. 2020).

    Best begun late: ``start_epoch = 2``.
    """
    matrices = [p for p in network.parameters() if p.ndim > 1 and p.requires_grad]
    moved = [(p, d) for p in matrices if (d := _direction(p.grad)) is not None]
    if not moved:
        return
    with restored([p for p, _ in moved]):
        for parameter, direction in moved:
            bound = epsilon * parameter.detach().abs()
            _move(parameter, (rate * parameter.detach().norm() * direction).clamp(-bound, bound))
        backward()


ADVERSARIES: dict[str, Callable[..., None]] = {"none": none, "fgm": fgm, "pgd": pgd, "awp": awp}


@contextmanager
def restored(parameters: Sequence[Parameter]) -> Iterator[list[Tensor]]:
    """Gives copies of the parameters; after the block they have exactly these values again."""
    before = [p.detach().clone() for p in parameters]
    try:
        yield before
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


def _word_embeddings(network: TextClassifier) -> Parameter:
    weight: Parameter = network.body.get_input_embeddings().weight
    return weight


def _unit(embeddings: Parameter, relative: bool) -> float:
    """What lengths are measured in: the mean norm of a token's embedding, or 1."""
    return float(embeddings.detach().norm(dim=1).mean()) if relative else 1.0


def _direction(gradient: Tensor | None) -> Tensor | None:
    """g/‖g‖; None where there is no gradient (frozen), it is zero, or no number."""
    if gradient is None:
        return None
    norm = gradient.norm()
    return gradient / norm if bool(torch.isfinite(norm)) and bool(norm > 0) else None


@torch.no_grad()
def _move(parameter: Parameter, by: Tensor) -> None:
    parameter.add_(by)


@torch.no_grad()
def _project(parameter: Parameter, origin: Tensor, radius: float) -> None:
    """Back onto the ball around `origin`."""
    offset = parameter - origin
    norm = offset.norm()
    if norm > radius:
        parameter.copy_(origin + offset * (radius / norm))


def _add_gradient(parameter: Parameter, gradient: Tensor | None) -> None:
    if gradient is not None:
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
