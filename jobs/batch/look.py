"""Whether a task is out of date, and why: its command, what it reads and what it wrote, all by content."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.batch.fingerprints import Digests, edited, inputs_of, matching
from jobs.batch.matrix import Task
from jobs.batch.state import Record
from kaggle_tools.files import digest

_TOLD = 3


@dataclass(frozen=True)
class Look:
    """What was found of a task just now.

    Attributes:
        reasons: Why it is out of date; empty where it is not.
        command: Digest of its command line and environment.
        inputs: Path → digest.
        needs: Task → digest of what that one wrote.
        replaces: Whether all that it wrote the last time is there untouched, and so may be replaced by it.
    """

    reasons: tuple[str, ...]
    command: str
    inputs: Mapping[str, str]
    needs: Mapping[str, str]
    replaces: bool


def look(task: Task, records: Mapping[str, Record], digests: Digests, folder: Path) -> Look:
    """Compare a task with its record.

    Args:
        task: The task.
        records: Of all tasks.
        digests: Of files.
        folder: Where the batch runs.
    """
    record = records.get(task.name)
    command = digest(task.words, task.is_cli, sorted(task.environment.items()), task.inputs, task.outputs)
    written = {*(record.outputs if record else ()), *matching(task.outputs, folder)}
    inputs = digests.of_all([path for path in inputs_of(task, folder) if path not in written], folder)
    needs = {need: _token(records.get(need)) for need in task.needs}
    if record is None:
        return Look(("never run",), command, inputs, needs, replaces=False)
    outputs = _changes_of_outputs(record, digests.of_all(record.outputs, folder))
    reasons = _how_it_ended(record)
    if record.command != command:
        reasons.append("its command changed")
    if record.inputs or record.status == "done":
        unread = digests.of_all([path for path in record.inputs if path not in inputs], folder)
        reasons += _changes("input", record.inputs, inputs, unread)
        reasons += [f"'{need}' wrote something else" for need in needs if record.needs.get(need) != needs[need]]
    reasons += outputs
    return Look(tuple(reasons), command, inputs, needs, replaces=bool(record.outputs) and not outputs)


def _how_it_ended(record: Record) -> list[str]:
    if record.status == "failed":
        return [f"failed the last time (exit code {record.exit_code})" if record.exit_code else "failed the last time"]
    return [] if record.status == "done" else ["was interrupted"]


def _changes_of_outputs(record: Record, found: Mapping[str, str]) -> list[str]:
    kept = {path: value for path, value in record.outputs.items() if not edited(path)}
    still = {path: value for path, value in found.items() if path in kept}
    missing = [f"output {path} is gone" for path in record.outputs if edited(path) and path not in found]
    return missing + _changes("output", kept, still)


def _changes(what: str, before: Mapping[str, str], now: Mapping[str, str], unread: Collection[str] = ()) -> list[str]:
    """In words; `unread` are files that are there, and were read before."""
    found = [f"{what} {path} changed" for path in before if path in now and now[path] != before[path]]
    found += [f"{what} {path} is {'not read' if path in unread else 'gone'}" for path in before if path not in now]
    found += [f"{what} {path} is new" for path in now if path not in before]
    if len(found) > _TOLD:
        return [*found[:_TOLD], f"and {len(found) - _TOLD:,} more"]
    return found


def _token(record: Record | None) -> str:
    """What stands for the outputs of a needed task; without any it is that it ran."""
    if record is None or record.status != "done":
        return ""
    outputs = {path: "" if edited(path) else value for path, value in record.outputs.items()}
    return digest(sorted(outputs.items())) if outputs else record.started
