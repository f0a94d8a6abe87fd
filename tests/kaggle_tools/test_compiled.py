"""Compiling: what lies in the cache is known, garbage waits, a second process is started at a first search alone."""

import gc
import importlib.util
import subprocess
import sys

import pytest

from kaggle_tools.compiled import is_compiled
from kaggle_tools.search import _recipe_kernels, _resample, _vote_kernels, compile_ahead

SOURCE = """
from kaggle_tools.compiled import compiled

@compiled
def double(x):
    return 2 * x
"""


def test_a_function_is_known_to_be_compiled_after_its_first_call_and_garbage_is_collected_again(tmp_path):
    path = tmp_path / "doubling.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("doubling", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not is_compiled(module.double)
    assert module.double(3) == 6
    assert is_compiled(module.double)
    assert gc.isenabled()


def test_a_little_search_compiles_what_a_search_needs_late():
    compile_ahead.search_a_little()
    late = (_vote_kernels._count_votes, _vote_kernels.most_probable, _recipe_kernels._pool, _resample._draw_poisson)
    assert all(is_compiled(kernel) and kernel.signatures for kernel in late)


@pytest.mark.parametrize(("warm", "processors", "starts"), [(False, 2, 1), (True, 2, 0), (False, 1, 0)])
def test_a_second_process_compiles_where_there_is_a_processor_for_it_and_something_to_do(
    monkeypatch, warm, processors, starts
):
    started = []
    monkeypatch.setattr(compile_ahead, "is_compiled", lambda _kernel: warm)
    monkeypatch.setattr(compile_ahead.os, "cpu_count", lambda: processors)
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    compile_ahead.compile_ahead()
    assert len(started) == starts
    assert all(command[0] == sys.executable for command in started)
