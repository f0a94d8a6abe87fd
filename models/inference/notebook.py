"""`Scorer.score` and `Scorer.score_batches`: the engine of `cli score` for whoever sits in a notebook.

Looks at the texts before they are scored, settles with the first of them what was left open (the faster backend, the
precision gate, what int8 is calibrated on), and tells positions in what was given. Jobs call `Scorer.prepare`,
`Scorer.launch` and `Scorer.collect` themselves, a stage each.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import polars as pl
import torch

from models.errors import ModelError
from models.inference.scores import Scores
from models.inference.tokens import UnusableTexts
from models.text.given import check_list, read_given

if TYPE_CHECKING:
    from models.inference.arithmetic import Due
    from models.inference.bounds import GateReport
    from models.inference.scorer import Scorer
    from models.inference.shards import Prepared

_TOLD = 5  # positions named in an error


def score_texts(scorer: Scorer, texts: Any, *, logits: bool = False) -> Scores:
    """See `Scorer.score`."""
    _check_process(scorer)
    with _positions_told(0), _turn(scorer):
        series, n_missing = read_given(texts)
        _settle(scorer, series)
        return _scores(scorer, scorer.prepare(series), n_missing, 0, logits)


def score_stream(scorer: Scorer, texts: Iterable[Any], rows: int, *, logits: bool = False) -> Iterator[Scores]:
    """See `Scorer.score_batches`. The next batch is tokenised in a thread while one is on the device."""
    _check_process(scorer)
    start = 0
    batches = _batches(texts, rows)
    waiting: tuple[Future[Prepared], int, int] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="tokenise") as tokenise:
        while True:
            following, failure = None, None
            try:
                for batch in islice(batches, 1):
                    with _positions_told(start), _turn(scorer):
                        series, n_missing = read_given(batch)
                        _settle(scorer, series)
                    following = (tokenise.submit(scorer.prepare, series), n_missing, start)
                    start += len(series)
            except Exception as exc:  # in these texts, or in what gives them: the batch before has its turn first
                failure = exc
            if waiting is not None:
                yield _next(scorer, *waiting, logits)
            if failure is not None:
                raise failure
            if following is None:
                return
            waiting = following


@contextmanager
def _turn(scorer: Scorer) -> Iterator[None]:
    """One thread at a time; autocast that the caller may be in (a training loop) is not for these networks."""
    with scorer.turns.lock, torch.autocast(scorer.device.type, enabled=False):
        yield


def _check_process(scorer: Scorer) -> None:
    if scorer.process != os.getpid():
        raise ModelError(
            "this Scorer was made in another process, whose threads did not come along: it would wait for ever",
            next="make the Scorer in the process that uses it, begun by multiprocessing.get_context('spawn')",
        )


def _next(scorer: Scorer, prepared: Future[Prepared], n_missing: int, start: int, logits: bool) -> Scores:
    with _positions_told(start):
        ready = prepared.result()  # waited for before it is this thread's turn
        with _turn(scorer):
            return _scores(scorer, ready, n_missing, start, logits)


def _scores(scorer: Scorer, prepared: Prepared, n_missing: int, start: int, logits: bool) -> Scores:
    scored = scorer.infer(prepared, keep_logits=logits)
    return Scores(
        classes=scorer.classes,
        task=scorer.task,
        per_model=scored.probs,
        stats=scored.stats,
        n_missing=n_missing,
        first_row=start,
        device=str(scorer.device),
        precision=scorer.precision,
        backend=scorer.backend,
        gate=scorer.gate,
        logits=scored.logits,
        offsets=scored.offsets,
        notes=tuple(scorer.notes),
    )


def _batches(texts: Iterable[Any], rows: int) -> Iterator[Any]:
    """Lists of `rows` texts; or what `texts` gives, where these are lists, arrays or Series already."""
    if not isinstance(rows, int) or rows < 1:
        raise ModelError(f"batches of {rows} rows", expected="a whole number from 1 on")
    if isinstance(texts, (str, bytes)):
        raise ModelError("one text, where texts are expected", next="score_batches([text])")
    check_list(texts)
    items = iter(texts)
    for first in items:
        if isinstance(first, (list, pl.Series)) or getattr(first, "ndim", 0) == 1:  # of pandas, of numpy
            yield from chain([first], items)
            return
        batch, fault = [first], None
        try:
            for item in islice(items, rows - 1):
                batch.append(item)
        except Exception as exc:
            fault = exc
        yield batch
        if fault is not None:
            raise fault


def _settle(scorer: Scorer, texts: pl.Series) -> None:
    """What waited for the first texts: the faster backend, what int8 is calibrated on, whether the format serves.

    Raises:
        ModelError: int8, which is asked for by name, strays too far from float32, or has too few texts. Nothing is
            settled then: the next texts are asked again.
    """
    due = scorer.due
    if due is None or not len(texts):
        return
    scorer.due = None  # texts that are scored to find out
    try:
        with scorer.eager():
            _find_out(scorer, due, texts)
    except BaseException:  # also where a person interrupts it: nothing may be scored in a format that was not judged
        scorer.set_precision("fp32")
        scorer.due = due
        raise


def _find_out(scorer: Scorer, due: Due, texts: pl.Series) -> None:
    from models.inference.bounds import GateBounds
    from models.inference.choice import choose_backend
    from models.inference.gate import LEAST_ROWS, SAMPLE_ROWS, calibration_texts, sample_positions, try_precision

    backend = due.backend
    judged = sample_positions(len(texts), SAMPLE_ROWS[scorer.device.type])
    if due.gated and not due.named and len(judged) < LEAST_ROWS:
        if scorer.precision != "fp32":
            scorer.set_precision("fp32", "openvino" if backend == "openvino" else "torch")
        scorer.due = due  # float32 until texts come that are enough to judge by
        return
    sample = texts.gather(judged)
    if backend == "auto":
        backend = choose_backend(scorer, due.precision, sample, len(texts)).backend
    if not due.gated:
        if backend != scorer.backend:
            scorer.set_precision(due.precision, backend)
        return
    scorer.set_precision("fp32")
    calibration = due.calibration
    if due.precision == "int8" and not calibration:
        calibration = tuple(calibration_texts(texts, set(judged)))
    how = {"backend": backend, "calibration": calibration}
    scorer.gate = try_precision(scorer, due.precision, sample, GateBounds(), **how)
    if scorer.gate is None:
        scorer.due = due  # float32 until texts come that tell
    elif not scorer.gate.passed:
        _refuse(scorer.gate, due.named)


def _refuse(gate: GateReport, named: bool) -> None:
    measured = f"{gate.flips:.2%} labels flipped, probabilities up to {gate.difference:.4f} off on {gate.rows} texts"
    if named:
        raise ModelError(
            f"{gate.precision} strays too far from float32 on these texts", found=measured, next='precision="auto"'
        )
    warnings.warn(f"{gate.precision} strays from float32 ({measured}): going on in fp32", stacklevel=5)


@contextmanager
def _positions_told(start: int) -> Iterator[None]:
    """Errors name positions in what was given, of which this batch begins at `start`."""
    from models.inference.shards import NonFinite

    try:
        yield
    except (UnusableTexts, NonFinite) as exc:
        exc.rows = [start + row for row in exc.rows]
        more = " …" if len(exc.rows) > _TOLD else ""
        exc.details = {"rows": ", ".join(map(str, exc.rows[:_TOLD])) + more, **exc.details}
        raise
