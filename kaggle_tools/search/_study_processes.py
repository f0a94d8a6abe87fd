"""More processes for a study: this one starts them, hands them the problem in files, and works beside them.

What several processes find depends on who was faster; one process alone repeats its result.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kaggle_tools.errors import UserError
from kaggle_tools.search import study
from kaggle_tools.search._study_worker import Progress

_LAST_BATCH_S = 30.0  # how long a helper may take for the trials it has begun when the study is complete


def search_together(
    codes: ArrayLike,
    stack: ArrayLike,
    metric: str,
    *,
    workers: int,
    storage: str | None = None,
    on_batch: Callable[[Progress], None] | None = None,
    **options: Any,
) -> study.StudyResult:
    """`study.search` by several processes on this machine.

    Args:
        codes: (N,) true classes, or (N, C) of 0 and 1.
        stack: (M, N, C) probabilities.
        metric: Name or alias.
        workers: Processes, this one included.
        storage: As for `study.search`; None is a journal that is removed in the end.
        on_batch: Called after every batch of this process; it counts the trials of all.
        **options: Of `study.search`.

    Raises:
        UserError: No worker, and as `study.search`.
    """
    if workers < 1:
        raise UserError(f"a study needs one worker or more, not {workers}")
    if workers == 1:
        return study.search(codes, stack, metric, storage=storage, on_batch=on_batch, **options)
    with tempfile.TemporaryDirectory(prefix="study") as folder:
        np.save(Path(folder) / "codes.npy", np.asarray(codes))
        np.save(Path(folder) / "stack.npy", np.asarray(stack))
        shared = storage or f"journal:{folder}/study.log"
        with _helpers(workers - 1, (folder, metric, shared, options)):
            return study.search(codes, stack, metric, storage=shared, on_batch=on_batch, **options)


@contextmanager
def _helpers(number: int, arguments: tuple[Any, ...]) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    helpers = [spawn.Process(target=_help, args=arguments, daemon=True) for _ in range(number)]
    for helper in helpers:
        helper.start()
    patience_s = 0.0
    try:
        yield
        patience_s = _LAST_BATCH_S
    finally:
        for helper in helpers:
            helper.join(timeout=patience_s)
            helper.terminate()
            helper.join()
            helper.close()


class _AloneError(Exception):
    """The process that started this one was killed."""


def _help(folder: str, metric: str, storage: str, options: dict[str, Any]) -> None:
    """A helper's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which ends it
    try:
        codes, stack = (np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("codes", "stack"))
        study.search(codes, stack, metric, storage=storage, on_batch=_check_parent, **options)
    except _AloneError:
        shutil.rmtree(folder, ignore_errors=True)
    except (UserError, FileNotFoundError):
        return  # the same mistake is told where the study was asked for; or all is over, and the files are gone


def _check_parent(_progress: Progress) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise _AloneError
