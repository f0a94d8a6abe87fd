"""Two and eight processes at one job, one submissions folder, one manifest, at once.

python -m benchmarks.faults crowd
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.kills import start, wait
from benchmarks.faults.stages import SCORE, Words


@dataclass(frozen=True)
class Crowd:
    """What happened: how many processes at what, how they ended, what was wrong."""

    name: str
    processes: int
    ended: str
    problems: tuple[str, ...]


def campaign(root: Path, sizes: Sequence[int], write_tables: Callable[[Path], None]) -> Iterator[Crowd]:
    """Each crowd of each size, in a workspace of its own below `root`."""
    for n in sizes:
        for crowd in (one_job, one_submissions_folder, one_manifest):
            work = root / f"{crowd.__name__}-{n}" / "work"
            work.mkdir(parents=True)
            write_tables(work)
            shutil.copyfile(work / "sample.csv", work / "mine.csv")
            yield crowd(work, n)


def one_job(work: Path, n: int) -> Crowd:
    """The same `cli score`: one works, the others are told so or find it complete; the bytes are those of one alone."""
    _together(work, [("train", "one.toml", "--quiet")])
    _together(work, [SCORE])
    alone = (work / "out.csv").read_bytes()
    shutil.rmtree(work / ".jobs")
    (work / "out.csv").unlink()
    ended = _together(work, [SCORE] * n)
    fine = [code == 0 or (code == 2 and "another process is at work" in said) for code, said in ended]
    problems = [] if all(fine) and any(code == 0 for code, _ in ended) else [f"ended so: {ended}"]
    if (work / "out.csv").read_bytes() != alone:
        problems.append("out.csv is another")
    return _crowd("one job", n, ended, problems + _left(work))


def one_submissions_folder(work: Path, n: int) -> Crowd:
    """Each writes a version: as many versions as processes, each whole, each with a number of its own."""
    ended = _together(work, [("submissions", "adopt", "mine.csv", "--quiet")] * n)
    folders = sorted(path.name for path in work.glob("submissions/v*"))
    problems = [] if all(code == 0 for code, _ in ended) else [f"ended so: {ended}"]
    numbers = [int(name[1:5]) for name in folders]
    if len(numbers) != n or len(set(numbers)) != n:
        problems.append(f"versions {folders}")
    for name in folders:
        files = {path.name for path in (work / "submissions" / name).iterdir()}
        if files != {"manifest.json", "submission.csv"}:
            problems.append(f"{name} holds {files}")
    return _crowd("one submissions folder", n, ended, problems + _left(work))


def one_manifest(work: Path, n: int) -> Crowd:
    """Each records one of three facts of one version: none is lost."""
    _together(work, [("submissions", "adopt", "mine.csv", "--quiet")])
    facts = (("--public", "0.5"), ("--private", "0.25"), ("--rank", "7"))
    ended = _together(work, [("record", "1", *facts[i % 3], "--quiet") for i in range(max(n, 3))])
    problems = [] if all(code == 0 for code, _ in ended) else [f"ended so: {ended}"]
    manifest = json.loads((work / "submissions" / "v0001-mine" / "manifest.json").read_text())
    if (found := [manifest[key] for key in ("public_score", "private_score", "rank")]) != [0.5, 0.25, 7]:
        problems.append(f"the manifest says {found}")
    return _crowd("one manifest", len(ended), ended, problems + _left(work))


def _together(work: Path, commands: Sequence[Words]) -> list[tuple[int, str]]:
    """Start them all, then wait for each."""
    children = [start(work, words) for words in commands]
    return [wait(work, child) for child in children]


def _crowd(name: str, n: int, ended: Sequence[tuple[int, str]], problems: Sequence[str]) -> Crowd:
    codes = [code for code, _ in ended]
    words = ", ".join(f"{codes.count(code)} with {code}" for code in sorted(set(codes)))
    return Crowd(name, n, words, tuple(problems))


def _left(work: Path) -> list[str]:
    return [f"left behind: {p.relative_to(work)}" for p in work.rglob("*") if p.name.endswith((".tmp", ".probe"))]
