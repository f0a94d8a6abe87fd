"""CMA-ES (Hansen & Ostermeier 2001) as an Optuna sampler that keeps its state to itself.

Optuna's own writes it into the storage as a pickle, which nobody should have to read, and its start and spread are
deprecated. Here every worker follows a distribution of its own, and the study holds nothing but trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState


class CmaSampler(BaseSampler):
    """Samples all of a space's numbers together.

    Args:
        bounds: Lowest and highest value of each parameter.
        start: Where to begin; None for the middle.
        sigma: First standard deviation, as a share of the bounds' distance.
        population: Trials of a generation.
        seed: Of the trials.
    """

    def __init__(
        self,
        bounds: Mapping[str, tuple[float, float]],
        start: Mapping[str, float] | None,
        *,
        sigma: float,
        population: int,
        seed: int,
    ) -> None:
        self._distributions: dict[str, BaseDistribution] = {
            key: FloatDistribution(*ends) for key, ends in bounds.items()
        }
        self._low, high = np.array([*bounds.values()]).T
        self._width = high - self._low
        mean = np.full(len(bounds), 0.5) if start is None else self._place(start)
        unit = np.array([[0.0, 1.0]] * len(bounds))
        self._search = CMA(mean=mean, sigma=sigma, bounds=unit, population_size=population, seed=seed % 2**32)
        self._others = RandomSampler(seed)
        self._asked: dict[int, NDArray[np.float64]] = {}
        self._told: list[tuple[NDArray[np.float64], float]] = []

    def infer_relative_search_space(
        self,
        study: Study,  # noqa: ARG002 - these are Optuna's interface
        trial: FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """All numbers, for every trial."""
        return self._distributions

    def sample_relative(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """The next point of the distribution; none for a trial whose parameters are fixed."""
        if "fixed_params" in trial.system_attrs:
            return {}
        place = self._asked[trial.number] = self._search.ask()
        return dict(zip(search_space, (self._low + self._width * place).tolist(), strict=True))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """At random: for a trial that was asked for before this sampler was there."""
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,  # noqa: ARG002
        values: Sequence[float] | None,
    ) -> None:
        """Learn from a generation once it is complete."""
        place = self._asked.pop(trial.number, None)
        if place is None or values is None:
            return
        sign = -1.0 if study.direction.name == "MAXIMIZE" else 1.0
        self._told.append((place, sign * values[0]))
        size = self._search.population_size
        if len(self._told) >= size:
            self._search.tell(self._told[:size])
            del self._told[:size]

    def _place(self, params: Mapping[str, float]) -> NDArray[np.float64]:
        return np.asarray((np.array([params[key] for key in self._distributions]) - self._low) / self._width)
