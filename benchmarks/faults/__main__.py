"""The fault campaign: prints its tables as Markdown, and ends with 1 where something is wrong.

python -m benchmarks.faults                       # all of it: `make faults`, a quarter of an hour on two cores
python -m benchmarks.faults kills --kills 1000 --operations --log kills.jsonl      # goes on where it was
python -m benchmarks.faults damage --step 2
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.faults import workplace

if TYPE_CHECKING:
    from benchmarks.faults.kills import Trial

PARTS = ("crowd", "kills", "tables", "damage")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.faults")
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--kills", type=int, default=72, help="kills over all stages")
    parser.add_argument("--operations", action="store_true", help="also kill before each file operation")
    parser.add_argument("--space", action="store_true", help="also let no file grow beyond some sizes")
    parser.add_argument("--log", type=Path, help="append each trial; those that stand there are not made again")
    parser.add_argument("--stage", action="append", help="kill only this stage; may be repeated")
    parser.add_argument("--step", type=int, default=5, help="damage at every so many per cent of a file")
    parser.add_argument("--damage-log", type=Path, help="the same of damages")
    asked = parser.parse_args()
    # Processes are forked for crowds and kills, so these come before anything starts threads.
    bad = 0
    for part in (part for part in PARTS if part in asked.parts):
        with tempfile.TemporaryDirectory() as folder:
            bad += _PARTS[part](Path(folder), asked)
        sys.stdout.flush()
    sys.exit(1 if bad else 0)


def _crowds(root: Path, _asked: argparse.Namespace) -> int:
    from benchmarks.faults.crowd import campaign

    found = list(campaign(root, (2, 8), workplace.write_tables))
    rows = [(c.name, c.processes, c.ended, "; ".join(c.problems) or "none") for c in found]
    _table("Several processes at once", ("what they share", "processes", "ended", "problems"), rows)
    return sum(bool(c.problems) for c in found)


def _kills(root: Path, asked: argparse.Namespace) -> int:
    from benchmarks.faults.kills import append, campaign, load
    from benchmarks.faults.stages import STAGES

    stages = [stage for stage in STAGES if not asked.stage or stage.name in asked.stage]
    whole = sum(stage.share for stage in stages)
    kills = {stage.name: max(1, round(asked.kills * stage.share / whole)) for stage in stages}
    tables = partial(workplace.write_tables, train=300, test=600)
    trials = load(asked.log) if asked.log else []
    for trial in campaign(
        root, stages, kills, tables, operations=asked.operations, space=asked.space, known=list(trials)
    ):
        trials.append(trial)
        if asked.log:
            append(asked.log, trial)
    for how in dict.fromkeys(trial.how for trial in trials):
        _kill_tables([trial for trial in trials if trial.how == how], _KILLS[how])
    bad = [trial for trial in trials if trial.problems]
    _list([f"{t.stage}, {t.how} {t.number}, at {'; at '.join(t.struck)}: {'; '.join(t.problems)}" for t in bad])
    return len(bad)


_KILLS = {
    "moment": "SIGKILL at random moments",
    "operation": "SIGKILL before each file operation",
    "space": "Too little space for files",
}


def _kill_tables(trials: Sequence[Trial], title: str) -> None:
    rows: list[tuple[object, ...]] = []
    for name in (*dict.fromkeys(trial.stage for trial in trials), "all"):
        own = [trial for trial in trials if name in ("all", trial.stage)]
        struck = Counter(words for trial in own for words in trial.struck)
        where = ", ".join(f"{words} {n}" for words, n in struck.most_common()) if name != "all" else ""
        counts = (len(own), struck.total(), sum(t.writing for t in own), sum(t.again for t in own))
        rows.append((name, *counts, sum(bool(t.problems) for t in own), where))
    header = ("command", "trials", "kills", "while writing", "made again", "with a problem", "what was under way")
    _table(title, header, rows)


def _tables(root: Path, _asked: argparse.Namespace) -> int:
    from benchmarks.faults.corpus import cases
    from benchmarks.faults.tables import CAREFUL, CRASHED, VERDICTS, WRONG, judge_all

    judged = judge_all(cases(), root)
    _counts("Hostile tables", ((j.case.group, j.verdict) for j in judged), VERDICTS)
    _list([f"{j.case.name}: {j.verdict}: {j.said}" for j in judged if j.verdict in (WRONG, CRASHED, CAREFUL)])
    return sum(j.verdict in (WRONG, CRASHED) for j in judged)


def _damage(root: Path, asked: argparse.Namespace) -> int:
    from benchmarks.faults.damage import CRASHED, SILENT, TARGETS, VERDICTS, Trial, campaign

    trials = [Trial(**line) for line in _lines(asked.damage_log)]
    for trial in campaign(workplace.make(root / "work"), TARGETS, asked.step, list(trials)):
        trials.append(trial)
        if asked.damage_log:
            with asked.damage_log.open("a") as log:
                log.write(json.dumps(asdict(trial)) + "\n")
    _counts(f"Damaged files, every {asked.step} %", ((t.target, t.verdict) for t in trials), VERDICTS)
    _list([f"{t.target}, {t.damage}, {t.command}: {t.said}" for t in trials if t.verdict in (SILENT, CRASHED)])
    return sum(t.verdict in (SILENT, CRASHED) for t in trials)


def _lines(log: Path | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log and log.is_file() else []


_PARTS: dict[str, Callable[[Path, argparse.Namespace], int]] = {
    "crowd": _crowds,
    "kills": _kills,
    "tables": _tables,
    "damage": _damage,
}


def _counts(title: str, pairs: Iterable[tuple[str, str]], verdicts: Sequence[str]) -> None:
    counts = Counter(pairs)
    groups = list(dict.fromkeys(group for group, _ in counts))
    rows: list[tuple[object, ...]] = [(g, *(counts[g, v] or "" for v in verdicts)) for g in groups]
    rows.append(("all", *(sum(counts[g, v] for g in groups) for v in verdicts)))
    _table(title, ("", *verdicts), rows)


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [f"\n## {title}\n", "| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    sys.stdout.write("\n".join(lines) + "\n")


def _list(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(f"- {line}\n" for line in lines))


if __name__ == "__main__":
    main()
