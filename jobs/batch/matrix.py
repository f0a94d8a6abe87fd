"""Steps with their placeholders filled in: one task for each combination of the matrix variables that a step uses.

A task waits for those tasks of a needed step that agree with it on every variable that both have: `score[bert]` for
`train[bert]`, a `blend` without variables for every `train`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from jobs.batch.file import BatchFile, Scalar, Step
from kaggle_tools.errors import UserError, did_you_mean

_NAME = r"[A-Za-z_][\w-]*"
_PLACEHOLDER = re.compile(rf"\{{\{{(?P<meant>{_NAME})\}}\}}|\{{(?P<name>{_NAME})\}}")


@dataclass(frozen=True)
class Task:
    """A step with values for its variables: what a child process does.

    Attributes:
        name: ``train[bert,1]``; the step's name where it has no variables.
        step: The step's name.
        words: The command line.
        is_cli: Whether the words are one of our own commands.
        inputs: Files and globs that it says it reads.
        outputs: Files and globs that it says it writes.
        environment: Variables of its process.
        values: Of its matrix variables.
        needs: Names of the tasks that come before it.
    """

    name: str
    step: str
    words: tuple[str, ...]
    is_cli: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    environment: Mapping[str, str]
    values: Mapping[str, Scalar]
    needs: tuple[str, ...] = ()


def expand(batch: BatchFile, changed: Mapping[str, str] | None = None) -> tuple[Task, ...]:
    """All tasks of a batch, in the order of its file.

    Args:
        batch: The file.
        changed: Parameters that are to have other values.

    Raises:
        UserError: An unknown parameter, placeholder or needed step; a needed step without a task that agrees.
    """
    parameters = dict(batch.parameters)
    for name, value in (changed or {}).items():
        if name not in parameters:
            raise UserError(
                f"no parameter '{name}'", where=batch.path, next=did_you_mean(name, tuple(batch.parameters))
            )
        parameters[name] = value
    steps = {step.name: [_task(step, values, parameters) for values in _combinations(step, batch)]
             for step in batch.steps}  # fmt: skip
    return tuple(_with_needs(task, step, steps, batch) for step in batch.steps for task in steps[step.name])


def fill(text: str, values: Mapping[str, Scalar]) -> str:
    """Replace each ``{name}`` by its value and ``{{name}}`` by ``{name}``; other braces stay as they are.

    Raises:
        KeyError: A name without a value.
    """

    def value(found: re.Match[str]) -> str:
        return str(values[found["name"]]) if found["name"] else f"{{{found['meant']}}}"

    return _PLACEHOLDER.sub(value, text)


def _combinations(step: Step, batch: BatchFile) -> Iterator[dict[str, Scalar]]:
    """Values of the variables that a step uses; those of its own matrix count as used."""
    variables = {**batch.matrix, **step.matrix}
    known = (*variables, *batch.parameters)
    used = set(step.matrix)
    for text in _texts(step):
        for found in _PLACEHOLDER.finditer(text):
            name = found["name"]
            if name and name not in known:
                raise UserError(
                    f"step '{step.name}' names {{{name}}}, which is neither a parameter nor a matrix variable",
                    where=batch.path,
                    next=f"{did_you_mean(name, known)} (for the text itself write {{{{{name}}}}})",
                )
            used.add(name)
    names = [name for name in variables if name in used]
    for values in product(*(variables[name] for name in names)):
        yield dict(zip(names, values, strict=True))


def _texts(step: Step) -> Iterator[str]:
    yield from [step.words] if isinstance(step.words, str) else step.words
    yield from (*step.inputs, *step.outputs, *step.environment.values())
    for value in step.options.values():
        yield from (str(item) for item in (value if isinstance(value, tuple) else (value,)))


def _task(step: Step, values: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> Task:
    known = {**parameters, **values}
    # Split first: a value with a space in it stays one word.
    words = _split(step) if isinstance(step.words, str) else list(step.words)
    for key, value in step.options.items():
        for item in value if isinstance(value, tuple) else (value,):
            if item is True:
                words.append(f"--{key}")
            elif item is not False:
                words += [f"--{key}", str(item)]
    return Task(
        name=f"{step.name}[{','.join(str(value) for value in values.values())}]" if values else step.name,
        step=step.name,
        words=tuple(fill(word, known) for word in words),
        is_cli=step.is_cli,
        inputs=tuple(fill(text, known) for text in step.inputs),
        outputs=tuple(fill(text, known) for text in step.outputs),
        environment={key: fill(value, known) for key, value in step.environment.items()},
        values=dict(values),
    )


def _split(step: Step) -> list[str]:
    try:
        return shlex.split(str(step.words))
    except ValueError as exc:
        raise UserError(f"step '{step.name}': {exc}".lower(), found=step.words) from exc


def _with_needs(task: Task, step: Step, steps: Mapping[str, list[Task]], batch: BatchFile) -> Task:
    needs: list[str] = []
    for name in step.needs:
        if name not in steps:
            raise UserError(
                f"step '{step.name}' needs '{name}', which there is not",
                where=batch.path,
                next=did_you_mean(name, tuple(steps)),
            )
        agreeing = [other.name for other in steps[name] if _agree(task, other)]
        if not agreeing:
            raise UserError(
                f"'{task.name}' needs '{name}', which has no task with the same values",
                where=batch.path,
                found=", ".join(other.name for other in steps[name]),
            )
        needs += agreeing
    return Task(**{**vars(task), "needs": tuple(dict.fromkeys(needs))})


def _agree(task: Task, other: Task) -> bool:
    return all(other.values[name] == value for name, value in task.values.items() if name in other.values)
