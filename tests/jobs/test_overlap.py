import threading
import time
from contextlib import closing

import pytest

from jobs.runner.overlap import Feed, overlapped, several_at_once


def test_results_come_in_order_through_several_stages():
    squares = overlapped(range(50), lambda n: n * n)
    assert list(overlapped(squares, lambda n: n + 1)) == [n * n + 1 for n in range(50)]


def test_stages_work_at_the_same_time():
    """Each stage waits for the other to begin its next item: one thread alone would never get there."""
    first_ahead, second_busy = threading.Event(), threading.Event()

    def first(n):
        if n == 1:
            first_ahead.set()
            assert second_busy.wait(5)
        return n

    def second(n):
        if n == 0:
            second_busy.set()
            assert first_ahead.wait(5)
        return n

    assert list(overlapped(overlapped(range(3), first), second)) == [0, 1, 2]


def test_no_more_than_the_queue_holds_is_computed_ahead():
    computed = []
    stage = overlapped(range(100), lambda n: computed.append(n) or n, depth=2)
    next(stage)
    time.sleep(0.3)
    assert len(computed) <= 5  # one taken, two waiting, one in hand, one being computed
    stage.close()


def test_an_error_in_an_early_stage_reaches_the_consumer():
    def fail(n):
        if n == 3:
            raise ValueError("row 3")
        return n

    results = overlapped(overlapped(overlapped(range(10), fail), lambda n: n), lambda n: n)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="row 3"):
        next(results)


def test_a_consumer_that_leaves_stops_every_stage():
    before = threading.active_count()
    results = overlapped(overlapped(range(10_000), lambda n: n), lambda n: n)
    next(results)
    results.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_error_ends_all_stages_though_the_feed_gives_no_more(failing):
    """As in a worker that has scored its last shard but one: nobody ends the feed."""
    feed = Feed()
    feed.put(1)
    ended = []

    def stage(number):
        def work(item):
            if number == failing:
                raise ValueError(f"stage {number}")
            return item

        return work

    def consume():
        stages = feed
        for number in range(3):
            stages = overlapped(stages, stage(number))
        with closing(stages), pytest.raises(ValueError, match=f"stage {failing}"):
            list(stages)
        ended.append(failing)

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert ended == [failing]


def test_several_at_once_come_in_order_and_never_more_than_asked():
    going, most, lock = 0, 0, threading.Lock()

    def work(item):
        nonlocal going, most
        with lock:
            going += 1
            most = max(most, going)
        time.sleep(0.002 * (item % 3))
        with lock:
            going -= 1
        return item * item

    assert list(several_at_once(range(40), work, 4)) == [item * item for item in range(40)]
    assert 1 < most <= 4


def test_the_first_failure_in_order_is_told_and_what_waits_is_not_begun():
    begun = []

    def work(item):
        begun.append(item)
        if item in (5, 3):
            raise ValueError(item)
        return item

    found = several_at_once(range(100), work, 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(found)
    assert max(begun) < 7


def test_work_that_nobody_waits_for_is_told_to_stop():
    stopped, begun = threading.Event(), threading.Event()

    def long(n):
        if n == 1:
            begun.set()
            assert stopped.wait(5)  # or the failure below would wait as long
            raise ValueError("lost")
        return n

    def fail(n):
        assert begun.wait(5)
        raise OSError("disk is full")

    began = time.perf_counter()
    with pytest.raises(OSError, match="disk is full"):
        list(overlapped(overlapped(range(3), long, 1, stopped), fail))
    assert time.perf_counter() - began < 4
