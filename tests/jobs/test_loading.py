"""While libraries are imported nothing is searched for garbage; afterwards it is as it was."""

import gc
import sys

import pytest

from jobs.loading import loading


class _Stop(Exception):
    pass


def test_the_collector_rests_while_modules_are_imported_and_works_again_behind_them(tmp_path, monkeypatch):
    (tmp_path / "imported_for_a_test.py").write_text("kept = [[]]\n")
    monkeypatch.syspath_prepend(tmp_path)
    frozen = gc.get_freeze_count()
    with loading():
        assert not gc.isenabled()
        import imported_for_a_test
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    assert not any(one is imported_for_a_test.kept for one in gc.get_objects())
    del sys.modules["imported_for_a_test"]
    gc.unfreeze()


def test_an_error_sets_it_to_work_again_and_where_it_rested_it_rests():
    frozen = gc.get_freeze_count()
    with pytest.raises(_Stop), loading():
        raise _Stop
    assert gc.isenabled()
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert gc.get_freeze_count() == frozen  # nothing was imported
