"""Long runs in one process: whether memory, files or handles grow.

    python -m benchmarks.soak jobs --jobs 24                  # one scoring job after the other, in one workspace
    python -m benchmarks.soak rows --rows 10000000            # one long job through a tiny network

Exit code 1 where something grew. `jobs` compares the last third of the jobs with the third before it: what libraries
keep for themselves they have by then. `rows` compares the highest memory of the tenths of the job in the same way.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.faults.tables import Silent, make_model, working_directory
from jobs import score
from jobs.resolve import InputOptions

MB = 1 << 20


@dataclass(frozen=True)
class State:
    """What a process holds after a job: resident MB, open files, threads, and files in the workspace of no job."""

    resident_mb: float
    handles: int
    threads: int
    strays: int


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["jobs", "rows"])
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--rows", type=int, help="of each job; default: 2,000, and 10 million for `rows`")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, working_directory(Path(folder)):
        if asked.part == "jobs":
            grew = jobs_in_a_row(Path(folder), asked.jobs, asked.rows or 2_000)
        else:
            grew = one_long_job(Path(folder), asked.rows or 10_000_000)
    sys.stdout.write("".join(f"grew: {what}\n" for what in grew) or "nothing grew\n")
    sys.exit(1 if grew else 0)


def jobs_in_a_row(folder: Path, n_jobs: int, n_rows: int) -> list[str]:
    """So many jobs, each of another table, through a linear model and a network; gives what grew."""
    make_model(folder / "linear")
    make_network(folder / "network")
    states = []
    sys.stdout.write("| job | resident MB | handles | threads | stray files |\n|---|---|---|---|---|\n")
    for number in range(n_jobs):
        write_rows(folder / f"rows{number}.csv", n_rows, seed=number)
        _score(folder / f"rows{number}.csv", ("linear", "network"), shard_rows=max(1, n_rows // 4))
        states.append(_state(folder, number + 1))
        now = states[-1]
        sys.stdout.write(f"| {number + 1} | {now.resident_mb:,.0f} | {now.handles} | {now.threads} | {now.strays} |\n")
        sys.stdout.flush()
    return _grown(states)


def one_long_job(folder: Path, n_rows: int) -> list[str]:
    """One job of so many rows; prints its rate and its memory by tenths; gives what grew."""
    make_network(folder / "network")
    write_rows(folder / "rows.csv", n_rows, seed=0, words=4)
    size = (folder / "rows.csv").stat().st_size
    progress = _Progress()
    began = time.perf_counter()
    with _sampled(progress) as highest:
        _score(folder / "rows.csv", ("network",), watch=progress)
    seconds = time.perf_counter() - began
    busy = psutil.Process().cpu_times()
    sys.stdout.write(f"{n_rows:,} rows, {size / MB:,.0f} MB of CSV: {seconds:,.0f} s, {n_rows / seconds:,.0f} rows/s, ")
    sys.stdout.write(f"{n_rows / (busy.user + busy.system):,.0f} rows a second of CPU\n\n")
    sys.stdout.write("| tenth of the job | highest resident MB |\n|---|---|\n")
    sys.stdout.write("".join(f"| {tenth + 1} | {mb:,.0f} |\n" for tenth, mb in enumerate(highest)))
    before, after = max(highest[3:6]), max(highest[7:])
    return [f"memory, from {before:,.0f} to {after:,.0f} MB"] if after > before * 1.1 else []


def make_network(folder: Path) -> None:
    """A BERT of one layer and width 16 with random weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(1000))]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    labels = dict(enumerate("abc"))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=32,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def write_rows(path: Path, n_rows: int, *, seed: int, words: int = 8) -> None:
    """Ids and texts of at most so many random words; hardly any duplicates."""
    draw = random.Random(seed)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "text"])
        for i in range(n_rows):
            writer.writerow([f"r{i}", " ".join(f"w{draw.randrange(1000)}" for _ in range(words))])


def _score(table: Path, models: Sequence[str], *, watch: Silent | None = None, shard_rows: int | None = None) -> None:
    options = score.ScoreOptions(
        InputOptions((str(table),)), models, device="cpu", precision="fp32", submission=False, shard_rows=shard_rows
    )  # fmt: skip
    score.run(options, watch or Silent())


def _state(folder: Path, n_jobs: int) -> State:
    process = psutil.Process()
    jobs = list((folder / ".jobs").iterdir())
    strays = [p for p in folder.rglob("*") if p.name.endswith((".tmp", ".probe", ".old"))]
    return State(
        resident_mb=process.memory_info().rss / MB,
        handles=process.num_fds(),
        threads=process.num_threads(),
        strays=len(strays) + len(jobs) - n_jobs,
    )


def _grown(states: Sequence[State]) -> list[str]:
    third = max(1, len(states) // 3)
    before, after = states[-2 * third : -third], states[-third:]
    found = []
    # Allocators give pages back some time after they were freed: what grows is the memory that jobs come down to.
    # Pools of libraries start a thread when they are busy for the first time; a leak would be one a job.
    for name, of_third, slack in (
        ("resident_mb", min, 16.0), ("handles", max, 0), ("threads", max, 2), ("strays", max, 0),
    ):  # fmt: skip
        old, new = (of_third(getattr(state, name) for state in part) for part in (before, after))
        if new > old + slack:
            found.append(f"{name}, from {old:,.0f} to {new:,.0f}")
    return found + ([f"{states[-1].strays} files of no job"] if states[-1].strays else [])


class _Progress(Silent):
    """Knows which tenth of the job is under way."""

    def __init__(self) -> None:
        self.done, self.all = 0.0, 1

    def started(self, n_rows: int, *_: object) -> None:
        self.all = n_rows

    def advanced(self, rows: float) -> None:
        self.done += rows

    @property
    def tenth(self) -> int:
        return min(9, int(10 * self.done / self.all))


@contextmanager
def _sampled(progress: _Progress) -> Iterator[list[float]]:
    """The highest resident MB of each tenth of the job, sampled four times a second."""
    highest, stop = [0.0] * 10, threading.Event()
    process = psutil.Process(os.getpid())

    def sample() -> None:
        while not stop.wait(0.25):
            highest[progress.tenth] = max(highest[progress.tenth], process.memory_info().rss / MB)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield highest
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
