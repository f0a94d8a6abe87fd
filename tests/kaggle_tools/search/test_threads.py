"""Threads that stay: order, calls within calls, failures, forks."""

import os
import threading
import time

import pytest

from kaggle_tools.search.threads import in_threads


def test_calls_within_calls_keep_their_order_and_do_not_wait_for_each_other():
    def row(i):
        return in_threads(lambda j: in_threads(lambda k: (i, j, k), range(3)), range(20))

    found = in_threads(row, range(20))
    assert found == [[[(i, j, k) for k in range(3)] for j in range(20)] for i in range(20)]


def test_a_single_item_needs_no_thread():
    assert in_threads(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]


def test_the_first_error_is_raised_once_what_has_begun_is_over():
    running = []

    def work(i):
        if i == 0:
            raise ValueError("the first")
        running.append(i)
        time.sleep(0.05)
        running.remove(i)

    with pytest.raises(ValueError, match="the first"):
        in_threads(work, range(50))
    assert running == []
    assert in_threads(abs, [-1, -2]) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    in_threads(abs, [-1, -2])
    child = os.fork()
    if child == 0:
        os._exit(0 if in_threads(abs, [-3, -4]) == [3, 4] else 1)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    if ended == (0, 0):
        os.kill(child, 9)
    assert ended[1] == 0
    assert ended[0] == child
