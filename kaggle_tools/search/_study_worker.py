"""One process's part in a study: batches of trials, until all processes together have finished enough.

Trials that others are running count as theirs, so that no more are begun than are wanted. A worker that died would be
waited for in vain: what has been running for several times as long as a batch takes here no longer counts. In the end
such trials are marked as failed; should their worker be only slow, it goes on without them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kaggle_tools.search._study_scores import Scorer
from kaggle_tools.search._study_space import Candidate, Space
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
        self._study, self._space, self._scorer = study, space, scorer
        self._make_sampler: Callable[[int], optuna.samplers.BaseSampler] | None = sampler
        self._asked: list[int] = []
        self._first_seen: dict[int, float] = {}  # running trials of others, by their number
        self._given_up: set[int] = set()  # those whose worker was taken for dead: that is not taken back
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
        """Work until the study has so many finished trials.

        What was asked for and not told, because of an interruption, is marked as failed.

        Args:
            trials: How many.
            batch: Trials that are evaluated together.
            deadline: `time.perf_counter()` after which no batch begins.
            best: Score to begin with.
            on_batch: Called after every batch.
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
            for number in self._asked:
                self._tell(number, None)

    def _share(self, left: int, batch: int) -> int:
        """How many of the trials that are left to take; trials that wait to be run are a batch of their own."""
        alive = sum(not self._is_stale(number) for number in self._numbers("RUNNING"))
        return min(left - alive, batch, len(self._numbers("WAITING")) or batch)

    def _is_stale(self, number: int) -> bool:
        now = time.perf_counter()
        if now - self._first_seen.setdefault(number, now) > max(GRACE_S, _GRACE_BATCHES * self._slowest_s):
            self._given_up.add(number)
        return number in self._given_up

    def _numbers(self, state: str) -> list[int]:
        return [trial.number for trial in self._study.get_trials(deepcopy=False) if trial.state.name == state]

    def _work(self, size: int) -> None:
        began = time.perf_counter()
        candidates = [self._ask() for _ in range(size)]
        for value in in_threads(self._scorer.value, candidates):
            self.n_own += self._tell(self._asked[0], value)
            self._asked.pop(0)
        self._slowest_s = max(self._slowest_s, time.perf_counter() - began)

    def _ask(self) -> Candidate:
        from optuna.exceptions import UpdateFinishedTrialError

        while True:
            trial = self._study.ask()
            if self._make_sampler is not None:
                self._study.sampler, self._make_sampler = self._make_sampler(trial.number), None
            self._asked.append(trial.number)
            try:
                return self._space.draw(trial)
            except UpdateFinishedTrialError:  # others took us for dead
                self._asked.pop()

    def _best(self, done: list[optuna.trial.FrozenTrial], best: float | None) -> float:
        values = [trial.values[0] for trial in done] + ([] if best is None else [best])
        return float(np.max(values) if self._study.direction.name == "MAXIMIZE" else np.min(values))

    def _bury(self) -> None:
        """Mark what dead workers left behind."""
        for number in self._numbers("RUNNING"):
            if self._is_stale(number):
                self._tell(number, None)

    def _tell(self, number: int, value: float | None) -> bool:
        """Whether the trial now has this score; not if another process has marked it as failed."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        try:
            state = TrialState.FAIL if value is None else TrialState.COMPLETE
            return self._study.tell(number, value, state=state, skip_if_finished=True).state == TrialState.COMPLETE
        except UpdateFinishedTrialError:  # by another process, a moment ago
            return False


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials with a score, in the order of their numbers."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
