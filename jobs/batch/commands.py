"""Command lines of a batch: checked before anything runs, and as a child process gets them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import typer
from typer._click.exceptions import ClickException  # typer brings a click of its own and exports no base class

from jobs.batch.matrix import Task
from kaggle_tools.errors import UserError, did_you_mean

# Their values are addresses and commands with secrets in them, which are no business of a step.
_OWN_VARIABLES = "KAGGLE_JOBS_RUN_"


def check(tasks: Sequence[Task], folder: Path) -> None:
    """Refuse, before anything is run, what cannot run.

    Args:
        tasks: All of them.
        folder: Where they run.

    Raises:
        UserError: A command or an option that there is not, a missing argument, a program that is not installed.
    """
    made = {Path(output).name for task in tasks for output in task.outputs}
    for task in tasks:
        if task.is_cli:
            _check_cli(task)
        elif not _is_program(task.words[0], folder) and Path(task.words[0]).name not in made:
            raise UserError(
                f"'{task.name}': there is no program '{task.words[0]}'",
                where=folder if "/" in task.words[0] else "PATH",
                next=f'a command of ours is written cli = "{" ".join(task.words)}"'
                if task.words[0] in _commands()
                else "install it, or mend its name",
            )


def process_words(task: Task, *extra: str) -> list[str]:
    """The words of the child process: one of our own commands runs under this interpreter."""
    ours = [sys.executable, "-m", "jobs.cli"] if task.is_cli else []
    return [*ours, *task.words, *extra]


def process_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """The child's variables: ours but for the options of `cli run` itself, and `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    if path := kept.get("PYTHONPATH"):  # the child may have another working directory
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(part).resolve()) for part in path.split(os.pathsep) if part)
    return {**kept, **changes}


def has_option(task: Task, name: str) -> bool:
    """Whether one of our own commands knows an option, such as ``--force``, and was not given it."""
    if not task.is_cli or name in task.words:
        return False
    command = _commands().get(task.words[0])
    return command is not None and any(name in getattr(parameter, "opts", ()) for parameter in command.params)


def _check_cli(task: Task) -> None:
    """Parse the words as the command itself will, without calling it."""
    name, *rest = task.words
    known = _commands()
    command = known.get(name)
    if command is None:
        raise UserError(
            f"'{task.name}': there is no command 'cli {name}'", next=did_you_mean(name, tuple(sorted(known)))
        )
    try:
        context = command.make_context(f"cli {name}", list(rest))
        if hasattr(command, "resolve_command"):  # a group, such as `cli leaderboard noise`
            words = [*getattr(context, "_protected_args", ()), *context.args]
            if words:
                inner_name, inner, inner_words = command.resolve_command(context, words)
                inner.make_context(inner_name, inner_words, parent=context)
    except ClickException as exc:
        raise UserError(f"'{task.name}': {exc.format_message()}", found=f"cli {' '.join(task.words)}") from exc
    except typer.Exit:  # --help
        return


def _commands() -> Mapping[str, typer.core.TyperCommand]:
    from jobs.cli import app

    commands: Mapping[str, typer.core.TyperCommand] = getattr(typer.main.get_command(app), "commands", {})
    return commands


def _is_program(word: str, folder: Path) -> bool:
    if "/" in word:
        path = folder / word
        return path.is_file() and os.access(path, os.X_OK)
    return shutil.which(word) is not None


def shown(words: Iterable[str]) -> str:
    """Words as a person would type them."""
    import shlex

    return shlex.join(words)
