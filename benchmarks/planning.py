"""Planning a table far larger than memory: how fast it is indexed and its ids are checked, and what memory that takes.

    python -m benchmarks.planning --data ../shared/data --gigabytes 5

The table is made of real texts (English and Chinese, quoted line breaks included), repeated under ids of their own, and
removed in the end. Rates are given by wall time and by seconds of CPU, since other work may share the machine.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from jobs.machine import peak_memory
from jobs.resolve import InputOptions, look_at_inputs
from jobs.runner import planner
from jobs.runner.plan import Request, pieces_of, tasks_of
from jobs.runner.store import JobStore
from jobs.workspace import Workspace
from kaggle_tools.tables import index_file

Made = TypeVar("Made")

GB = 1e9
ROWS_WANTED = 1_000_000_000
BYTES_A_ROW = 200
SOURCES = (
    ("spooky/train.csv.gz", "utf-8", "text"),
    ("goemotions/train.csv.gz", "utf-8", "text"),
    ("smp2020_virus/virus_train.csv.gz", "utf-8", "content"),
    ("weibo_ncov/nCov_10k_test.gb18030.csv.gz", "gb18030", "微博中文内容"),
)


def main() -> None:
    """Make the table, plan it, tell, remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--shard-rows", type=int, default=262_144)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "big.csv"
        write_table(table, asked.data, int(asked.gigabytes * GB))
        measure(table, asked.shard_rows)


def write_table(path: Path, data: Path, n_bytes: int) -> None:
    """Ids and real texts until the file has so many bytes."""
    lines = [_as_csv(text) for text in _texts(data)]
    with path.open("wb") as handle:
        handle.write(b"id,text\n")
        for number in range(1 << 30):
            handle.write(b"".join(b"%d-%d,%b" % (number, i, line) for i, line in enumerate(lines)))
            if handle.tell() >= n_bytes:
                return


def measure(table: Path, shard_rows: int) -> None:
    """Index twice (the first pass finds the file in no cache), check the ids, print."""
    inputs = look_at_inputs(Workspace.find(table.parent), InputOptions((str(table),)))
    size = table.stat().st_size
    base_mb = peak_memory() / 2**20
    rows: list[tuple[str, float, float, float]] = []
    request = Request(
        inputs.files, inputs.id_column, inputs.text_column, {"m": ("0",)}, ("a", "b"), "auto", None, None, None, "fail"
    )

    def timed(name: str, work: Callable[[], Made]) -> Made:
        wall, cpu = time.perf_counter(), time.process_time()
        made = work()
        rows.append((name, time.perf_counter() - wall, time.process_time() - cpu, peak_memory() / 2**20))
        return made

    for name in ("index, first pass", "index, again"):
        index = timed(name, lambda: index_file(table, inputs.files[0].format, shard_rows=shard_rows))
    pieces = pieces_of([index], None)
    tasks = tasks_of(pieces, [size], shard_rows)
    timed("the whole plan, ids checked", lambda: planner._make_plan(request, JobStore(table.parent), shard_rows))
    timed("ids checked by reading the shards", lambda: planner._check_ids(request, pieces, table.parent))
    plan_bytes = sum(len(json.dumps(asdict(task), default=str)) for task in tasks)

    write = sys.stdout.write
    write(f"{size / GB:.2f} GB, {index.n_rows:,} rows of {size / index.n_rows:.0f} bytes, {len(tasks):,} shards; ")
    write(f"plan about {plan_bytes / 1e3:,.0f} kB; {base_mb:,.0f} MB resident before\n\n")
    write("| | wall s | GB/s | CPU s | GB a CPU second | peak MB |\n|---|---|---|---|---|---|\n")
    for name, wall_s, cpu_s, peak in rows:
        write(f"| {name} | {wall_s:.1f} | {size / GB / wall_s:.2f} | {cpu_s:.1f} | {size / GB / cpu_s:.2f} ")
        write(f"| {peak:,.0f} |\n")
    want = ROWS_WANTED * BYTES_A_ROW / GB
    plan_s = want / (size / GB / rows[2][2])
    write(f"\nextrapolated to {ROWS_WANTED:,} rows, {want:,.0f} GB, one free core: {plan_s / 60:.1f} min, ")
    write(f"plan {plan_bytes / index.n_rows * ROWS_WANTED / 1e6:,.0f} MB\n")


def _texts(data: Path) -> Iterator[str]:
    for name, encoding, column in SOURCES:
        text = gzip.decompress((data / name).read_bytes()).decode(encoding, "replace").replace("\0", "")
        for row in csv.DictReader(io.StringIO(text)):
            if row.get(column):
                yield row[column]


def _as_csv(text: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([text])
    return out.getvalue().encode()


if __name__ == "__main__":
    main()
