"""Whether a job's networks are compiled: where that is faster, and the job long enough to win its time back.

What a trial finds is kept in the user's cache folder, by models, device, versions and precision; what is decided stands
in the job's `precision.json`, since compiled layers move last digits.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Literal

from jobs.ceilings import identify
from jobs.runner.local import Watch
from jobs.runner.reading import texts_of
from jobs.user_cache import keep_in_cache, read_cache
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from models.inference.device import DEFAULTS
from models.inference.gain import CompileTrial, try_compiled
from models.inference.gate import sample_positions
from models.inference.groups import NetworkGroup
from models.inference.tokens import Tokens

if TYPE_CHECKING:
    import polars as pl

    from jobs.runner.worker import Work

Asked = Literal["auto", "on", "off"]

FILE = "compiled.json"
_FEW = 512  # rows that say how long texts are
_BATCHES = 16_384  # rows that are some ten batches of a GPU
# Before anything was measured: what compiled layers gain, and what compiling them takes. In eight bits every product is
# preceded by a dozen small steps.
_GAINS = {"fp8": 2.0}
_EXPECTED = CompileTrial(gain=1.15, seconds=20.0, difference=0.0, rows=0)


def decide(work: Work, asked: Asked, watch: Watch, n_devices: int = 1) -> bool:
    """Whether to compile; tries it where that is not known. Leaves the scorer in that state.

    Args:
        work: Its scorer is in the job's precision, on the device of the job.
        asked: ``auto`` decides on a GPU by time; ``on`` and ``off`` are obeyed.
        watch: Told what was found.
        n_devices: That share the rows, each of which compiles for itself.
    """
    scorer = work.scorer
    if asked == "off" or not scorer.flop_per_token or scorer.task == "token":
        return False
    if asked == "on":
        scorer.set_compiled(True)
        return scorer.compiled
    if scorer.device.type != "cuda":  # matrix products are all that a CPU's time goes to: docs/decisions/0019
        return False
    texts, key = texts_of(work.job.plan, work.job.plan.tasks[0]), _key(work)
    known = _known(key)
    expected = replace(_EXPECTED, gain=_GAINS.get(scorer.precision, _EXPECTED.gain))
    if not _wins(known or expected, _expected_seconds(work, _some(texts, _FEW)) / n_devices):
        return False
    if known is None:
        trial = try_compiled(scorer, _some(texts, _BATCHES))
        _keep(key, trial)
        watch.note(_told(trial))
    else:
        scorer.set_compiled(True)
    return scorer.compiled


def _wins(trial: CompileTrial, seconds: float) -> bool:
    """Whether a job of so many seconds ends earlier."""
    return trial.pays and seconds * (1 - 1 / trial.gain) > trial.seconds


def _expected_seconds(work: Work, sample: pl.Series) -> float:
    """Of the networks, eager, for all rows of the job."""
    scorer = work.scorer
    features = scorer.prepare(sample).features
    flop = sum(
        part.ids.size * group.flop_per_token
        for group, part in zip(scorer.groups, features, strict=True)
        if isinstance(group, NetworkGroup) and isinstance(part, Tokens)
    )
    return work.job.plan.n_rows * flop / max(1, len(sample)) / DEFAULTS[scorer.device.type].flops


def _some(texts: pl.Series, at_most: int) -> pl.Series:
    return texts.gather(sample_positions(len(texts), at_most)) if len(texts) else texts


def _key(work: Work) -> str:
    import transformers

    scorer, models = work.scorer, sorted(work.job.plan.request.models.items())
    name, version, _ = identify(scorer.device)
    tokens = scorer.budget.tokens
    return f"{digest(models)[:16]}, {name}, torch {version}, {transformers.__version__}, {scorer.precision}, {tokens}"


def _known(key: str) -> CompileTrial | None:
    found = read_cache(FILE).get(key)
    try:
        return None if found is None else CompileTrial(**found)
    except TypeError:
        return None


def _keep(key: str, trial: CompileTrial) -> None:
    try:
        keep_in_cache(FILE, key, asdict(trial))
    except UserError:  # the next job tries again
        return


def _told(trial: CompileTrial) -> str:
    if not trial.gain:
        return (
            f"the networks cannot be compiled here ({trial.seconds:.0f} s to find out); --compile off skips the trial"
        )
    found = f"compiled layers are {trial.gain:.2f} times as fast as eager ones on {trial.rows:,} rows"
    verdict = f"probabilities at most {trial.difference:.4f} apart: {'taken' if trial.pays else 'not taken'}"
    return f"{found}, {verdict} ({trial.seconds:.0f} s to compile)"
