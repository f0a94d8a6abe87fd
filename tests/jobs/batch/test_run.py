"""`cli run` with real processes: what runs, what does not, what is left after a kill."""

import json
import os
import signal

import pytest

CHAIN = """
[steps.a]
command = "STEP a in.txt a.txt"

[steps.b]
needs = ["a"]
command = "STEP b a.txt b.txt"

[steps.c]
command = "STEP c in.txt c.txt"
"""


def outcomes(out):
    return {task["name"]: task["outcome"] for task in json.loads(out)["tasks"]}


def plan(batch):
    tasks = json.loads(batch.run("--dry-run", "--json")[0])["tasks"]
    return {task["name"]: (task["action"], "; ".join(task["reasons"])) for task in tasks}


def test_steps_run_in_order_once_and_again_only_where_something_changed(batch):
    batch.write(CHAIN)
    assert {action for action, _ in plan(batch).values()} == {"run"}
    out, err = batch.run("--json")
    assert outcomes(out) == {"a": "done", "b": "done", "c": "done"}
    assert batch.ran() == ["a", "b", "c"]
    assert "a  started: never run" in err
    assert outcomes(batch.run("--json")[0]) == dict.fromkeys("abc", "up to date")
    assert batch.ran() == []

    os.utime(batch.folder / "in.txt", (1, 1))  # a time says nothing
    assert outcomes(batch.run("--json")[0]) == dict.fromkeys("abc", "up to date")

    (batch.folder / "b.txt").unlink()
    assert plan(batch)["b"] == ("run", "output b.txt is gone")
    batch.run()
    assert batch.ran() == ["b"]

    (batch.folder / "a.txt").write_text("edited")
    assert plan(batch)["a"] == ("run", "output a.txt changed")
    (batch.folder / "a.txt").write_text("HELLO\n")

    (batch.folder / "in.txt").write_text("HELLO\n")  # other content; a writes the same as before, so b has no reason
    planned = plan(batch)
    assert planned["a"] == ("run", "input in.txt changed")
    assert planned["b"] == ("perhaps", "if 'a' writes something else")
    assert outcomes(batch.run("--json")[0]) == {"a": "done", "b": "up to date", "c": "done"}
    assert batch.ran() == ["a", "c"]

    batch.write(CHAIN.replace("STEP b a.txt", "STEP b a.txt+in.txt"))
    assert "its command changed" in plan(batch)["b"][1]
    batch.run("--force", "--only", "c")
    assert batch.ran() == ["c"]


def test_an_input_that_is_no_longer_named_is_not_said_to_be_gone(batch):
    batch.write('[parameters]\ntest = "a.csv"\n[steps.a]\ncommand = "cp {test} out.txt"\n')
    (batch.folder / "a.csv").write_text("a")
    (batch.folder / "b.csv").write_text("b")
    batch.run()
    reasons = json.loads(batch.run("--set", "test=b.csv", "--dry-run", "--json")[0])["tasks"][0]["reasons"]
    assert reasons == ["its command changed", "input a.csv is not read", "input b.csv is new"]
    (batch.folder / "a.csv").unlink()
    assert "input a.csv is gone" in plan(batch)["a"][1]


def test_a_failure_stops_only_what_needs_it_and_is_tried_again(batch):
    batch.write(CHAIN.replace("STEP a in.txt", "STEP a fail"))
    out, _ = batch.run("--json", code=1)
    assert outcomes(out) == {"a": "failed", "b": "skipped", "c": "done"}
    assert plan(batch)["a"] == ("run", "failed the last time (exit code 1)")
    out, err = batch.run(code=1)
    assert "this went wrong" in out
    assert "b  skipped: needs 'a'" in err
    batch.ran()
    batch.write(CHAIN)
    assert outcomes(batch.run("--json")[0]) == {"a": "done", "b": "done", "c": "up to date"}


def test_steps_run_beside_each_other_as_many_as_asked(batch):
    batch.write(
        "[matrix]\nx = [1, 2, 3]\n[steps.s]\ncommand = 'STEP s{x} in.txt out{x}.txt 1'\n"
        "[steps.t]\nneeds = ['s']\ncommand = 'STEP t out1.txt+out2.txt+out3.txt t.txt'\n"
    )
    _, err = batch.run("--parallel", "3")
    lines = [line.split("  ")[1:] for line in err.splitlines()]
    assert [words[1].startswith("started") for words in lines[:4]] == [True, True, True, False]
    assert (batch.folder / "t.txt").read_text() == "HELLO\n" * 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nothing_is_left_running_and_the_same_command_goes_on(batch, number, code):
    batch.write(
        "[steps.a]\ncommand = 'STEP a in.txt a.txt'\n"
        "[steps.b]\nneeds = ['a']\ncommand = 'STEP b a.txt b.txt 60'\n"
        "[steps.c]\nneeds = ['a']\ncommand = ['sh', '-c', 'STEP c a.txt c.txt 60; true']\n"
        "[steps.d]\nneeds = ['b', 'c']\ncommand = 'STEP d b.txt+c.txt d.txt'\n"
    )
    process = batch.start("--parallel", "2")
    batch.wait_for("a", "b", "c")
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert batch.until_alone() == []
    if number != signal.SIGKILL:
        assert "run the same command again" in err
    planned = plan(batch)
    assert planned["a"][0] == "up to date"
    assert planned["b"] == ("run", "was interrupted")
    batch.write((batch.folder / "jobs.toml").read_text().replace(" 60", ""))
    assert outcomes(batch.run("--json")[0]) == {"a": "up to date", "b": "done", "c": "done", "d": "done"}
    assert not list(batch.folder.glob("**/.*.tmp"))


def test_a_second_run_of_the_same_file_is_refused(batch):
    batch.write("[steps.a]\ncommand = 'STEP a in.txt a.txt 60'\n")
    process = batch.start()
    batch.wait_for("a")
    _, err = batch.run(code=2)
    assert "another `cli run` is at work on jobs.toml" in err
    assert f"process {process.pid}" in err
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert batch.until_alone() == []


def test_what_a_step_leaves_running_ends_with_it(batch):
    batch.write("[steps.a]\ncommand = ['sh', '-c', 'sleep 600 & true']\n")
    batch.run()
    assert batch.until_alone() == []


def test_a_declared_output_that_is_not_written_is_a_failure_as_is_a_missing_input(batch):
    batch.write(
        "[steps.a]\ncommand = 'STEP a in.txt a.txt'\noutputs = ['other.txt']\n"
        "[steps.b]\ncommand = 'STEP b in.txt b.txt'\ninputs = ['none-*.txt']\n"
    )
    out, _ = batch.run(code=1)
    assert "a failed: it did not write its output other.txt" in out
    assert "b failed: its input none-*.txt is not there" in out


def test_a_damaged_state_is_told_and_its_removal_runs_every_step_again(batch):
    batch.write(CHAIN)
    batch.run()
    (state,) = batch.folder.glob(".jobs/batches/*/state.json")
    state.write_text(state.read_text()[:100])
    assert "every step runs once more" in batch.run(code=2)[1]
    state.unlink()
    assert set(outcomes(batch.run("--json")[0]).values()) == {"done"}


def test_our_own_commands_tell_what_they_wrote(batch):
    """`cli init` and `cli import` are steps; a second call finds all of it up to date, an edit is noticed."""
    (batch.folder / "train.csv").write_text("id,text,label\n" + "".join(f"{i},t,{'ab'[i % 2]}\n" for i in range(20)))
    (batch.folder / "test.csv").write_text("id,text\n100,t\n101,u\n")
    (batch.folder / "oof.csv").write_text("id,a,b\n" + "".join(f"{i},0.25,0.75\n" for i in range(20)))
    (batch.folder / "pred.csv").write_text("id,a,b\n100,0.25,0.75\n101,0.5,0.5\n")
    batch.write(
        "[parameters]\ntrain = 'train.csv'\n"
        "[steps.init]\ncli = 'init --train {train} --test test.csv'\n"
        "[steps.gbm]\nneeds = ['init']\ncli = 'import gbm'\noptions = {oof = 'oof.csv', test = 'pred.csv'}\n"
    )
    batch.run()
    assert outcomes(batch.run("--json")[0]) == {"init": "up to date", "gbm": "up to date"}
    toml = batch.folder / "competition.toml"
    toml.write_text(toml.read_text() + "# mine\n")  # a person's edit is no reason to write it anew
    planned = plan(batch)
    assert planned["init"][0] == "up to date"
    assert planned["gbm"] == ("run", "input competition.toml changed")
    (batch.folder / "oof.csv").write_text("id,a,b\n" + "".join(f"{i},0.5,0.5\n" for i in range(20)))
    batch.run()  # what the step wrote itself it may replace
    (batch.folder / "runs" / "gbm" / "oof.parquet").unlink()
    assert "output runs/gbm/oof.parquet is gone" in plan(batch)["gbm"][1]
