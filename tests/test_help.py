"""Every command has help that ends with examples, stands in the README, and imports nothing heavy."""

import subprocess
import sys

import pytest
from typer.main import get_command

from jobs.cli import app
from tests.conftest import ROOT, process_environment

HEAVY = ("torch", "transformers", "polars", "numpy", "optuna", "sklearn", "pyarrow", "numba", "kaggle", "requests")


def commands():
    """Every command as the words that call it."""
    found = []

    def walk(command, words):
        for name, child in getattr(command, "commands", {}).items():
            found.append((*words, name))
            walk(child, (*words, name))

    walk(get_command(app), ())
    return found


def help_of(*words):
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    return command


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_says_what_a_command_does_and_ends_with_two_examples(words):
    command = help_of(*words)
    assert command.help
    assert len(command.help.strip()) > 20
    examples = [line for line in (command.epilog or "").splitlines() if line.strip().startswith("cli ")]
    assert len(examples) >= 2
    assert all(line.split()[1] == words[0] for line in examples)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_option_has_help(words):
    for parameter in help_of(*words).params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            assert getattr(parameter, "help", None), f"{' '.join(words)} {parameter.opts}"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_readme_names_every_command(words):
    assert f"cli {' '.join(words)}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_examples_are_commands_that_parse():
    """Every example's options exist: an example that has gone stale fails here."""
    for words in commands():
        options = {
            name for parameter in help_of(*words).params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        for line in (help_of(*words).epilog or "").splitlines():
            if line.strip().startswith(f"cli {' '.join(words)} "):
                asked = [word for word in line.split("|")[0].split() if word.startswith("--")]
                assert set(asked) <= options, line


def test_commands_are_listed_as_a_competition_takes_its_course():
    command = get_command(app)
    listed = command.list_commands(None)
    assert sorted(listed) == sorted(command.commands)
    course = ["init", "train", "score", "jobs", "blend", "submissions", "leaderboard", "submit", "report"]
    assert [name for name in listed if name in course] == course


def test_help_imports_nothing_heavy():
    code = f"import sys, jobs.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=process_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_mistyped_file_is_told_before_torch_is_loaded(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None; from jobs.cli import main; "
        "sys.argv = ['cli', 'score', '--input', 'tset.csv']; main()"
    )
    (tmp_path / "test.csv").write_text("id,text\n1,a\n")
    done = subprocess.run(
        [sys.executable, "-c", code], env=process_environment(), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert "no file tset.csv" in done.stderr
    assert "test.csv" in done.stderr.partition("next:")[2]
