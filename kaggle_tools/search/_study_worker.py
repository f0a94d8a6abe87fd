"""One process's part in a study: batches of trials, until all processes together have finished enough.

Trials that others are running count as theirs, so that no more are begun than are wanted. A worker that died would be
waited for in vain: what has been running for several times as long as a batch takes here no longer counts. In the end
such trials are marked as failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kaggle_tools.search._study_scores import Scorer
from kaggle_tools.search._study_space import Space
from kaggle_tools.search.threads import in_threads

if TYPE_CHECKING:
    import optuna

GRACE_S = 1.0  # at least, before a running trial of others no longer counts
_GRACE_BATCHES = 3.0
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Progress:
    """How far a study is.

    Attributes:
        finished: Finished trials, of all processes.
        trials: How many there shall be.
        best: Best score so far, starts included.
        seconds: Since this process began its part.
    """

    finished: int
    trials: int
    best: float
    seconds: float


class Worker:
    """Asks for trials, evaluates them, tells their scores.

    Args:
        study: Where.
        space: Turns trials into candidates.
        scorer: Turns candidates into scores.
        sampler: Makes this worker's sampler from the number of its first trial.

    Attributes:
        n_own: Trials that it has evaluated.
    """

    def __init__(
        self, study: optuna.Study, space: Space, scorer: Scorer, sampler: Callable[[int], optuna.samplers.BaseSampler]
    ) -> None:
        self._study, self._space, self._scorer, self._make_sampler = study, space, scorer, sampler
        self._asked: list[optuna.Trial] = []
        self._first_seen: dict[int, float] = {}  # running trials of others, by their number
        self._slowest_s = 0.0
        self.n_own = 0

    def run(
        self,
        trials: int,
        *,
        batch: int,
        deadline: float,
        best: float | None,
        on_batch: Callable[[Progress], None] | None,
    ) -> None:
        """Work until the study has `trials` finished trials, or until `deadline` (`time.perf_counter`).

        Whatever was asked for and not told, because of an interruption, is marked as failed.
        """
        began = time.perf_counter()
        try:
            while (left := trials - len(finished(self._study))) > 0 and time.perf_counter() < deadline:
                size = self._share(left, batch)
                if size <= 0:
                    time.sleep(_PAUSE_S)
                    continue
                self._work(size)
                if on_batch is not None:
                    done = finished(self._study)
                    on_batch(Progress(len(done), trials, self._best(done, best), time.perf_counter() - began))
            if left <= 0:
                self._bury()
        finally:
            for trial in self._asked:
                self._tell(trial.number, None)

    def _share(self, left: int, batch: int) -> int:
        """How many of the trials that are left to take; trials that wait to be run are a batch of their own."""
        states = [(trial.number, trial.state.name) for trial in self._study.get_trials(deepcopy=False)]
        now, grace = time.perf_counter(), max(GRACE_S, _GRACE_BATCHES * self._slowest_s)
        running = [number for number, state in states if state == "RUNNING"]
        alive = sum(now - self._first_seen.setdefault(number, now) < grace for number in running)
        waiting = sum(state == "WAITING" for _, state in states)
        return min(left - alive, batch, waiting or batch)

    def _work(self, size: int) -> None:
        began = time.perf_counter()
        candidates = []
        for _ in range(size):
            self._asked.append(self._study.ask())
            if len(self._asked) == 1 and not self.n_own:
                self._study.sampler = self._make_sampler(self._asked[0].number)
            candidates.append(self._space.draw(self._asked[-1]))
        for value in in_threads(self._scorer.value, candidates):
            self._tell(self._asked[0].number, value)
            self._asked.pop(0)
        self.n_own += size
        self._slowest_s = max(self._slowest_s, time.perf_counter() - began)

    def _best(self, done: list[optuna.trial.FrozenTrial], best: float | None) -> float:
        values = [trial.values[0] for trial in done] + ([] if best is None else [best])
        return float(np.max(values) if self._study.direction.name == "MAXIMIZE" else np.min(values))

    def _bury(self) -> None:
        """The study is complete: what still runs is of workers that died."""
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.name == "RUNNING":
                self._tell(trial.number, None)

    def _tell(self, number: int, value: float | None) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            state = TrialState.FAIL if value is None else TrialState.COMPLETE
            self._study.tell(number, value, state=state, skip_if_finished=True)
        except UpdateFinishedTrialError:  # by another process, a moment ago
            return


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials with a score, in the order of their numbers."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
