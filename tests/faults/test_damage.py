"""Files of ours cut off or with a bit flipped, at a few places each (`make faults` tries them every two per cent)."""

import pytest

from benchmarks.faults import workplace
from benchmarks.faults.damage import CRASHED, SILENT, TARGETS, campaign


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return workplace.make(tmp_path_factory.mktemp("damage") / "work")


@pytest.mark.parametrize("target", [t for t in TARGETS if t.name != "recipe of a run"], ids=lambda t: t.name)
def test_damage_is_told_or_harmless(root, target):
    trials = list(campaign(root, [target], 35))
    assert trials
    bad = [trial for trial in trials if trial.verdict in (SILENT, CRASHED)]
    assert bad == []
