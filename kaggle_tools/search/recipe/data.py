"""`Recipe`, the kinds there are, and what parameters each kind has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kaggle_tools.competition import TASKS
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.search.recipe.rounds import checked_rounds

VERSION = 1

# Probabilities below are raised to this before a logarithm is taken. Recipes of such kinds may carry their own.
FLOOR = 1e-15

# Dimensions of a parameter: M models, C classes; "" is one number. Alternatives are in order of preference.
_M, _MC, _C, _ONE = ("M",), ("M", "C"), ("C",), ()


@dataclass(frozen=True)
class _Parameter:
    shapes: tuple[tuple[str, ...], ...]
    required: bool = True
    check: Callable[[np.ndarray[Any, Any]], bool] | None = None
    rule: str = ""


_WEIGHTS = _Parameter((_M, _MC))
_MODEL_WEIGHTS = _Parameter((_M,), False, lambda w: bool(w.min() >= 0 and w.sum() > 0), "none negative, not all zero")
_FLOOR = _Parameter((_ONE,), False, lambda f: bool(1e-300 <= f < 0.5), "in [1e-300, 0.5)")
_KNEE = _Parameter((_ONE,), False, lambda k: bool(0 < k <= 1), "in (0, 1]")

# What each kind is made of. Every kind may be followed by class weights (single_label) or thresholds (multi_label).
KINDS: dict[str, dict[str, _Parameter]] = {
    "mean": {},
    "linear_pool": {"weights": _WEIGHTS},
    "log_pool": {
        "exponents": _WEIGHTS,
        "bends": _Parameter((_M, _MC), required=False),
        "knee": _KNEE,
        "biases": _Parameter((_C,), required=False),
        "floor": _FLOOR,
    },
    "geometric_mean": {"weights": _MODEL_WEIGHTS, "floor": _FLOOR},
    "power_mean": {
        "power": _Parameter((_ONE,), True, lambda r: bool(r != 0), "not 0: that is geometric_mean"),
        "weights": _MODEL_WEIGHTS,
        "floor": _FLOOR,
    },
    "rank_mean": {"weights": _MODEL_WEIGHTS},
    "logistic_stack": {"coefficients": _Parameter((("C", "F"),)), "intercepts": _Parameter((_C,)), "floor": _FLOOR},
    "vote": {},
}

_CLASS_WEIGHTS = _Parameter((_C,), False, lambda w: bool(w.min() > 0), "all above zero")
_THRESHOLDS = _Parameter((_C,), False, lambda t: bool(t.min() >= 0), "none negative")


@dataclass(frozen=True)
class Recipe:
    """How the probabilities of M models become those of one.

    Attributes:
        kind: A key of `KINDS`. ``mean``: average. ``linear_pool``: Σ w_m p_m with ``weights`` (M,) or (M, C).
            ``log_pool``: softmax(Σ a_m log p_m + b), ``exponents`` (M,) or (M, C), ``biases`` (C,); for multi_label the
            sigmoid of the pooled log-odds. With ``bends`` c (M,) or (M, C) and a ``knee`` k it is bent:
            Σ a_m log p_m + c_m log(p_m + k), single_label only. ``geometric_mean``: a log pool whose exponents are
            shares of one.
            ``power_mean``: (Σ w_m p_m^r)^(1/r), ``power`` r. ``rank_mean``: mean of each class's ranks among all rows.
            ``logistic_stack``: softmax over ``coefficients`` (C, M·C; model by model) times log-probabilities plus
            ``intercepts`` (C,); for multi_label coefficients are (C, M), of the label's own log-odds.
            ``vote``: ``rounds`` and ``rule``, see `kaggle_tools.search.vote`.
        task: ``single_label`` or ``multi_label``.
        classes: C names in order.
        models: M names in the order of the parameters.
        metric: What the search improved.
        parameters: float, or nested tuples of float. Besides those of the kind ``class_weights`` (C,) (single_label)
            or ``thresholds`` (C,) (multi_label). Lists and arrays are taken and become tuples.
        fitted: Score on the data that the parameters were fitted to.
        honest: Nested cross-validated score.
        provenance: Anything else worth keeping, as JSON knows it.
        version: Of this format.

    Raises:
        UserError: An unknown kind, task or parameter, one missing, of the wrong shape, not finite or out of bounds.
    """

    kind: str
    task: str
    classes: tuple[str, ...]
    models: tuple[str, ...]
    metric: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fitted: float | None = None
    honest: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise UserError(
                f"recipe version {self.version!r} is unknown", expected=VERSION, next="update kaggle-jobs, or fit again"
            )
        for what, name, known in (("kind of recipe", self.kind, [*KINDS]), ("task", self.task, [*TASKS])):
            if name not in known:
                raise UserError(f"unknown {what} {name!r}", next=did_you_mean(str(name), known))
        for what, names in (("classes", self.classes), ("models", self.models)):
            if not names or len(set(names)) != len(names):
                raise UserError(f"a recipe needs distinct {what}", found=", ".join(names) or "none")
            object.__setattr__(self, what, tuple(names))
        object.__setattr__(self, "parameters", _checked(self))

    def without_adjustment(self) -> Recipe:
        """The same recipe without class weights or thresholds."""
        kept = {k: v for k, v in self.parameters.items() if k not in ("class_weights", "thresholds")}
        return Recipe(self.kind, self.task, self.classes, self.models, self.metric, kept)


def _checked(recipe: Recipe) -> dict[str, Any]:
    """All parameters as floats and tuples of floats, in the order of the kind's table."""
    given = dict(recipe.parameters)
    checked: dict[str, Any] = {}
    if recipe.kind == "vote":
        if recipe.task != "single_label":
            raise UserError(f"a vote is for single_label tasks, not {recipe.task}")
        checked |= checked_rounds(given.pop("rounds", None), given.pop("rule", None), recipe.models)
    wanted = dict(KINDS[recipe.kind])
    if recipe.task == "single_label":
        wanted["class_weights"] = _CLASS_WEIGHTS
    else:
        wanted["thresholds"] = _THRESHOLDS
    for name in given:
        if name not in wanted:
            raise UserError(
                f"a {recipe.kind} recipe for {recipe.task} has no parameter '{name}'",
                next=did_you_mean(name, list(wanted)),
            )
    for name, parameter in wanted.items():
        if given.get(name) is not None:
            checked[name] = _checked_parameter(name, parameter, given[name], recipe)
        elif parameter.required:
            raise UserError(f"a {recipe.kind} recipe needs '{name}'", found=", ".join(given) or "no parameters")
    _check_bends(recipe.task, checked)
    return checked


def _check_bends(task: str, parameters: Mapping[str, Any]) -> None:
    if ("bends" in parameters) != ("knee" in parameters):
        raise UserError("'bends' and 'knee' belong together", found=", ".join(parameters))
    if "bends" in parameters and task != "single_label":
        raise UserError(f"'bends' are for single_label recipes, not {task}")


def _checked_parameter(name: str, parameter: _Parameter, value: Any, recipe: Recipe) -> Any:
    m, c = len(recipe.models), len(recipe.classes)
    sizes = {"M": m, "C": c, "F": m * c if recipe.task == "single_label" else m}
    shapes = [tuple(sizes[letter] for letter in shape) for shape in parameter.shapes]
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as exc:
        raise UserError(f"'{name}' is not made of numbers", found=repr(value)[:80]) from exc
    if array.shape not in shapes:
        raise UserError(f"'{name}' has shape {array.shape}", expected=" or ".join(map(str, shapes)))
    if not np.isfinite(array).all() or (parameter.check is not None and not parameter.check(array)):
        raise UserError(f"'{name}' must be finite{parameter.rule and ', ' + parameter.rule}", found=repr(value)[:80])
    return _as_tuples(array.tolist())


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
