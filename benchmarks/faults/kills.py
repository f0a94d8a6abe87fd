"""SIGKILL at random moments of every command that writes; then the same command again, and what it left is compared.

    python -m benchmarks.faults kills --kills 1000 --log kills.jsonl

Each command runs in a process of its own, forked from one that has imported the libraries, so that the moments fall
into the work and not into imports. After the kill the same command must finish, its files must be those of a run that
nobody killed, byte for byte, and nothing half-written may be left. One trial in five is killed twice or three times.
Moments that last microseconds are hardly ever hit by chance: with `--operations` the process also kills itself before
each of its file operations (opening, renaming, removing), one after the other. With `--space` no file may grow beyond
some size (RLIMIT_FSIZE stands for a full disk): that must be one error, and the same command goes on with more space.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.faults.stages import Stage, Words, fill
from benchmarks.faults.workplace import call
from jobs.holding import is_held

SEED = 11
SPACES = (0, 60, 200, 600, 2_000, 4_000, 8_000, 16_000, 40_000, 100_000)  # bytes a file
_TIMED_EVERY = 20
_TOUCHING = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


@dataclass(frozen=True)
class Trial:
    """A command that was killed once or more and then left alone.

    Attributes:
        stage: Which command.
        number: Which trial of it.
        how: ``moment``; ``operation``: before a file operation; ``space``: with files of so many bytes at most.
        struck: What was under way at each kill; fewer than planned where the command was done before.
        writing: Kills that left a temporary file, thus fell into a write.
        again: Whether the command had finished before the kill, and its second call made a second version.
        problems: What was wrong in the end.
    """

    stage: str
    number: int
    how: str
    struck: tuple[str, ...]
    writing: int
    again: bool
    problems: tuple[str, ...]


def campaign(
    root: Path,
    stages: Sequence[Stage],
    kills: Mapping[str, int],
    write_tables: Callable[[Path], None],
    *,
    operations: bool = False,
    space: bool = False,
    known: Sequence[Trial] = (),
) -> Iterator[Trial]:
    """So many kills of each stage.

    Args:
        root: An empty folder.
        stages: Which commands.
        kills: Name of a stage → how many at random moments.
        write_tables: Fills an empty workspace.
        operations: Also one before each file operation.
        space: Also with too little space for files, more and more of it.
        known: Trials made earlier, which are not made again.
    """
    for stage in stages:
        made = {(trial.how, trial.number) for trial in known if trial.stage == stage.name}
        missing = kills[stage.name] - sum(len(t.struck) for t in known if t.stage == stage.name and t.how == "moment")
        if missing <= 0 and not operations and not space:
            continue
        place = _Place(root, stage, write_tables)
        number = 0
        while missing > 0:
            if ("moment", number) not in made:
                trial = place.at_moments(number)
                missing -= max(1, len(trial.struck))
                yield trial
            number += 1
        for number in range(1, (place.n_operations if operations else 0) + 1):
            if ("operation", number) not in made:
                yield place.before_operation(number)
        for limit in SPACES if space else ():
            if ("space", limit) not in made:
                yield place.with_space(limit)


def load(log: Path) -> list[Trial]:
    """Trials of a log, a line each."""
    if not log.is_file():
        return []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [Trial(**{k: tuple(v) if isinstance(v, list) else v for k, v in line.items()}) for line in lines]


def append(log: Path, trial: Trial) -> None:
    """Add a line to a log."""
    with log.open("a") as handle:
        handle.write(json.dumps(asdict(trial)) + "\n")


class _Place:
    """A workspace in which one stage is killed again and again, always from the same beginning."""

    def __init__(self, root: Path, stage: Stage, write_tables: Callable[[Path], None]) -> None:
        self.stage, self.work, self.pristine = stage, root / "work", root / "pristine"
        fill(self.work, write_tables)
        for words in stage.before:
            _must(self.work, words)
        shutil.rmtree(self.pristine, ignore_errors=True)
        shutil.copytree(self.work, self.pristine)
        self.n_operations = _rehearse(self.work, stage.words)
        self.expected = _files(self.work, stage)
        if missing := [p for p in stage.files if not list(self.work.glob(p))]:
            raise RuntimeError(f"{stage.name} does not write {missing}")
        self.whole_s = 0.0

    def at_moments(self, number: int) -> Trial:
        """One kill, at times two or three, at moments drawn for this trial."""
        if number % _TIMED_EVERY == 0 or not self.whole_s:  # others use the machine, now more and now less
            self._renew()
            began = time.monotonic()
            _must(self.work, self.stage.words)
            self.whole_s = time.monotonic() - began
        draw = random.Random(f"{SEED}/{self.stage.name}/{number}")
        kills = 1 + (draw.random() < 0.2) + (draw.random() < 0.05)
        return self._trial("moment", number, [draw.random() * self.whole_s for _ in range(kills)], None)

    def before_operation(self, number: int) -> Trial:
        """One kill, before the file operation of that number."""
        return self._trial("operation", number, [], number)

    def with_space(self, limit: int) -> Trial:
        """Files may have `limit` bytes at first, and any number when the command is called again."""
        self._renew()
        code, said = _run(self.work, self.stage.words, file_limit=limit)
        told = code == 2 and "cannot write" in said and "Traceback" not in said
        told |= code == 1 and self.stage.name == "run"  # a step of its own failed
        problems = [] if code == 0 or told else [f"ended with {code}: {said.strip()[-300:]}"]
        problems += [f"left behind: {p.relative_to(self.work)}" for p in self.work.rglob("*.tmp")]
        problems += _half_versions(self.work)
        if code != 0:
            code, said = _run(self.work, self.stage.words)
            problems += [] if code == 0 else [f"ended with {code} when there was space: {said[:300]}"]
        problems += _problems(self.work, self.stage, self.expected)
        return Trial(self.stage.name, limit, "space", ("told",) if told else (), 0, False, tuple(problems))

    def _trial(self, how: str, number: int, moments: Sequence[float], operation: int | None) -> Trial:
        self._renew()
        struck, writing, finished, said = [], 0, None, ""
        problems: list[str] = []
        for moment in moments or [None]:
            code, said = _run(self.work, self.stage.words, kill_after_s=moment, die_before=operation)
            problems += _half_versions(self.work)
            if code != -signal.SIGKILL:
                finished = code
                break
            struck.append(_under_way(self.work, self.pristine, self.stage))
            writing += any(self.work.rglob(".*.tmp"))
        if finished is None:
            finished, said = _run(self.work, self.stage.words)
        problems += [] if finished == 0 else [f"ended with {finished}: {said[:300]}"]
        problems += _problems(self.work, self.stage, self.expected)
        again = len(_files(self.work, self.stage)) > len(self.expected)
        return Trial(self.stage.name, number, how, tuple(struck), writing, again, tuple(problems))

    def _renew(self) -> None:
        shutil.rmtree(self.work)
        shutil.copytree(self.pristine, self.work)  # with its times


def start(work: Path, words: Words, die_before: int | None = None, file_limit: int | None = None) -> int:
    """Begin a command in a process of its own; gives its number. What it says goes to a file beside `work`.

    Args:
        work: The working directory.
        words: The command.
        die_before: Number of the file operation before which it kills itself; 0: it counts them.
        file_limit: Bytes that a file may have.
    """
    import jobs.apply
    import jobs.blend
    import jobs.leaderboard
    import jobs.report
    import jobs.run
    import jobs.score
    import jobs.submissions
    import jobs.train  # noqa: F401

    child = os.fork()
    if child == 0:
        counted = _watch_operations(work, die_before) if die_before is not None else [0]
        if file_limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
        done = call(work, words)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        said = json.dumps([counted[0], [*sys.modules]]) if die_before == 0 and done.code == 0 else done.err
        (work.parent / f"said-{os.getpid()}.txt").write_text(said)
        os._exit(99 if done.code is None else done.code)
    return child


def wait(work: Path, child: int) -> tuple[int, str]:
    """Exit code of a command that was started, minus nine where it was killed, and what it said."""
    _, status = os.waitpid(child, 0)
    said = work.parent / f"said-{child}.txt"
    text = said.read_text() if said.is_file() else ""
    said.unlink(missing_ok=True)
    _until_alone(work)
    return os.waitstatus_to_exitcode(status), text


def _run(
    work: Path,
    words: Words,
    kill_after_s: float | None = None,
    die_before: int | None = None,
    file_limit: int | None = None,
) -> tuple[int, str]:
    child = start(work, words, die_before, file_limit)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return wait(work, child)


def _watch_operations(work: Path, die_before: int) -> list[int]:
    """Count the file operations in the workspace; before that of a number, send SIGKILL to ourselves."""
    count, below = [0], (str(work), str(work.resolve()))

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _TOUCHING or not arguments or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.fsdecode(arguments[0])
        if path.startswith(below) or not path.startswith("/"):
            count[0] += 1
            if count[0] == die_before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    return count


def _rehearse(work: Path, words: Words) -> int:
    """How many file operations a command makes; what it imports is imported here, too, lest kills fall into that."""
    code, said = _run(work, words, die_before=0)
    if code != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {code}: {said}")
    n_operations, modules = json.loads(said)
    before = _n_threads()
    for module in modules:
        with suppress(Exception):
            importlib.import_module(module)
    if _n_threads() > before:
        raise RuntimeError("importing started threads: a process that is forked now may hang")
    return int(n_operations)


def _n_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _must(work: Path, words: Words) -> None:
    code, said = _run(work, words)
    if code != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {code}: {said}")


def _until_alone(work: Path, timeout_s: float = 60.0) -> None:
    """Wait for the end of processes that a killed `cli run` had started; each is on a leash."""
    end = time.monotonic() + timeout_s
    while any(_works_in(entry, work) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if time.monotonic() > end:
            raise RuntimeError(f"processes are left in {work}")
        time.sleep(0.02)


def _works_in(process: Path, folder: Path) -> bool:
    with suppress(OSError):
        return (process / "cwd").readlink() == folder.resolve()
    return False


def _under_way(work: Path, pristine: Path, stage: Stage) -> str:
    reached = "the start"
    for pattern, words in stage.marks:
        if {str(p.relative_to(work)) for p in work.glob(pattern)} - {
            str(p.relative_to(pristine)) for p in pristine.glob(pattern)
        }:
            reached = words
    return reached


def _files(work: Path, stage: Stage) -> dict[str, bytes]:
    found = {}
    for pattern in stage.files:
        for path in sorted(work.glob(pattern)):
            content = path.read_bytes()
            if path.suffix == ".html":  # full of times: whole or not is what counts
                content = content.rstrip()[-len(b"</html>") :]
            found[str(path.relative_to(work))] = _without_times(content) if stage.spoken else content
    return found


def _without_times(content: bytes) -> bytes:
    content = re.sub(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\+00:00)?", b"TIME", content)
    return re.sub(rb'"seal": "\w+"|"version": \d+|\d+(\.\d+)? (s|ms|min|rows/s)\b', b"", content)


def _half_versions(work: Path) -> list[str]:
    folders = [path for path in work.glob("submissions/v*") if path.is_dir()]
    names = {p.name: {f.name for f in p.iterdir() if not f.name.endswith(".tmp")} for p in folders}
    return [f"half a version: {name}" for name, found in names.items() if found != _WHOLE]


_WHOLE = {"submission.csv", "manifest.json"}


def _problems(work: Path, stage: Stage, expected: Mapping[str, bytes]) -> list[str]:
    problems = []
    contents: dict[str, set[bytes]] = {}
    for name, content in _files(work, stage).items():
        contents.setdefault(_unnumbered(name), set()).add(content)
    for name, content in expected.items():
        if content not in contents.get(_unnumbered(name), ()):
            problems.append(f"{name} is {'another' if _unnumbered(name) in contents else 'missing'}")
    left = [p for p in work.rglob("*") if re.search(r"\.tmp$|\.old$|\.probe$|^\.owner", p.name)]
    problems += [f"left behind: {p.relative_to(work)}" for p in left]
    problems += [f"held: {p.relative_to(work)}" for p in work.rglob("lock") if is_held(p.parent)]
    return problems + _half_versions(work)


def _unnumbered(name: str) -> str:
    """A version that was finished just before the kill is followed by a second one of the same content."""
    return re.sub(r"v\d{4}-", "v-", name)
