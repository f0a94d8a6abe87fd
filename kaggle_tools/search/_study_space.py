"""The space that a study searches, as Optuna parameters with readable names, and the blends that its points stand for.

    family            linear, log or power
    use:MODEL         whether the model takes part, whatever its weight; where none does, all do alike
    weight:MODEL      its share before shares are made to sum to one (linear, power), in [0, 1]
    exponent:MODEL    of its probabilities (log), in [-1, 2]
    power             r of the power mean: -1 harmonic, 0 geometric, 1 arithmetic
    bias:CLASS        of the log family, where class weights are not chosen exactly

With weights per class the names are ``weight:MODEL:CLASS``, and the power mean, which knows none, is left out. A space
for CMA-ES has numbers only: one family, all models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.search.recipe import Recipe

if TYPE_CHECKING:
    import optuna

Floats = NDArray[np.float64]

FAMILIES = ("linear", "log", "power")
_WEIGHT = {"linear": (0.0, 1.0), "log": (-1.0, 2.0), "power": (0.0, 1.0)}
_BIAS = 3.0
_GEOMETRIC = 0.01  # powers nearer to zero than this are taken as zero: the same mean, without loss of precision
_KINDS = {
    "mean": "linear",
    "linear_pool": "linear",
    "log_pool": "log",
    "geometric_mean": "power",
    "power_mean": "power",
}


@dataclass(frozen=True)
class Candidate:
    """One point of the space as a blend.

    Attributes:
        family: One of `FAMILIES`.
        weights: (M, C) float64, zero where a model takes no part; linear and power weights sum to one over models (with
            weights per class: on average over classes).
        biases: (C,) float64, added to log-scores.
        power: Of the power family; zero is the geometric mean.
    """

    family: str
    weights: Floats
    biases: Floats
    power: float = 1.0


@dataclass(frozen=True)
class Space:
    """What there is to search.

    Attributes:
        names: M models.
        classes: C classes.
        task: ``single_label`` or ``multi_label``.
        per_class: Every class has its own weight of each model.
        biases: Search the biases of the log family.
        family: The only family, of all models; None for a choice of families and models.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    task: str
    per_class: bool = False
    biases: bool = False
    family: str | None = None

    def draw(self, trial: optuna.Trial) -> Candidate:
        """Let the trial's sampler choose a point."""
        family = self.family
        if family is None:
            family = trial.suggest_categorical("family", FAMILIES[:2] if self.per_class else FAMILIES)
            for name in self.names:
                trial.suggest_categorical(f"use:{name}", [False, True])
        for key, (low, high) in self.bounds(family).items():
            trial.suggest_float(key, low, high)
        return self.candidate(trial.params)

    def bounds(self, family: str) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of the numbers that a family has.

        Models that take no part have numbers, too: few groups of parameters that always occur together are what the
        sampler can model, and are ten times as fast as one of each model alone.
        """
        bounds = {"power": (-1.0, 1.0)} if family == "power" else {}
        for name in self.names:
            bounds |= dict.fromkeys(self._keys(family, name), _WEIGHT[family])
        if family == "log" and self.biases:
            bounds |= {f"bias:{name}": (-_BIAS, _BIAS) for name in self.classes}
        return bounds

    def candidate(self, params: Mapping[str, Any]) -> Candidate:
        """The blend that a trial's parameters stand for."""
        m, c = len(self.names), len(self.classes)
        family = self.family or params["family"]
        rows = [
            [params[key] * params.get(f"use:{name}", True) for key in self._keys(family, name)] for name in self.names
        ]
        weights = np.broadcast_to(np.array(rows, np.float64), (m, c))
        if not weights.any():
            weights = np.full((m, c), 1.0 / m)
        if family != "log":
            weights = weights / weights.sum(axis=0).mean()
        power = float(params.get("power", 1.0))
        biases = np.array([params.get(f"bias:{name}", 0.0) for name in self.classes])
        return Candidate(family, weights, biases, 0.0 if abs(power) < _GEOMETRIC else power)

    def params(self, recipe: Recipe) -> dict[str, Any] | None:
        """The point nearest to a recipe, but for class weights and thresholds; None where there is nothing like it.

        Exponents beyond the bounds are clipped, and weights that every class has of its own are averaged unless the
        space has such. What a study reports is never worse than the recipe itself, which is scored as it is.
        """
        family = _KINDS.get(recipe.kind)
        if family is None or (self.family or family) != family or (family == "power" and self.per_class):
            return None
        weights = self._weights(recipe)
        if family != "log":
            weights = np.maximum(weights, 0.0) / max(weights.max(), np.finfo(float).tiny)
        if not weights.any():
            return None
        params: dict[str, Any] = {}
        if self.family is None:
            params = {"family": family} | {f"use:{n}": bool(w.any()) for n, w in zip(self.names, weights, strict=True)}
        if family == "power":
            params["power"] = float(np.clip(recipe.parameters.get("power", 0.0), -1.0, 1.0))
        for name, own in zip(self.names, weights, strict=True):
            for key, weight in zip(self._keys(family, name), own if self.per_class else own[:1], strict=True):
                params[key] = float(np.clip(weight, *_WEIGHT[family]))
        if family == "log" and self.biases:
            biases = np.clip(self._biases(recipe), -_BIAS, _BIAS).tolist()
            params |= {f"bias:{name}": bias for name, bias in zip(self.classes, biases, strict=True)}
        return params

    def recipe(self, candidate: Candidate, metric: str, adjustment: Floats | None) -> Recipe:
        """A candidate as a recipe of the models that it uses.

        Args:
            candidate: The blend.
            metric: What the search improved.
            adjustment: (C,) class weights (single_label) or thresholds (multi_label) to add; None for none.
        """
        used = np.flatnonzero(candidate.weights.any(axis=1))
        weights = candidate.weights[used] if self.per_class else candidate.weights[used, 0]
        parameters: dict[str, Any] = {}
        if adjustment is not None:
            parameters["class_weights" if self.task == "single_label" else "thresholds"] = adjustment
        if candidate.family == "linear":
            kind = "linear_pool"
            parameters["weights"] = weights
        elif candidate.family == "log":
            kind = "log_pool"
            parameters |= {"exponents": weights, "biases": candidate.biases}
        else:
            kind = "power_mean" if candidate.power else "geometric_mean"
            parameters |= {"weights": weights} | ({"power": candidate.power} if candidate.power else {})
        models = tuple(self.names[m] for m in used)
        return Recipe(kind, self.task, self.classes, models, metric, parameters)

    def _keys(self, family: str, name: str) -> list[str]:
        key = f"{'exponent' if family == 'log' else 'weight'}:{name}"
        return [f"{key}:{label}" for label in self.classes] if self.per_class else [key]

    def _weights(self, recipe: Recipe) -> Floats:
        """(M, C) weights of a recipe, zero for models that it does not name."""
        given = recipe.parameters.get("exponents", recipe.parameters.get("weights", (1.0,) * len(recipe.models)))
        own = np.array(given, np.float64).reshape(len(recipe.models), -1)
        if "bends" in recipe.parameters:  # what the exponents are above the knee, where most rows are decided
            own = own + np.array(recipe.parameters["bends"]).reshape(own.shape)
        if not self.per_class:
            own = own.mean(axis=1, keepdims=True)
        weights = np.zeros((len(self.names), len(self.classes)))
        weights[[self.names.index(name) for name in recipe.models]] = own
        return weights

    def _biases(self, recipe: Recipe) -> Floats:
        """(C,) biases with the logarithms of the class weights, which are the same thing."""
        biases = np.array(recipe.parameters.get("biases", (0.0,) * len(self.classes)))
        if self.task == "multi_label":
            return biases
        biases = biases + np.log(recipe.parameters.get("class_weights", (1.0,) * len(self.classes)))
        return np.asarray(biases - biases.mean())
