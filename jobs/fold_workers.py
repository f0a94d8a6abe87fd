"""The folds of a run trained by several processes, each on a device of its own: one a GPU, or several on a CPU.

    train_by_workers(duty, ["cuda:0", "cuda:1"], scratch, on_progress, note)

This process has read and checked everything and holds the run. It hands out folds and seeds, one at a time and in their
order, to whoever is free, and shows how far all are. A worker trains them as one process would and finishes each by
itself. What is lost with a worker is the fold that it had: the same command trains it.
"""

from __future__ import annotations

import dataclasses
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from jobs.errors import Interrupted
from jobs.fold_trainers import Shared, Task, TrainOne, transformer_trainer
from jobs.one_fold import train_fold
from jobs.run_folder import RunFolder
from jobs.runner.local import Stop, stop_on_signals
from jobs.runner.processes import ProcessCrew
from jobs.runner.reports import Failed, Lost, Ready, tell_failure
from jobs.workspace import DUTY_FILE
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from models.inference.device import current, resolve_device
from models.training.fold import make_tokenizer
from models.training.progress import OnProgress, Progress

_WAIT_S = 0.2
_TELL_EVERY_S = 0.2


@dataclass(frozen=True)
class FoldDuty:
    """What every worker needs to know; made by `of`.

    Attributes:
        task: What is trained; device and display are each worker's own.
        shared: What the folds have in common; without a tokenizer that cannot be sent.
        folder: Where finished folds go; held by the process that hands them out.
        competition: Whose rows they are.
        todo: Folds and seeds that are to be trained; workers get their places in this list.
        threads: Of each worker, on a CPU; None leaves the default.
    """

    task: Task
    shared: Shared
    folder: RunFolder
    competition: Competition
    todo: tuple[tuple[int, int | None], ...]
    threads: int | None = None

    @classmethod
    def of(
        cls,
        task: Task,
        shared: Shared,
        folder: RunFolder,
        competition: Competition,
        todo: Sequence[tuple[int, int | None]],
        threads: int | None,
    ) -> FoldDuty:
        """The same without what no fold reads: the tables' other texts, the display."""
        if not _can_be_sent(shared.tokenizer):
            shared = dataclasses.replace(shared, tokenizer=None)
        corpus = () if shared.tokenizer is not None else task.rows.corpus
        rows = dataclasses.replace(task.rows, all_texts=task.rows.texts, corpus=corpus, keep_folds=_nothing)
        return cls(
            dataclasses.replace(task, rows=rows, on_progress=None), shared, folder, competition, tuple(todo), threads
        )


@dataclass(frozen=True)
class Stepped:
    """A worker made steps; the newest is told."""

    step: Progress


@dataclass(frozen=True)
class Finished:
    """A fold lies in the run's folder."""

    index: int


FoldReport = Stepped | Finished | Ready | Failed | Lost


def train_by_workers(
    duty: FoldDuty,
    devices: Sequence[str],
    scratch: Path,
    on_progress: OnProgress | None,
    note: Callable[[str], None],
) -> None:
    """Train all folds of a duty; those that are finished stay, whatever becomes of the others.

    Args:
        duty: What is to be done.
        devices: Of the workers; of so many as there are folds.
        scratch: A folder that this process holds, for what workers read when they begin.
        on_progress: Gets the steps of all workers.
        note: Gets what is worth knowing.

    Raises:
        UserError: What a worker raised, of the first fold that failed, once the folds under way are finished; or
            workers that died, and with them their folds.
        ModelError: Likewise.
        Interrupted: After SIGINT or SIGTERM; no worker goes on.
    """
    file = (scratch / DUTY_FILE).resolve()
    crew = ProcessCrew[FoldReport](partial(FoldWorker, file), devices[: len(duty.todo)])
    shift = _Shift(duty, crew, on_progress, note)
    stop = Stop()
    try:
        # Not among the arguments of the processes: these would start one after the other, as each reads them.
        file.write_bytes(pickle.dumps(duty))
        with stop_on_signals(stop):
            shift.begin()
            while not shift.over:
                reports = list(crew.reports(_WAIT_S))
                if stop.signal_number is not None:
                    raise Interrupted(stop.signal_number)
                for place, report in reports:
                    shift.hear(place, report)
                shift.let_idle_ones_go()
    finally:
        crew.close()
        file.unlink(missing_ok=True)
    shift.raise_what_failed()


class FoldWorker:
    """Trains the folds that it is given, one after the other, in a thread.

    Args:
        file: Of the duty, written by the process that started this one.
        device: Where it trains.
        tell: Takes reports. When nobody takes them any more, the work ends.
    """

    def __init__(self, file: Path, device: str, tell: Callable[[Any], None]) -> None:
        self._file = file
        self._device = device
        self._tell = tell
        self._told = 0.0
        self._taken: SimpleQueue[int] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="folds").start()

    def take(self, index: int) -> None:
        """Train a fold after those that were taken before."""
        self._taken.put(index)

    def stop(self, timeout_s: float) -> None:
        """Wait for nothing: what is left of a fold that is not finished is begun again.

        A process that trains on when it is told to end, or alone, could write a fold that another one trains.
        """

    def _work(self) -> None:
        index = None
        with suppress(ConnectionError):  # nobody listens
            try:
                duty: FoldDuty = pickle.loads(self._file.read_bytes())
                if duty.threads is not None:
                    torch.set_num_threads(duty.threads)
                with current(resolve_device(self._device)):
                    train_one = self._trainer(duty)
                    while True:
                        index = self._taken.get()
                        fold, seed = duty.todo[index]
                        train_fold(
                            fold, seed, duty.task.rows, duty.task.recipe, duty.folder, duty.competition, train_one
                        )
                        self._tell(Finished(index))
            except ConnectionError:
                raise
            except Exception as exc:
                tell_failure(self._tell, index, exc)

    def _trainer(self, duty: FoldDuty) -> TrainOne:
        task = dataclasses.replace(duty.task, device=self._device, on_progress=self._tell_step)
        shared = duty.shared
        if shared.tokenizer is None:
            texts = task.rows.corpus or task.rows.texts.to_list()
            shared = dataclasses.replace(shared, tokenizer=make_tokenizer(task.recipe, texts))
        return transformer_trainer(task, shared)

    def _tell_step(self, step: Progress) -> None:
        if step.score is not None or time.monotonic() - self._told > _TELL_EVERY_S:
            self._told = time.monotonic()
            self._tell(Stepped(step))


class _Shift:
    """The state of one call of `train_by_workers`."""

    def __init__(
        self,
        duty: FoldDuty,
        crew: ProcessCrew[FoldReport],
        on_progress: OnProgress | None,
        note: Callable[[str], None],
    ) -> None:
        self._duty = duty
        self._crew = crew
        self._on_progress = on_progress
        self._note = note
        self._waiting = deque(range(len(duty.todo)))
        self._present: set[int] = set()
        self._training: dict[int, int] = {}  # place → index of its fold
        self._failed: dict[int, Exception] = {}
        self._unfinished: list[int] = []  # folds of workers that were lost
        self._ends: list[str] = []  # how these ended

    @property
    def over(self) -> bool:
        """Whether nobody is left who works or could."""
        return not self._present

    def begin(self) -> None:
        """Start all workers."""
        for place in range(self._crew.size):
            self._crew.hire(place)
            self._present.add(place)

    def hear(self, place: int, report: FoldReport) -> None:
        """Show it, and give the next fold to whoever is free."""
        match report:
            case Ready():
                self._give(place)
            case Stepped(step):
                if self._on_progress is not None:
                    self._on_progress(step)
            case Finished():
                del self._training[place]
                self._give(place)
            case Failed(index, error):
                self._failed[-1 if index is None else index] = error
                self._training.pop(place, None)
                self._waiting.clear()  # what is under way is finished; what is wrong with one may be with all
            case Lost(how):
                self._lose(place, how)

    def let_idle_ones_go(self) -> None:
        """Those for which there is no fold any more, though they may still load."""
        if not self._waiting:
            for idle in self._present - set(self._training):
                self._crew.dismiss(idle)
            self._present &= set(self._training)

    def raise_what_failed(self) -> None:
        """Tell, of all that went wrong, what comes first in the order of the folds."""
        if self._failed:
            raise self._failed[min(self._failed)]
        absent = sorted([*self._unfinished, *self._waiting])
        if not absent:
            return
        finished = [index for index in range(len(self._duty.todo)) if index not in absent]
        workers = "a worker was" if len(self._ends) == 1 else f"{len(self._ends)} workers were"
        raise UserError(
            f"{_names(self._duty, absent)} {'is' if len(absent) == 1 else 'are'} not trained: {workers} lost "
            f"({', '.join(dict.fromkeys(self._ends))})",
            where=self._duty.folder.run.folder,
            kept=_names(self._duty, finished) or "what was finished before",
            next="run the same command again: it goes on with what is not finished; with fewer --workers if memory was "
            "short, which SIGKILL often means",
        )

    def _give(self, place: int) -> None:
        if self._waiting:
            self._training[place] = self._waiting.popleft()
            self._crew.assign(place, self._training[place])

    def _lose(self, place: int, how: str) -> None:
        self._present.discard(place)
        self._ends.append(how)
        index, lost = self._training.pop(place, None), ""
        if index is not None and self._duty.folder.finished(*self._duty.todo[index]) is None:
            self._unfinished.append(index)
            lost = f", and with it {_names(self._duty, [index])}"
        self._note(f"a worker was lost ({how}){lost}{'; the others go on' if self._present else ''}")


def _names(duty: FoldDuty, indices: Sequence[int]) -> str:
    members = [duty.todo[index] for index in indices]
    return ", ".join(f"fold {fold}" if seed is None else f"fold {fold} of seed {seed}" for fold, seed in members)


def _can_be_sent(tokenizer: Any) -> bool:
    """One that finds words in Python (RoFormer) cannot: each process makes its own."""
    try:
        pickle.dumps(tokenizer)
    except Exception:  # a plain one: "Custom PreTokenizer cannot be serialized"
        return False
    return True


def _nothing() -> None:
    pass
