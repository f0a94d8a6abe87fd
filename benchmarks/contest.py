"""One contestant of a benchmark in a process of its own: timed, scored on held-out rows, ended at a time limit.

A forked process shares the data without copying it, can be ended whatever it is doing, and leaves no threads, caches or
patched modules to the next. The parent must not have used threads before; it imports numpy alone.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from benchmarks.problems import Half


@dataclass(frozen=True)
class Contest:
    """What all contestants are given.

    Attributes:
        name: For the table.
        metric: Name in our registry.
        fitted: Rows to fit on.
        held_out: Rows that only score.
        trials: How long those search that know no end.
    """

    name: str
    metric: str
    fitted: Half
    held_out: Half
    trials: int


@dataclass(frozen=True)
class Answer:
    """What a contestant found.

    Attributes:
        predict: (M, N, C) probabilities to (N, C) scores; None where there is nothing to predict.
        times: What its time is to be multiplied by, where it did only a part.
        note: For the table.
    """

    predict: Callable[[NDArray[np.float32]], NDArray] | None = None
    times: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class Contestant:
    """How something is done.

    Attributes:
        name: For the table.
        run: Does it.
        compiles: Whether its first call compiles or loads compiled code: then the second is timed.
    """

    name: str
    run: Callable[[Contest], Answer]
    compiles: bool = False


@dataclass(frozen=True)
class Outcome:
    """A row of the table; None where there is no figure, with the reason in `note`."""

    contest: str
    contestant: str
    seconds: float | None = None
    fitted: float | None = None
    held_out: float | None = None
    note: str = ""


# The best of so many rounds counts, as long as they are short: a shared machine is slow now and then.
_ROUNDS = 3
_ROUNDS_S = 3.0


def hold(contest: Contest, contestants: list[Contestant], limit_s: float) -> list[Outcome]:
    """Every contestant once, one after the other."""
    return [_measure(contest, contestant, limit_s) for contestant in contestants]


def _measure(contest: Contest, contestant: Contestant, limit_s: float) -> Outcome:
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(contest, contestant, sending))
    process.start()
    sending.close()
    try:
        if receiving.poll(limit_s):
            return receiving.recv()
        return Outcome(contest.name, contestant.name, note=f"ended after {limit_s:.0f} s")
    except EOFError:
        return Outcome(contest.name, contestant.name, note="died")
    finally:
        process.kill()
        process.join()


def _report(contest: Contest, contestant: Contestant, sending: Connection) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            outcome = _run(contest, contestant)
    except ModuleNotFoundError as exc:
        outcome = Outcome(contest.name, contestant.name, note=f"not installed: {exc.name}")
    except Exception as exc:  # a peer may fail in any way; the table says how
        outcome = Outcome(
            contest.name, contestant.name, note=f"failed: {type(exc).__name__}: {' '.join(str(exc).split())[:90]}"
        )
    sending.send(outcome)


def _run(contest: Contest, contestant: Contestant) -> Outcome:
    from kaggle_tools.metrics import evaluate

    warnings.simplefilter("ignore")
    if contestant.compiles:
        contestant.run(contest)
    taken: list[float] = []
    while len(taken) < _ROUNDS and sum(taken) < _ROUNDS_S:
        began = time.perf_counter()
        answer = contestant.run(contest)
        taken.append(time.perf_counter() - began)
    seconds = min(taken) * answer.times
    scores: list[float | None] = [None, None]
    if answer.predict is not None:
        halves = (contest.fitted, contest.held_out)
        scores = [evaluate(contest.metric, half.codes, _probs(answer.predict(half.stack))) for half in halves]
    return Outcome(contest.name, contestant.name, seconds, *scores, note=answer.note)


def _probs(scores: NDArray) -> NDArray[np.float64]:
    """Rows that sum to one: weighted probabilities are compared by their most probable class."""
    values = np.asarray(scores, np.float64)
    return values / values.sum(axis=1, keepdims=True)
