"""Every file that we write, cut off or with a bit flipped every few per cent of its length; then who reads it.

    python -m benchmarks.faults damage --step 2

Each time the command must refuse with an error that a person can read, say what it left out, or give what it gives
without the damage. A traceback, or another answer without a word, is a bug.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.workplace import SCORE, Done, call

REFUSED = "refused"
TOLD = "told and left out"
HARMLESS = "same answer"
SILENT = "ANOTHER ANSWER, NOT A WORD"
CRASHED = "TRACEBACK"
VERDICTS = (REFUSED, TOLD, HARMLESS, SILENT, CRASHED)

Words = tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """A file, and the commands that read it.

    Attributes:
        name: What it is.
        pattern: Where it is, below the workspace; the first match is damaged.
        commands: Run one after the other on the damaged workspace.
        gone: Files removed before the damage, so that the damaged one is needed.
        outputs: Files whose bytes are a part of the answer.
        informal: A log: what of it can be read is shown.
    """

    name: str
    pattern: str
    commands: tuple[Words, ...]
    gone: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    informal: bool = False


_BLEND = ("blend", "--method", "weights", "--json")
_LISTS: tuple[Words, ...] = (
    ("submissions", "--json"),
    ("submissions", "show", "1", "--json"),
    ("leaderboard", "--json"),
)
TARGETS = (
    Target("part", ".jobs/*/parts/00001.parquet", (SCORE,), (".jobs/*/result.json",), ("out.csv",)),
    Target("plan", ".jobs/*/plan.json", (SCORE, ("jobs", "--json")), (".jobs/*/result.json",), ("out.csv",)),
    Target("result of a job", ".jobs/*/result.json", (SCORE, ("jobs", "--json")), (), ("out.csv",)),
    Target("precision", ".jobs/*/precision.json", (SCORE,), (".jobs/*/result.json",), ("out.csv",)),
    Target("output claim", ".jobs/*/output.json", (SCORE,), (".jobs/*/result.json",), ("out.csv",)),
    Target("events", ".jobs/*/events.jsonl", (("jobs", "--json"), ("jobs", "show", "test", "--json")), informal=True),
    Target(
        "competition", "competition.toml", (SCORE, ("train", "one.toml", "--json")), ("out.csv",), ("out.csv",), True
    ),
    Target(
        "folds",
        "runs/folds.parquet",
        (("train", "one.toml", "--json"),),
        ("runs/one/run.json",),
        ("runs/one/oof.parquet",),
    ),
    Target(
        "fold's predictions",
        "runs/one/fold0/oof.parquet",
        (("train", "one.toml", "--json"),),
        ("runs/one/run.json",),
        ("runs/one/oof.parquet",),
    ),
    Target(
        "recipe of a run", "runs/one/recipe.toml", (("train", "one.toml", "--json"),), (), ("runs/one/oof.parquet",)
    ),
    Target("run", "runs/one/run.json", (("leaderboard", "--json"), _BLEND)),
    Target("out-of-fold predictions", "runs/one/oof.parquet", (_BLEND,)),
    Target("test predictions", "runs/one/predictions/test.parquet", (_BLEND,)),
    Target(
        "checkpoint's facts",
        "runs/one/fold0/kaggle_jobs.json",
        (SCORE,),
        ("out.csv", ".jobs/*/plan.json"),
        ("out.csv",),
    ),
    Target("vectorizer", "runs/one/fold0/linear.json", (SCORE,), ("out.csv", ".jobs/*/plan.json"), ("out.csv",)),
    Target("weights", "runs/one/fold0/linear.safetensors", (SCORE,), ("out.csv", ".jobs/*/plan.json"), ("out.csv",)),
    Target(
        "manifest", "submissions/v0001-mean/manifest.json", (*_LISTS, ("record", "1", "--private", "0.4", "--json"))
    ),
    Target("submission", "submissions/v0001-mean/submission.csv", _LISTS),
    Target(
        "blend recipe",
        "blends/*.json",
        (("explain", "{path}", "--json"), ("apply", "{path}", "--to", "test", "--output", "applied.csv", "--json")),
        (),
        ("applied.csv",),
    ),
)


@dataclass(frozen=True)
class Trial:
    """One damage and one command."""

    target: str
    damage: str
    command: str
    verdict: str
    said: str


def campaign(root: Path, targets: Sequence[Target], step: int, known: Collection[Trial] = ()) -> Iterator[Trial]:
    """Damage each target at every `step` per cent of its length, in a workspace made by `workplace.make`.

    Args:
        root: The workspace.
        targets: What is damaged.
        step: Per cent of a file's length.
        known: Trials made earlier, which are not made again.
    """
    made = {(trial.target, trial.damage, trial.command) for trial in known}
    snapshot = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for target in targets:
        path = next(p for p in sorted(snapshot) if p.match(str(root / target.pattern)))
        commands = [tuple(word.format(path=path) for word in words) for words in target.commands]
        expected = {}
        for words in commands:
            _restore(root, snapshot, target)
            expected[words] = _answer(root, call(root, words), target)
        for damage, content in _damages(snapshot[path], step):
            for words in commands:
                if (target.name, damage, " ".join(words[:2])) in made:
                    continue
                _restore(root, snapshot, target)
                path.write_bytes(content)
                done = call(root, words)
                verdict, said = _judge(done, expected[words], _answer(root, done, target), target.informal)
                yield Trial(target.name, damage, " ".join(words[:2]), verdict, said)
    _restore(root, snapshot, None)


def _damages(content: bytes, step: int) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(len(content))
    for percent in range(0, 100, step):
        at = len(content) * percent // 100
        yield f"cut at {percent} %", content[:at]
        yield (
            f"bit flipped at {percent} %",
            content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :],
        )


def _restore(root: Path, snapshot: dict[Path, bytes], target: Target | None) -> None:
    """Everything as it was; only files that differ are touched, since times are a part of plans."""
    for path in [p for p in root.rglob("*") if p.is_file() and p not in snapshot]:
        path.unlink()
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):  # of a version, whose number would be taken
            folder.rmdir()
    for path, content in snapshot.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for pattern in target.gone if target else ():
        for path in root.glob(pattern):
            path.unlink()


def _answer(root: Path, done: Done, target: Target) -> object:
    """What a command said on stdout, without times, and the files that it made."""
    try:
        said = _without_times(json.loads(done.out))
    except ValueError:
        said = done.out
    return said, [p.read_bytes() if (p := root / name).is_file() else None for name in target.outputs]


def _without_times(value: object) -> object:
    volatile = re.compile(
        r".*(seconds|_s|created|time|scored|resumed_rows|age_days|was_complete|reused|path|digest"
        r"|peak_memory|bottleneck)$"
    )
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if not volatile.fullmatch(key)}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def _judge(done: Done, expected: object, answer: object, informal: bool) -> tuple[str, str]:
    lines = done.err.strip().splitlines() or [""]
    said = next((line for line in lines if line.startswith("error: ")), lines[0])
    if done.code is None or "Traceback" in done.err:
        return CRASHED, done.err.strip().splitlines()[-1]
    if done.code == 2:
        return (REFUSED, said) if said.startswith("error: ") else (CRASHED, f"no error told: {said}")
    if answer == expected:
        return HARMLESS, said
    told = re.search(r"damaged|by hand|left out|changed since|is not the file|not a valid|cannot", done.err + done.out)
    return (TOLD, told[0] if told else said) if told or informal else (SILENT, said)
