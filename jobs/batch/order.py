"""Which task comes after which: cycles told, tasks in order, what hangs on what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.batch.file import BatchFile
from jobs.batch.matrix import Task
from kaggle_tools.errors import UserError, did_you_mean


def in_order(tasks: Sequence[Task], batch: BatchFile) -> tuple[Task, ...]:
    """The tasks so that each comes after what it needs, else as in the file.

    Raises:
        UserError: Steps that need each other in a circle, which is shown.
    """
    _refuse_cycles(batch)
    by_name = {task.name: task for task in tasks}
    ordered: dict[str, Task] = {}
    stack = [task.name for task in reversed(tasks)]
    while stack:
        name = stack[-1]
        missing = [need for need in by_name[name].needs if need not in ordered]
        if name in ordered or not missing:
            ordered.setdefault(stack.pop(), by_name[name])
        else:
            stack += reversed(missing)
    return tuple(ordered.values())


def choose(tasks: Sequence[Task], names: Iterable[str]) -> tuple[Task, ...]:
    """Those tasks, named by step or by task, and all that they need; all tasks where none is named.

    Raises:
        UserError: A name that there is not.
    """
    by_name = {task.name: task for task in tasks}
    wanted: set[str] = set()
    for name in names:
        found = [task.name for task in tasks if name in (task.name, task.step)]
        if not found:
            known = tuple(dict.fromkeys([*(task.step for task in tasks), *by_name]))
            raise UserError(f"no step '{name}'", next=did_you_mean(name, known))
        wanted.update(found)
    if not wanted:
        return tuple(tasks)
    waiting = list(wanted)
    while waiting:
        for need in by_name[waiting.pop()].needs:
            if need not in wanted:
                wanted.add(need)
                waiting.append(need)
    return tuple(task for task in tasks if task.name in wanted)


def _refuse_cycles(batch: BatchFile) -> None:
    needs = {step.name: step.needs for step in batch.steps}
    finished: set[str] = set()
    for start in needs:
        path: list[str] = []
        stack = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                finished.add(path.pop())
            elif name in path:
                circle = [*path[path.index(name) :], name]
                raise UserError("steps need each other in a circle", where=batch.path, found=" needs ".join(circle))
            elif name not in finished:
                path.append(name)
                stack.append((name, True))
                stack += [(need, False) for need in reversed(needs[name])]
