"""Checkpoint soup: several epochs' weights averaged into one network (Wortsman et al. 2022, arXiv:2203.05482).

    [training]
    soup = "uniform:3"      # the mean of three epochs
    soup = "greedy:5"       # of five epochs, best first, those that do not lower the validation score

The paper averages runs of different settings that begin with the same weights; epochs of one run do so, too. Knows
nothing of how a network is validated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from models.classifier import TextClassifier
from models.errors import ModelError

State = Mapping[str, Tensor]
KINDS = ("uniform", "greedy")


@dataclass(frozen=True)
class SoupPlan:
    """Which soup: `kind` is ``uniform`` or ``greedy``, `size` the number of epochs to choose from, at least 2."""

    kind: str
    size: int


@dataclass(frozen=True)
class Ingredient:
    """One epoch's weights, on the CPU, and what they are worth: a greater `value` is better."""

    epoch: int
    value: float
    state: State


@dataclass
class Pot:
    """The ingredients so far: of all epochs that were offered the `size` best, or the last.

    Attributes:
        size: At most so many; 0: none is kept.
        keep: ``best`` or ``last``.
        ingredients: Best first, or in the order of epochs.
    """

    size: int
    keep: Literal["best", "last"]
    ingredients: list[Ingredient] = field(default_factory=list)

    def wants(self, value: float) -> bool:
        """Whether an epoch of this value would be kept: copying its weights costs memory."""
        full = len(self.ingredients) == self.size
        return self.size > 0 and (not full or self.keep == "last" or value > self.ingredients[-1].value)

    def put(self, ingredient: Ingredient) -> None:
        """Add one that is wanted."""
        if self.keep == "last":
            self.ingredients = [*self.ingredients, ingredient][-self.size :]
        else:  # of equals the earlier epoch stands first
            ranked = sorted([*self.ingredients, ingredient], key=lambda one: -one.value)
            self.ingredients = ranked[: self.size]


def parse_soup(text: str) -> SoupPlan:
    """``uniform:3`` as a plan.

    Raises:
        ModelError: Another kind, no number, or a number below 2.
    """
    match = re.fullmatch(rf"({'|'.join(KINDS)}):(\d+)", text)
    if match is None or int(match[2]) < 2:
        raise ModelError(
            f"no such soup: '{text}'",
            expected='"uniform:3" or "greedy:5": a kind, and at least 2 epochs to choose from',
        )
    return SoupPlan(match[1], int(match[2]))


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of weights, name by name, in the type that they have.

    Args:
        states: State dictionaries of one network. What is no floating-point number, such as a counter, is taken from
            the first.
    """
    first = states[0]
    if len(states) == 1:
        return dict(first)
    return {
        name: torch.stack([state[name] for state in states]).double().mean(0).to(weight.dtype)
        if weight.is_floating_point()
        else weight
        for name, weight in first.items()
    }


def choose(plan: SoupPlan, ingredients: Sequence[Ingredient], judge: Callable[[State], float]) -> list[Ingredient]:
    """The epochs that go into the soup.

    Args:
        plan: A uniform soup takes all.
        ingredients: For a greedy soup best first.
        judge: Value of a network with these weights; a greater one is better.
    """
    if plan.kind == "uniform":
        return list(ingredients)
    chosen, value = [ingredients[0]], ingredients[0].value
    for one in ingredients[1:]:
        with_it = judge(average([other.state for other in (*chosen, one)]))
        if with_it >= value:
            chosen, value = [*chosen, one], with_it
    return chosen


def snapshot(network: TextClassifier) -> dict[str, Tensor]:
    """A copy of a network's weights and buffers on the CPU, but for weights that never train."""
    state = network.state_dict()
    return {name: weight.to("cpu", copy=True) for name, weight in state.items() if name not in network.fixed}


def restore(network: TextClassifier, state: State) -> None:
    """Give a network the weights of a `snapshot`, or of an average of several."""
    network.load_state_dict({name: state.get(name, weight) for name, weight in network.state_dict().items()})
