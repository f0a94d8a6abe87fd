"""Several inputs are indexed at a time: the same plan as one after the other, and the error of the first."""

import time

import numpy as np
import pytest

from jobs.resolve import InputOptions, look_at_inputs
from jobs.runner import planner, reading
from jobs.runner.plan import Request
from jobs.runner.reading import texts_of
from jobs.runner.store import JobStore
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError


def plan(folder, cores, monkeypatch, limit=None, shard_rows=10):
    monkeypatch.setattr(planner, "usable_cores", lambda: cores)
    monkeypatch.chdir(folder)
    inputs = look_at_inputs(Workspace.find(folder), InputOptions(("part-*.csv",)))
    models, classes = {"m": ("0",)}, ("a", "b")
    request = Request(
        inputs.files, inputs.id_column, inputs.text_column, models, classes, "auto", None, None, limit, "fail"
    )
    store = JobStore(folder / "job")
    store.folder.mkdir(exist_ok=True)
    return planner._make_plan(request, store, shard_rows)


@pytest.fixture
def parts(tmp_path):
    for part in range(6):
        rows = "".join(f"r{part}-{row},text {row}\n" for row in range(35 + part))
        (tmp_path / f"part-{part}.csv").write_text("id,text\n" + rows)
    return tmp_path


def test_the_plan_does_not_depend_on_how_many_files_are_indexed_at_a_time(parts, monkeypatch):
    for limit in (None, 90):
        alone, together = (plan(parts, cores, monkeypatch, limit) for cores in (1, 4))
        assert together.tasks == alone.tasks
        assert together.n_rows == (limit or 225)
    assert not list((parts / "job").iterdir())


@pytest.mark.parametrize("cores", [1, 4])
def test_the_first_file_with_an_error_is_named_and_others_are_not_read_to_their_end(parts, cores, monkeypatch):
    with (parts / "part-2.csv").open("a") as file:
        file.write("r,ragged,row\n")
    (parts / "part-4.csv").write_text("id,text\nr1,x,y\n")
    began = planner._index

    def slow(request, number, shard_rows, also):
        if number == 5 and cores > 1:  # would go on for ever, if it was not told to stop
            while True:
                also(b"", 0, np.empty((0, 5), dtype=np.int64))
                time.sleep(0.001)
        return began(request, number, shard_rows, also)

    monkeypatch.setattr(planner, "_index", slow)
    with pytest.raises(UserError, match=r"part-2\.csv: 1 of 38 rows are ragged"):
        plan(parts, cores, monkeypatch)


@pytest.mark.parametrize("cores", [1, 4])
def test_an_id_that_two_files_have_is_found(parts, cores, monkeypatch):
    with (parts / "part-5.csv").open("a") as file:
        file.write("r0-3,again\n")
    with pytest.raises(UserError, match=r"1 ids occur more than once(.|\n)*first: +r0-3"):
        plan(parts, cores, monkeypatch)


COMPETITION = """name = "x"
task = "single_label"
metric = "log_loss"
classes = ["a", "b"]
text_column = "text"
pair_column = "text2"
id_column = "id"
test = "test.csv"
"""


@pytest.mark.parametrize(
    ("key", "flag"),
    [
        ("test_id_column", {"no_id": True}),
        ("test_text_column", {"text_column": "text"}),
        ("test_pair_column", {"pair_column": "text2"}),
    ],
)
def test_a_column_of_test_that_is_not_there_is_not_replaced_by_that_of_train(tmp_path, monkeypatch, key, flag):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "competition.toml").write_text(f'{COMPETITION}{key} = "nope"\n')
    for name in ("test.csv", "other.csv"):
        (tmp_path / name).write_text("id,text,text2\n1,a,b\n")
    with pytest.raises(UserError, match=rf"test\.csv has no column 'nope', which competition\.toml names as {key}"):
        look_at_inputs(Workspace.find(tmp_path), InputOptions(("test.csv",)))
    named = look_at_inputs(Workspace.find(tmp_path), InputOptions(("test.csv",), **flag))
    other = look_at_inputs(Workspace.find(tmp_path), InputOptions(("other.csv",)))
    assert (named.text_column, named.pair_column) == (other.text_column, other.pair_column) == ("text", "text2")


def test_of_very_many_files_that_share_a_shard_some_are_read_to_try_formats_on(parts, monkeypatch):
    planned = plan(parts, 1, monkeypatch, shard_rows=1000)
    (task,) = planned.tasks
    assert len(texts_of(planned, task)) == 225
    monkeypatch.setattr(reading, "_TRIED", 2)
    assert len(texts_of(planned, task)) == 35 + 38  # the first and the fourth of six
