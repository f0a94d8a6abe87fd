"""The rounds of a vote as plain data: who votes with what weight, and by which rule ties are broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_tools.errors import UserError, did_you_mean

# Position in this tuple is the code that the compiled loops know a rule by.
RULES: tuple[str, ...] = ("first", "best", "probability", "score-weighted", "winners")


@dataclass(frozen=True)
class Round:
    """One vote among members.

    Attributes:
        name: What later rounds call its outcome; ``vote:1`` and so on, which no model can be called.
        members: Names of models or of earlier rounds, each once, in voting order.
        weights: Each member's weight in ties: its score. None negative.
    """

    name: str
    members: tuple[str, ...]
    weights: tuple[float, ...]


def checked_rounds(rounds: Any, rule: Any, models: Sequence[str]) -> dict[str, Any]:
    """The parameters of a vote, rounds as `Round` whether they came so or as mappings.

    Raises:
        UserError: An unknown rule, no rounds, a round without members or with unknown ones, or bad weights.
    """
    if rule not in RULES:
        raise UserError(f"unknown tie rule {rule!r}", next=did_you_mean(str(rule), RULES))
    if not isinstance(rounds, Sequence) or isinstance(rounds, str) or not rounds:
        raise UserError("a vote needs at least one round", found=repr(rounds)[:80])
    checked: list[Round] = []
    known = list(models)
    for given in rounds:
        found = given if isinstance(given, Round) else _from_mapping(given)
        _check_round(found, known)
        checked.append(found)
        known.append(found.name)
    return {"rounds": tuple(checked), "rule": rule}


def _from_mapping(given: Any) -> Round:
    try:
        return Round(str(given["name"]), tuple(map(str, given["members"])), tuple(map(float, given["weights"])))
    except (KeyError, TypeError, ValueError) as exc:
        fields = ", ".join(given) if isinstance(given, Mapping) else repr(given)[:80]
        raise UserError("a round of the vote is damaged", found=fields, expected="name, members, weights") from exc


def _check_round(found: Round, known: list[str]) -> None:
    if found.name in known:
        raise UserError(f"'{found.name}' occurs twice among models and rounds")
    if not found.members or len(set(found.members)) != len(found.members):
        raise UserError(f"round '{found.name}' needs distinct members", found=", ".join(found.members) or "none")
    for member in found.members:
        if member not in known:
            raise UserError(f"round '{found.name}' has an unknown member '{member}'", next=did_you_mean(member, known))
    weights = np.array(found.weights)
    if weights.shape != (len(found.members),) or not np.isfinite(weights).all() or weights.min() < 0:
        raise UserError(
            f"round '{found.name}' needs one weight a member, finite and not negative", found=str(found.weights)
        )
