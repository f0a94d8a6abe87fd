"""The first search on a machine compiles in two processes: one half of the kernels while this process needs the other.

    compile_ahead()      # returns at once; nothing is started where the kernels lie in the cache

numba compiles one function after the other, which for a blend of a count metric with votes takes a processor eight
seconds. What comes late in a search (replays, bootstraps, votes) a second process compiles into the cache that they
share, by a tiny search of its own. A kernel that both compile is compiled twice, and nothing else happens.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from kaggle_tools.compiled import is_compiled
from kaggle_tools.search import _vote_kernels, greedy, stack, vote
from kaggle_tools.search.recipe import Recipe, apply_stack

_MODELS, _ROWS, _CLASSES = 4, 60, 3
_started: list[subprocess.Popen[bytes]] = []  # nobody waits for it: it may outlive the search


def compile_ahead() -> None:
    """Start the second process, where this machine has two processors and has not compiled the last kernel yet."""
    if (os.cpu_count() or 1) > 1 and not is_compiled(_vote_kernels._count_votes):
        nothing = subprocess.DEVNULL
        command = [sys.executable, "-P", "-m", __name__]
        _started.append(subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing))


def search_a_little() -> None:
    """Call what a search calls late, in its order."""
    names, classes = ("a", "b", "c", "d"), ("x", "y", "z")
    rng = np.random.default_rng(0)
    codes = np.arange(_ROWS) % _CLASSES
    probs = rng.dirichlet(np.ones(_CLASSES), (_MODELS, _ROWS)).astype(np.float32)
    shares = np.full(_MODELS, 1 / _MODELS)
    pool = {"weights": shares, "class_weights": np.ones(_CLASSES)}
    apply_stack(Recipe("linear_pool", "single_label", classes, names, "macro_f1", pool), probs)
    powers = {"exponents": shares, "biases": np.zeros(_CLASSES)}
    apply_stack(Recipe("log_pool", "single_label", classes, names, "macro_f1", powers), probs)
    fitted = stack.fit(codes, probs, codes, strengths=(1.0,))
    weighed = {"coefficients": fitted.coefficients, "intercepts": fitted.intercepts}
    apply_stack(Recipe("logistic_stack", "single_label", classes, names, "macro_f1", weighed), probs)
    greedy.select(probs, codes, "macro_f1")
    vote.search(probs, codes, n_bootstraps=100)


if __name__ == "__main__":
    search_a_little()
