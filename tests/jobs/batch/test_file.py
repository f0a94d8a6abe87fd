"""Batch files: what is refused and in which words, how a matrix unfolds, what comes after what."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.batch import file as batch_file
from jobs.batch.commands import check
from jobs.batch.file import BatchFile, Step
from jobs.batch.matrix import Task, expand, fill
from jobs.batch.order import choose, in_order
from kaggle_tools.errors import UserError
from tests.conftest import ROOT


def tasks_of(path):
    batch = batch_file.load(path)
    tasks = in_order(expand(batch), batch)
    check(tasks, batch.folder)
    return tasks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[steps.a]\ncommand = 'true'\nneeds = ['trian']\n[steps.train]\ncommand = 'true'", "did you mean 'train'?"),
        ("[steps.a]\ncommand = 'true'\nneed = ['b']", "unknown key 'need' in steps.a"),
        ("[step.a]\ncommand = 'true'", "did you mean 'steps'?"),
        ("[steps]", "no steps"),
        ("[steps.a]\nneeds = []", "step 'a' has no command"),
        ("[steps.a]\ncommand = 'true'\ncli = 'jobs'", "both cli and command"),
        ("[steps.a]\ncommand = ''", "steps.a.command is empty"),
        ("[steps.a]\ncommand = 3", "steps.a.command cannot be 3"),
        ("[steps.a]\ncommand = 'echo \"x'", "no closing quotation"),
        ("[steps.a]\ncommand = 'true'\nneeds = 'b'", "a list of texts"),
        ("[steps.'a b']\ncommand = 'true'", "cannot be a step's name"),
        ("[steps.a]\ncommand = 'echo {modle}'\n[matrix]\nmodel = ['x']", "did you mean 'model'?"),
        ("[matrix]\nmodel = []\n[steps.a]\ncommand = 'true'", "a list of values"),
        ("[matrix]\nmodel = ['x', 'x']\n[steps.a]\ncommand = 'true'", "a value occurs twice"),
        (
            "[matrix]\nm = ['x']\n[parameters]\nm = 'x'\n[steps.a]\ncommand = 'true'",
            "a parameter and a matrix variable",
        ),
        ("[steps.a]\ncommand = 'no-such-program x'", "there is no program 'no-such-program'"),
        ("[steps.a]\ncommand = 'train x.toml'", "is written cli = "),
        ("[steps.a]\ncli = 'trian x.toml'", "did you mean 'train'?"),
        ("[steps.a]\ncli = 'score --inptu x.csv'", "No such option: --inptu"),
        ("[steps.a]\ncli = 'score'", "Missing option '--input'"),
        ("[steps.a]\ncli = 'score --input x --max-length three'", "Invalid value for '--max-length'"),
        ("[steps.a]\ncli = 'jobs shwo x'", "No such command 'shwo'"),
        ("[steps.a\n", "not TOML"),
        (
            "[matrix]\nm = [1]\n[steps.a]\ncommand = 'echo {m}'\nmatrix = {m = [2]}\n"
            "[steps.b]\ncommand = 'echo {m}'\nneeds = ['a']",
            "'b[1]' needs 'a', which has no task with the same values",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_runs(tmp_path, text, words):
    (tmp_path / "jobs.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        tasks_of(tmp_path / "jobs.toml")
    assert words in str(caught.value)


def test_a_circle_is_shown(tmp_path):
    steps = "".join(f"[steps.{a}]\ncommand = 'true'\nneeds = ['{b}']\n" for a, b in ("xa", "ab", "bc", "ca"))
    (tmp_path / "jobs.toml").write_text(steps)
    with pytest.raises(UserError, match="circle") as caught:
        tasks_of(tmp_path / "jobs.toml")
    assert "found: a needs b needs c needs a" in str(caught.value).replace("  ", " ")


def test_our_commands_and_groups_are_parsed_as_they_will_be(tmp_path):
    (tmp_path / "jobs.toml").write_text(
        "[steps.a]\ncli = 'score --input x.csv --model m'\n[steps.b]\ncli = 'leaderboard noise --public-rows 30%'\n"
        "[steps.c]\ncli = 'jobs'\n[steps.d]\ncommand = ['echo', 'a b']\n"
        "[steps.e]\ncli = 'score'\noptions = {input = ['a.csv', 'b.csv'], limit = 3, each = true, force = false}\n"
    )
    tasks = {task.name: task.words for task in tasks_of(tmp_path / "jobs.toml")}
    assert tasks["e"] == ("score", "--input", "a.csv", "--input", "b.csv", "--limit", "3", "--each")
    assert tasks["d"] == ("echo", "a b")


names = st.sampled_from(["model", "seed", "fold", "size"])
matrices = st.dictionaries(
    names, st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True).map(tuple), max_size=4
)


@given(matrices, st.data())
def test_a_step_becomes_one_task_for_each_combination_of_what_it_uses(tmp_path_factory, matrix, data):
    subsets = st.sets(st.sampled_from(sorted(matrix))) if matrix else st.just(set())
    used, needed = data.draw(subsets), data.draw(subsets)
    steps = (
        Step("first", ("echo", *(f"{{{name}}}" for name in sorted(needed))), False),
        Step("second", ("echo", *(f"{{{name}}}" for name in sorted(used))), False, needs=("first",)),
    )
    batch = BatchFile(tmp_path_factory.getbasetemp() / "jobs.toml", {}, matrix, steps)
    tasks = expand(batch)
    assert len({task.name for task in tasks}) == len(tasks)
    second = [task for task in tasks if task.step == "second"]
    combinations = set(itertools.product(*(matrix[name] for name in sorted(used))))
    assert {tuple(task.values[name] for name in sorted(used)) for task in second} == combinations
    assert len(second) == len(combinations)
    first = {task.name: task for task in tasks if task.step == "first"}
    for task in second:
        agreeing = {
            name for name, other in first.items() if all(task.values[v] == other.values[v] for v in used & needed)
        }
        assert set(task.needs) == agreeing
        assert task.words == ("echo", *(str(task.values[name]) for name in sorted(used)))


@given(st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12)), min_size=1))
def test_each_task_comes_after_what_it_needs(tmp_path_factory, wanted):
    """Needs point to smaller numbers only, so that there is no circle; the file has them in any order."""
    needs = {n: sorted(m for m in others if m < n and m in wanted) for n, others in wanted.items()}
    steps = tuple(Step(f"s{n}", "true", False, needs=tuple(f"s{m}" for m in found)) for n, found in needs.items())
    batch = BatchFile(tmp_path_factory.getbasetemp() / "jobs.toml", {}, {}, steps)
    order = [task.name for task in in_order(expand(batch), batch)]
    assert sorted(order) == sorted(step.name for step in steps)
    for step in steps:
        assert all(order.index(need) < order.index(step.name) for need in step.needs)
    chosen = choose(in_order(expand(batch), batch), [steps[0].name])
    assert {need for task in chosen for need in task.needs} <= {task.name for task in chosen}


@given(st.text())
def test_text_without_placeholders_stays_as_it_is(text):
    if "{" not in text:
        assert fill(text, {"a": 1}) == text


def test_braces_that_are_no_placeholder_stay():
    assert fill('{"a": {"b": 1}} {x} {{x}} {}', {"x": 7}) == '{"a": {"b": 1}} 7 {x} {}'


def test_a_value_with_a_space_stays_one_word_and_parameters_can_be_changed(tmp_path):
    step = Step("a", "echo {x} '{y} z'", False, environment={"V": "{x}"})
    batch = BatchFile(tmp_path / "jobs.toml", {"x": "p q", "y": 1}, {}, (step,))
    (task,) = expand(batch, {"y": "2"})
    assert task.words == ("echo", "p q", "2 z")
    assert task.environment == {"V": "p q"}
    assert isinstance(task, Task)
    with pytest.raises(UserError, match="no parameter 'z'"):
        expand(batch, {"z": "2"})


def test_the_batch_in_the_documentation_is_one(tmp_path):
    (block,) = re.findall(
        r"```toml\n# jobs.toml\n(.*?)```", (ROOT / "docs" / "batch.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "jobs.toml").write_text(block)
    names = [task.name for task in tasks_of(tmp_path / "jobs.toml")]
    assert names == ["train[bert-mini]", "train[linear]", "score", "blend", "tell"]
