"""The samplers of studies, each named with all its settings, so that a study can say how it was sampled.

``auto`` is ``tpe`` for few models: the space mixes choices of family and models with numbers that exist only for some
of them. TPE (Bergstra et al. 2011; Watanabe 2023) works on groups of parameters that occur together (multivariate), and
the constant liar keeps apart the trials of a batch and those of other processes. Its own time grows with the models and
the trials: 200 trials of 14 models on 20,000 rows took 8 to 11 s with it, 2 s with CMA-ES, which reached as much. So
``auto`` is ``cmaes`` for more than `FEW_MODELS` models or `FEW_ROWS` rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_tools.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "cmaes", "random")
FEW_MODELS, FEW_ROWS = 8, 50_000


def check_sampler(name: str, n_models: int = 1, n_rows: int = 1) -> str:
    """One of `SAMPLERS`, ``auto`` resolved by the size of the problem.

    Raises:
        UserError: An unknown name.
    """
    few = n_models <= FEW_MODELS and n_rows <= FEW_ROWS
    chosen = ("tpe" if few else "cmaes") if name == "auto" else name
    if chosen not in SAMPLERS:
        raise UserError(f"unknown sampler '{name}'", next=did_you_mean(name, ("auto", *SAMPLERS)))
    return chosen


def settings(name: str, batch: int, n_numbers: int) -> dict[str, Any]:
    """The sampler's name and settings, without its seed.

    Args:
        name: One of `SAMPLERS`.
        batch: Trials that are asked for together.
        n_numbers: Parameters of a trial that are numbers.
    """
    if name == "tpe":
        grouped = {"multivariate": True, "group": True, "constant_liar": True}
        return {"name": "TPESampler", **grouped, "n_startup_trials": 10, "n_ei_candidates": 24}
    if name == "cmaes":
        return {"name": "CmaSampler", "population": max(batch, 4 + int(3 * math.log(n_numbers))), "sigma": 0.03}
    return {"name": "RandomSampler"}


def create(
    given: Mapping[str, Any],
    seed: int,
    bounds: Mapping[str, tuple[float, float]],
    start: Mapping[str, float] | None,
) -> optuna.samplers.BaseSampler:
    """The sampler.

    Args:
        given: Its `settings`.
        seed: Of this worker.
        bounds: Lowest and highest value of the numbers, for CMA-ES.
        start: Where CMA-ES begins; None for the middle.
    """
    from optuna.samplers import RandomSampler, TPESampler

    options = {key: value for key, value in given.items() if key != "name"}
    if given["name"] == "TPESampler":
        return TPESampler(seed=seed, **options)
    if given["name"] == "CmaSampler":
        from kaggle_tools.search._study_cma import CmaSampler

        return CmaSampler(bounds, start, seed=seed, **options)
    return RandomSampler(seed)


def worker_seed(seed: int, first_trial: int) -> int:
    """A seed that no other worker of the study has: a trial's number is given out once."""
    return int(np.random.SeedSequence([seed, first_trial]).generate_state(1)[0])
