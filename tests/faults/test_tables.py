"""A twelfth of the hostile corpus (`make faults` scores all of it): right, or refused with one clear error."""

from benchmarks.faults import tables
from benchmarks.faults.corpus import cases
from benchmarks.faults.tables import CRASHED, WRONG, judge, make_model


def test_the_corpus_has_more_than_five_hundred_tables():
    assert len(cases()) > 500


def test_hostile_tables_are_scored_right_or_refused_clearly(tmp_path):
    model = make_model(tmp_path / "model")
    # Every twelfth, and of what a person wrote those that once went wrong.
    sorts = ("Parquet: bytes", "no table: HTML", "lines: CR alone", "lines: LF CR", "compressed: gzip cut at 50 %")
    chosen = [case for i, case in enumerate(cases()) if i % 12 == 5 or case.name in sorts]
    judged = [judge(case, model, tmp_path / "model", tmp_path / "table") for case in chosen]
    assert [(j.case.name, j.said) for j in judged if j.verdict in (WRONG, CRASHED)] == []
    assert len({j.verdict for j in judged}) > 1


def test_the_judge_notices_a_row_that_is_missing(tmp_path, monkeypatch):
    """The oracle is no rubber stamp: with other truth the same table is judged wrong."""
    model = make_model(tmp_path / "model")
    case = next(case for case in cases() if case.name == "lines: LF and CRLF mixed")
    truth = tables.truth
    monkeypatch.setattr(tables, "truth", lambda case, **kw: truth(case, **kw)[:-1])
    assert tables.judge(case, model, tmp_path / "model", tmp_path / "table").verdict == WRONG
