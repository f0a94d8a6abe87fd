"""SIGKILL at random moments of every command that writes; then the same command again, and what it left is compared.

    python -m benchmarks.faults kills --kills 80

Each command runs in a process of its own, forked from one that has imported the libraries, so that the moments fall
into the work and not into imports. After the kill the same command must finish, its files must be those of a run that
nobody killed, byte for byte, and nothing half-written may be left.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.workplace import call

Words = tuple[str, ...]
SCORE: Words = (
    "score",
    "--input",
    "test.csv",
    "--shard-rows",
    "32",
    "--output",
    "out.csv",
    "--device",
    "cpu",
    "--quiet",
)


@dataclass(frozen=True)
class Stage:
    """A command and the files that it promises to write in the same bytes.

    Attributes:
        name: What it is called.
        before: Commands that come first and are not killed.
        words: The command that is killed.
        files: Patterns below the workspace.
        spoken: Whether times are written into the files, which are then taken out before the comparison.
    """

    name: str
    before: tuple[Words, ...]
    words: Words
    files: tuple[str, ...]
    spoken: bool = False


_TRAIN: tuple[Words, ...] = (("train", "one.toml", "--quiet"), ("train", "two.toml", "--quiet"))
_BLEND: Words = ("blend", "--method", "weights", "--quiet")
_ADOPT: Words = ("submissions", "adopt", "mine.csv", "--quiet")
STAGES = (
    Stage("score", _TRAIN, SCORE, ("out.csv", "runs/*/predictions/test.parquet", "submissions/v*/submission.csv")),
    Stage("train", (), _TRAIN[0], ("runs/folds.parquet", "runs/one/oof.parquet", "runs/one/fold*/linear.*")),
    Stage("blend", (*_TRAIN, SCORE), _BLEND, ("blends/*.json", "submissions/v*-blend/submission.csv")),
    Stage(
        "version",
        (),
        _ADOPT,
        ("submissions/v*-mine/submission.csv", "submissions/v*-mine/manifest.json"),
        spoken=True,
    ),
    Stage("report", (*_TRAIN, SCORE), ("report", "--force", "--quiet"), ("report.html",), spoken=True),
    Stage(
        "record",
        (_ADOPT,),
        ("record", "1", "--public", "0.5", "--rank", "7", "--quiet"),
        ("submissions/v0001-mine/manifest.json",),
        spoken=True,
    ),
)


@dataclass(frozen=True)
class Kill:
    """One kill: its stage; when it came, as a share of the whole run (None: it was done before); what was wrong."""

    stage: str
    share: float | None
    problems: tuple[str, ...]


def campaign(root: Path, stages: Sequence[Stage], kills: int, write_tables: Callable[[Path], None]) -> Iterator[Kill]:
    """So many kills, in turn over the stages.

    Args:
        root: A folder that does not exist yet.
        stages: Which commands.
        kills: How many of each.
        write_tables: Fills an empty workspace.
    """
    draw = random.Random(11)
    for stage in stages:
        pristine = root / "pristine"
        work = root / "work"
        _fill(work, write_tables)
        for words in stage.before:
            _must(work, words)
        shutil.rmtree(pristine, ignore_errors=True)
        shutil.copytree(work, pristine)
        began = time.monotonic()
        _must(work, stage.words)
        whole_s = time.monotonic() - began
        expected = _files(work, stage)
        for _ in range(kills):
            shutil.rmtree(work)
            shutil.copytree(pristine, work)  # with its times
            share = draw.random()
            code, said = _run(work, stage.words, kill_after_s=share * whole_s)
            problems = _half_versions(work)
            if code == -signal.SIGKILL:
                finished, said = _run(work, stage.words)
            else:
                finished = code
            problems += [] if finished == 0 else [f"ended with {finished}: {said[:300]}"]
            problems += _problems(work, stage, expected)
            yield Kill(stage.name, share if code == -signal.SIGKILL else None, tuple(problems))


def _fill(work: Path, write_tables: Callable[[Path], None]) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_tables(work)
    shutil.copyfile(work / "sample.csv", work / "mine.csv")


def start(work: Path, words: Words) -> int:
    """Begin a command in a process of its own; gives its number. What it says goes to a file beside `work`."""
    import jobs.apply
    import jobs.blend
    import jobs.leaderboard
    import jobs.report
    import jobs.score
    import jobs.submissions
    import jobs.train  # noqa: F401

    child = os.fork()
    if child == 0:
        done = call(work, words)
        (work.parent / f"said-{os.getpid()}.txt").write_text(done.err)
        os._exit(99 if done.code is None else done.code)
    return child


def wait(work: Path, child: int) -> tuple[int, str]:
    """Exit code of a command that was started, minus nine where it was killed, and what it said."""
    _, status = os.waitpid(child, 0)
    said = work.parent / f"said-{child}.txt"
    text = said.read_text() if said.is_file() else ""
    said.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), text


def _run(work: Path, words: Words, kill_after_s: float | None = None) -> tuple[int, str]:
    child = start(work, words)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return wait(work, child)


def _must(work: Path, words: Words) -> None:
    code, said = _run(work, words)
    if code != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {code}: {said}")


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
    return [f"half a version: {p.name}" for p in folders if {f.name for f in p.iterdir()} != _WHOLE]


_WHOLE = {"submission.csv", "manifest.json"}


def _problems(work: Path, stage: Stage, expected: dict[str, bytes]) -> list[str]:
    problems = []
    found = _files(work, stage)
    names = {_unnumbered(name): content for name, content in found.items()}
    for name, content in expected.items():
        if names.get(_unnumbered(name)) != content:
            problems.append(f"{name} is {'missing' if _unnumbered(name) not in names else 'another'}")
    left = [p for p in work.rglob("*") if re.search(r"\.tmp$|\.old$|\.probe$|^\.owner", p.name)]
    problems += [f"left behind: {p.relative_to(work)}" for p in left]
    return problems


def _unnumbered(name: str) -> str:
    """A version that was finished just before the kill is followed by a second one of the same content."""
    return re.sub(r"v\d{4}-", "v-", name)
