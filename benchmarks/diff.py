"""Two shuffled submissions of the same ids compared: ours, a polars join, datacompy.

    python -m benchmarks.diff                                # make bench: a million rows
    PYTHONPATH=.:/tmp/peers python -m benchmarks.diff        # with peers installed by `pip install --target /tmp/peers`

What is timed begins with both tables in memory, ids and values as read, and ends when the changed rows are known. Ours
has then also counted rows by class in A and in B and how far probabilities moved. Contestants take turns, so that they
meet the same load; the best round counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from kaggle_tools.submissions import Answers
from kaggle_tools.submissions.diff import compare

CLASSES = ("a", "b", "c")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("| values | contestant | best s | median s | ours is | changed rows |\n|---|---|---|---|---|---|")
    for values in ("labels", "probabilities"):
        race(values, arguments.rows, arguments.rounds)


def race(values: str, rows: int, rounds: int) -> None:
    a, b = tables(values, rows)
    contestants = {"ours": ours, "polars join": polars_join} | ({"datacompy": datacompy} if has_datacompy() else {})
    times: dict[str, list[float]] = {name: [] for name in contestants}
    counts = {}
    for turn in range(rounds + 1):
        for name, contestant in contestants.items():
            run = contestant(a, b)
            began = time.perf_counter()
            counts[name] = run()
            if turn:  # the first compiles and warms up
                times[name].append(time.perf_counter() - began)
    for name, seconds in times.items():
        ratio = min(seconds) / min(times["ours"])
        cells = (values, name, f"{min(seconds):.3f}", f"{np.median(seconds):.3f}", f"{ratio:.2f}×", f"{counts[name]:,}")
        print("| " + " | ".join(cells) + " |")
    assert len(set(counts.values())) == 1, counts


def tables(values: str, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ids like ``id0123456``; one row in twenty has other probabilities."""
    random = np.random.default_rng(0)
    probs = random.dirichlet([1.0, 1.0, 1.0], rows).astype(np.float32)
    other = np.where(random.random((rows, 1)) < 0.05, random.dirichlet([1.0, 1.0, 1.0], rows), probs).astype(np.float32)
    made = []
    for part in (probs, other):
        order = random.permutation(rows)
        ids = pl.Series("id", [f"id{i:07d}" for i in order])
        if values == "labels":
            made.append(pl.DataFrame([ids, pl.Series("y", CLASSES).gather(part[order].argmax(axis=1))]))
        else:
            made.append(pl.DataFrame([ids, *(pl.Series(name, part[order, k]) for k, name in enumerate(CLASSES))]))
    return made[0], made[1]


Run = Callable[[], int]


def ours(a: pl.DataFrame, b: pl.DataFrame) -> Run:
    sides = [answers(table) for table in (a, b)]

    def run() -> int:
        found = compare(*sides)
        assert found.transitions.sum() == len(a)
        return int(found.changed.sum())

    return run


def answers(table: pl.DataFrame) -> Answers:
    if table.width == 2:
        return Answers("x", Path("x"), table["id"], CLASSES, "single_label", table["y"])
    probs = np.ascontiguousarray(table.select(CLASSES).to_numpy())
    return Answers("x", Path("x"), table["id"], CLASSES, "single_label", probs=probs)


def polars_join(a: pl.DataFrame, b: pl.DataFrame) -> Run:
    columns = a.columns[1:]

    def run() -> int:
        joined = a.join(b, on="id", how="inner", validate="1:1", suffix="_b")
        return len(joined.filter(pl.any_horizontal(pl.col(name) != pl.col(f"{name}_b") for name in columns)))

    return run


def has_datacompy() -> bool:
    try:
        import datacompy  # noqa: F401
    except ImportError:
        return False
    return True


def datacompy(a: pl.DataFrame, b: pl.DataFrame) -> Run:
    from datacompy import PolarsCompare

    def run() -> int:
        found = PolarsCompare(a, b, join_columns="id")
        return len(found.all_mismatch())

    return run


if __name__ == "__main__":
    main()
